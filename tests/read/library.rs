//! The crate as a library: files are made, and read again, without the program.

use hyperslab::plan::{Kind, TableBuilder};
use hyperslab::store::{Compression, NewFile, NewRow, RowWalk, StoredType, Writer};
use ndarray::{Array1, array};

use super::*;

/// Two groups of texts, in blocks of 4 rows; the third of each failed.
fn new_file(path: &Path) -> NewFile<'_> {
    let table = |ids: &[&str]| {
        let mut table = TableBuilder::default();
        for id in ids {
            table.push(id, 1).unwrap();
        }
        table.finish()
    };
    NewFile {
        path,
        overwrite: false,
        kind: Kind::Text,
        name: "qwen_text",
        groups: vec![
            ("english".to_owned(), table(&["a", "b", "c", "d", "e"])),
            ("chinese".to_owned(), table(&["b", "c", "椅子"])),
        ],
        dim: 2,
        stored: StoredType::F32,
        compression: Compression::Gzip(4),
        block_rows: Some(4),
        attributes: vec![("model_name".to_owned(), "ours".to_owned())],
        truncated: None,
    }
}

fn vector(row: usize) -> Array1<f32> {
    let angle = row as f32;
    array![angle.cos(), angle.sin()]
}

fn push(writer: &mut Writer, row: usize) -> hyperslab::Result<()> {
    let vector = vector(row);
    let failed = NewRow { failure: Some("empty caption"), ..NewRow::default() };
    let good = NewRow { vector: vector.as_slice(), ..NewRow::default() };
    writer.push(if matches!(row, 2 | 7) { &failed } else { &good })
}

#[test]
fn what_is_saved_is_found_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ours.h5");
    let mut writer = Writer::create(new_file(&path)).unwrap();
    (0..8).for_each(|row| push(&mut writer, row).unwrap());
    assert!(push(&mut writer, 8).unwrap_err().message.contains("there are 8 rows"));
    assert!(!path.exists());
    writer.finish().unwrap();
    assert!(verify(&path, |_, _| {}).unwrap().is_sound());

    let english = Reader::open(&path, Some("english")).unwrap();
    assert_eq!(english.get("b").unwrap().unwrap().row(0), vector(1));
    assert!(english.get("c").unwrap().unwrap().iter().all(|value| value.is_nan()));
    assert_eq!(english.get("x").unwrap(), None);
    assert_eq!(english.failures_of(0..5).unwrap()[0].reason, "empty caption");
    let several = english.get_each(&["e", "x", "a", "e"]).unwrap();
    let firsts: Vec<_> = several.iter().map(|found| found.as_ref().map(|rows| rows[[0, 0]])).collect();
    assert_eq!(firsts, [Some(vector(4)[0]), None, Some(vector(0)[0]), Some(vector(4)[0])]);

    let chinese = Reader::open(&path, Some("chinese")).unwrap();
    let ids: Vec<String> = chinese.iter_prefix("").unwrap().map(|asset| asset.unwrap().id).collect();
    assert_eq!(ids, ["b", "c", "椅子"]);
    let mut walk = RowWalk::new(&chinese, &path).unwrap();
    let walked: Vec<Option<f32>> =
        (0..3).map(|row| walk.row(row).unwrap().vector.map(|vector| vector[0])).collect();
    assert_eq!(walked, [Some(vector(5)[0]), Some(vector(6)[0]), None]);
    assert!(walk.row(3).is_err());
}

#[test]
fn a_file_that_is_not_finished_is_not_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ours.h5");
    let mut writer = Writer::create(new_file(&path)).unwrap();
    (0..7).for_each(|row| push(&mut writer, row).unwrap());
    assert!(writer.finish().unwrap_err().message.contains("7 of 8 rows"));
    let mut writer = Writer::create(new_file(&path)).unwrap();
    push(&mut writer, 0).unwrap();
    let long = NewRow { vector: Some(&[1.0, 0.0, 0.0]), ..NewRow::default() };
    assert!(writer.push(&long).unwrap_err().message.contains("a vector of 3, expected 2"));
    assert!(writer.push(&NewRow::default()).unwrap_err().message.contains("neither vector nor reason"));
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    fs::write(&path, "there").unwrap();
    assert!(Writer::create(new_file(&path)).err().unwrap().message.contains("there already"));
    assert_eq!(fs::read(&path).unwrap(), b"there");
}
