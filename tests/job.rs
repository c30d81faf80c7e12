//! `hyperslab embed` and `hyperslab seal`, on `fixtures/small`: what they make, and what becomes of a job that
//! something goes wrong with.

mod archives;
mod damage;
mod disk;
mod ends;
mod format;
mod ids;
mod items;
mod kill;
mod limits;
mod models;
mod outputs;
pub mod qwen;
mod ranks;
mod retry;
mod settings;
mod shards;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hyperslab::Exit;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::util::{Dir, Run, Running, assert_same, committed_blocks, names, repository};

pub const TEXT: &str = "siglip_text_embeddings.h5";
pub const IMAGE: &str = "siglip_image_embeddings.h5";

/// Rows of the small data set's captions and views.
const TEXT_ROWS: usize = 17;
const IMAGE_ROWS: usize = 136;

/// A job on the small model, in many small rounds, into the folder `out`.
pub fn embed(dir: &Dir, input: &str) -> Run {
    let (model, captions, renders) = (small("model"), captions(), small("renders"));
    let run = dir.hyperslab(["embed", "siglip", "--output-dir", "out", "--model"]).arg(model);
    let run = run.args("--block-rows 4 --round-blocks 1 --device cpu");
    input.split_whitespace().fold(run, |run, kind| match kind {
        "text" => run.arg("--captions").arg(&captions),
        "image" => run.arg("--renders").arg(&renders),
        "many" => run.arg("--captions").arg(&many().captions),
        path => run.arg("--captions").arg(path),
    })
}

/// A file of the small data set: 18 assets, eight views of each, and a model of random weights.
pub fn small(path: &str) -> PathBuf {
    repository("tests/fixtures/small").join(path)
}

pub fn captions() -> PathBuf {
    small("captions.json")
}

/// An input that takes a second or two, and what an undisturbed run makes of it.
pub struct Many {
    pub captions: PathBuf,
    pub output: PathBuf,
}

const MANY_ROWS: usize = 1003;

pub fn many() -> &'static Many {
    static MADE: OnceLock<Many> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("many");
        let small: Map<String, Value> = json(&captions());
        let texts: Vec<&str> = small.values().filter_map(Value::as_str).collect();
        let caption =
            |i: usize| if i % 50 == 7 { String::new() } else { format!("{} {i}", texts[i % texts.len()]) };
        let captions: Map<String, Value> =
            (0..MANY_ROWS).map(|i| (format!("{}/{i:05}", i % 3), caption(i).into())).collect();
        let captions = dir.write("captions.json", serde_json::to_vec(&captions).unwrap());
        embed(&dir, captions.to_str().unwrap()).ranks(2).run().exits(Exit::Success);
        Many { captions, output: dir.join("out").join(TEXT) }
    })
}

/// The output of captions in a test's folder.
pub fn text_of(dir: &Dir) -> PathBuf {
    dir.join("out").join(TEXT)
}

/// The output of views in a test's folder.
pub fn image_of(dir: &Dir) -> PathBuf {
    dir.join("out").join(IMAGE)
}

/// Starts the job of many rounds, and waits until it has committed some of its 251 blocks.
fn in_mid_run(dir: &Dir, ranks: usize) -> Running {
    started(embed(dir, "many").ranks(ranks), &text_of(dir))
}

/// Starts a job, and waits until it has committed some blocks.
pub fn started(job: Run, output: &Path) -> Running {
    let mut job = job.start();
    job.until("40 blocks are committed", || committed_blocks(output) >= 40);
    job
}

#[track_caller]
fn assert_in_the_middle(output: &Path) {
    let committed = committed_blocks(output);
    assert!((40..240).contains(&committed), "{committed} blocks are committed");
    assert!(!output.exists());
}

/// Runs a job again that did not end, and asserts that it ends with the rows it should have.
#[track_caller]
pub fn goes_on(run: Run, output: &Path, expected: &Path) {
    let committed = committed_blocks(output);
    assert!(!output.exists());
    let outcome = run.run().exits(Exit::Success);
    let report = report(output);
    let blocks = report["rows"].as_u64().unwrap().div_ceil(4);
    assert_eq!(report["blocks_skipped"], committed, "{outcome}");
    assert_eq!(report["blocks_computed"], blocks - committed as u64);
    let counts = format!("{committed} skipped (committed before), {} to compute", blocks - committed as u64);
    assert!(outcome.stderr.contains(&counts), "{counts}:\n{outcome}");
    assert_same(expected, output);
    let folder = output.parent().unwrap();
    assert_eq!(names(folder), ["run.json", output.file_name().unwrap().to_str().unwrap()]);
}

/// What `run.json` says of an output.
pub fn report(output: &Path) -> Value {
    let all: Value = json(&output.with_file_name("run.json"));
    all[output.file_name().unwrap().to_str().unwrap()].clone()
}

fn json<T: DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
