//! The views of a few assets, found without a walk where that can be.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use hyperslab::input::views::{Layout, Rule, ViewFinder};
use hyperslab::input::{Ids, Naming, View, ViewReader};
use hyperslab::plan::Views;
use tempfile::TempDir;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn tar(root: &Path, path: &str, members: &[&str]) {
    std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    let mut tar = tar::Builder::new(File::create(root.join(path)).unwrap());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(member.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, member, member.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Data sets of every kind below one root; each picture holds its own name.
fn root() -> TempDir {
    let root = TempDir::new().unwrap();
    let at = root.path();
    for view in ["00001.png", "00000.png", "00010.png", "cover.png"] {
        write(at, &format!("uid/{view}"), view);
        write(at, &format!("0/10002/{view}"), view);
    }
    for view in 0..3 {
        write(at, &format!("3/44/campos_512_v4/0000{view}/0000{view}.png"), &format!("campos {view}"));
        write(at, &format!("5/66/0000{view}/00000.png"), &format!("folder {view}"));
    }
    tar(at, "7/88.tar", &["88/00000.png", "88/00001.png"]);
    std::fs::write(at.join("9.zip"), zip(&[("9/11/00000.png", b"in 9"), ("9/12/00000.png", b"of 12")]))
        .unwrap();
    tar(at, "shards/000.tar", &["key.000.png", "key.001.png", "other.000.png"]);
    let inner = zip(&[("inner/00000.png", b"zip in zip")]);
    std::fs::write(at.join("compressed_imgs_perobj_00.zip"), zip(&[("x/inner.zip", &inner)])).unwrap();
    write(at, ".hidden/00000.png", "hidden");
    root
}

struct Looked {
    found: BTreeMap<String, Vec<String>>,
    /// For how many assets all was walked through.
    walked_for: usize,
}

fn find(finder: &ViewFinder, root: &Path, wanted: &[(&str, u64)]) -> Looked {
    let wanted = wanted.iter().map(|(id, least)| ((*id).to_owned(), *least)).collect();
    let walked = Cell::new(0);
    let found = finder.find(&wanted, |assets| walked.set(assets)).unwrap();
    let reader = ViewReader::new(root);
    let text = |view: &View| String::from_utf8(reader.read(view).unwrap()).unwrap();
    let found = found.into_iter().map(|(id, views)| (id, views.iter().map(text).collect())).collect();
    Looked { found, walked_for: walked.get() }
}

fn finder(root: &Path, layout: Layout, views: Views) -> ViewFinder {
    ViewFinder::new(root, None, Rule::new(layout, &[]).unwrap(), Naming::default(), views)
}

#[test]
fn views_are_found_where_they_usually_lie() {
    let root = root();
    let looked = find(
        &finder(root.path(), Layout::Auto, Views::All),
        root.path(),
        &[("uid", 3), ("0/10002", 3), ("3/44", 3), ("5/66", 3), ("7/88", 2), ("9/11", 1)],
    );
    assert_eq!(looked.walked_for, 0);
    let expected: [(&str, &[&str]); 6] = [
        ("0/10002", &["00000.png", "00001.png", "00010.png"]),
        ("3/44", &["campos 0", "campos 1", "campos 2"]),
        ("5/66", &["folder 0", "folder 1", "folder 2"]),
        ("7/88", &["88/00000.png", "88/00001.png"]),
        ("9/11", &["in 9"]),
        ("uid", &["00000.png", "00001.png", "00010.png"]),
    ];
    let expected =
        expected.map(|(id, views)| (id.to_owned(), views.iter().map(ToString::to_string).collect()));
    assert_eq!(looked.found, BTreeMap::from(expected));
}

#[test]
fn what_lies_elsewhere_takes_a_walk() {
    let root = root();
    let wanted =
        [("key", 2), ("inner", 1), ("uid", 3), ("nowhere", 1), (".hidden", 1), ("../uid", 1), ("/etc", 1)];
    let looked = find(&finder(root.path(), Layout::Auto, Views::All), root.path(), &wanted);
    assert_eq!(looked.walked_for, 6);
    let ids: Vec<_> = looked.found.keys().map(String::as_str).collect();
    assert_eq!(ids, ["inner", "key", "uid"]);
    assert_eq!(looked.found["key"], ["key.000.png", "key.001.png"]);
    assert_eq!(looked.found["inner"], ["zip in zip"]);
}

#[test]
fn an_asset_with_more_views_than_its_folder_has_takes_a_walk() {
    let root = root();
    tar(root.path(), "more.tar", &["uid.200.png"]);
    let looked = find(&finder(root.path(), Layout::Auto, Views::All), root.path(), &[("uid", 4)]);
    assert_eq!((looked.walked_for, looked.found["uid"].len()), (1, 4));
}

#[test]
fn views_that_are_taken_are_those_of_the_rows() {
    let root = root();
    let two = find(&finder(root.path(), Layout::Auto, Views::Evenly(2)), root.path(), &[("uid", 2)]);
    assert_eq!(two.found["uid"], ["00000.png", "00010.png"]);
    let globs = Rule::new(Layout::Auto, &["cover.*".to_owned()]).unwrap();
    let covers = ViewFinder::new(root.path(), None, globs, Naming::default(), Views::All);
    assert_eq!(find(&covers, root.path(), &[("0/10002", 1)]).found["0/10002"], ["cover.png"]);
}

#[test]
fn stored_ids_are_found_by_those_of_the_renders() {
    let root = root();
    let map = root.path().join("map.json");
    std::fs::write(&map, r#"{"3/44": "000-001/the-uid.glb"}"#).unwrap();
    let naming = Naming::read(Some(&map), Ids::Uid).unwrap();
    let finder = ViewFinder::new(root.path(), None, Rule::default(), naming, Views::All);
    let looked = find(&finder, root.path(), &[("the-uid", 3)]);
    assert_eq!((looked.walked_for, looked.found["the-uid"].len()), (0, 3));
}

#[test]
fn a_list_stands_for_the_walk() {
    let root = root();
    let list = root.path().join("views.tsv");
    std::fs::write(&list, "uid/00001.png\t9\n0/10002/00000.png\t9\nuid/00000.png\t9\n").unwrap();
    let rule = Rule::default();
    let finder = ViewFinder::new(root.path(), Some(&list), rule, Naming::default(), Views::All);
    assert_eq!(find(&finder, root.path(), &[("uid", 2)]).found["uid"], ["00000.png", "00001.png"]);
}
