//! Qwen's model folders and options that are not right: refused by name, before anything is computed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hyperslab::model::device::Precision;
use hyperslab::model::{Modality, Options, Settings, load};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::bad_models::{contains, copy, edit_config, refusal, rename_tensor};
use super::{fixtures, settings};

fn edit(dir: &Path, file: &str, change: impl Fn(&mut Value)) {
    let path = dir.join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("written");
}

/// The message by which loading for texts fails with an instruction.
fn instructed(dir: &Path, instruction: &str) -> Option<String> {
    let options = Options { instruction: Some(instruction.to_owned()), ..Options::default() };
    let settings = Settings { options, ..settings(Precision::F32) };
    load(dir, Modality::Text, &settings).err().map(|error| error.to_string())
}

#[test]
fn tensors_of_either_part_are_named() {
    for (name, other) in [
        ("visual.deepstack_merger_list.1.norm.bias", ""),
        (
            "language_model.layers.2.self_attn.k_norm.weight",
            "language_model.layers.9.self_attn.k_norm.weight",
        ),
        ("visual.pos_embed.weight", ""),
    ] {
        let folder = copy("qwen3-vl");
        rename_tensor(folder.path(), name, other);
        contains(&refusal(folder.path()), &[name, "missing"]);
    }
    let folder = copy("qwen3-vl");
    edit_config(folder.path(), |config| config["text_config"]["num_hidden_layers"] = 3.into());
    contains(&refusal(folder.path()), &["unknown tensor `language_model.layers.3."]);
}

#[test]
fn a_shard_that_is_missing() {
    let folder = copy("qwen3-vl-4x");
    let shards = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let shard = shards.filter(|path| path.to_string_lossy().contains("-00002-of-")).last().expect("sharded");
    fs::remove_file(&shard).expect("removed");
    contains(&refusal(folder.path()), &["-00002-of-"]);
}

/// Also of the part that is not read: hours later would be too late.
#[test]
fn numbers_of_a_type_that_is_not_supported() {
    let folder = copy("qwen3-vl");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("read");
    let file = SafeTensors::deserialize(&bytes).expect("sound");
    let doubles = vec![0; 32 * 8];
    let tensors = file.iter().map(|(name, view)| {
        let view = match name {
            "visual.merger.norm.weight" => TensorView::new(Dtype::F64, vec![32], &doubles).expect("a view"),
            _ => view,
        };
        (name.to_owned(), view)
    });
    safetensors::serialize_to_file(tensors.collect::<Vec<_>>(), None, &path).expect("written");
    contains(&refusal(folder.path()), &["visual.merger.norm.weight", "F64", "BF16"]);
}

#[test]
fn tokenizers_that_give_ids_by_chance_or_beyond_the_table() {
    let folder = copy("qwen3");
    edit(folder.path(), "tokenizer.json", |json| json["model"]["dropout"] = 0.5.into());
    let fail = |dir: &Path| load(dir, Modality::Text, &settings(Precision::F32)).err().expect("refused");
    contains(&fail(folder.path()).to_string(), &["tokenizer.json", "model.dropout"]);
    let folder = copy("qwen3");
    edit(folder.path(), "tokenizer.json", |json| {
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "z", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"z": {"id": "z", "ids": [99_999], "tokens": ["z"]}}
        });
    });
    contains(&fail(folder.path()).to_string(), &["99999", "600"]);
    let folder = copy("qwen3-vl");
    edit_config(folder.path(), |config| config["image_token_id"] = 7.into());
    contains(&refusal(folder.path()), &["image_token_id", "<|image_pad|>", "7"]);
}

#[test]
fn instructions_that_leave_no_room_or_stand_for_something() {
    let dir = fixtures().join("qwen3-vl");
    assert_eq!(instructed(&dir, "Find the chair"), None);
    contains(&instructed(&dir, "a <|image_pad|>").expect("refused"), &["--instruction", "<|image_pad|>"]);
    contains(&instructed(&dir, &"x".repeat(5000)).expect("refused"), &["--instruction", "5000", "4096"]);
    let folder = copy("qwen3-vl");
    edit_config(folder.path(), |config| config["text_config"]["max_position_embeddings"] = 12.into());
    contains(&refusal(folder.path()), &["--instruction", "of the 12"]);
}

#[test]
fn what_is_no_plain_file_is_not_waited_for() {
    let folder = copy("qwen3");
    let path = folder.path().join("config.json");
    fs::remove_file(&path).expect("removed");
    symlink("/dev/zero", &path).expect("linked");
    let error = load(folder.path(), Modality::Text, &settings(Precision::F32)).err().expect("refused");
    contains(&error.to_string(), &["config.json", "no plain file"]);
}
