//! Both towers of every fixture, stage by stage.

use std::collections::HashMap;
use std::path::Path;

use hyperslab::model::Background;
use hyperslab::model::device::Precision;
use hyperslab::model::siglip::config::TextConfig;
use hyperslab::model::tower::{Tower, TowerEmbedder};
use hyperslab::model::weights::Weights;
use hyperslab::model::{
    Item, Modality, Options, Prepared, describe, json, load, preprocessing, siglip, siglip2,
};
use ndarray::Array2;

use super::{Array, check_bf16, expected, fixtures, flat, inputs, largest_difference, model, settings};

const MODELS: [&str; 5] = ["siglip", "siglip2", "siglip-f16", "naflex", "naflex-qwen"];
const FIXED: [&str; 3] = ["siglip", "siglip2", "siglip-f16"];
/// On normalised vectors, of which the largest entries are about 0.5.
const TOLERANCE: f64 = 2e-5;

/// The batch the fixtures were made from.
fn batch(name: &str, modality: Modality) -> Vec<Option<Prepared>> {
    let preparer = model(name, modality).preparer;
    let inputs = inputs();
    let prepare = |item: Item<'_>| Some(preparer.prepare(item).expect("sound"));
    match modality {
        Modality::Text => {
            inputs.batch_texts.iter().map(|&i| prepare(Item::Caption(&inputs.texts[i]))).collect()
        }
        Modality::Image => pictures(name)
            .iter()
            .map(|name| {
                prepare(Item::View(&std::fs::read(fixtures().join("pictures").join(name)).expect("read")))
            })
            .collect(),
    }
}

/// The pictures of a model's batch.
fn pictures(name: &str) -> Vec<String> {
    let inputs = inputs();
    match name {
        "naflex" => inputs.naflex_pictures,
        "naflex-qwen" => inputs.naflex_pictures[..4].to_vec(),
        _ => inputs.batch_pictures,
    }
}

fn prefix(modality: Modality) -> &'static str {
    if modality == Modality::Text { "text" } else { "image" }
}

/// What a tower gives, stage by stage.
fn observed(name: &str, modality: Modality) -> (HashMap<String, Vec<f64>>, Array2<f32>) {
    let mut stages = HashMap::new();
    let mut watch = |stage: &str, x: &tch::Tensor| {
        stages.insert(stage.to_owned(), Vec::<f64>::try_from(x.flatten(0, -1)).expect("values"));
    };
    let dir = fixtures().join(name);
    let json = json::read(&dir.join("config.json")).expect("read");
    let (slots, settings) = (batch(name, modality), settings(Precision::F32));
    let rows = if name.starts_with("naflex") {
        let config = siglip2::config::Config::parse(&dir, &json).expect("parsed");
        let weights = siglip2::checked(&dir, &config).expect("sound");
        match modality {
            Modality::Text => text(&dir, &weights, &config.text).embed_observed(&slots, &mut watch),
            Modality::Image => {
                let patch = config.vision.patch_size;
                let preprocess =
                    siglip2::Preprocess::load(&dir, patch, None, Background::Drop).expect("supported");
                let loaded = siglip2::vision_embedder(&weights, &config, &preprocess, &settings);
                loaded.expect("loads").0.embed_observed(&slots, &mut watch)
            }
        }
    } else {
        let config = siglip::config::Config::parse(&dir, &json).expect("parsed");
        let weights = siglip::embedder::checked(&dir, &config).expect("sound");
        match modality {
            Modality::Text => text(&dir, &weights, &config.text).embed_observed(&slots, &mut watch),
            Modality::Image => {
                let side = config.vision.image_size;
                let preprocess = siglip::Preprocess::load(&dir, side, Background::Drop).expect("supported");
                let loaded = siglip::embedder::vision(&weights, &config, &preprocess, &settings);
                loaded.expect("loads").embed_observed(&slots, &mut watch)
            }
        }
    };
    (stages, rows.expect("embeds"))
}

fn text(dir: &Path, weights: &Weights, config: &TextConfig) -> TowerEmbedder<impl Tower + use<>> {
    let (length, vocabulary) = (config.max_position_embeddings, config.vocab_size);
    let tokens = siglip::Tokens::load(dir, "", length, vocabulary).expect("loads");
    siglip::embedder::text(weights, config, &tokens, &settings(Precision::F32)).expect("loads")
}

#[test]
fn every_stage_equals_the_reference() {
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        for modality in [Modality::Text, Modality::Image] {
            let (stages, rows) = observed(name, modality);
            let of_tower = |stage: &str| &expected[&format!("{}.{stage}", prefix(modality))];
            assert!(stages.len() >= 5, "{name}: embeddings, two blocks, norm, pooled");
            for (stage, found) in &stages {
                let reference = &of_tower(stage).values;
                let scale = reference.iter().fold(1.0, |top: f64, value| top.max(value.abs()));
                let off = largest_difference(found, reference) / scale;
                assert!(off <= TOLERANCE, "{name}, {}.{stage}: off by {off} of {scale}", prefix(modality));
            }
            let off = largest_difference(&flat(&rows), &of_tower("vectors").values);
            assert!(off <= TOLERANCE, "{name}, {}: vectors off by {off}", prefix(modality));
        }
    }
}

#[test]
fn normalised_pixels_equal_the_reference() {
    for name in FIXED {
        let dir = fixtures().join(name);
        let config =
            siglip::config::Config::parse(&dir, &json::read(&dir.join("config.json")).expect("read"))
                .expect("parsed");
        let side = config.vision.image_size;
        let preprocess = siglip::Preprocess::load(&dir, side, Background::Drop).expect("supported");
        let expected = &expected(&format!("{name}/expected.safetensors"))["image.pixels"];
        let size = 3 * side * side;
        for (picture, reference) in inputs().batch_pictures.iter().zip(expected.values.chunks(size)) {
            let bytes = std::fs::read(fixtures().join("pictures").join(picture)).expect("read");
            let pixels = preprocess.pixels(&bytes).expect("decodes").unsqueeze(0);
            let pixels = preprocess.normalise(&pixels).expect("computes").permute([0, 3, 1, 2]);
            let found = Vec::<f64>::try_from(pixels.flatten(0, -1)).expect("values");
            assert!(
                found == reference,
                "{name}, {picture}: off by {}",
                largest_difference(&found, reference)
            );
        }
    }
}

#[test]
fn bf16_is_as_good_as_the_reference_in_bf16() {
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        for modality in [Modality::Text, Modality::Image] {
            let what = format!("{name}, {}", prefix(modality));
            let dir = fixtures().join(name);
            let mut model = load(&dir, modality, &settings(Precision::Bf16)).expect("loads");
            let rows = model.embedder.embed(&batch(name, modality)).expect("embeds");
            let of_tower = |kind: &str| -> &Array { &expected[&format!("{}.{kind}", prefix(modality))] };
            check_bf16(&what, &rows, of_tower("vectors.bf16"), of_tower("vectors"));
        }
    }
}

#[test]
fn f16_stays_near_f32() {
    let expected = &expected("siglip-f16/expected.safetensors")["image.vectors"];
    let dir = fixtures().join("siglip-f16");
    let mut model = load(&dir, Modality::Image, &settings(Precision::F16)).expect("loads");
    let rows = model.embedder.embed(&batch("siglip-f16", Modality::Image)).expect("embeds");
    let off = largest_difference(&flat(&rows), &expected.values);
    assert!(off > 0.0 && off < 5e-3, "off by {off}");
}

#[test]
fn an_empty_slot_changes_no_neighbour() {
    let of_two = |name| [Modality::Text, Modality::Image].map(|modality| (name, modality));
    for (name, modality) in ["siglip", "naflex"].into_iter().flat_map(of_two) {
        let mut model = model(name, modality);
        let whole = model.embedder.embed(&batch(name, modality)).expect("embeds");
        let mut slots = batch(name, modality);
        slots[2] = None;
        let holed = model.embedder.embed(&slots).expect("embeds");
        assert_eq!(holed.dim(), whole.dim());
        for row in (0..slots.len()).filter(|row| *row != 2) {
            assert_eq!(holed.row(row), whole.row(row), "row {row}");
        }
        assert!(holed.row(2) != whole.row(2));
        assert!(holed.row(2).iter().all(|value| value.is_finite()), "padding has a vector too");
    }
    assert_eq!(model("siglip", Modality::Text).embedder.embed(&[]).expect("embeds").dim(), (0, 48));
}

#[test]
fn provenance_is_canonical_and_complete() {
    let provenance = |name: &str, modality| {
        let read = preprocessing(&fixtures().join(name), modality, &Options::default());
        read.expect("sound").provenance
    };
    assert_eq!(
        provenance("siglip2", Modality::Text),
        r#"{"length":32,"lower_case":true,"pad_id":0,"pad_left":false,"tokenizer":"gemma"}"#
    );
    let image = provenance("siglip-f16", Modality::Image);
    assert!(image.starts_with(r#"{"background":"drop","filter":"bicubic","mean":["#));
    let text = describe(&fixtures().join("siglip2")).expect("sound");
    assert_eq!((text.text_dim, text.max_position_embeddings), (32, 32));
    let naflex = provenance("naflex", Modality::Image);
    assert!(naflex.contains(r#""max_num_patches":24,"#) && naflex.contains(r#""patch_size":8,"#), "{naflex}");
    let gemma = provenance("naflex", Modality::Text);
    assert_eq!(gemma, provenance("siglip2", Modality::Text).replace("32", "24"));
    assert!(provenance("naflex-qwen", Modality::Text).contains(r#""lower_case":false"#));
    assert_eq!(describe(&fixtures().join("siglip-f16")).expect("sound").name, "siglip-f16");
}
