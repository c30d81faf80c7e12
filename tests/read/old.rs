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

#[test]
fn old_files_become_files_of_ours() {
    for (name, kind) in
        [("text_f32.h5", "siglip-text"), ("image_f32.h5", "siglip-image"), ("groups.h5", "qwen-text")]
    {
        let (dir, path) = old(name);
        let out = dir.path().join("new.h5");
        let import = |kind: &str, from: &Path| {
            hyperslab(&["import", kind, out.to_str().unwrap(), from.to_str().unwrap()])
        };
        let output = import(kind, &path);
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}: {told}");
        assert!(told.contains("the old pipeline's HDF5"), "{told}");
        let digests: Vec<&str> = told
            .lines()
            .filter(|line| line.contains("digest"))
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        assert!(digests.chunks(2).all(|pair| pair[0] == pair[1]) && !digests.is_empty(), "{told}");
        let report = verify(&out, |_, _| {}).unwrap();
        assert!(report.is_sound(), "{name}: {:?}", report.findings);
        for (new, source) in everything(&out).unwrap().iter().zip(everything(&fixture(name)).unwrap()) {
            assert_eq!((&new.group, &new.ids), (&source.group, &source.ids), "{name}");
            assert_eq!(new.vectors, source.vectors, "{name}");
            let failed = |all: &[(String, u64, String)]| {
                all.iter().map(|(id, row, _)| (id.clone(), *row)).collect::<Vec<_>>()
            };
            assert_eq!(failed(&new.failures), failed(&source.failures), "{name}");
        }
        // As something else, or a file of ours, it is refused.
        fs::remove_file(&out).unwrap();
        let other = if kind == "siglip-image" { "siglip-text" } else { "siglip-image" };
        assert_eq!(
            import(other, &path).status.code(),
            Some(if kind == "qwen-text" { 1 } else { 2 }),
            "{name}"
        );
        let refused = import(kind, &fixture(name));
        assert!(String::from_utf8(refused.stderr).unwrap().contains("of this program already"));
        assert!(!out.exists());
    }
}

#[test]
fn what_failed_in_an_old_file_is_nan_in_an_array_and_cannot_be_told_beforehand() {
    let (dir, path) = old("text_f32.h5");
    let npy = dir.path().join("all.npy");
    let export = |more: &[&str]| {
        hyperslab(&[&["export", path.to_str().unwrap(), npy.to_str().unwrap()], more].concat())
    };
    assert!(export(&[]).status.success());
    let bytes = fs::read(&npy).unwrap();
    let values: Vec<f32> =
        bytes[128..].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let failed = values.chunks(8).filter(|row| row.iter().all(|value| value.is_nan())).count();
    assert_eq!((values.len(), failed), (37 * 8, 2));
    let refused = export(&["--overwrite", "--drop-failed"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("does not say"));
}

#[test]
fn what_an_old_file_does_not_say_is_in_no_file_of_ours() {
    let (dir, path) = old("text_f32.h5");
    let out = dir.path().join("out.h5");
    let (path, target) = (path.to_str().unwrap(), out.to_str().unwrap());
    let ours = fixture("text_f32.h5");
    for command in [
        &["export", path, target][..],
        &["get", path, "lamp", "--h5", target],
        &["merge", target, path, ours.to_str().unwrap()],
    ] {
        let refused = hyperslab(command);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(told.contains("hyperslab import"), "{command:?}: {told}");
        assert!(!out.exists());
    }
}
