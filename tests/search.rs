//! `hyperslab search`: by ids, against numpy, with the small program alone; the rest in its modules.

#[cfg(feature = "engine")]
mod model;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures_h5").join(name)
}

fn search(file: &str, arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_hyperslab"))
        .arg("search")
        .arg(fixture(file))
        .args(arguments)
        .output();
    program.unwrap()
}

/// What it prints, ending with this code.
#[track_caller]
fn prints(file: &str, arguments: &[&str], code: i32) -> String {
    let output = search(file, arguments);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says of an error.
#[track_caller]
fn says(file: &str, arguments: &[&str], code: i32) -> String {
    let output = search(file, arguments);
    assert_eq!(output.status.code(), Some(code));
    String::from_utf8(output.stderr).unwrap()
}

/// A file, its group, and the same of the file that ids are taken from.
type Pair = [(&'static str, &'static str); 2];

const TEXT: (&str, &str) = ("text_f32.h5", "-");
const HALF: (&str, &str) = ("text_f16.h5", "-");
const VIEWS: (&str, &str) = ("image_f32.h5", "-");
const HALF_VIEWS: (&str, &str) = ("image_f16.h5", "-");
const ENGLISH: (&str, &str) = ("groups.h5", "english");
const CHINESE: (&str, &str) = ("groups.h5", "chinese");
const SETS: (&str, &str) = ("view_sets.h5", "-");

/// Ids, among them those of assets of which a part failed, and one that looks like a view.
const ASKED: [(Pair, &[&str]); 9] = [
    ([TEXT, TEXT], &["chair_00", "chair_33", "lamp#1", "lamp"]),
    ([HALF, TEXT], &["chair_01", "lamp#1"]),
    ([VIEWS, VIEWS], &["0/10002", "0/10003", "0/10003#2", "2/10022#0", "0/10001"]),
    ([HALF_VIEWS, VIEWS], &["0/10005", "1/10011#1"]),
    ([VIEWS, TEXT], &["chair_00", "chair_05"]),
    ([TEXT, VIEWS], &["0/10007", "2/10021#1"]),
    ([ENGLISH, CHINESE], &["椅子", "both_05"]),
    ([CHINESE, ENGLISH], &["english_1"]),
    ([SETS, SETS], &["0/10000", "0/10004"]),
];

fn expected([file, of]: Pair, k: usize, ids: &[&str]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search.py");
    let mut python = Command::new("/usr/bin/python3");
    python
        .arg(script)
        .arg(fixture(file.0))
        .arg(file.1)
        .arg(fixture(of.0))
        .arg(of.1)
        .arg(k.to_string())
        .args(ids);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    json_lines(&String::from_utf8(output.stdout).unwrap())
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn hits_are_those_of_numpy_whatever_the_threads() {
    for (pair @ [file, of], ids) in ASKED {
        let other = fixture(of.0);
        let mut arguments = vec!["--json", "-k", "7"];
        if file.1 != "-" {
            arguments.extend(["--group", file.1]);
        }
        if file != of {
            arguments.extend(["--of", other.to_str().unwrap()]);
        }
        if file != of && of.1 != "-" {
            arguments.extend(["--of-group", of.1]);
        }
        for id in ids {
            arguments.extend(["--id", *id]);
        }
        let one = prints(file.0, &[&arguments[..], &["--threads", "1"]].concat(), 0);
        for threads in ["2", "9"] {
            assert_eq!(prints(file.0, &[&arguments[..], &["--threads", threads]].concat(), 0), one);
        }
        let (found, expected) = (json_lines(&one), expected(pair, 7, ids));
        assert_eq!((found.len(), expected.len()), (ids.len(), ids.len()));
        for ((found, expected), id) in found.iter().zip(&expected).zip(ids) {
            assert_eq!(found["asset_id"], **id);
            let hits = found["hits"].as_array().unwrap();
            assert_eq!(hits.len(), expected.as_array().unwrap().len(), "{pair:?} {id}");
            let expected = expected.as_array().unwrap();
            for (place, hit) in hits.iter().enumerate() {
                assert_eq!(hit["rank"], place + 1);
                let score = hit["score"].as_f64().unwrap();
                let is_near = |expected: &Value| (score - expected[2].as_f64().unwrap()).abs() < 1e-6;
                assert!(is_near(&expected[place]), "{pair:?} {id}: {hit}, not {}", expected[place]);
                let own = expected.iter().find(|expected| expected[0] == hit["asset_id"]);
                assert!(own.is_some_and(is_near), "{pair:?} {id}: {hit}");
                // Several views, and assets, may be equally near: those that are the query's own.
                assert!(score > 1.0 - 1e-6 || own == Some(&expected[place]), "{pair:?} {id}: {hit}");
                assert!(score > 1.0 - 1e-6 || hit["row"] == expected[place][1], "{pair:?} {id}: {hit}");
            }
        }
    }
}

#[test]
fn a_table_names_what_get_finds() {
    let table = prints("image_f32.h5", &["--id", "0/10003#2", "-k", "3"], 0);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "the asset 0/10003#2"));
    assert_eq!(lines[1], "  1   1.0000  0/10003#2");
    let captions = tempfile::tempdir().unwrap();
    let path = captions.path().join("captions.csv");
    let long = "绿".repeat(100);
    std::fs::write(&path, format!("chair_00,a green chair\nchair_01,\"{long}\"\n")).unwrap();
    let shown = ["--id", "chair_00", "--id", "chair_01", "-k", "1", "--captions", path.to_str().unwrap()];
    let table = prints("text_f32.h5", &shown, 0);
    assert!(table.contains("  1   1.0000  chair_00  a green chair\n"), "{table}");
    let cut = table.lines().last().unwrap();
    assert!(cut.ends_with('…') && cut.chars().filter(|letter| *letter == '绿').count() == 27, "{cut}");
    let json = json_lines(&prints("text_f32.h5", &[&shown[..], &["--json"]].concat(), 0));
    assert_eq!(json[1]["hits"][0]["caption"], long);
}

#[test]
fn many_queries_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.jsonl");
    let queries = ["--queries", path.to_str().unwrap(), "--json", "-k", "2"];
    std::fs::write(&path, "{\"id\": 7, \"asset_id\": \"chair_09\"}\n\n{\"asset_id\": \"chair_04\"}").unwrap();
    let found = json_lines(&prints("text_f32.h5", &[&queries[..], &["--id", "lamp"]].concat(), 0));
    let asked = |place: usize| (&found[place]["id"], &found[place]["asset_id"]);
    assert_eq!(asked(0), (&Value::Null, &"lamp".into()));
    assert_eq!(asked(1), (&7.into(), &"chair_09".into()));
    assert_eq!(asked(2).1, "chair_04");
    let alone = json_lines(&prints("text_f32.h5", &["--id", "chair_09", "--json", "-k", "2"], 0));
    assert_eq!(found[1]["hits"], alone[0]["hits"]);
    for (line, why) in [("{\"asset_id\": 1}", "`asset_id` is not a string"), ("nonsense", "line 2: column")] {
        std::fs::write(&path, format!("\n{line}\n")).unwrap();
        let said = says("text_f32.h5", &queries, 1);
        assert!(said.contains(why) && said.contains("line 2"), "{said}");
    }
}

#[test]
fn what_is_not_there_is_named_and_the_rest_is_answered() {
    let output = search(
        "text_f32.h5",
        &["--id", "chair_00", "--id", "chair_99", "--id", "chair_03", "--json", "-k", "1"],
    );
    assert_eq!(output.status.code(), Some(3));
    let found = json_lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(found[0]["hits"][0]["asset_id"], "chair_00");
    assert!(found[1]["error"].as_str().unwrap().contains("chair_99: no such asset"));
    assert_eq!(found[2]["error"], "chair_03: it has no vector: empty caption");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{said}");
    assert!(says("groups.h5", &["--id", "both_05"], 1).contains("--group chinese or --group english"));
    let group = ["--group", "english", "--of", fixture("groups.h5").to_str().unwrap()].map(str::to_owned);
    let group: Vec<&str> = group.iter().map(String::as_str).chain(["--id", "both_05"]).collect();
    assert!(says("groups.h5", &group, 1).contains("--of-group chinese or --of-group english"));
    assert!(says("text_f32.h5", &[], 2).contains("--text"));
    assert!(says("text_f32.h5", &["--id", "lamp", "-k", "0"], 2).contains("-k"));
}

#[test]
fn another_models_vectors_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.h5");
    std::fs::copy(fixture("text_f32.h5"), &path).unwrap();
    let file = hdf5::File::open_rw(&path).unwrap();
    let other: hdf5::types::FixedUnicode<64> = "ab".repeat(32).parse().unwrap();
    file.attr("weights_sha256").unwrap().write_scalar(&other).unwrap();
    file.close().unwrap();
    let said = says("image_f32.h5", &["--of", path.to_str().unwrap(), "--id", "chair_00"], 1);
    for word in ["were made with two models", &"11".repeat(32), &"ab".repeat(32), "--of"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn files_of_the_old_pipeline_are_searched_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.h5");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/old_files.py");
    for (name, id) in [("text_f32.h5", "chair_07"), ("image_f32.h5", "0/10003")] {
        let mut python = Command::new("/usr/bin/python3");
        assert!(python.arg(&script).arg(fixture(name)).arg(&path).status().unwrap().success());
        let arguments = ["--id", id, "--json", "-k", "100"];
        let hits = |text: String| {
            let found = json_lines(&text).remove(0);
            let hits = found["hits"].as_array().unwrap().clone();
            // Its rows are in another order.
            let known = |hit: &Value| ["asset_id", "score", "view"].map(|key| hit[key].clone());
            hits.iter().map(known).collect::<Vec<_>>()
        };
        assert_eq!(hits(prints(path.to_str().unwrap(), &arguments, 0)), hits(prints(name, &arguments, 0)));
    }
}
