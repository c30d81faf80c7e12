//! Files as the old Python pipeline left them, made from the fixtures by `tests/python/old_files.py`.

use super::*;

fn old(name: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("old.h5");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/old_files.py");
    let made = Command::new("/usr/bin/python3").arg(script).arg(fixture(name)).arg(&path).status().unwrap();
    assert!(made.success());
    (dir, path)
}

/// Ids, whether they failed, and vectors, as `get --json` prints them.
fn told(path: &Path, group: &str, ids: &[String]) -> Vec<(String, bool, Value)> {
    let mut get = vec!["get", path.to_str().unwrap(), "--json"];
    if !group.is_empty() {
        get.extend(["--group", group]);
    }
    get.extend(ids.iter().map(String::as_str));
    let output = hyperslab(&get);
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["asset_id"].as_str().unwrap().to_owned(), line.get("failed").is_some(), line["vector"].clone())
    };
    lines.lines().map(line).collect()
}

#[test]
fn old_files_are_read_like_those_of_ours() {
    for name in ["text_f32.h5", "image_f32.h5", "groups.h5"] {
        let (_dir, path) = old(name);
        for reader in open_all(name) {
            let old = Reader::open(&path, Some(reader.group()).filter(|name| !name.is_empty())).unwrap();
            assert!(old.is_old() && !reader.is_old());
            let assets = |reader: &Reader| {
                let all = reader.iter_prefix("").unwrap().map(|asset| asset.unwrap());
                all.map(|asset| (asset.id, asset.rows.end - asset.rows.start)).collect::<Vec<_>>()
            };
            assert_eq!(assets(&old), assets(&reader), "{name}");
            let ids: Vec<String> = assets(&reader).into_iter().map(|(id, _)| id).collect();
            let (found, expected) =
                (told(&path, reader.group(), &ids), told(&fixture(name), reader.group(), &ids));
            assert_eq!(found, expected, "{name}");
            assert_eq!(old.find("nope").unwrap(), None);
        }
        let (code, told) = {
            let output = hyperslab(&["verify", path.to_str().unwrap()]);
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        assert_eq!(code, Some(1));
        assert!(told.contains("no digests") && told.contains("hyperslab import"), "{told}");
    }
}

#[test]
fn reading_an_old_file_comes_with_a_hint() {
    let (_dir, path) = old("text_f32.h5");
    let output = hyperslab(&["info", path.to_str().unwrap()]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("`hyperslab import` makes a new file of it"));
    let output = hyperslab(&["get", path.to_str().unwrap(), "chair_99"]);
    assert_eq!(output.status.code(), Some(3));
}
