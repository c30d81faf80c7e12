//! `hyperslab verify --against`: a file beside what its model makes of its input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hyperslab::Exit;

use crate::util::{Dir, Run, repository, sha256};

/// Six assets, one of which has a broken picture, and captions of them and of an asset without one.
const ASSETS: [&str; 6] = ["0/10002", "0/10017", "0/10023", "1/10255", "2/10404", "3/10644"];

fn input(dir: &Dir, language: &str) -> PathBuf {
    dir.join(format!("captions{language}.json"))
}

/// Files of both families, made once, and the input that they are made from.
fn made() -> &'static Dir {
    static MADE: OnceLock<Dir> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("against");
        for asset in ASSETS {
            for view in 0..4 {
                let path = format!("renders/{asset}/{view:05}.png");
                dir.write(&path, fs::read(repository("sample").join(&path)).unwrap());
            }
        }
        dir.write("renders/1/10255/00002.png", b"no picture");
        for language in ["", "_zh"] {
            let all = fs::read(repository(&format!("sample/captions{language}.json"))).unwrap();
            let all: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&all).unwrap();
            let mut some: serde_json::Map<_, _> =
                all.into_iter().filter(|(id, _)| ASSETS.contains(&id.as_str())).collect();
            some.insert("empty".to_owned(), "".into());
            dir.write(&format!("captions{language}.json"), serde_json::to_vec(&some).unwrap());
        }
        let embed = |family: &str, model: &str| {
            let job = dir.hyperslab(["embed", family, "--device", "cpu", "--output-dir", "out"]);
            job.arg("--model").arg(repository(model)).args("--captions captions.json --renders renders")
        };
        let percent = "--max-failures 50%";
        embed("siglip", "sample/model").args(percent).args("--background white").run().exits(Exit::Success);
        let qwen = embed("qwen", "sample/model-qwen").args("--captions-zh captions_zh.json --views 3");
        qwen.args(percent).args("--instruction Look.").run().exits(Exit::Success);
        dir
    })
}

fn file(dir: &Dir, name: &str) -> PathBuf {
    dir.join(format!("out/{name}_embeddings.h5"))
}

/// Verifies a file of those made, or its like, against a model, with an input like theirs.
fn verify(dir: &Dir, file: &Path, model: &str) -> Run {
    let run = dir.hyperslab(["verify", "--device", "cpu", "--against"]).arg(repository(model)).arg(file);
    let (captions, chinese) = (input(made(), ""), input(made(), "_zh"));
    run.arg("--captions")
        .arg(captions)
        .arg("--captions-zh")
        .arg(chinese)
        .arg("--renders")
        .arg(made().join("renders"))
}

#[test]
fn files_are_as_their_model_makes_them() {
    let dir = made();
    for (name, model, views, told) in [
        ("siglip_text", "sample/model", "all", "7 of 7 rows embedded again: worst cosine"),
        ("siglip_image", "sample/model", "all", "24 of 24 rows embedded again: worst cosine"),
        ("qwen_text", "sample/model-qwen", "3", "14 of 14 rows embedded again: worst cosine"),
        ("qwen_image", "sample/model-qwen", "3", "6 of 6 rows embedded again: worst cosine"),
    ] {
        let outcome = verify(dir, &file(dir, name), model).args("--views").args(views).run();
        let outcome = outcome.exits(Exit::Success).prints(": sound (").prints(": as ").prints(told);
        assert!(!outcome.stdout.contains("changed"), "{outcome}");
        let worst = outcome.stdout.split("worst cosine ").nth(1).unwrap();
        let worst: f64 = worst.split(',').next().unwrap().parse().unwrap();
        assert!(worst > 0.99999, "{outcome}");
        let failed = match name {
            "siglip_text" | "siglip_image" => "1 failed again",
            "qwen_text" => "2 failed again",
            _ => "mean",
        };
        assert!(outcome.stdout.contains(failed), "{outcome}");
    }
}

#[test]
fn a_sample_is_spread_over_the_rows() {
    let dir = made();
    let outcome = verify(dir, &file(dir, "siglip_image"), "sample/model").args("--sample 5").run();
    outcome.exits(Exit::Success).prints("(5 of 24 rows embedded again: ");
    let without = dir.hyperslab(["verify", "--sample", "5"]).arg(file(dir, "siglip_image"));
    without.run().exits(Exit::Usage).says("--against");
}

#[test]
fn what_was_computed_in_half_is_measured_by_that() {
    let dir = Dir::new();
    let job = dir.hyperslab(["embed", "siglip", "--device", "cpu", "--precision", "bf16", "--dtype", "f16"]);
    let job = job.arg("--model").arg(repository("sample/model")).arg("--renders").arg(made().join("renders"));
    job.run().exits(Exit::Success);
    let file = dir.join("siglip_image_embeddings.h5");
    verify(&dir, &file, "sample/model")
        .run()
        .exits(Exit::Success)
        .prints(": as ")
        .prints("worst cosine 0.99");
}

#[test]
fn another_model_is_refused() {
    let dir = made();
    for (name, model) in [("siglip_text", "sample/model-qwen"), ("qwen_image", "sample/model")] {
        let outcome = verify(dir, &file(dir, name), model).run();
        outcome.exits(Exit::Failure).says("is not the model that").tells_one_error();
    }
}

/// Puts another row in the place of one, with a digest that fits.
fn replace_row(file: &Path, row: usize, by: usize) {
    let script = "import h5py, hashlib, numpy as np, sys
path, row, by = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with h5py.File(path, 'r+') as f:
    rows, digests = f['embeddings'][:], f['digests']
    rows[row] = rows[by]
    f['embeddings'][...] = rows
    size = int(digests.attrs['block_rows'])
    for block in range(len(digests)):
        digest = hashlib.sha256(rows[block * size:(block + 1) * size].tobytes()).digest()
        digests[block] = np.frombuffer(digest, np.uint8)";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", script]).arg(file).args([row.to_string(), by.to_string()]);
    assert!(python.status().unwrap().success());
}

#[test]
fn a_row_that_is_anothers_is_found_where_it_is_in_the_sample() {
    let dir = Dir::new();
    let copied = dir.join("copied.h5");
    fs::copy(file(made(), "siglip_image"), &copied).unwrap();
    replace_row(&copied, 9, 20);
    dir.hyperslab(["verify"]).arg(&copied).run().exits(Exit::Success).prints("sound");
    let all = verify(&dir, &copied, "sample/model").run().exits(Exit::Damaged);
    all.prints("0/10023#1 (row 9): cosine ").says("differs in 1 of 24 items").tells_one_error();
    // The middle one alone.
    verify(&dir, &copied, "sample/model").args("--sample 1").run().exits(Exit::Success);
    // Of a damaged file no row is believed.
    let damaged = dir.join("damaged.h5");
    let mut bytes = fs::read(file(made(), "siglip_image")).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 64].fill(0x55);
    fs::write(&damaged, bytes).unwrap();
    let both = verify(&dir, &damaged, "sample/model").arg(file(made(), "siglip_image")).run();
    both.exits(Exit::Damaged).says("was not compared").prints("damaged, ").prints(": as ");
}

/// The captions with changes, for a file that was made without them.
fn changed(dir: &Dir, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Run {
    let mut captions = serde_json::from_slice(&fs::read(input(made(), "")).unwrap()).unwrap();
    change(&mut captions);
    let path = dir.write("captions.json", serde_json::to_vec(&captions).unwrap());
    verify(dir, &file(made(), "siglip_text"), "sample/model").set("--captions", path)
}

#[test]
fn an_input_that_has_changed_is_told_apart_from_a_file_that_has() {
    let dir = Dir::new();
    let before = sha256(&file(made(), "siglip_text"));
    let other = changed(&dir, |captions| {
        captions.insert("0/10017".to_owned(), "A red and white striped lighthouse.".into());
        captions.remove("3/10644");
    });
    let outcome = other.run().exits(Exit::Failure).tells_one_error();
    outcome
        .prints("the input has changed")
        .prints("0/10017 (row 1): cosine 0.")
        .prints("3/10644 is not in the input")
        .says("the input is not the one that the file was made from");
    // More of it changes nothing about what is there.
    let more = changed(&dir, |captions| drop(captions.insert("9".to_owned(), "A ball.".into())));
    more.run().exits(Exit::Success).prints(": as ").prints("the input has changed");
    // Failed items may be mended.
    let mended = changed(&dir, |captions| drop(captions.insert("empty".to_owned(), "A ball.".into())));
    let outcome = mended.run().exits(Exit::Success).prints("changed in items that had failed");
    outcome.prints("mended since: empty (row 6): empty caption; now: nothing fails");
    assert_eq!(sha256(&file(made(), "siglip_text")), before);
}

#[test]
fn pictures_that_were_mended_or_broke_are_told_of() {
    let dir = Dir::new();
    for asset in ASSETS {
        for view in 0..4 {
            let path = format!("renders/{asset}/{view:05}.png");
            dir.write(&path, fs::read(made().join(&path)).unwrap());
        }
    }
    let sound = fs::read(repository("sample/renders/1/10255/00000.png")).unwrap();
    dir.write("renders/1/10255/00002.png", sound);
    let run = |name: &str, model: &str| {
        verify(&dir, &file(made(), name), model).args("--views 4").set("--renders", dir.join("renders"))
    };
    let outcome = run("siglip_image", "sample/model").run().exits(Exit::Success);
    outcome.prints("mended since: 1/10255#2 (row 14): broken picture");
    // The same size, another content: the plan is the same but for what is mended.
    let broken = dir.join("renders/0/10002/00001.png");
    let size = fs::metadata(&broken).unwrap().len() as usize;
    fs::write(&broken, vec![0; size]).unwrap();
    let outcome = run("siglip_image", "sample/model").run().exits(Exit::Damaged);
    outcome.prints("0/10002#1 (row 1) has a vector, and fails now: broken picture");
}

#[test]
fn what_is_missing_for_a_comparison_is_named() {
    let dir = made();
    let run = |name: &str, model: &str| {
        dir.hyperslab(["verify", "--device", "cpu", "--against"]).arg(repository(model)).arg(file(dir, name))
    };
    run("siglip_image", "sample/model").run().exits(Exit::Usage).says("--renders ROOT is missing");
    let english = run("qwen_text", "sample/model-qwen").args("--captions captions.json");
    english.run().exits(Exit::Usage).says("--captions-zh FILE is missing");
    let ranks = verify(dir, &file(dir, "siglip_text"), "sample/model").ranks(2).run();
    ranks.exits(Exit::Usage).says("not by several ranks").tells_one_error();
    // Settings of the file serve it as they serve `embed`.
    let settings = "[input]\ncaptions = 'captions.json'\n";
    let config = dir.write("verify.toml", settings);
    let outcome = run("siglip_text", "sample/model").arg("--config").arg(config).run();
    outcome.exits(Exit::Success).prints(": as ");
}
