//! Reading sealed files that h5py wrote (`fixtures_h5/make.py`): as they are, and damaged.

mod copy;
mod library;
mod old;
mod qwen;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hyperslab::store::{Reader, verify};
use hyperslab::{Error, Exit};
use ndarray::{Array2, s};
use serde_json::Value;
use tempfile::TempDir;

use crate::util::remove_foreign_variables;

pub const FIXTURES: [&str; 7] = [
    "text_f32.h5",
    "text_f16.h5",
    "image_f32.h5",
    "image_f16.h5",
    "groups.h5",
    "one_group.h5",
    "view_sets.h5",
];

/// Distance between the bytes of a fixture that are flipped, one after the other.
const FLIP_STEP: usize = 13;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures_h5").join(name)
}

fn open(name: &str) -> Reader {
    Reader::open(&fixture(name), None).unwrap()
}

/// A copy of a fixture that a test may damage.
fn copied(name: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::copy(fixture(name), &path).unwrap();
    (dir, path)
}

/// A copy of a fixture after a change through HDF5.
fn changed(name: &str, change: impl FnOnce(&hdf5::File)) -> (TempDir, PathBuf) {
    let (dir, path) = copied(name);
    let file = hdf5::File::open_rw(&path).unwrap();
    change(&file);
    file.close().unwrap();
    (dir, path)
}

/// Every group of a fixture.
fn open_all(name: &str) -> Vec<Reader> {
    Reader::open_all(&fixture(name)).unwrap()
}

fn open_error(path: &Path) -> Error {
    Reader::open(path, None).err().expect("the file must not open")
}

fn findings(path: &Path) -> String {
    let report = verify(path, |_, _| {}).unwrap();
    assert!(!report.is_sound());
    report.findings.join("\n")
}

fn hyperslab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperslab"));
    remove_foreign_variables(&mut command);
    command.args(arguments).output().unwrap()
}

/// Runs the program on a fixture: `(exit code, standard output, standard error)`.
fn on_fixture(command: &str, name: &str, arguments: &[&str]) -> (i32, String, String) {
    let file = fixture(name);
    let output = hyperslab(&[&[command, file.to_str().unwrap()], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// All that a reader can get from a group of a file.
#[derive(Debug, PartialEq)]
struct Everything {
    group: String,
    ids: Vec<(String, std::ops::Range<u64>)>,
    vectors: Vec<u32>,
    num_images: Option<Vec<i32>>,
    failures: Vec<(String, u64, String)>,
    kind: String,
    provenance: Vec<(String, String)>,
}

fn everything(path: &Path) -> hyperslab::Result<Vec<Everything>> {
    Reader::open_all(path)?.iter().map(everything_of).collect()
}

fn everything_of(reader: &Reader) -> hyperslab::Result<Everything> {
    let summary = reader.summary()?;
    let ids: hyperslab::Result<_> =
        reader.iter_prefix("")?.map(|asset| asset.map(|asset| (asset.id, asset.rows))).collect();
    let failures = reader.failures_of(0..reader.n_rows())?;
    let num_images = reader.num_images().map(|all| all.of_rows(0..reader.n_rows())).transpose()?;
    Ok(Everything {
        group: reader.group().to_owned(),
        ids: ids?,
        num_images,
        vectors: reader.rows(0..reader.n_rows())?.iter().map(|value| value.to_bits()).collect(),
        failures: failures.into_iter().map(|item| (item.asset_id, item.row, item.reason)).collect(),
        kind: summary.kind,
        provenance: summary.provenance,
    })
}

#[test]
fn every_fixture_is_sound() {
    let rows_blocks_failed =
        [(37, 3, 2), (37, 3, 0), (56, 4, 3), (56, 4, 0), (24, 3, 1), (5, 1, 0), (21, 2, 2)];
    for (name, expected) in FIXTURES.into_iter().zip(rows_blocks_failed) {
        let mut told = (0, 0);
        let report = verify(&fixture(name), |done, all| told = (done, all)).unwrap();
        assert!(report.is_sound(), "{name}: {:?}", report.findings);
        assert_eq!((report.n_rows, report.n_blocks, report.n_failed), expected, "{name}");
        assert_eq!(told, (report.n_rows, report.n_rows), "{name}");
    }
}

#[test]
fn every_id_is_found_and_no_other() {
    for (name, reader) in FIXTURES.iter().flat_map(|name| open_all(name).into_iter().map(move |r| (name, r)))
    {
        let assets: Vec<_> = reader.iter_prefix("").unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(assets.len() as u64, reader.assets().n());
        for asset in &assets {
            assert_eq!(reader.find(&asset.id).unwrap(), Some(asset.rows.clone()), "{name} {}", asset.id);
        }
        for unknown in ["", "!", "chair", "chair_000", "0/1000", "lamp#", "zz", "\u{10ffff}", "chair_00\0"] {
            assert_eq!(reader.find(unknown).unwrap(), None, "{name} {unknown:?}");
        }
    }
    assert_eq!(open("text_f32.h5").find("chair_00").unwrap(), Some(0..1));
    assert_eq!(open("text_f32.h5").find("räksmörgås/灯").unwrap(), Some(36..37));
    assert_eq!(open("image_f32.h5").find("0/10000").unwrap(), Some(0..1));
    assert_eq!(open("image_f32.h5").find("2/10022").unwrap(), Some(53..56));
}

#[test]
fn rows_are_those_of_the_same_vectors_in_both_precisions() {
    for (single, half) in [("text_f32.h5", "text_f16.h5"), ("image_f32.h5", "image_f16.h5")] {
        let (single, half) = (open(single), open(half));
        let all = |reader: &Reader| reader.rows(0..reader.n_rows()).unwrap();
        let (single_rows, half_rows) = (all(&single), all(&half));
        for (row, (one, other)) in single_rows.rows().into_iter().zip(half_rows.rows()).enumerate() {
            let row = row as u64;
            let failed = !single.failures_of(row..row + 1).unwrap().is_empty();
            assert_eq!(one.iter().all(|value| value.is_nan()), failed);
            assert!(failed || one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-3), "row {row}");
            let alone = single.rows(row..row + 1).unwrap();
            let same = alone.iter().zip(one).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "row {row} alone");
        }
        assert_eq!(single.rows(5..5).unwrap().dim(), (0, 8));
        assert!(single.rows(0..single.n_rows() + 1).is_err());
    }
}

#[test]
fn failures_are_found_by_row() {
    let reader = open("image_f32.h5");
    let rows = |range| -> Vec<u64> {
        reader.failures_of(range).unwrap().iter().map(|failure| failure.row).collect()
    };
    assert_eq!(rows(0..1), [0]);
    assert_eq!(rows(1..3), [2]);
    assert_eq!(rows(1..4), [2, 3]);
    assert!(rows(4..56).is_empty());
    assert_eq!(rows(0..u64::MAX), [0, 2, 3]);
    let item = reader.failures_of(2..3).unwrap().remove(0);
    assert_eq!((item.asset_id.as_str(), item.reason.as_str()), ("0/10001", "unreadable file"));
}

#[test]
fn prefixes_and_what_is_near() {
    let reader = open("text_f32.h5");
    let ids = |prefix| -> Vec<String> {
        reader.iter_prefix(prefix).unwrap().map(|asset| asset.unwrap().id).collect()
    };
    assert_eq!(ids("chair_0").len(), 10);
    assert_eq!(ids("lamp"), ["lamp", "lamp#1"]);
    assert_eq!(ids("rä"), ["räksmörgås/灯"]);
    assert_eq!(ids("").len(), 37);
    assert!(ids("chair_4").is_empty() && ids("a").is_empty() && ids("\u{10ffff}").is_empty());
    let near = reader.assets().near("chair_055", 3).unwrap();
    assert_eq!(near[0], "chair_05");
    assert_eq!(near.len(), 3);
    assert!(reader.assets().near("sofa", 3).unwrap().is_empty());
}

#[test]
fn owners_of_rows() {
    let reader = open("image_f32.h5");
    assert_eq!(reader.assets().of_rows(0..1).unwrap(), 0..1);
    assert_eq!(reader.assets().of_rows(2..4).unwrap(), 1..3);
    assert_eq!(reader.assets().of_rows(55..56).unwrap(), 22..23);
    assert_eq!(reader.assets().of_rows(0..56).unwrap(), 0..23);
}

#[test]
fn what_is_no_sealed_file_is_refused_with_a_reason() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.h5");
    assert!(open_error(&path).message.contains("No such file"));
    assert!(open_error(dir.path()).to_string().contains("is a folder"));

    fs::write(dir.path().join("x.h5.partial"), "").unwrap();
    for unfinished in [path.clone(), dir.path().join("x.h5.partial")] {
        let error = open_error(&unfinished).to_string();
        assert!(error.contains("x.h5.partial belongs to a job") && error.contains("embed"), "{error}");
    }
    for text in ["", "asset_id,caption\n", "\u{89}HDF"] {
        fs::write(&path, text).unwrap();
        let error = open_error(&path);
        assert!(error.message.ends_with("is not an HDF5 file"), "{error}");
        assert_eq!(error.exit, Exit::Failure);
    }
    hdf5::File::create(&path).unwrap().close().unwrap();
    let error = open_error(&path).message;
    assert!(
        error.contains("no /embeddings, no /failures, no /digests, no /asset_ids (or /metadata)"),
        "{error}"
    );
}

#[test]
fn what_is_missing_or_of_another_kind_is_named() {
    for name in ["embeddings", "metadata", "failures", "digests"] {
        let (_dir, path) = changed("image_f32.h5", |file| file.unlink(name).unwrap());
        let error = open_error(&path).message;
        assert!(error.contains(&format!("/{name}")), "{error}");
    }
    let (_dir, path) = changed("text_f32.h5", |file| file.delete_attr("format_version").unwrap());
    assert!(open_error(&path).message.contains("no attribute format_version"));
    let (_dir, path) = changed("text_f32.h5", |file| {
        file.attr("format_version").unwrap().write_scalar(&2_i64).unwrap();
    });
    assert!(open_error(&path).message.contains("version is 2, expected 1"));
    let (_dir, path) = changed("text_f32.h5", |file| {
        file.unlink("embeddings").unwrap();
        file.new_dataset::<f64>().shape((37, 8)).create("embeddings").unwrap();
    });
    assert!(open_error(&path).message.contains("neither float32 nor float16"));
    let (_dir, path) = changed("text_f32.h5", |file| {
        file.unlink("asset_ids").unwrap();
        file.new_dataset::<i64>().shape(37).create("asset_ids").unwrap();
    });
    assert!(open_error(&path).message.contains("/asset_ids"));
}

#[test]
fn a_file_cut_off_is_damaged_at_any_length() {
    for name in FIXTURES {
        let whole = fs::read(fixture(name)).unwrap();
        let (_dir, path) = copied(name);
        for length in (8..whole.len()).step_by(97).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open_error(&path).exit, Exit::Damaged, "{name} cut to {length}");
        }
    }
}

#[test]
fn a_flipped_byte_is_found_or_changes_nothing() {
    for name in FIXTURES {
        let whole = fs::read(fixture(name)).unwrap();
        let sound = everything(&fixture(name)).unwrap();
        let (_dir, path) = copied(name);
        let mut n_found = 0;
        for at in (0..whole.len()).step_by(FLIP_STEP) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            if verify(&path, |_, _| {}).is_ok_and(|report| report.is_sound()) {
                assert_eq!(everything(&path).as_ref(), Ok(&sound), "{name}: byte {at} went unnoticed");
            } else {
                n_found += 1;
            }
        }
        assert!(n_found * FLIP_STEP > whole.len() / 2, "{name}: {n_found} flips found");
    }
}

#[test]
fn a_damaged_chunk_is_named_with_its_assets_and_the_rest_still_reads() {
    let (_dir, path) = copied("text_f32.h5");
    let chunk = hdf5::File::open(&path).unwrap().dataset("embeddings").unwrap().chunk_info(5).unwrap();
    let row = chunk.offset[0];
    let mut bytes = fs::read(&path).unwrap();
    bytes[chunk.addr as usize + 20] ^= 0x10;
    fs::write(&path, bytes).unwrap();

    let found = findings(&path);
    assert_eq!(row, 20);
    assert!(found.contains("block 1: ") && found.contains("rows 20 to 24 do not read"), "{found}");
    assert!(found.contains("assets chair_20, chair_21, chair_22, chair_23"), "{found}");
    assert_eq!(found.lines().count(), 1);
    let reader = Reader::open(&path, None).unwrap();
    assert_eq!(reader.rows(20..21).unwrap_err().exit, Exit::Damaged);
    assert_eq!(reader.rows(0..20).unwrap().nrows(), 20);

    let output = hyperslab(&["verify", fixture("text_f16.h5").to_str().unwrap(), path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(Exit::Damaged.code()));
    assert!(text.contains("text_f16.h5: sound") && text.contains("damaged, 1 finding\n"), "{text}");
}

#[test]
fn rows_that_cannot_be_right_are_named() {
    let write = |file: &hdf5::File, row: usize, value: f32| {
        let rows = Array2::from_elem((1, 8), value);
        file.dataset("embeddings").unwrap().write_slice(&rows, s![row..=row, ..]).unwrap();
    };
    let (_dir, path) = changed("text_f32.h5", |file| {
        write(file, 0, 0.0);
        write(file, 1, f32::NAN);
        write(file, 2, f32::INFINITY);
        write(file, 3, 8_f32.sqrt().recip());
    });
    let found = findings(&path);
    for expected in [
        "block 0 (rows 0 to 15): SHA-256 is ",
        "the 16 assets from chair_00 to chair_15",
        "row 0 has norm 0.000000, expected 1 within 0.001; asset chair_00",
        "row 1 is NaN, but is not in /failures; asset chair_01",
        "row 2 has components that are not finite; asset chair_02",
        "row 3 is in /failures, but is not NaN; asset chair_03",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
}

/// Writes bytes over a contiguous dataset's.
fn overwrite(path: &Path, dataset: &str, at: usize, new: &[u8]) {
    let offset = hdf5::File::open(path).unwrap().dataset(dataset).unwrap().offset().unwrap() as usize;
    let mut bytes = fs::read(path).unwrap();
    bytes[offset + at..offset + at + new.len()].copy_from_slice(new);
    fs::write(path, bytes).unwrap();
}

#[test]
fn tables_and_counts_that_cannot_be_right_are_named() {
    let (_dir, path) = copied("image_f32.h5");
    // Entries are 7 bytes of id, 8 of the first row, 4 of the count.
    overwrite(&path, "metadata", 19, b"0/10000");
    overwrite(&path, "metadata", 5 * 19 + 15, &0_i32.to_le_bytes());
    overwrite(&path, "failures", 7, &(-1_i64).to_le_bytes());
    let found = findings(&path);
    for expected in [
        "/metadata: entry 1 ('0/10000') is not after the entry before it",
        "/metadata: entry 5 ('0/10005') has 0 rows",
        "/metadata: entry 6 ('0/10006') starts at row 13, expected 11",
        "/metadata has SHA-256 ",
        "/failures: entry 0 (row -1) is not after the entry before it",
        "names '0/10000', but the row belongs to 'nobody'",
        "/failures: entry 1 (row 2) names '0/10001', but the row belongs to '0/10000'",
        "row 0 is NaN, but is not in /failures",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
    let (_dir, path) = changed("image_f16.h5", |file| {
        for name in ["total_items", "embedding_dim", "total_assets", "failed_items"] {
            file.attr(name).unwrap().write_scalar(&-7_i64).unwrap();
        }
        file.delete_attr("total_viewpoints").unwrap();
    });
    let found = findings(&path);
    assert!(found.contains("attribute total_items is -7, the datasets have 56"), "{found}");
    assert!(found.contains("attribute total_viewpoints"), "{found}");
    assert_eq!(found.lines().count(), 5, "{found}");
}

#[test]
fn get_shows_rows_and_names_what_is_not_there() {
    let ids = ["0/10001", "nope", "1/10011#2", "1/10011#4"];
    let (code, out, err) = on_fixture("get", "image_f32.h5", &ids);
    assert_eq!(code, Exit::NotFound.code());
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("0/10001#0  row 1  norm 1.0000  ["), "{out}");
    assert!(lines[1].starts_with("0/10001#1  row 2  failed: unreadable file"), "{out}");
    assert!(lines[2].starts_with("1/10011#2  row 28  norm"), "{out}");
    assert!(
        err.contains("nope: no such asset\n") && err.contains("1/10011#4: the asset has 4 views"),
        "{err}"
    );
    assert!(err.contains("2 of 4 ids not found"), "{err}");

    let (code, out, err) = on_fixture("get", "text_f32.h5", &["lamp#1", "lamp#0", "lamp"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let starts = ["lamp#1  row 35", "lamp    row 34", "lamp    row 34"];
    assert!(out.lines().zip(starts).all(|(line, start)| line.starts_with(start)), "{out}");

    let (_, _, err) = on_fixture("get", "text_f32.h5", &["chair_0"]);
    assert!(err.contains("chair_0: no such asset; near it: chair_00"), "{err}");
}

#[test]
fn get_gives_whole_vectors_as_json_and_npy() {
    let reader = open("image_f32.h5");
    let ids = ["2/10022", "0/10002"];
    let (code, out, _) = on_fixture("get", "image_f32.h5", &["--json", ids[0], ids[1]]);
    assert_eq!(code, 0);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    let vector: Vec<f32> = serde_json::from_value(lines[1]["vector"].clone()).unwrap();
    assert_eq!(vector, reader.rows(54..55).unwrap().into_raw_vec_and_offset().0);
    assert_eq!((&lines[1]["view"], &lines[1]["row"]), (&Value::from(1), &Value::from(54)));
    assert_eq!(lines[3]["failed"], "broken picture: ends after 12 bytes");
    assert!(lines[3].get("vector").is_none());

    let dir = TempDir::new().unwrap();
    let npy = dir.path().join("out.npy");
    let (code, out, err) =
        on_fixture("get", "image_f32.h5", &[ids[0], ids[1], "--npy", npy.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("6 rows, 1 of them failed"), "{err}");
    let bytes = fs::read(&npy).unwrap();
    let (header, data) = bytes.split_at(128);
    assert!(
        String::from_utf8_lossy(header).contains("'descr': '<f4', 'fortran_order': False, 'shape': (6, 8)")
    );
    let expected = [reader.rows(53..56).unwrap(), reader.rows(3..6).unwrap()];
    let expected: Vec<u8> =
        expected.iter().flat_map(|rows| rows.iter().flat_map(|value| value.to_le_bytes())).collect();
    assert_eq!(data, expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a temporary file was left behind");

    let (code, _, _) = on_fixture("get", "image_f32.h5", &["nope", "--npy", "/no/such/folder/x.npy"]);
    assert_eq!(code, Exit::NotFound.code());
    let (code, _, err) = on_fixture("get", "image_f32.h5", &[ids[0], "--npy", "/no/such/folder/x.npy"]);
    assert_eq!(code, Exit::Failure.code());
    assert!(err.contains("cannot write /no/such/folder/x.npy"), "{err}");
}

#[test]
fn list_gives_ids_in_order() {
    let (code, out, _) = on_fixture("list", "image_f32.h5", &["--prefix", "1/", "--limit", "2"]);
    assert_eq!((code, out.as_str()), (0, "1/10010\t3\n1/10011\t4\n"));
    let (_, out, _) = on_fixture("list", "image_f32.h5", &["--prefix", "1/10011", "--json"]);
    assert_eq!(out, "{\"asset_id\":\"1/10011\",\"first_row\":26,\"rows\":4}\n");
    let (_, out, _) = on_fixture("list", "text_f16.h5", &[]);
    assert_eq!((out.lines().count(), out.lines().last()), (37, Some("räksmörgås/灯")));
    let (code, out, err) = on_fixture("list", "text_f16.h5", &["--prefix", "sofa"]);
    assert_eq!((code, out.as_str()), (Exit::NotFound.code(), ""));
    assert!(err.contains("'sofa'"));
}

#[test]
fn info_tells_what_a_file_holds() {
    let (code, out, _) = on_fixture("info", "image_f32.h5", &[]);
    assert_eq!(code, 0);
    for expected in [
        "kind               siglip_image\n",
        "views              56 (2.4 per asset)\n",
        "shuffle + gzip 4",
        "failed items       3\n",
        " 2 broken picture\n",
        "google/siglip-tiny",
    ] {
        assert!(out.contains(expected), "{expected}\nnot in\n{out}");
    }
    let (_, out, _) = on_fixture("info", "text_f16.h5", &["--json"]);
    let info: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&info["stored"], &info["chunk_rows"]), (&Value::from("float16"), &Value::Null));
    assert_eq!((&info["rows"], &info["dim"], &info["failed"]), (&37.into(), &8.into(), &0.into()));
    assert_eq!(info["provenance"]["precision"], "f32");
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let file = fixture("image_f32.h5");
    for command in [&["list"][..], &["info"], &["verify"], &["get", "0/10002"]] {
        let (read_end, write_end) = io::pipe().unwrap();
        drop(read_end);
        let (name, rest) = command.split_first().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_hyperslab"))
            .arg(name)
            .arg(&file)
            .args(rest)
            .stdout(write_end)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(output.stderr, b"", "{name}");
    }
}
