//! `python/h5_utils.py` and `python/verify.py`, with the system's Python and Debian's h5py: on files that the program
//! wrote, and the program on files that they wrote.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use hyperslab::Exit;
use hyperslab::store::Reader;
use serde_json::Value;

use crate::job;
use crate::read::FIXTURES;
use crate::util::{Dir, Run, repository};

/// Distance between the bytes of a fixture that are flipped, one after the other.
const FLIP_STEP: usize = 31;

/// Vectors by group, asset and number of the view; none of what failed.
type Rows = BTreeMap<(String, String, Option<u64>), Option<Vec<f32>>>;

/// Runs a script of the repository.
fn python<A: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let mut command = Command::new(python);
    command.arg(repository(script)).args(arguments);
    command.env("PYTHONPATH", repository("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    // HDF5's lock on a file that this process had open lives on in whatever another test started meanwhile.
    command.env("HDF5_USE_FILE_LOCKING", "FALSE");
    command.output().unwrap()
}

/// What a script prints that succeeds.
#[track_caller]
fn printed<A: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let output = python(script, arguments);
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
    assert_eq!(stderr, "", "{script}");
    stdout
}

fn fixture(name: &str) -> PathBuf {
    repository("tests/fixtures_h5").join(name)
}

/// Files of every kind: the fixtures, and what the program makes with its tests' models.
fn files() -> &'static [PathBuf] {
    static MADE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("python");
        job::embed(&dir, "text image").ranks(2).run().exits(Exit::Success);
        job::qwen::embed(&dir, "english chinese image").run().exits(Exit::Success);
        let made =
            [job::text_of(&dir), job::image_of(&dir), job::qwen::text_of(&dir), job::qwen::image_of(&dir)];
        FIXTURES.map(fixture).into_iter().chain(made).collect()
    })
}

/// Which of the consumer's ways a file is read in.
fn kind(file: &Path) -> &'static str {
    let all = Reader::open_all(file).unwrap();
    match &all[..] {
        [only] if !only.group().is_empty() => "multimodal",
        [only] => {
            if only.assets().has_views() {
                "image"
            } else {
                "text"
            }
        }
        _ => "multimodal",
    }
}

/// The rows of lines as `get --json` prints them.
fn rows(lines: &str) -> Rows {
    let row = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let vector = line.get("vector").filter(|vector| !vector.is_null());
        let vector = vector.map(|vector| serde_json::from_value(vector.clone()).unwrap());
        ((text("group"), text("asset_id"), line["view"].as_u64()), vector)
    };
    let rows: Rows = lines.lines().map(row).collect();
    assert_eq!(rows.len(), lines.lines().count(), "a row stands twice");
    rows
}

/// All rows of a file, as `hyperslab get` has them.
fn got(dir: &Dir, file: &Path) -> Rows {
    let mut all = Rows::new();
    for reader in Reader::open_all(file).unwrap() {
        let ids = reader.iter_prefix("").unwrap().map(|asset| asset.unwrap().id);
        let get = dir.hyperslab(["get", file.to_str().unwrap(), "--json"]);
        let get = if reader.group().is_empty() { get } else { get.arg("--group").arg(reader.group()) };
        let get = ids.fold(get.arg("--"), Run::arg);
        all.extend(rows(&get.run().exits(Exit::Success).stdout));
    }
    all
}

/// What a reader gets that leaves out what failed: zeros for a view of an asset that has others.
fn without_failed(all: &Rows) -> Rows {
    let asset = |(group, id, _): &(String, String, Option<u64>)| (group.clone(), id.clone());
    let good: BTreeMap<_, usize> =
        all.iter().filter_map(|(key, vector)| Some((asset(key), vector.as_ref()?.len()))).collect();
    let kept = all.iter().filter_map(|(key, vector)| {
        let dim = *good.get(&asset(key))?;
        Some((key.clone(), Some(vector.clone().unwrap_or_else(|| vec![0.0; dim]))))
    });
    kept.collect()
}

#[test]
fn h5_utils_reads_what_get_reads() {
    let dir = Dir::new();
    let old = dir.join("old.h5");
    let mut n_failed = 0;
    for file in files() {
        printed("tests/python/old_files.py", [file, &old]);
        for file in [file, &old] {
            let expected = got(&dir, file);
            let dump =
                |failed: &str| rows(&printed("tests/python/dump.py", [failed.as_ref(), file.as_os_str()]));
            assert_eq!(dump("nan"), expected, "{}", file.display());
            assert_eq!(dump("drop"), without_failed(&expected), "{}", file.display());
            n_failed += expected.values().filter(|vector| vector.is_none()).count();
        }
    }
    // Seven of the fixtures and four of the jobs, and all of them in the old form.
    assert_eq!(n_failed, 2 * (7 + 4));
}

#[test]
fn hyperslab_reads_what_h5_utils_saves() {
    let dir = Dir::new();
    let told = printed("tests/python/save.py", [dir.path()]);
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for line in told.lines() {
        let file: Value = serde_json::from_str(line).unwrap();
        let lines = expected.entry(file["file"].as_str().unwrap().to_owned()).or_default();
        lines.extend([line, "\n"]);
    }
    assert_eq!(expected.len(), 8);
    for (name, lines) in &expected {
        let (file, expected) = (dir.join(name), rows(lines));
        dir.hyperslab(["verify", name]).run().exits(Exit::Success).prints("sound");
        assert!(printed("python/verify.py", [&file]).contains(": sound ("));
        assert_eq!(got(&dir, &file), expected, "{name}");
        dir.hyperslab(["info", name]).run().exits(Exit::Success).prints("h5_utils.py");
        let mut groups: Vec<&String> = expected.keys().map(|(group, ..)| group).collect();
        groups.dedup();
        for group in groups {
            let mut ids: Vec<&str> =
                expected.keys().filter(|key| key.0 == *group).map(|(_, id, _)| id.as_str()).collect();
            ids.dedup();
            let list = dir.hyperslab(["list", name]);
            let list = if group.is_empty() { list } else { list.arg("--group").arg(group) };
            let listed = list.run().exits(Exit::Success).stdout;
            let listed: Vec<&str> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
            assert_eq!(listed, ids, "{name}");
        }
    }
    let info = dir.hyperslab(["info", "writer.h5"]).run().exits(Exit::Success);
    info.prints("some/modèle").prints("shuffle + gzip 4");
}

#[test]
fn h5_utils_refuses_what_it_cannot_do_and_leaves_nothing() {
    let dir = Dir::new();
    printed("tests/python/refuse.py", [&repository("tests/fixtures_h5"), dir.path()]);
}

#[test]
fn a_look_up_reads_little_and_batches_each_chunk_once() {
    printed("tests/python/reads.py", [Dir::new().path()]);
}

#[test]
fn vectors_of_other_norms_stay_as_they_are_and_hyperslab_says_so() {
    let dir = Dir::new();
    let save = "save_text_embeddings_h5('x.h5', {'a': [1.0, 0.0], 'b': [3.0, 4.0]})";
    let save = format!("import os, sys, h5_utils\nos.chdir(sys.argv[1])\nh5_utils.{save}\n");
    let script = dir.write("save.py", save);
    let said = String::from_utf8(python(script.to_str().unwrap(), [dir.path()]).stderr).unwrap();
    assert!(said.contains("the norm of 1 vectors is not 1"), "{said}");
    let verified = dir.hyperslab(["verify", "x.h5"]).run().exits(Exit::Damaged);
    verified.prints("1 finding").prints("row 1 has norm 5.000000, expected 1 within 0.001; asset b");
    assert!(printed("python/verify.py", [dir.join("x.h5")]).contains("sound"));
    assert_eq!(got(&dir, &dir.join("x.h5")).into_values().nth(1).unwrap(), Some(vec![3.0, 4.0]));
}

#[test]
fn the_old_consumers_run_on_new_files_and_on_old_ones() {
    let dir = Dir::new();
    for file in files() {
        let (kind, old) = (kind(file), dir.join("old.h5"));
        printed("tests/python/old_files.py", [file, &old]);
        let inserted = |file: &Path| -> Rows {
            let lines = printed("tests/python/consumer.py", [kind.as_ref(), file.as_os_str()]);
            let row = |line: &str| {
                let (table, id, view, vector) = serde_json::from_str(line).unwrap();
                let (group, view) = match kind {
                    "multimodal" => (table, None),
                    "image" => (String::new(), Some(view)),
                    _ => (String::new(), None),
                };
                ((group, id, view), Some(vector))
            };
            lines.lines().map(row).collect()
        };
        let expected = without_failed(&got(&dir, file));
        assert_eq!(inserted(file), expected, "{}", file.display());
        assert_eq!(inserted(&old), expected, "{}", file.display());
    }
}

/// Runs `verify.py`: its exit code, and what it prints and says.
fn verified(files: &[&Path]) -> (i32, String) {
    let output = python("python/verify.py", files);
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap(), told)
}

#[test]
fn verify_py_finds_the_program_s_files_sound() {
    let dir = Dir::new();
    for file in files() {
        let (code, told) = verified(&[file]);
        // The counts are the program's own.
        let expected = dir.hyperslab(["verify"]).arg(file).run().exits(Exit::Success).stdout;
        assert_eq!((code, told), (0, expected));
    }
}

#[test]
fn verify_py_names_what_is_damaged_with_its_assets() {
    let dir = Dir::new();
    let text = dir.join("text.h5");
    fs::copy(fixture("text_f32.h5"), &text).unwrap();
    let h5 = hdf5::File::open(&text).unwrap();
    let chunk = h5.dataset("embeddings").unwrap().chunk_info(5).unwrap();
    let ids = h5.dataset("asset_ids").unwrap().offset().unwrap();
    drop(h5);
    let mut bytes = fs::read(&text).unwrap();
    bytes[chunk.addr as usize + 20] ^= 0x10;
    bytes[ids as usize + 17] = b'a';
    fs::write(&text, bytes).unwrap();

    let plain = dir.join("image.h5");
    fs::copy(fixture("image_f32.h5"), &plain).unwrap();
    let h5 = hdf5::File::open_rw(&plain).unwrap();
    h5.dataset("embeddings").unwrap().write_slice(&[f32::NAN; 8], ndarray::s![9, ..]).unwrap();
    h5.attr("total_items").unwrap().write_scalar(&57_i64).unwrap();
    h5.close().unwrap();

    let missing = dir.join("missing.h5");
    let (code, told) = verified(&[&fixture("groups.h5"), &text, &missing, &plain]);
    assert_eq!(code, 4);
    for expected in [
        "groups.h5: sound (24 assets, 24 rows, 3 blocks, 1 line in /failures)\n",
        "text.h5: damaged, 3 findings\n",
        "  /asset_ids: entry 1 ('ahair_01') is not after the entry before it\n",
        "  /asset_ids has SHA-256 ",
        "  block 1: rows 20 to 23 do not read: ",
        "; assets chair_20, chair_21, chair_22, chair_23\n",
        "image.h5: damaged, 3 findings\n",
        "  attribute total_items is 57, the datasets have 56\n",
        "  block 0 (rows 0 to 15): SHA-256 is ",
        "; assets 0/10000, 0/10001, 0/10002, 0/10003, 0/10004, 0/10005, 0/10006\n",
        "  row 9 is NaN, but is not in /failures; asset 0/10003\n",
    ] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    let other = dir.write("other.h5", "no HDF5");
    let (code, told) = verified(&[&fixture("groups.h5"), &other, &missing]);
    assert_eq!(code, 1);
    assert!(told.contains("other.h5 is not an HDF5 file") && told.contains("missing.h5"), "{told}");
    let old = dir.join("old.h5");
    printed("tests/python/old_files.py", [&fixture("text_f32.h5"), &old]);
    let (code, told) = verified(&[&old]);
    assert_eq!((code, told.contains("it has no format_version")), (1, true), "{told}");
}

#[test]
fn verify_py_finds_a_flipped_byte_or_it_changes_nothing() {
    let dir = Dir::new();
    for name in FIXTURES {
        let (step, file) = (FLIP_STEP.to_string(), fixture(name));
        let told =
            printed("tests/python/flips.py", [step.as_ref(), file.as_os_str(), dir.join(name).as_os_str()]);
        let (found, of) = told.trim().split_once(' ').unwrap();
        let (found, of): (usize, usize) = (found.parse().unwrap(), of.parse().unwrap());
        assert!(found > of / 2, "{name}: {found} of {of} flips found");
    }
}
