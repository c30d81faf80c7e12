//! Models that are not what they should be, through the program: one error, on any number of ranks.
//! `reference/bad_models.rs` tries more of them on the library.

use std::fs;

use hyperslab::Exit;

use super::{embed, image_of, small, text_of};
use crate::util::{Contents, Dir, Run, assert_same, assert_sound, committed_blocks, repository};

/// Runs a job with a changed copy of the small model, and asserts what it says.
#[track_caller]
fn refused(change: impl FnOnce(&Dir), expected: &[&str]) {
    let dir = Dir::new();
    for entry in fs::read_dir(small("model")).unwrap().map(Result::unwrap) {
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

/// Pictures of several aspects, one of them broken, for a model of variable resolution.
fn embed_naflex(dir: &Dir, input: &str) -> Run {
    let pictures =
        ["rgb8.png", "one-row.png", "broken/half.png", "one-column.png", "downscaled.png", "cmyk.jpg"];
    for (view, name) in pictures.iter().chain(&pictures).chain(&pictures).enumerate() {
        let bytes = fs::read(repository("tests/fixtures/pictures").join(name)).unwrap();
        dir.write(&format!("renders/a{}/{view:02}.png", view % 5), bytes);
    }
    let job = embed(dir, input).set("--model", repository("tests/fixtures/naflex"));
    let job = job.arg("--renders").arg(dir.join("renders"));
    job.set("--max-failures", "100%").set("--batch-size", "3")
}

#[test]
fn naflex_gives_the_same_file_on_any_number_of_ranks_and_marks_what_is_broken() {
    let [one, three] = [1, 3].map(|ranks| {
        let dir = Dir::new();
        embed_naflex(&dir, "text").ranks(ranks).run().exits(Exit::Success);
        dir
    });
    assert_same(&text_of(&one), &text_of(&three));
    assert_same(&image_of(&one), &image_of(&three));
    assert_sound(&image_of(&three));
    let contents = Contents::of(&image_of(&three));
    assert_eq!((contents.rows.len(), contents.failures.len()), (18, 3));
    let is_marked: Vec<bool> =
        contents.vectors().map(|vector| vector.iter().all(|value| value.is_nan())).collect();
    assert_eq!(is_marked.iter().filter(|marked| **marked).count(), 3);
    let is_unit = |vector: &Vec<f32>| (vector.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5;
    assert_eq!(contents.vectors().filter(is_unit).count(), 15);
    three.hyperslab(["info"]).arg(image_of(&three)).run().exits(Exit::Success).prints("40");
}

#[test]
fn another_number_of_patches_is_another_run() {
    let dir = Dir::new();
    let stopped = embed_naflex(&dir, "").set("--max-failures", "0").ranks(2);
    stopped.run().exits(Exit::Failure);
    assert!(committed_blocks(&image_of(&dir)) > 0);
    let other = embed_naflex(&dir, "").set("--max-num-patches", "30").run().exits(Exit::Failure);
    other.says("preprocessing, max_num_patches: 30, not 24").tells_one_error();
    // What the model's files say, said again, is the same run.
    let same = embed_naflex(&dir, "").env("HYPERSLAB_MAX_NUM_PATCHES", "24");
    same.ranks(3).run().exits(Exit::Success);
    assert_sound(&image_of(&dir));
}

#[test]
fn a_model_of_one_size_has_no_number_of_patches() {
    for input in ["text", "image"] {
        let dir = Dir::new();
        dir.write("hyperslab.toml", "[model]\nmax-num-patches = 64\n");
        let refused = embed(&dir, input).ranks(2).run().exits(Exit::Failure).tells_one_error();
        refused.says("--max-num-patches").says("siglip2");
    }
}

#[test]
fn naflex_is_planned_and_its_decoding_measured() {
    let dir = Dir::new();
    let model = repository("tests/fixtures/naflex");
    let captions = super::captions();
    let plan = dir.hyperslab(["plan", "--json", "--captions"]).arg(captions).arg("--model").arg(&model);
    plan.run().exits(Exit::Success).prints("\"dim\": 40");
    let picture = repository("tests/fixtures/pictures/rgb8.png");
    let bench =
        || dir.hyperslab(["bench", "decode", "--seconds", "0.05", "--model"]).arg(&model).arg(&picture);
    bench().set("--max-num-patches", "12").run().exits(Exit::Success).prints("failed 0");
    bench().set("--max-num-patches", "0").run().exits(Exit::Usage);
}
