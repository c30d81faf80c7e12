//! Models that are not what they should be, through the program: one error, on any number of ranks.
//! `reference/bad_models.rs` tries more of them on the library.

use std::fs;

use hyperslab::Exit;

use super::{embed, text_of};
use crate::util::{Dir, repository};

/// Runs a job with a changed copy of the sample's model, and asserts what it says.
#[track_caller]
fn refused(change: impl FnOnce(&Dir), expected: &[&str]) {
    let dir = Dir::new();
    for entry in fs::read_dir(repository("sample/model")).unwrap().map(Result::unwrap) {
        dir.write(&format!("model/{}", entry.file_name().to_str().unwrap()), fs::read(entry.path()).unwrap());
    }
    change(&dir);
    let failed =
        embed(&dir, "text").set("--model", "model").ranks(2).run().exits(Exit::Failure).tells_one_error();
    expected.iter().fold(failed, |failed, text| failed.says(text));
    assert!(!text_of(&dir).exists());
}

/// Replaces a text in a file of the model by one of the same length.
fn replace(dir: &Dir, file: &str, from: &str, to: &str) {
    let path = dir.join("model").join(file);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes.splice(at..at + from.len(), to.bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_config_of_another_model_is_named() {
    refused(
        |dir| replace(dir, "config.json", r#""model_type": "siglip","#, r#""model_type": "clip","#),
        &["clip"],
    );
    refused(|dir| fs::remove_file(dir.join("model/config.json")).unwrap(), &["config.json"]);
    refused(|dir| replace(dir, "config.json", "{", "["), &["config.json", "line"]);
}

#[test]
fn tensors_that_are_missing_or_unknown_are_named() {
    const NAME: &str = "text_model.final_layer_norm.weight";
    const OTHER: &str = "text_model.final_layer_morn.weight";
    refused(|dir| replace(dir, "model.safetensors", NAME, OTHER), &["model.safetensors", NAME]);
}

#[test]
fn a_truncated_or_missing_file_of_weights_is_named() {
    refused(
        |dir| {
            let path = dir.join("model/model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1000]).unwrap();
        },
        &["model.safetensors"],
    );
    refused(|dir| fs::remove_file(dir.join("model/model.safetensors")).unwrap(), &["safetensors"]);
    refused(|dir| fs::remove_dir_all(dir.join("model")).unwrap(), &["model"]);
}
