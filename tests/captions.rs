//! Captions in every format that is read, and the id map, from files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyperslab::Error;
use hyperslab::input::{
    self, Catalog, IdMap, Ids, Input, Keep, Naming, Row, Source, captions::Captions, views,
};
use hyperslab::plan::Views;
use tempfile::TempDir;

/// `text` in gzip members of `piece` bytes each.
fn gzipped(text: &[u8], piece: usize) -> Vec<u8> {
    let member = |piece: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(piece).unwrap();
        encoder.finish().unwrap()
    };
    text.chunks(piece).flat_map(member).collect()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Captions, Error> {
        input::captions::read(&self.write(name, content), Keep::Everything)
    }

    /// Ids and rows as a spool holds them, and the digest that stands for them.
    fn spooled(&self, input: &Input) -> (Vec<String>, Vec<Row>, [u8; 32]) {
        let spool = input.write_spool(&self.0.path().join("x.plan"), Some(2), Source::default()).unwrap();
        let rows = (0..spool.blocks().count()).flat_map(|block| spool.block(block).unwrap()).collect();
        let ids = input.table().iter().map(|(id, _)| id.to_owned()).collect();
        (ids, rows, spool.digest())
    }
}

const OBJECT: &str =
    "{\"b/2\": \"a chair, \\\"red\\\"\",\n \"a\": \"two\\nlines\", \"c\": \"椅子\", \"d\": \" \"}";
const LINES: &str = "{\"asset_id\": \"b/2\", \"caption\": \"a chair, \\\"red\\\"\", \"score\": 0.5}\n\n\
    {\"caption\": \"two\\nlines\", \"asset_id\": \"a\"}\r\n\
    {\"asset_id\": \"c\", \"caption\": \"椅子\"}\n{\"asset_id\": \"d\", \"caption\": \" \"}";
const PAIRS: &str =
    "[\"b/2\", \"a chair, \\\"red\\\"\"]\n[\"a\", \"two\\nlines\"]\n[\"c\", \"椅子\"]\n[\"d\", \" \"]\n";
const CSV: &str = "b/2,\"a chair, \"\"red\"\"\"\na,\"two\nlines\"\nc,椅子\n\nd, ";

#[test]
fn every_format_holds_the_same_captions() {
    let folder = Folder::new();
    let digest = |name: &str, content: &[u8]| {
        let read = folder.read(name, content).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((read.empty.count, read.empty.first), (1, vec!["d".to_owned()]), "{name}");
        let spooled = folder.spooled(&Input::text(read.catalog, None).unwrap());
        assert_eq!(spooled.0, ["a", "b/2", "c", "d"], "{name}");
        let rows = ["two\nlines", "a chair, \"red\"", "椅子", " "].map(|row| Row::Caption(row.to_owned()));
        assert_eq!(spooled.1, rows, "{name}");
        spooled.2
    };
    let expected = digest("x.json", OBJECT.as_bytes());
    let uid = LINES.replace("asset_id", "uid").replace("caption", "text");
    let with_marks = ["\u{feff}", CSV].concat();
    let header = ["UID,caption\n", CSV].concat();
    for (name, text) in [
        ("object.json", OBJECT),
        ("lines.jsonl", LINES),
        ("uid.ndjson", &uid),
        ("pairs.jsonl", PAIRS),
        ("cap3d.csv", CSV),
        ("marks.csv", &with_marks),
        ("header.csv", &header),
    ] {
        assert_eq!(digest(name, text.as_bytes()), expected, "{name}");
        assert_eq!(digest("unnamed", text.as_bytes()), expected, "{name} without its name");
        let one = gzipped(text.as_bytes(), usize::MAX);
        let many = gzipped(text.as_bytes(), 7);
        assert_eq!(digest(&format!("{name}.gz"), &one), expected, "{name}.gz");
        assert_eq!(digest(name, &many), expected, "{name}, gzipped in many members");
        assert_eq!(digest("unnamed", &many), expected, "{name}, gzipped, without its name");
    }
}

#[test]
fn rows_of_csv_that_are_no_header() {
    let folder = Folder::new();
    for text in [
        "0/10002,text\na,x\n",
        "ed51a51909ee46c780db3a85e821feb2,caption\na,x\n",
        "name,a caption\na,x\n",
        "a,x\nname,caption\n",
    ] {
        let read = folder.read("x.csv", text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(Input::text(read.catalog, None).unwrap().table().iter().count(), 2, "{text}");
    }
}

#[test]
fn csv_with_windows_line_ends() {
    let read = Folder::new().read("x.csv", "a,x\r\nb,\"y\r\nz\"\r\n").unwrap();
    let input = Input::text(read.catalog, None).unwrap();
    let rows = Folder::new().spooled(&input).1;
    assert_eq!(rows, ["x", "y\r\nz"].map(|row| Row::Caption(row.to_owned())));
}

#[test]
fn what_is_malformed_is_named_by_its_line() {
    let folder = Folder::new();
    for (name, text, place, what) in [
        ("x.json", "{\"a\": \"x\",\n \"b\": \"\\ud800\"}", "line 2, column", "the caption of 'b': "),
        ("x.json", "{\"id\": \"a\"}\n{\"id\": \"b\"}", "line 2, column 1", ".jsonl"),
        (
            "x.jsonl",
            "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"b\", \"txt\": \"y\"}",
            "line 2",
            "no 'text' of 'b'",
        ),
        (
            "x.jsonl",
            "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"b\", \"text\": 5}",
            "line 2",
            "'text' of 'b' is a number",
        ),
        ("x.jsonl", "{\"name\": \"a\", \"words\": \"x\"}", "line 1", "found the keys name, words"),
        ("x.jsonl", "[\"a\", \"x\"]\n\n[\"b\"]", "line 3", "an array of 1"),
        ("x.jsonl", "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"b\",", "line 2", "column 11: EOF"),
        ("x.jsonl", "{\"id\": \"\", \"text\": \"x\"}", "line 1", "an asset id is empty"),
        ("x.jsonl", "{\"id\": \"a\", \"text\": \"\\ud800\"}", "line 1", "hex escape"),
        ("x.csv", "a,x\nb,y,z\n", "line 2", "3 columns instead of 2, beginning with 'b'"),
        ("x.csv", "a,x\r\n\r\nb,\"y\r\nz\"\r\nc\r\n", "line 5", "1 column instead of 2, beginning with 'c'"),
        ("x.csv", "a,x\nb,\"y\nc,z\n", "line 2", "never closed"),
        ("x.csv", "a,x\nb,\"y", "line 2", "never closed"),
        ("x.csv", "a,x\n,y\n", "line 2", "an asset id is empty"),
        ("x.csv", "caption,uid\nx,a\n", "line 1", "the wrong way round"),
        ("x.csv", "name,caption\na,x\n", "line 1", "'name,caption', looks like a header"),
        ("x.csv", "sha256, Caption \r\na,x\n", "line 1", "asset_id or uid or id"),
        ("x.csv", "\nUID,english_caption\na,x\n", "line 2", "caption or text or captions"),
        ("x.csv", "caption,filename\nx,a\n", "line 1", "delete it, or name the columns"),
        ("x.csv", "a,x\n\0,\0\nb,y\n", "line 2", "holds a NUL"),
    ] {
        let error = folder.read(name, text).expect_err(text).to_string();
        assert!(error.contains(name) && error.contains(place) && error.contains(what), "{text}\n{error}");
    }
    let error = folder.read("x.csv", b"a,x\nb,\xff\n").unwrap_err().message;
    assert!(error.contains("line 2: the caption of 'b' is not UTF-8"), "{error}");
}

#[test]
fn damaged_gzip_data_are_named() {
    let folder = Folder::new();
    for (name, text) in [("x.json.gz", OBJECT), ("x.jsonl.gz", LINES), ("x.csv.gz", CSV)] {
        let whole = gzipped(text.as_bytes(), usize::MAX);
        for cut in [whole.len() / 2, whole.len() - 1] {
            let error = folder.read(name, &whole[..cut]).unwrap_err().message;
            assert!(error.contains(name) && error.contains("gzip data end too early"), "{error}");
        }
        let mut flipped = whole.clone();
        *flipped.iter_mut().nth_back(5).unwrap() ^= 1;
        let error = folder.read(name, &flipped).unwrap_err().message;
        assert!(error.contains(name) && error.contains("gzip data are damaged"), "{error}");
    }
}

#[test]
fn what_is_no_plain_file_is_refused_and_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, what) in
        [(pipe.as_path(), "a pipe"), (folder.0.path(), "a folder"), (Path::new("/dev/null"), "a device")]
    {
        let error = input::captions::read(path, Keep::Counts).unwrap_err();
        assert!(error.message.contains(what) && error.to_string().contains("write it to a file"), "{error}");
        assert!(IdMap::read(path).unwrap_err().message.contains(what));
    }
}

/// What a map says: `b` twice the same, `e` by itself, one uid of two indices, one index of two uids.
const MAP: &str = r#"{"0/1": "000-001/ua.glb", "0/2": "000-002/ub.glb", "0/2": "000-002/ub.glb", "1/5": "ue",
    "7/1": "000-007/twice.glb", "7/2": "000-007/twice.glb", "8/1": "x/one.glb", "8/1": "x/other.glb"}"#;

fn map(folder: &Folder) -> PathBuf {
    folder.write("map.json", MAP)
}

#[test]
fn a_map_translates_either_id_into_either() {
    let folder = Folder::new();
    let map = IdMap::read(&map(&folder)).unwrap();
    for name in ["0/1", "ua", "000-001/ua.glb", "elsewhere/ua.glb"] {
        assert_eq!(map.translate(name, Ids::Index).unwrap(), Some("0/1"), "{name}");
        assert_eq!(map.translate(name, Ids::Uid).unwrap(), Some("ua"), "{name}");
        assert_eq!(map.names(name), ["0/1", "ua"], "{name}");
    }
    assert_eq!(map.translate("ub", Ids::Index).unwrap(), Some("0/2"));
    assert_eq!(map.translate("1/5", Ids::Uid).unwrap(), Some("ue"));
    for unknown in ["", "1", "0/", "0/3", "000-001/ua", "ua.glb.glb", "zz"] {
        assert_eq!(map.translate(unknown, Ids::Index).unwrap(), None, "{unknown}");
    }
    assert_eq!(map.translate("7/1", Ids::Uid).unwrap(), Some("twice"));
    assert_eq!(map.translate("8/1", Ids::Index).unwrap(), Some("8/1"));
    for (id, wanted, said) in
        [("twice", Ids::Index, "'7/1' and '7/2'"), ("8/1", Ids::Uid, "'one' and 'other'")]
    {
        let error = map.translate(id, wanted).unwrap_err().message;
        assert!(error.contains(said) && error.contains(&format!("'{id}'")), "{error}");
    }
    let gz = folder.write("map.json.gz", gzipped(MAP.as_bytes(), 20));
    assert_eq!(IdMap::read(&gz).unwrap().translate("ua", Ids::Index).unwrap(), Some("0/1"));
}

#[test]
fn a_broken_map_is_named_by_its_line() {
    let folder = Folder::new();
    for (text, place, what) in [
        ("{\"0/1\": \"x\",\n \"0/2\": 5}", "line 2, column 10", "integer `5`"),
        ("[]", "line 1, column", "indices and paths"),
        ("{\"0/1\": \"x\"", "line 1, column 11", "EOF"),
    ] {
        let error = IdMap::read(&folder.write("map.json", text)).unwrap_err().to_string();
        assert!(error.contains("id map '") && error.contains(place) && error.contains(what), "{error}");
    }
}

/// Views of 0/2 (2 of them), 0/1, and of two assets that the map does not name.
fn listed(folder: &Folder) -> Catalog {
    list(folder, "0/2/1.png\t1\n0/2/0.png\t2\n0/1/7.png\t3\n0/9/7.png\t4\nz/7.png\t5\n")
}

fn list(folder: &Folder, lines: &str) -> Catalog {
    let rule = views::Rule::new(views::Layout::default(), &[]).unwrap();
    let path = folder.write("views.tsv", lines);
    views::read_list(&path, 1, Keep::Everything, &rule).unwrap().1.catalog
}

#[test]
fn the_map_restricts_views_alone_and_renames_both() {
    let folder = Folder::new();
    let path = map(&folder);
    let captions = r#"{"ub": "B", "zz": "Z", "000-001/ua.glb": "A"}"#;
    for (ids, text_ids, image_ids) in
        [(Ids::Index, ["0/1", "0/2", "zz"], ["0/1", "0/2"]), (Ids::Uid, ["ua", "ub", "zz"], ["ua", "ub"])]
    {
        let naming = Naming::read(Some(&path), ids).unwrap();
        let (named, unnamed) = naming.captions(folder.read("x.json", captions).unwrap().catalog).unwrap();
        assert_eq!(unnamed.first, ["zz"]);
        let (ids, rows, _) = folder.spooled(&Input::text(named, None).unwrap());
        assert_eq!(ids, text_ids);
        assert_eq!(rows, ["A", "B", "Z"].map(|caption| Row::Caption(caption.to_owned())));

        let named = naming.views(listed(&folder)).unwrap();
        assert_eq!(
            (named.left_out().count, &named.left_out().first[..]),
            (2, &["0/9".to_owned(), "z".to_owned()][..])
        );
        let input = Input::image(named, Views::All, None).unwrap();
        assert_eq!(input.table().iter().collect::<Vec<_>>(), [(image_ids[0], 1), (image_ids[1], 2)]);
        let paths = ["0/1/7.png", "0/2/0.png", "0/2/1.png"];
        let found = folder.spooled(&input).1;
        assert!(found.iter().zip(paths).all(|(row, path)| format!("{row:?}").contains(path)), "{found:?}");
        assert_eq!(found.len(), paths.len());
    }
}

#[test]
fn ids_are_sorted_as_they_are_stored_and_cut_after_filtering() {
    let folder = Folder::new();
    let path = folder.write("map.json", r#"{"0/1": "z.glb", "0/2": "y.glb", "z": "x.glb"}"#);
    let naming = Naming::read(Some(&path), Ids::Uid).unwrap();
    let named = || naming.views(listed(&folder)).unwrap_err();
    // 'z' is the index of one and the uid of another, and there are views of it.
    assert!(named().message.contains("two things of 'z'"), "{}", named());
    let path = folder.write("map.json", r#"{"0/1": "z1.glb", "0/2": "y.glb", "0/9": "zz.glb"}"#);
    let naming = Naming::read(Some(&path), Ids::Uid).unwrap();
    let first = |max| {
        let input = Input::image(naming.views(listed(&folder)).unwrap(), Views::All, Some(max)).unwrap();
        input.table().iter().map(|(id, rows)| (id.to_owned(), rows)).collect::<Vec<_>>()
    };
    assert_eq!(first(2), [("y".to_owned(), 2), ("z1".to_owned(), 1)]);
    assert_eq!(first(9).len(), 3);
    let text = naming.captions(folder.read("x.csv", "b,B\n0/2,C\na,A\n").unwrap().catalog).unwrap().0;
    let text = Input::text(text, Some(2)).unwrap();
    assert_eq!(text.table().iter().map(|(id, _)| id).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_would_become_one_row_is_refused_by_name() {
    let folder = Folder::new();
    let naming = |ids| Naming::read(Some(&map(&folder)), ids).unwrap();
    let captions = |text: &str| folder.read("x.json", text).unwrap().catalog;
    let error = naming(Ids::Uid).captions(captions(r#"{"0/1": "x", "ua": "y"}"#)).unwrap_err();
    assert!(error.message.contains("the captions' ids: '0/1' and 'ua' are both the asset 'ua'"), "{error}");
    let error = naming(Ids::Index).captions(captions(r#"{"twice": "x"}"#)).unwrap_err();
    assert!(error.message.contains("two things of 'twice'"), "{error}");
    let twins = || list(&folder, "7/1/0.png\t1\n7/2/0.png\t1\n");
    let error = naming(Ids::Uid).views(twins()).unwrap_err();
    assert!(error.message.contains("'7/1' and '7/2' are both the asset 'twice'"), "{error}");
    assert_eq!(naming(Ids::Index).views(twins()).unwrap().len(), 2);
    // Two captions of one id are told as they are without a map.
    let (named, _) = naming(Ids::Index).captions(captions(r#"{"ua": "x", "ua": "y"}"#)).unwrap();
    assert_eq!(Input::text(named, None).unwrap().duplicates().first, ["0/1"]);
}
