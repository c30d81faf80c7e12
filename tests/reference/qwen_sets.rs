//! Sets of pictures through Qwen3-VL-Embedding: sizes, pixels, places, every layer, vectors.

use std::collections::{BTreeMap, HashMap};

use hyperslab::error::ItemErrorKind;
use hyperslab::model::Background;
use hyperslab::model::device::Precision;
use hyperslab::model::grid::Grid;
use hyperslab::model::qwen3_vl::image::prepared;
use hyperslab::model::qwen3_vl::{PixelRange, Preprocess, config::Config, smart_resize};
use hyperslab::model::{Item, Modality, Model, Prepared, json, load, qwen3_vl};

use super::qwen_texts::{prompt, qwen_inputs, unpadded};
use super::{Array, check_bf16, expected, fixtures, flat, inputs, largest_difference, model, settings};

const MODELS: [&str; 2] = ["qwen3-vl", "qwen3-vl-4x"];
const TOLERANCE: f64 = 2e-5;

fn names(key: &str) -> Vec<Vec<String>> {
    serde_json::from_value(qwen_inputs()[key].clone()).expect("lists of names")
}

fn picture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("pictures").join(name)).expect("read")
}

fn config(name: &str) -> Config {
    let dir = fixtures().join(name);
    Config::parse(&dir, &json::read(&dir.join("config.json")).expect("read")).expect("parsed")
}

fn preprocess(name: &str) -> Preprocess {
    Preprocess::load(&fixtures().join(name), &config(name).vision, None, Background::Qwen).expect("supported")
}

fn of_set(model: &Model, set: &[String]) -> Prepared {
    let views = set.iter().map(|name| model.preparer.prepare(Item::View(&picture(name))).expect("sound"));
    model.preparer.join(views.collect()).expect("sound")
}

/// Rows and columns of the patches of a set's pictures.
fn grids(expected: &HashMap<String, Array>, set: usize) -> Vec<Grid> {
    let rows = expected[&format!("set.{set}.grids")].rows();
    rows.map(|row| Grid { rows: row[0] as i64, columns: row[1] as i64 }).collect()
}

#[test]
fn sizes_equal_the_reference() {
    let sizes = &expected("qwen3-vl/qwen-sizes.safetensors")["sizes"];
    assert!(sizes.rows().count() > 2000);
    for row in sizes.rows() {
        let row: Vec<usize> = row.iter().map(|&value| value as usize).collect();
        let [height, width, factor, min, max, rows, columns] = row[..] else { panic!("seven columns") };
        let expected = (rows > 0).then_some((rows, columns));
        let range = PixelRange { min, max };
        assert_eq!(smart_resize(height, width, factor, range), expected, "{height} x {width}, {range:?}");
    }
}

#[test]
fn pixels_grids_and_places_equal_the_reference() {
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let (preprocess, prompt) = (preprocess(name), prompt(name, 8192, None));
        let patch_size = config(name).vision.patch_size;
        for (s, set) in names("sets").iter().enumerate() {
            let mut pixels = Vec::new();
            let mut found = Vec::new();
            for picture in set {
                let (patches, grid) = preprocess.patches(&self::picture(picture)).expect("decodes");
                found.push(grid);
                pixels
                    .extend(as_the_reference(&preprocess.normalise(&patches).expect("computes"), patch_size));
            }
            assert_eq!(found, grids(&expected, s), "{name}, set {s}");
            if let Some(reference) = expected.get(&format!("set.{s}.pixels")) {
                assert!(
                    pixels == reference.values,
                    "{name}, set {s}: {}",
                    largest_difference(&pixels, &reference.values)
                );
            }
            let sequence = prompt.pictures(&found, "").expect("fits");
            assert_eq!(sequence.ids, unpadded(&expected[&format!("set.{s}.ids")].values), "{name}, set {s}");
            let places = unpadded(&expected[&format!("set.{s}.positions")].values);
            assert_eq!(sequence.places, places, "{name}, set {s}");
        }
    }
}

/// Patches (T, row x column x channel) as (T, channel, frame, row, column), flat.
fn as_the_reference(patches: &tch::Tensor, patch: usize) -> Vec<f64> {
    let p = patch as i64;
    let x = patches.view([-1, p, p, 3]).permute([0, 3, 1, 2]).unsqueeze(2).repeat([1, 1, 2, 1, 1]);
    Vec::<f64>::try_from(x.flatten(0, -1)).expect("values")
}

/// Stages of one set by name; those of the vision tower hold its pictures in order of the set.
fn observed(name: &str, set: &[String], grids: &[Grid]) -> HashMap<String, Vec<f64>> {
    let (dir, config, settings) = (fixtures().join(name), config(name), settings(Precision::F32));
    let weights = qwen3_vl::checked(&dir, &config).expect("sound");
    let tower = qwen3_vl::image_embedder(&weights, &config, &preprocess(name), &settings).expect("loads");
    let slots = [Some(of_set(&model(name, Modality::Image), set))];
    // Pictures of one grid go through together, grids in order.
    let mut groups: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
    for (place, grid) in grids.iter().enumerate() {
        groups.entry((grid.rows, grid.columns)).or_default().push(place);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let mut calls: HashMap<String, usize> = HashMap::new();
    let mut pieces: HashMap<String, BTreeMap<usize, Vec<f64>>> = HashMap::new();
    let mut watch = |stage: &str, x: &tch::Tensor| {
        let values = Vec::<f64>::try_from(x.flatten(0, -1)).expect("values");
        let call = calls.entry(stage.to_owned()).or_default();
        let places = if stage.starts_with("vision.") { groups[*call].clone() } else { vec![0] };
        *call += 1;
        let size = values.len() / places.len();
        let of_stage = pieces.entry(stage.to_owned()).or_default();
        of_stage.extend(places.into_iter().zip(values.chunks(size).map(<[f64]>::to_vec)));
    };
    tower.embed_observed(&slots, &mut watch).expect("embeds");
    pieces.into_iter().map(|(stage, pieces)| (stage, pieces.into_values().flatten().collect())).collect()
}

#[test]
fn every_stage_equals_the_reference() {
    let full: Vec<usize> = serde_json::from_value(qwen_inputs()["full_sets"].clone()).expect("numbers");
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        for &s in &full {
            let stages = observed(name, &names("sets")[s], &grids(&expected, s));
            assert!(stages.len() >= 14, "{name}: {:?}", stages.keys());
            for (stage, found) in stages.iter().filter(|(stage, _)| *stage != "vision.pixels") {
                let short = ["merger", "deepstack"].iter().any(|part| stage.contains(part));
                let key = if short { stage.trim_start_matches("vision.") } else { stage };
                let reference = if stage == "pooled" {
                    let last = &expected[&format!("set.{s}.last_hidden_state")];
                    last.rows().last().expect("a token").to_vec()
                } else {
                    expected[&format!("set.{s}.{key}")].values.clone()
                };
                let scale = reference.iter().fold(1.0, |top: f64, value| top.max(value.abs()));
                let off = largest_difference(found, &reference) / scale;
                assert!(off <= TOLERANCE, "{name}, set {s}, {stage}: off by {off} of {scale}");
            }
        }
    }
}

/// All sets in one batch: sequences of all lengths, pictures of all grids.
#[test]
fn vectors_of_all_sets_equal_the_reference() {
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let sets = names("sets");
        let of = |key: &str| {
            let rows: Vec<&Array> = (0..sets.len()).map(|s| &expected[&format!("set.{s}.{key}")]).collect();
            let values: Vec<f64> = rows.iter().flat_map(|row| row.values.clone()).collect();
            Array { shape: vec![sets.len(), values.len() / sets.len()], values }
        };
        for precision in [Precision::F32, Precision::Bf16] {
            let mut model =
                load(&fixtures().join(name), Modality::Image, &settings(precision)).expect("loads");
            let slots: Vec<_> = sets.iter().map(|set| Some(of_set(&model, set))).collect();
            let rows = model.embedder.embed(&slots).expect("embeds");
            if precision == Precision::F32 {
                let off = largest_difference(&flat(&rows), &of("vector").values);
                assert!(off <= TOLERANCE, "{name}: off by {off}");
                let first = model.embedder.embed(&slots[..1]).expect("embeds");
                let off = largest_difference(&flat(&first), &expected["set.0.vector"].values);
                assert!(off <= TOLERANCE, "{name}: alone off by {off}");
            } else {
                check_bf16(name, &rows, &of("vector.bf16"), &of("vector"));
            }
        }
    }
}

#[test]
fn pictures_with_a_text_equal_the_reference() {
    for name in MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let text = &inputs().texts[qwen_inputs()["both_text"].as_u64().expect("an index") as usize];
        let mut model = model(name, Modality::Image);
        let view = &names("sets")[0][0];
        let views = vec![model.preparer.prepare(Item::View(&picture(view))).expect("sound")];
        let sequence = prompt(name, 8192, None).pictures(&grids(&expected, 0), text).expect("fits");
        assert_eq!(sequence.ids, unpadded(&expected["both.ids"].values));
        let both = prepared(&sequence, &views).expect("prepared");
        let rows = model.embedder.embed(&[Some(both)]).expect("embeds");
        let off = largest_difference(&flat(&rows), &expected["both.vector"].values);
        assert!(off <= TOLERANCE, "{name}: off by {off}");
    }
}

#[test]
fn the_number_of_pixels_may_be_set() {
    let (dir, vision) = (fixtures().join("qwen3-vl"), config("qwen3-vl").vision);
    let load = |max| Preprocess::load(&dir, &vision, Some(max), Background::Qwen);
    let bytes = picture("downscaled.png");
    let grid = |preprocess: Preprocess| preprocess.patches(&bytes).expect("decodes").1;
    assert_eq!(grid(preprocess("qwen3-vl")), Grid { rows: 6, columns: 6 }, "of 90 x 110 pixels");
    assert_eq!(grid(load(4096).expect("the smallest")), Grid { rows: 2, columns: 4 });
    assert!(load(4095).expect_err("too small").message.contains("4096 at least"));
}

#[test]
fn what_cannot_be_seen_is_a_failure_of_the_item() {
    let model = model("qwen3-vl", Modality::Image);
    for set in names("refused") {
        let failed: Vec<_> =
            set.iter().filter_map(|name| model.preparer.prepare(Item::View(&picture(name))).err()).collect();
        assert!(matches!(&failed[..], [one] if one.kind == ItemErrorKind::TooLarge), "{set:?}: {failed:?}");
    }
    let broken = model.preparer.prepare(Item::View(&picture("broken/half.png"))).err().expect("refused");
    assert_eq!(broken.kind, ItemErrorKind::BrokenPicture);
    // 16 tokens a picture and 2 around it, of 60.
    let grid = Grid { rows: 8, columns: 8 };
    let prompt = prompt("qwen3-vl", 60, None);
    assert!(prompt.pictures(&[grid; 1], "").is_ok());
    let error = prompt.pictures(&[grid; 3], "").expect_err("too many");
    assert_eq!(error.kind, ItemErrorKind::TooManyTokens);
    assert!(error.detail.contains("at most 60"), "{error}");
    let literal = prompt.pictures(&[grid], "a <|image_pad|> b").expect_err("ambiguous");
    assert!(literal.detail.contains("<|image_pad|>"), "{literal}");
}

#[test]
fn an_empty_slot_changes_no_neighbour() {
    let mut model = model("qwen3-vl", Modality::Image);
    let sets = names("sets");
    let slots = |model: &Model| [2, 5, 2].map(|s| Some(of_set(model, &sets[s])));
    let prepared = slots(&model);
    let whole = model.embedder.embed(&prepared).expect("embeds");
    let mut holed = slots(&model);
    holed[0] = None;
    let holed = model.embedder.embed(&holed).expect("embeds");
    assert!(holed.iter().all(|value| value.is_finite()));
    let off = largest_difference(&flat(&holed)[48..], &flat(&whole)[48..]);
    assert!(off <= 1e-6, "off by {off}");
    assert_eq!(whole.row(0), whole.row(2), "equal sets, equal vectors");
    assert!(model.embedder.embed(&[None, None]).expect("embeds").iter().all(|value| value.is_finite()));
}
