//! `hyperslab import`: the file it makes, what it prints, what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hyperslab::store::{Reader, verify};
use serde_json::Value;
use tempfile::TempDir;

use super::{asset_id, made};

/// Runs `hyperslab import` in the folder of the sources: `(exit code, standard output, standard error)`.
fn import(arguments: &str, output: &Path) -> (i32, String, String) {
    let (what, rest) = arguments.split_once(' ').unwrap();
    let run: Output = Command::new(env!("CARGO_BIN_EXE_hyperslab"))
        .current_dir(made())
        .env_remove("HYPERSLAB_DTYPE")
        .env_remove("HYPERSLAB_COMPRESSION")
        .args(["import", what])
        .arg(output)
        .args(rest.split(' '))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

#[track_caller]
fn imported(arguments: &str, output: &Path) -> String {
    let (code, printed, said) = import(arguments, output);
    assert_eq!(code, 0, "{arguments}: {said}");
    assert_eq!(said, "", "{arguments}");
    let report = verify(output, |_, _| {}).unwrap();
    assert!(report.is_sound(), "{arguments}: {:?}", report.findings);
    printed
}

/// What Python says that the digest of a source is.
fn digest(name: &str) -> String {
    let digests: Value = serde_json::from_slice(&fs::read(made().join("digests.json")).unwrap()).unwrap();
    digests[name].as_str().unwrap().to_owned()
}

/// Both digests that are printed, of each group.
fn digests(printed: &str) -> Vec<&str> {
    let lines = printed.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix("digest ")?.split_whitespace().nth(1)).collect()
}

fn only_file(folder: &TempDir) -> bool {
    fs::read_dir(folder.path()).unwrap().count() == 1
}

#[test]
fn one_source_makes_the_same_vectors_in_whatever_format_it_is() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("text.h5");
    for source in
        ["unit.npy --metadata unit.json", "unit_0.npz unit_1.npz", "unit_1.npz unit_0.npz", "unit.pkl"]
    {
        let printed = imported(&format!("siglip-text {source} --overwrite"), &output);
        assert_eq!(digests(&printed), [digest("text"), digest("text")], "{printed}");
        assert!(printed.contains("300 assets, 300 rows of 24 components as float32"), "{printed}");
        assert!(
            printed.contains("3 rows failed: 1 zero vector in the source, 2 vector not finite in the source"),
            "{printed}"
        );
        let reader = Reader::open(&output, None).unwrap();
        for i in [7, 8, 9] {
            let rows = reader.find(&asset_id(i)).unwrap().unwrap();
            assert!(reader.rows(rows.clone()).unwrap().iter().all(|value| value.is_nan()));
            let reason = &reader.failures_of(rows).unwrap()[0].reason;
            assert!(reason.ends_with("in the source"), "{reason}");
        }
        assert!(only_file(&folder));
    }
    for source in ["unit_views.npz", "unit_views.pkl"] {
        let output = folder.path().join("views.h5");
        let printed = imported(&format!("siglip-image {source} --overwrite --block-rows 7"), &output);
        assert_eq!(digests(&printed), [digest("image"), digest("image")], "{printed}");
        assert!(printed.contains("225 assets, 450 rows of 24 components"), "{printed}");
        assert_eq!(Reader::open(&output, None).unwrap().find(&asset_id(3)).unwrap().unwrap().count(), 3);
    }
}

#[test]
fn what_the_options_say_is_in_the_file() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("qwen.h5");
    let options = "--english unit.pkl --chinese chinese.pkl --model-name org/model --compression none";
    let printed = imported(&format!("qwen-text {options}"), &output);
    let [english, chinese] = [digest("text"), digest("chinese")];
    assert_eq!(digests(&printed), [&english, &english, &chinese, &chinese], "{printed}");
    let readers = Reader::open_all(&output).unwrap();
    let provenance: Vec<_> = readers[0].summary().unwrap().provenance;
    let said = |name: &str| provenance.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!(said("model_name"), Some("org/model"));
    assert_eq!(said("imported_from"), Some("english: unit.pkl; chinese: chinese.pkl"));
    let sha256 = |name: &str| hyperslab::store::Digest::of(&fs::read(made().join(name)).unwrap());
    let expected = format!("english: {}; chinese: {}", sha256("unit.pkl"), sha256("chinese.pkl"));
    assert_eq!(said("source_sha256"), Some(expected.as_str()));
    assert_eq!(readers[0].summary().unwrap().kind, "qwen_text");

    let half = folder.path().join("half.h5");
    let printed = imported("qwen-image unit.pkl --num-images 8 --dtype f16", &half);
    let both = digests(&printed);
    assert!(both[0] == both[1] && both[0] != english, "{printed}");
    let reader = Reader::open(&half, None).unwrap();
    let images = reader.num_images().unwrap().of_rows(0..300).unwrap();
    assert_eq!(images.iter().filter(|n| **n == 8).count(), 297);
    assert_eq!(images.iter().filter(|n| **n == 0).count(), 3);

    // Vectors three times as long, normalised, are the same to the last bit but one.
    let long = folder.path().join("long.h5");
    let printed = imported("qwen-text --chinese longer.pkl --normalize", &long);
    assert_eq!(digests(&printed)[0], digests(&printed)[1]);
    let [normalized, chinese] = [&long, &output].map(|path| Reader::open(path, Some("chinese")).unwrap());
    let difference = &normalized.rows(0..100).unwrap() - &chinese.rows(0..100).unwrap();
    assert!(difference.iter().all(|value| value.abs() < 1e-7));
}

#[test]
fn what_cannot_be_imported_leaves_no_file() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("o.h5");
    for (arguments, code, says) in [
        ("qwen-text --english longer.pkl", 1, "english: the vector of '"),
        ("qwen-text --english longer.pkl", 1, "has norm 3.000000, not 1\n  hint: --normalize"),
        ("qwen-text longer.pkl", 2, "name the files with --english and --chinese"),
        ("siglip-text unit.pkl --english unit.pkl", 2, "for qwen-text alone"),
        ("siglip-text --dtype f32", 2, "no source file is named"),
        ("qwen-image unit.pkl", 2, "--num-images N is missing"),
        ("siglip-text unit.pkl --num-images 3", 2, "for qwen-image alone"),
        ("siglip-text unit.pkl --dtype f64", 2, "expected f32 or f16"),
        ("siglip-text bad_executes_4.pkl", 1, "eval', which is not executed"),
        ("siglip-text unit_0.npz unit_1.npz unit_0.npz", 1, "is twice in 'unit_0.npz'"),
        ("siglip-text text_rank_empty.npz", 1, "there are no vectors in the source"),
        ("qwen-text --english unit.pkl --chinese long_floats_4.pkl", 1, "chinese vectors of 1030 components"),
        ("siglip-text unit.npy", 1, "--metadata"),
        ("siglip-text unit.npy --metadata missing.json", 1, "missing.json"),
        ("siglip-text unit_views.npz", 1, "import it as siglip-image"),
    ] {
        let (found, printed, said) = import(arguments, &output);
        assert_eq!((found, printed.as_str()), (code, ""), "{arguments}: {said}");
        assert!(said.contains(says), "{arguments}: {said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments}");
    }
    fs::write(&output, "mine").unwrap();
    let (code, _, said) = import("siglip-text unit.pkl", &output);
    assert!(code == 1 && said.contains("--overwrite replaces it"), "{said}");
    // What is there stays while the new one fails.
    let (code, ..) = import("qwen-text --english longer.pkl --overwrite", &output);
    assert_eq!((code, fs::read(&output).unwrap().as_slice()), (1, &b"mine"[..]));
    imported("siglip-text unit.pkl --overwrite", &output);
    assert!(only_file(&folder));
}
