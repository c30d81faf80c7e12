//! Both towers of every fixture, stage by stage.

use std::collections::HashMap;

use hyperslab::model::device::Precision;
use hyperslab::model::picture::Background;
use hyperslab::model::siglip::config::Config;
use hyperslab::model::siglip::{Preprocess, Siglip, Tokens};
use hyperslab::model::{Item, Modality, Prepared, describe, json, load, preprocessing};
use ndarray::Array2;

use super::{Array, check_bf16, expected, fixtures, flat, inputs, largest_difference, model, settings};

const MODELS: [&str; 3] = ["siglip", "siglip2", "siglip-f16"];
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
        Modality::Image => inputs
            .batch_pictures
            .iter()
            .map(|name| {
                prepare(Item::View(&std::fs::read(fixtures().join("pictures").join(name)).expect("read")))
            })
            .collect(),
    }
}

fn prefix(modality: Modality) -> &'static str {
    if modality == Modality::Text { "text" } else { "image" }
}

/// Loads a tower so that its stages can be seen.
fn tower(name: &str, modality: Modality, precision: Precision) -> Siglip {
    let dir = fixtures().join(name);
    let config = Config::parse(&dir, &json::read(&dir.join("config.json")).expect("read")).expect("parsed");
    let settings = settings(precision);
    match modality {
        Modality::Text => {
            let (length, vocabulary) = (config.text.max_position_embeddings, config.text.vocab_size);
            let tokens = Tokens::load(&dir, length, vocabulary).expect("loads");
            Siglip::text(&dir, &config, &tokens, &settings)
        }
        Modality::Image => {
            let preprocess =
                Preprocess::load(&dir, config.vision.image_size, settings.background).expect("supported");
            Siglip::vision(&dir, &config, &preprocess, &settings)
        }
    }
    .expect("loads")
}

fn observed(name: &str, modality: Modality) -> (HashMap<String, Vec<f64>>, Array2<f32>) {
    let mut stages = HashMap::new();
    let rows =
        tower(name, modality, Precision::F32).embed_observed(&batch(name, modality), &mut |stage, x| {
            stages.insert(stage.to_owned(), Vec::<f64>::try_from(x.flatten(0, -1)).expect("values"));
        });
    (stages, rows.expect("embeds"))
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
    for name in MODELS {
        let dir = fixtures().join(name);
        let config =
            Config::parse(&dir, &json::read(&dir.join("config.json")).expect("read")).expect("parsed");
        let side = config.vision.image_size;
        let preprocess =
            Preprocess::load(&dir, side, settings(Precision::F32).background).expect("supported");
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
    for modality in [Modality::Text, Modality::Image] {
        let mut model = model("siglip", modality);
        let whole = model.embedder.embed(&batch("siglip", modality)).expect("embeds");
        let mut slots = batch("siglip", modality);
        slots[2] = None;
        let holed = model.embedder.embed(&slots).expect("embeds");
        assert_eq!(holed.dim(), (6, model.embedder.dim()));
        for row in [0, 1, 3, 4, 5] {
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
        let read = preprocessing(&fixtures().join(name), modality, Background::Drop);
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
    assert_eq!(describe(&fixtures().join("siglip-f16")).expect("sound").name, "siglip-f16");
}
