//! Texts through Qwen3-Embedding and Qwen3-VL-Embedding: ids, every layer, vectors.

use std::collections::HashMap;

use hyperslab::error::ItemErrorKind;
use hyperslab::model::device::Precision;
use hyperslab::model::qwen3::text::prepared;
use hyperslab::model::qwen3::tokens::Tokens;
use hyperslab::model::qwen3_vl::Prompt;
use hyperslab::model::{Modality, Options, Prepared, Settings, TextForm, json, load, qwen3, qwen3_vl};
use ndarray::Array2;

use super::{Array, check_bf16, expected, fixtures, flat, inputs, largest_difference, settings};

const TEXT_MODELS: [&str; 2] = ["qwen3", "qwen3-causal"];
const VL_MODELS: [&str; 2] = ["qwen3-vl", "qwen3-vl-4x"];
const TOLERANCE: f64 = 2e-5;

fn all_models() -> impl Iterator<Item = &'static str> {
    TEXT_MODELS.into_iter().chain(VL_MODELS)
}

/// What the Qwen fixtures were made from, beside the other models' inputs.
pub fn qwen_inputs() -> serde_json::Value {
    let text = std::fs::read_to_string(fixtures().join("qwen-inputs.json")).expect("a fixture");
    serde_json::from_str(&text).expect("JSON")
}

/// A row of ids without what pads it.
pub fn unpadded(row: &[f64]) -> Vec<i64> {
    row.iter().map(|&id| id as i64).filter(|&id| id >= 0).collect()
}

/// Compares the ids of every text that is not empty.
fn check_ids(what: &str, texts: &[&str], reference: &Array, ids: impl Fn(&str) -> Option<Vec<i64>>) {
    assert_eq!(texts.len(), reference.shape[0], "{what}");
    let mut compared = 0;
    for (text, row) in texts.iter().zip(reference.rows()) {
        if let Some(found) = ids(text) {
            assert_eq!(found, unpadded(row), "{what}: {text:?}");
            compared += 1;
        }
    }
    assert!(compared > texts.len() - 3 && compared > 0, "{what}: {compared} compared");
}

#[test]
fn ids_equal_the_reference() {
    let (inputs, task) = (inputs(), qwen_inputs()["task"].as_str().expect("a string").to_owned());
    let texts: Vec<&str> = inputs.texts.iter().map(String::as_str).collect();
    let batch: Vec<&str> = inputs.batch_texts.iter().map(|&i| texts[i]).collect();
    for name in TEXT_MODELS {
        let (dir, expected) = (fixtures().join(name), expected(&format!("{name}/expected.safetensors")));
        let tokens = |length, options: &Options| Tokens::load(&dir, length, 605, options).expect("loads");
        let document = tokens(24, &Options::default());
        check_ids(name, &texts, &expected["text.ids"], |text| document.ids(text).ok().map(|found| found.ids));
        let options =
            Options { form: Some(TextForm::Query), instruction: Some(task.clone()), ..Options::default() };
        let query = tokens(64, &options);
        check_ids(name, &batch, &expected["query.ids"], |text| query.ids(text).ok().map(|found| found.ids));
        // The same task is the default.
        let default = tokens(64, &Options { instruction: None, ..options });
        check_ids(name, &batch, &expected["query.ids"], |text| default.ids(text).ok().map(|found| found.ids));
        assert_eq!(document.ids(" \u{3000}").expect_err("empty").kind, ItemErrorKind::EmptyCaption);
    }
    for name in VL_MODELS {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let prompt = prompt(name, 64, None);
        check_ids(name, &texts, &expected["text.ids"], |text| prompt.text(text).ok().map(|found| found.ids));
    }
}

/// The prompt of a fixture, for sequences of at most `length` tokens.
pub fn prompt(name: &str, length: usize, instruction: Option<&str>) -> Prompt {
    let dir = fixtures().join(name);
    let json = json::read(&dir.join("config.json")).expect("read");
    let mut config = qwen3_vl::config::Config::parse(&dir, &json).expect("parsed");
    config.text.max_position_embeddings = length;
    Prompt::load(&dir, &config, instruction).expect("loads")
}

/// What gives the ids of a text.
type Ids = Box<dyn Fn(&str) -> Vec<i64>>;

/// The batch the fixtures were made from, truncated as there.
fn batch(name: &str, options: &Options) -> Vec<Option<Prepared>> {
    let inputs = inputs();
    let ids: Ids = if TEXT_MODELS.contains(&name) {
        let length = if options.form.is_some() { 64 } else { 24 };
        let tokens = Tokens::load(&fixtures().join(name), length, 605, options).expect("loads");
        Box::new(move |text| tokens.ids(text).expect("sound").ids)
    } else {
        let prompt = prompt(name, 64, options.instruction.as_deref());
        Box::new(move |text| prompt.text(text).expect("sound").ids)
    };
    let prepare = |&i: &usize| Some(prepared(&ids(&inputs.texts[i])).expect("prepared"));
    inputs.batch_texts.iter().map(prepare).collect()
}

/// What a decoder gives, stage by stage, with the shape of each.
type Stages = HashMap<String, (Vec<i64>, Vec<f64>)>;

fn observed(name: &str) -> (Stages, Array2<f32>) {
    let dir = fixtures().join(name);
    let json = json::read(&dir.join("config.json")).expect("read");
    let (slots, settings) = (batch(name, &Options::default()), settings(Precision::F32));
    let mut stages = HashMap::new();
    let mut watch = |stage: &str, x: &tch::Tensor| {
        let values = Vec::<f64>::try_from(x.flatten(0, -1)).expect("values");
        stages.insert(stage.to_owned(), (x.size(), values));
    };
    let tower = if TEXT_MODELS.contains(&name) {
        let config = qwen3::config::Config::parse(&dir, &json).expect("parsed");
        let weights = qwen3::checked(&dir, &config).expect("sound");
        qwen3::text_embedder(&weights, &config, &settings)
    } else {
        let config = qwen3_vl::config::Config::parse(&dir, &json).expect("parsed");
        let weights = qwen3_vl::checked(&dir, &config).expect("sound");
        qwen3_vl::text_embedder(&weights, &config, &settings)
    };
    let rows = tower.expect("loads").embed_observed(&slots, &mut watch).expect("embeds");
    (stages, rows)
}

#[test]
fn every_stage_equals_the_reference() {
    for name in all_models() {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let (stages, rows) = observed(name);
        assert!(stages.len() >= 4, "{name}: embeddings, two layers, pooled");
        for (stage, (shape, values)) in &stages {
            let row_size = values.len() / shape[0] as usize;
            for (k, found) in values.chunks(row_size).enumerate() {
                // The reference ran each text alone: what stands behind its tokens is padding.
                let reference = if stage == "pooled" {
                    let last = &expected[&format!("text.{k}.last_hidden_state")];
                    last.rows().last().expect("a token").to_vec()
                } else {
                    expected[&format!("text.{k}.{stage}")].values.clone()
                };
                let scale = reference.iter().fold(1.0, |top: f64, value| top.max(value.abs()));
                let off = largest_difference(&found[..reference.len()], &reference) / scale;
                assert!(off <= TOLERANCE, "{name}, text {k}, {stage}: off by {off} of {scale}");
            }
        }
        let off = largest_difference(&flat(&rows), &expected["text.vectors"].values);
        assert!(off <= TOLERANCE, "{name}: vectors off by {off}");
    }
}

#[test]
fn bf16_is_as_good_as_the_reference_in_bf16() {
    for name in all_models() {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let mut model =
            load(&fixtures().join(name), Modality::Text, &settings(Precision::Bf16)).expect("loads");
        let rows = model.embedder.embed(&batch(name, &Options::default())).expect("embeds");
        check_bf16(name, &rows, &expected["text.vectors.bf16"], &expected["text.vectors"]);
    }
}

#[test]
fn queries_and_instructions_equal_the_reference() {
    let instruction = qwen_inputs()["instruction"].as_str().expect("a string").to_owned();
    let query = Options { form: Some(TextForm::Query), ..Options::default() };
    let instructed = Options { instruction: Some(instruction), ..Options::default() };
    for (name, options, key) in [
        ("qwen3", &query, "query.vectors"),
        ("qwen3-causal", &query, "query.vectors"),
        ("qwen3-vl", &instructed, "instructed.vectors"),
        ("qwen3-vl-4x", &instructed, "instructed.vectors"),
    ] {
        let settings = Settings { options: options.clone(), ..settings(Precision::F32) };
        let mut model = load(&fixtures().join(name), Modality::Text, &settings).expect("loads");
        let rows = model.embedder.embed(&batch(name, options)).expect("embeds");
        let expected = expected(&format!("{name}/expected.safetensors"));
        let off = largest_difference(&flat(&rows), &expected[key].values);
        assert!(off <= TOLERANCE, "{name}: off by {off}");
        assert!(largest_difference(&flat(&rows), &expected["text.vectors"].values) > 1e-3, "{name}");
    }
}

#[test]
fn shorter_vectors_are_cut_and_normalised() {
    let dir = fixtures().join("qwen3");
    let options = Options { dim: Some(36), ..Options::default() };
    let mut model =
        load(&dir, Modality::Text, &Settings { options, ..settings(Precision::F32) }).expect("loads");
    let rows = model.embedder.embed(&batch("qwen3", &Options::default())).expect("embeds");
    assert_eq!((rows.ncols(), model.embedder.dim()), (36, 36));
    let whole = &expected("qwen3/expected.safetensors")["text.vectors"];
    for (row, whole) in rows.outer_iter().zip(whole.rows()) {
        let length = whole[..36].iter().map(|value| value * value).sum::<f64>().sqrt();
        let cut: Vec<f64> = whole[..36].iter().map(|value| value / length).collect();
        let found: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        assert!(largest_difference(&found, &cut) <= TOLERANCE);
    }
    let refusal = |options| {
        let settings = Settings { options, ..settings(Precision::F32) };
        load(&dir, Modality::Text, &settings).err().expect("refused").message
    };
    assert!(refusal(Options { dim: Some(41), ..Options::default() }).contains("32 to 40"));
    let documents = Options { instruction: Some("Find.".into()), ..Options::default() };
    assert!(refusal(documents).contains("documents as they are"));
    let images = load(&dir, Modality::Image, &settings(Precision::F32)).err().expect("refused").message;
    assert!(images.contains("texts alone"), "{images}");
}
