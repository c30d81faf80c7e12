//! Model folders that are not right: each must be refused by name, before anything is computed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use hyperslab::model::device::Precision;
use hyperslab::model::{Modality, Options, Settings, checkpoint, describe, load};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::{fixtures, settings};

pub fn copy(model: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(fixtures().join(model)).expect("a fixture") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    folder
}

/// The message by which loading fails, the same for both towers.
pub fn refusal(dir: &Path) -> String {
    let fail = |modality| load(dir, modality, &settings(Precision::F32)).err().expect("refused").to_string();
    let message = fail(Modality::Text);
    assert_eq!(message, fail(Modality::Image), "either tower is checked whole");
    message
}

pub fn contains(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

pub fn edit_config(dir: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("written");
}

/// Rewrites the weights with one tensor renamed, or left out for an empty new name.
pub fn rename_tensor(dir: &Path, from: &str, to: &str) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).expect("read");
    let file = SafeTensors::deserialize(&bytes).expect("sound");
    let renamed = file.iter().map(|(name, view)| (if name == from { to } else { name }.to_owned(), view));
    let kept: HashMap<String, TensorView<'_>> = renamed.filter(|(name, _)| !name.is_empty()).collect();
    safetensors::serialize_to_file(kept, None, &path).expect("written");
}

#[test]
fn a_config_of_another_model() {
    let folder = copy("siglip");
    for (found, word) in
        [("clip", "`clip`"), ("siglip3", "siglip2"), ("siglip_vision_model", "`siglip_vision_model`")]
    {
        edit_config(folder.path(), |config| config["model_type"] = found.into());
        contains(&refusal(folder.path()), &[word, "config.json", "siglip"]);
        assert!(describe(folder.path()).is_err());
    }
    fs::write(folder.path().join("config.json"), "{\n  \"model_type\": siglip\n}").expect("written");
    contains(&refusal(folder.path()), &["config.json", "line 2 column"]);
    fs::remove_file(folder.path().join("config.json")).expect("removed");
    contains(&refusal(folder.path()), &["config.json", "no such file"]);
}

#[test]
fn sections_that_are_no_objects() {
    for model in ["siglip", "naflex"] {
        for part in ["text_config", "vision_config"] {
            let folder = copy(model);
            edit_config(folder.path(), |config| config[part] = "base".into());
            contains(&refusal(folder.path()), &["config.json", part, "JSON object"]);
            assert!(describe(folder.path()).is_err());
        }
    }
}

#[test]
fn naflex_settings_that_are_not_right() {
    let folder = copy("naflex");
    edit_config(folder.path(), |config| config["vision_config"]["num_patches"] = 25.into());
    contains(
        &refusal(folder.path()),
        &["vision_model.embeddings.position_embedding.weight", "[16, 40]", "[25, 40]"],
    );
    edit_config(folder.path(), |config| config["vision_config"]["num_patches"] = 20.into());
    contains(&refusal(folder.path()), &["vision_config.num_patches", "square"]);
    let folder = copy("naflex");
    for (settings, words) in [
        (r#"{"patch_size": 16}"#, ["patch_size", "8"]),
        (r#"{"patch_size": 8, "max_num_patches": "many"}"#, ["max_num_patches", "many"]),
        (
            r#"{"patch_size": 8, "image_processor_type": "CLIPImageProcessor"}"#,
            ["image_processor_type", "CLIP"],
        ),
    ] {
        fs::write(folder.path().join("preprocessor_config.json"), settings).expect("written");
        let error = load(folder.path(), Modality::Image, &settings_of(None)).err().expect("refused");
        contains(&error.to_string(), &words);
    }
}

#[test]
fn a_number_of_patches_is_a_setting_of_naflex_alone() {
    for modality in [Modality::Text, Modality::Image] {
        let siglip = load(&fixtures().join("siglip"), modality, &settings_of(Some(64))).err();
        contains(&siglip.expect("refused").to_string(), &["--max-num-patches", "siglip2"]);
        let many = load(&fixtures().join("naflex"), modality, &settings_of(Some(1 << 20))).err();
        contains(&many.expect("refused").to_string(), &["--max-num-patches", "1048576"]);
        assert!(load(&fixtures().join("naflex"), modality, &settings_of(Some(64))).is_ok());
    }
}

fn settings_of(max_num_patches: Option<usize>) -> Settings {
    let options = Options { max_num_patches, ..Options::default() };
    Settings { options, ..settings(Precision::F32) }
}

#[test]
fn missing_and_unknown_tensors() {
    let folder = copy("siglip");
    let bias = "vision_model.encoder.layers.1.mlp.fc1.bias";
    rename_tensor(folder.path(), bias, "");
    contains(&refusal(folder.path()), &[bias, "missing", "model.safetensors"]);
    let folder = copy("siglip");
    edit_config(folder.path(), |config| config["text_config"]["num_hidden_layers"] = 1.into());
    contains(
        &refusal(folder.path()),
        &["unknown", "text_model.encoder.layers.1.", "more", "model.safetensors"],
    );
    let folder = copy("siglip");
    rename_tensor(folder.path(), "logit_scale", "text_model.extra");
    contains(&refusal(folder.path()), &["unknown", "`text_model.extra`"]);
}

#[test]
fn tensors_of_another_shape() {
    let folder = copy("siglip");
    edit_config(folder.path(), |config| config["vision_config"]["intermediate_size"] = 81.into());
    contains(
        &refusal(folder.path()),
        &["vision_model.encoder.layers.0.mlp.fc1.weight", "[80, 48]", "[81, 48]"],
    );
    let folder = copy("siglip2");
    edit_config(folder.path(), |config| config["text_config"]["max_position_embeddings"] = 64.into());
    contains(
        &refusal(folder.path()),
        &["position_embedding.weight", "-of-00004.safetensors", "[32, 32]", "[64, 32]"],
    );
}

#[test]
fn truncated_and_broken_weights() {
    let folder = copy("siglip");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    contains(&refusal(folder.path()), &["model.safetensors", "truncated", &bytes.len().to_string()]);
    for length in [0, 7, 100] {
        fs::write(&path, &bytes[..length]).expect("written");
        contains(&refusal(folder.path()), &["model.safetensors"]);
    }
    fs::write(&path, [&[0xff; 8], &bytes[8..]].concat()).expect("written");
    contains(&refusal(folder.path()), &["model.safetensors", "not a sound safetensors file"]);
}

#[test]
fn missing_files() {
    let folder = copy("siglip2");
    fs::remove_file(folder.path().join("model-00003-of-00004.safetensors")).expect("removed");
    contains(&refusal(folder.path()), &["model-00003-of-00004.safetensors"]);
    let folder = copy("siglip");
    fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    contains(&refusal(folder.path()), &["model.safetensors"]);
    fs::write(folder.path().join("pytorch_model.bin"), "pickle").expect("written");
    contains(&refusal(folder.path()), &["pytorch_model.bin", "safe_serialization"]);
    contains(
        &checkpoint::digests(folder.path()).expect_err("no weights").to_string(),
        &["model.safetensors"],
    );
    let folder = copy("siglip-f16");
    fs::remove_file(folder.path().join("tokenizer.json")).expect("removed");
    let text = load(folder.path(), Modality::Text, &settings(Precision::F32)).err().expect("refused");
    contains(&text.to_string(), &["tokenizer.json"]);
    assert!(
        load(folder.path(), Modality::Image, &settings(Precision::F32)).is_ok(),
        "views need no tokenizer"
    );
    fs::remove_file(folder.path().join("preprocessor_config.json")).expect("removed");
    let image = load(folder.path(), Modality::Image, &settings(Precision::F32)).err().expect("refused");
    contains(&image.to_string(), &["preprocessor_config.json"]);
}

#[test]
fn an_index_that_points_outside() {
    let folder = copy("siglip2");
    let index = r#"{"weight_map": {"logit_scale": "../siglip/model.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    contains(&refusal(folder.path()), &["index.json", "`logit_scale`"]);
}

#[test]
fn digests_tell_models_apart() {
    let of = |dir: &Path| checkpoint::digests(dir).expect("readable");
    let (siglip, siglip2) = (of(&fixtures().join("siglip")), of(&fixtures().join("siglip2")));
    assert_eq!(siglip.weights.len(), 64);
    assert!(siglip.weights != siglip2.weights && siglip.tokenizer != siglip2.tokenizer);
    let folder = copy("siglip");
    assert_eq!(of(folder.path()), siglip, "whatever the folder is called");
    edit_config(folder.path(), |config| config["initializer_factor"] = 2.into());
    assert_eq!(of(folder.path()), siglip);
    let path = folder.path().join("tokenizer_config.json");
    fs::write(&path, fs::read_to_string(&path).expect("read") + "\n").expect("written");
    assert!(of(folder.path()).tokenizer != siglip.tokenizer);
}
