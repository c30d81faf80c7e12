//! Files made from others: what `get` writes, `export` and `merge`.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::*;

/// Runs the program: exit code and standard error.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = hyperslab(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn succeed(arguments: &[&str]) {
    let (code, told) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {told}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All that readers see but what a run says of itself.
fn content(path: &Path) -> Vec<Everything> {
    let mut all = everything(path).unwrap();
    for group in &mut all {
        group.provenance.retain(|(name, _)| {
            !["fingerprint", "plan_sha256", "source_fingerprints", "stored_type"].contains(&name.as_str())
        });
    }
    all
}

fn ids(path: &Path) -> Vec<String> {
    let ids = everything(path).unwrap().into_iter().flat_map(|group| group.ids);
    ids.map(|(id, _)| id).collect()
}

#[test]
fn parts_that_are_merged_are_the_whole_again() {
    for name in FIXTURES {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        let source = fixture(name);
        let readers = open_all(name);
        let mut parts = Vec::new();
        // Every third asset of each group into a part of its own.
        for reader in &readers {
            let ids: Vec<String> = reader.iter_prefix("").unwrap().map(|asset| asset.unwrap().id).collect();
            for third in 0..3 {
                let list = at("ids");
                let part: Vec<&str> = ids.iter().skip(third).step_by(3).map(String::as_str).collect();
                // In any order: the file is sorted.
                fs::write(&list, part.iter().rev().copied().collect::<Vec<_>>().join("\n")).unwrap();
                let out = at(&format!("{}{third}.h5", reader.group()));
                let mut get = vec!["get", text(&source), "--ids", text(&list), "--h5", text(&out)];
                if !reader.group().is_empty() {
                    get.extend(["--group", reader.group()]);
                }
                succeed(&get);
                assert!(verify(&out, |_, _| {}).unwrap().is_sound());
                parts.push(out);
            }
        }
        let (one, other) = (at("one.h5"), at("other.h5"));
        let forwards: Vec<&str> = parts.iter().map(|part| text(part)).collect();
        let backwards: Vec<&str> = forwards.iter().rev().copied().collect();
        succeed(&[&["merge", text(&one)], &forwards[..]].concat());
        succeed(&[&["merge", text(&other)], &backwards[..]].concat());
        assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap(), "{name}");
        assert_eq!(content(&one), content(&source), "{name}");
        let report = verify(&one, |_, _| {}).unwrap();
        assert!(report.is_sound(), "{name}: {:?}", report.findings);
        let sources = everything(&one).unwrap()[0].provenance.clone();
        assert!(sources.contains(&("source_fingerprints".to_owned(), "33".repeat(32))), "{sources:?}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_not_merged() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.h5");
    let source = fixture("text_f32.h5");
    let merge = |other: &Path| run(&["merge", text(&out), text(&source), text(other)]);

    let (code, told) = merge(&source);
    assert_eq!(code, 1);
    assert!(told.contains("'chair_00' is in") && told.contains("text_f32.h5"), "{told}");
    let (_, told) = merge(&fixture("text_f16.h5"));
    assert!(told.contains("stored type") && told.contains("float16"), "{told}");
    let (_, told) = merge(&fixture("image_f32.h5"));
    assert!(told.contains("kind is 'siglip_text' and 'siglip_image'"), "{told}");
    let (_other_dir, other) = changed("text_f32.h5", |file| {
        file.delete_attr("weights_sha256").unwrap();
    });
    let (_, told) = merge(&other);
    assert!(told.contains("weights_sha256") && told.contains("nothing"), "{told}");
    assert!(!out.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_failed_can_be_left_out() {
    for name in ["text_f32.h5", "image_f32.h5", "view_sets.h5", "groups.h5"] {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("good.h5");
        succeed(&["export", text(&fixture(name)), text(&out), "--drop-failed"]);
        let report = verify(&out, |_, _| {}).unwrap();
        assert!(report.is_sound(), "{name}: {:?}", report.findings);
        for (good, all) in everything(&out).unwrap().iter().zip(everything(&fixture(name)).unwrap()) {
            let is_nan = |bits: &&u32| f32::from_bits(**bits).is_nan();
            assert!(!good.vectors.iter().any(|bits| is_nan(&bits)), "{name}");
            let kept: Vec<u32> = all.vectors.iter().filter(|bits| !is_nan(bits)).copied().collect();
            assert_eq!(good.vectors, kept, "{name}");
            // A set of views that some are missing of has its vector, and says so still.
            let left = usize::from(name == "view_sets.h5");
            assert_eq!(good.failures.len(), left, "{name}");
        }
    }
    let ids = ids(&fixture("image_f32.h5"));
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("good.h5");
    succeed(&["export", text(&fixture("image_f32.h5")), text(&out), "--drop-failed"]);
    // The first asset's one view failed; the second and the third lost one of theirs.
    let good = &everything(&out).unwrap()[0].ids;
    assert_eq!(good[0], (ids[1].clone(), 0..1));
    assert_eq!(good[1], (ids[2].clone(), 1..3));
    assert_eq!(good.len(), ids.len() - 1);
}

#[test]
fn arrays_come_with_their_ids_and_json_lines_are_those_of_get() {
    let source = fixture("image_f32.h5");
    let dir = TempDir::new().unwrap();
    let (npy, jsonl) = (dir.path().join("all.npy"), dir.path().join("all.jsonl"));
    succeed(&["export", text(&source), text(&npy)]);
    let reader = open("image_f32.h5");
    let vectors = reader.rows(0..reader.n_rows()).unwrap();
    let written: Vec<f32> = {
        let bytes = fs::read(&npy).unwrap();
        let data = &bytes[bytes.len() - vectors.len() * 4..];
        data.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&written), bits(vectors.as_slice().unwrap()));
    let labels: Vec<String> =
        serde_json::from_str(&fs::read_to_string(dir.path().join("all.ids.json")).unwrap()).unwrap();
    assert_eq!(labels.len() as u64, reader.n_rows());
    assert_eq!(labels[..3], ["0/10000#0", "0/10001#0", "0/10001#1"]);

    succeed(&["export", text(&source), text(&jsonl)]);
    let all = ids(&source);
    let mut get = vec!["get", text(&source), "--json"];
    get.extend(all.iter().map(String::as_str));
    assert_eq!(fs::read(&jsonl).unwrap(), hyperslab(&get).stdout);

    let (code, told) = run(&["export", text(&source), text(&jsonl)]);
    assert!(code == 1 && told.contains("--overwrite"), "{told}");
    succeed(&["export", text(&source), text(&jsonl), "--overwrite", "--drop-failed"]);
    assert_eq!(fs::read_to_string(&jsonl).unwrap().lines().count() as u64, reader.n_rows() - 3);
    // The second asset lost its second view; the third, which lost its first, begins with the second.
    let kept = fs::read_to_string(&jsonl).unwrap();
    assert!(kept.contains(r#""asset_id":"0/10001","view":0,"row":1"#), "{kept}");
    assert!(kept.contains(r#""asset_id":"0/10002","view":1,"row":4"#), "{kept}");
    assert!(!kept.contains(r#""asset_id":"0/10001","view":1"#), "{kept}");
    let (_, told) = run(&["export", text(&source), "x.parquet"]);
    assert!(told.contains(".jsonl"), "{told}");
}

#[test]
fn a_copy_may_be_stored_otherwise() {
    let dir = TempDir::new().unwrap();
    let half = dir.path().join("half.h5");
    succeed(&[
        "export",
        text(&fixture("text_f32.h5")),
        text(&half),
        "--dtype",
        "f16",
        "--compression",
        "none",
    ]);
    assert!(verify(&half, |_, _| {}).unwrap().is_sound());
    let (reader, source) = (Reader::open(&half, None).unwrap(), open("text_f32.h5"));
    assert_eq!(reader.summary().unwrap().compression, "none");
    let (half_rows, rows) = (reader.rows(0..37).unwrap(), source.rows(0..37).unwrap());
    for (half, full) in half_rows.iter().zip(&rows) {
        assert!(half.is_nan() && full.is_nan() || (half - full).abs() < 1e-3);
    }
    // Onto itself, never.
    let before = fs::read(&half).unwrap();
    let (code, told) = run(&["export", text(&half), text(&half), "--overwrite"]);
    assert!(code == 1 && told.contains("would replace"), "{told}");
    assert_eq!(fs::read(&half).unwrap(), before);
}

#[test]
fn ids_come_from_lists_standard_input_and_prefixes() {
    let source = fixture("text_f32.h5");
    let dir = TempDir::new().unwrap();
    let list = dir.path().join("ids");
    let get = |more: &[&str], input: &str| {
        let mut get = Command::new(env!("CARGO_BIN_EXE_hyperslab"));
        get.args(["get", text(&source), "--json"]).args(more);
        let mut get =
            get.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        io::Write::write_all(&mut get.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = get.wait_with_output().unwrap();
        let ids: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["asset_id"].as_str().unwrap().to_owned())
            .collect();
        (output.status.code().unwrap(), ids.join(" "), String::from_utf8(output.stderr).unwrap())
    };
    let (code, ids, _) = get(&["--ids", "-", "lamp"], "chair_05\r\nchair_01\n\nchair_05\n");
    assert_eq!((code, ids.as_str()), (0, "lamp chair_05 chair_01 chair_05"));
    fs::write(&list, r#" ["chair_02", "räksmörgås/灯"]"#).unwrap();
    let (code, ids, _) = get(&["--ids", text(&list)], "");
    assert_eq!((code, ids.as_str()), (0, "chair_02 räksmörgås/灯"));
    let (code, ids, _) = get(&["--prefix", "chair_3"], "");
    assert_eq!((code, ids.as_str()), (0, "chair_30 chair_31 chair_32 chair_33"));
    let (code, ids, told) = get(&["--ids", "-"], "chair_01\nchair_99\nsofa\n");
    assert_eq!((code, ids.as_str()), (3, "chair_01"));
    assert!(told.contains("chair_99: no such asset") && told.contains("2 of 3 ids not found"), "{told}");
    let (code, _, told) = get(&["--prefix", "sofa"], "");
    assert!(code == 3 && told.contains("no asset id begins with 'sofa'"), "{told}");
    let (code, _, told) = get(&[], "");
    assert!(code == 2 && told.contains("--prefix"), "{told}");
    fs::write(&list, "[1, 2]").unwrap();
    let (code, _, told) = get(&["--ids", text(&list)], "");
    assert!(code == 1 && told.contains("no JSON array"), "{told}");
}

#[test]
fn a_damaged_block_is_not_copied() {
    // Without compression a flipped bit is read as another vector.
    let (dir, source) = copied("text_f16.h5");
    let mut bytes = fs::read(&source).unwrap();
    let reader = Reader::open(&source, None).unwrap();
    let vector = reader.rows(20..21).unwrap();
    let stored: Vec<u8> = vector.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
    let place = bytes.windows(stored.len()).position(|window| window == stored).unwrap();
    drop(reader);
    bytes[place] ^= 1;
    fs::write(&source, bytes).unwrap();
    let out = dir.path().join("out.h5");
    for command in
        [&["export", text(&source), text(&out)][..], &["get", text(&source), "chair_20", "--h5", text(&out)]]
    {
        let (code, told) = run(command);
        assert!(code == 4 && told.contains("block 1 (rows 16 to 31)"), "{command:?}: {told}");
        assert!(!out.exists());
    }
    // Blocks that are not asked for are not read.
    succeed(&["get", text(&source), "chair_00", "--h5", text(&out)]);
}

#[test]
fn what_is_there_is_replaced_only_when_asked() {
    let dir = TempDir::new().unwrap();
    for (option, name) in [("--npy", "a.npy"), ("--jsonl", "a.jsonl"), ("--h5", "a.h5")] {
        let out = dir.path().join(name);
        let source = fixture("text_f32.h5");
        let get = ["get", text(&source), "lamp", option, text(&out)];
        succeed(&get);
        let before = fs::read(&out).unwrap();
        let (code, told) = run(&get.map(|word| if word == "lamp" { "chair_00" } else { word }));
        assert!(code == 1 && told.contains("--overwrite"), "{told}");
        assert_eq!(fs::read(&out).unwrap(), before);
        succeed(
            &[&get.map(|word| if word == "lamp" { "chair_00" } else { word })[..], &["--overwrite"]].concat(),
        );
        assert_ne!(fs::read(&out).unwrap(), before);
        // What is not there makes no file, and replaces none.
        let before = fs::read(&out).unwrap();
        let (code, told) = run(&["get", text(&source), "nope", option, text(&out), "--overwrite"]);
        assert!(code == 3 && told.contains("nothing written"), "{told}");
        assert_eq!(fs::read(&out).unwrap(), before);
    }
}
