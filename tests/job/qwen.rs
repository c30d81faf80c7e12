//! `hyperslab embed qwen`: captions in two languages as groups of one file, and one vector for an asset's views.

mod format;
mod inputs;
mod lengths;
mod ranks;
mod resume;
mod sets;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use hyperslab::Exit;
use hyperslab::store::Reader;

use super::{captions, report, small};
use crate::util::{Contents, Dir, Outcome, Run, assert_sound, repository};

const TEXT: &str = "qwen_text_embeddings.h5";
const IMAGE: &str = "qwen_image_embeddings.h5";

/// Rows of the small data set's captions in each language, and its assets with views.
const ENGLISH_ROWS: usize = 17;
const CHINESE_ROWS: usize = 15;
const IMAGE_ROWS: usize = 17;
/// How far vectors may be apart that are computed in other company: their padding and their batch differ.
const NEAR: f32 = 2e-5;

/// A job on a tiny Qwen3-VL, in many small rounds, into the folder `out`.
pub fn embed(dir: &Dir, input: &str) -> Run {
    let run = dir.hyperslab(["embed", "qwen", "--output-dir", "out", "--model"]).arg(model("qwen3-vl"));
    let run = run.args("--block-rows 4 --round-blocks 1 --device cpu");
    input.split_whitespace().fold(run, |run, kind| match kind {
        "english" => run.arg("--captions").arg(captions()),
        "chinese" => run.arg("--captions-zh").arg(chinese()),
        "image" => run.arg("--renders").arg(small("renders")),
        other => panic!("{other}: an input that is not known"),
    })
}

fn model(name: &str) -> PathBuf {
    repository("tests/fixtures").join(name)
}

/// Some of the English captions' assets, and two that have no English caption.
fn chinese() -> PathBuf {
    small("captions_zh.json")
}

pub fn text_of(dir: &Dir) -> PathBuf {
    dir.join("out").join(TEXT)
}

pub fn image_of(dir: &Dir) -> PathBuf {
    dir.join("out").join(IMAGE)
}

/// A job that succeeds, on one rank.
fn made(input: &str, change: impl FnOnce(Run) -> Run) -> Dir {
    let dir = Dir::new();
    change(embed(&dir, input)).run().exits(Exit::Success);
    dir
}

/// Names of a file's groups.
fn groups(path: &Path) -> Vec<String> {
    Reader::open_all(path).unwrap().iter().map(|reader| reader.group().to_owned()).collect()
}

/// Assets whose views are these pictures, by asset: pairs of an id and the pictures' paths.
fn copy_views<'a>(dir: &Dir, root: &str, assets: impl IntoIterator<Item = (&'a str, Vec<PathBuf>)>) {
    for (id, pictures) in assets {
        for (view, picture) in pictures.iter().enumerate() {
            let ending = picture.extension().unwrap().to_str().unwrap();
            dir.write(&format!("{root}/{id}/{view:05}.{ending}"), fs::read(picture).unwrap());
        }
    }
}

/// A job on the views below `root` in the test's folder.
fn embed_views(dir: &Dir, root: &str) -> Run {
    embed(dir, "").arg("--renders").arg(dir.join(root))
}

/// The file of a job on views, which leaves it sound.
fn views_of(dir: &Dir, job: Run) -> Contents {
    job.run().exits(Exit::Success);
    assert_sound(&image_of(dir));
    Contents::of(&image_of(dir))
}

/// Vectors of the assets that have one, by id.
fn vectors(contents: &Contents) -> Vec<(&str, Vec<f32>)> {
    let ids = contents.assets.iter().map(|(id, _)| id.as_str());
    ids.zip(contents.vectors()).filter(|(_, vector)| !vector.iter().any(|value| value.is_nan())).collect()
}

/// Asserts that two files have vectors of the same assets, so close to each other.
#[track_caller]
fn assert_near(one: &Contents, other: &Contents) {
    let (one, other) = (vectors(one), vectors(other));
    assert_eq!(one.len(), other.len());
    for ((id, one), (other_id, other)) in one.iter().zip(&other) {
        assert_eq!(id, other_id);
        let apart = distance(one, other);
        assert!(apart <= NEAR, "{id}: {apart}");
    }
}

/// The most that two components differ.
fn distance(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Asserts that a command line is refused with one error that says all this.
#[track_caller]
fn refused(run: Run, exit: Exit, expected: &[&str]) -> Outcome {
    let outcome = run.run().exits(exit).tells_one_error();
    expected.iter().fold(outcome, |outcome, text| outcome.says(text))
}
