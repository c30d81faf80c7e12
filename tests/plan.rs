//! Input and plan, from files: captions, walks, lists, spools.

use std::fs;
use std::path::Path;

use hyperslab::input::{
    self, Catalog, FileStamp, Input, Keep, Row, Source, Spool, SpoolHeader, SpoolWriter, View, views,
    write_spool,
};
use hyperslab::plan::{Kind, RowGroup, Table, Views};
use hyperslab::{Error, Exit};

fn captions(text: &[u8]) -> Result<input::captions::Captions, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("captions.json");
    fs::write(&path, text).unwrap();
    input::captions::read(&path, Keep::Everything)
}

fn ids(table: &Table) -> Vec<(&str, u32)> {
    table.iter().collect()
}

/// Every row of a spool.
fn rows(spool: &Spool) -> Vec<Row> {
    (0..spool.blocks().count()).flat_map(|block| spool.block(block).unwrap()).collect()
}

fn write(root: &Path, path: &str, bytes: usize) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![b'x'; bytes]).unwrap();
}

/// A walk over `root` in `parts` parts, each sent as bytes as between ranks.
fn walk(root: &Path, parts: usize, keep: Keep) -> Result<views::Listing, Error> {
    let rule = views::Rule::default();
    let (parts, mut listing) = views::split(root, parts, keep, &rule)?;
    for part in parts {
        let part = views::Part::from_bytes(&part.to_bytes())?;
        let found = views::walk(root, &part, keep, &rule)?;
        listing.merge(views::Listing::from_bytes(&found.to_bytes()?)?);
    }
    Ok(listing)
}

fn read_list(path: &Path) -> Result<views::Listing, Error> {
    views::read_list(path, 1, Keep::Everything, &views::Rule::default()).map(|(_, listing)| listing)
}

#[test]
fn captions_are_sorted_and_kept_as_they_are() {
    let text = "\u{feff}{\"b/2\": \"a chair\", \"a\": \"椅子 \\u00e9\\n\", \"c\": \" \\t\", \"d\": \"\"}";
    let read = captions(text.as_bytes()).unwrap();
    assert_eq!((read.empty.count, read.empty.first), (2, vec!["c".to_owned(), "d".to_owned()]));
    let input = Input::text(read.catalog, Some(3)).unwrap();
    assert_eq!(ids(input.table()), [("a", 1), ("b/2", 1), ("c", 1)]);
    let folder = tempfile::tempdir().unwrap();
    let spool = input.write_spool(&folder.path().join("x.plan"), Some(2), Source::default()).unwrap();
    let expected = ["椅子 é\n", "a chair", " \t"].map(|caption| Row::Caption(caption.to_owned()));
    assert_eq!(rows(&spool), expected);
    assert_eq!(spool.blocks().count(), 2);
}

#[test]
fn broken_captions_are_named_by_file_line_and_column() {
    for (text, place, what) in [
        ("{\"a\": \"x\",\n \"b\" \"y\"}", "line 2, column 6", "expected `:`"),
        ("{\"a\": \"x\",\n \"b\": 5}", "line 2, column 8", "the caption of 'b': invalid type: integer `5`"),
        ("{\"a\": null}", "line 1, column 10", "the caption of 'a'"),
        ("{\"a\": \"x\"", "line 1, column 9", "EOF while parsing an object"),
        ("{\"a\": \"x", "line 1, column 8", "EOF while parsing a string"),
        ("[1]", "line 1, column 1", "expected an object of asset ids and captions"),
        ("", "line 1, column 0", "EOF"),
        ("{} x", "line 1, column 4", "trailing characters"),
        ("{\"\": \"x\"}", "line 1, column", "an asset id is empty"),
        ("{\"a\\u0000b\": \"x\"}", "line 1, column", "asset id 'a\\0b' holds a NUL"),
    ] {
        let error = captions(text.as_bytes()).unwrap_err();
        assert!(error.message.contains("captions.json"), "{error}");
        let named = error.message.contains(place) && error.message.contains(what);
        assert!(named, "{text}: {error}");
        assert_eq!(error.exit, Exit::Failure);
    }
    let long = format!("{{\"{}\": \"x\"}}", "n".repeat(256));
    assert!(captions(long.as_bytes()).unwrap_err().message.contains("256 bytes"));
    assert!(captions(b"{\"a\": \"\xff\"}").unwrap_err().message.contains("line 1"));
    let missing = input::captions::read(Path::new("/no/such.json"), Keep::Counts).unwrap_err();
    assert!(missing.message.contains("/no/such.json"), "{missing}");
}

#[test]
fn an_id_with_two_captions_is_refused_by_name() {
    let input = Input::text(captions(br#"{"a": "x", "b": "y", "a": "z"}"#).unwrap().catalog, None).unwrap();
    assert_eq!(input.duplicates().first, ["a"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.plan");
    let error = input.write_spool(&path, None, Source::default()).unwrap_err();
    assert!(error.message.contains("'a'"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_walk_finds_the_same_whatever_the_parts_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for asset in 0..40 {
        for view in 0..=asset % 4 {
            write(root, &format!("{}/{asset}/{view:03}.png", asset % 3), 10 + view);
        }
    }
    write(root, "x/y/z/04.JpEg", 5);
    write(root, "x/y/7.webp", 6);
    write(root, "x/y/notes.txt", 7);
    write(root, "x/y/.hidden.png", 7);
    write(root, ".cache/a/1.png", 7);
    write(root, "stray.png", 7);
    fs::create_dir_all(root.join("empty/leaf")).unwrap();
    let whole = Input::image(walk(root, 1, Keep::Everything).unwrap().catalog, Views::All, None).unwrap();
    assert_eq!(whole.table().len(), 42);
    assert_eq!(whole.table().find("x/y").map(|i| whole.table().count(i)), Some(1));
    let spool = whole.write_spool(&root.join("whole.plan"), Some(4), Source::default()).unwrap();
    let expected = rows(&spool);
    assert!(expected.contains(&Row::View(View::file("x/y/z/04.JpEg", 5))));
    for parts in [2, 3, 7, 100] {
        let listing = walk(root, parts, Keep::Everything).unwrap();
        assert_eq!(listing.odd.without_pictures.first, ["empty/leaf"]);
        assert_eq!(listing.odd.outside_assets.first, ["stray.png"]);
        assert_eq!((listing.odd.ignored.all().count, listing.odd.hidden), (2, 2), "whole.plan and notes.txt");
        let input = Input::image(listing.catalog, Views::All, None).unwrap();
        let again = input.write_spool(&root.join("whole.plan"), Some(4), Source::default()).unwrap();
        assert_eq!(again.digest(), spool.digest());
        assert_eq!(rows(&again), expected);
    }
    let counts = Input::image(walk(root, 2, Keep::Counts).unwrap().catalog, Views::All, None).unwrap();
    assert_eq!(counts.table(), whole.table());
}

#[test]
fn links_are_followed_and_loops_are_not() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (folder.path().join("root"), folder.path().join("other"));
    write(&root, "a/1.png", 3);
    write(&other, "b/1.png", 4);
    symlink(&other, root.join("linked")).unwrap();
    symlink(&root, root.join("a/up")).unwrap();
    symlink(root.join("a/1.png"), root.join("a/2.png")).unwrap();
    symlink(&root, other.join("back")).unwrap();
    symlink("nowhere", root.join("a/3.png")).unwrap();
    let listing = walk(&root, 3, Keep::Everything).unwrap();
    assert_eq!(listing.odd.loops.first, ["a/up", "linked/back"]);
    let input = Input::image(listing.catalog, Views::All, None).unwrap();
    assert_eq!(ids(input.table()), [("a", 3), ("linked/b", 1)]);
}

#[test]
fn a_name_that_is_not_utf8_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::create_dir(folder.path().join(name)).unwrap();
    let error = walk(folder.path(), 1, Keep::Counts).unwrap_err();
    assert!(error.message.contains("caf\u{fffd}") && error.message.contains("UTF-8"), "{error}");
    let error = walk(Path::new("/no/such/root"), 1, Keep::Counts).unwrap_err();
    assert!(error.message.contains("/no/such/root"), "{error}");
}

#[test]
fn a_list_in_any_order_equals_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let mut lines = Vec::new();
    for asset in 0..30 {
        for view in 0..5 {
            let path = format!("{}/{asset}/{view}.png", asset % 2);
            write(&root, &path, asset + view);
            lines.push(format!("{path}\t{}\n", asset + view));
        }
    }
    lines.push("0/0/readme.md\t3\n".to_owned());
    lines.push("\n".to_owned());
    let walked = Input::image(walk(&root, 2, Keep::Everything).unwrap().catalog, Views::Evenly(3), Some(20));
    let spool = folder.path().join("x.plan");
    let digest = walked.unwrap().write_spool(&spool, None, Source::default()).unwrap().digest();
    let list = folder.path().join("list.tsv");
    for stride in [1, 7, 61] {
        let shuffled = (0..lines.len()).map(|i| lines[i * stride % lines.len()].as_str());
        fs::write(&list, shuffled.collect::<String>()).unwrap();
        let listing = read_list(&list).unwrap();
        assert_eq!(listing.odd.ignored.all().first, ["0/0/readme.md"]);
        let input = Input::image(listing.catalog, Views::Evenly(3), Some(20)).unwrap();
        assert_eq!((input.table().len(), input.rows()), (20, 60));
        let again = input.write_spool(&spool, None, Source::default()).unwrap();
        assert_eq!(again.digest(), digest);
    }
}

#[test]
fn a_bad_list_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.tsv");
    let read = |text: &[u8]| {
        fs::write(&list, text).unwrap();
        read_list(&list)
    };
    for (text, what) in [
        (&b"a/1.png\t5\na/2.png\tbig\n"[..], "line 2: 'big' after the last tab"),
        (b"a/1.png\n/abs/1.png\n", "line 2: '/abs' is not a plain path"),
        (b"a/../b/1.png\n", "line 1: 'a/../b' is not a plain path"),
        (b"a/\xff.png\n", "line 1: "),
        (b"a/1.png\na/1.png\nb/1.png\n", "the view 'a/1.png' comes twice"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains("list.tsv") && error.message.contains(what), "{error}");
    }
    let apart = read(b"a/1.png\nb/1.png\na/1.png\n").unwrap();
    let input = Input::image(apart.catalog, Views::All, None).unwrap();
    let error = input.write_spool(&folder.path().join("x.plan"), None, Source::default()).unwrap_err();
    assert!(error.message.contains("'a/1.png' is listed twice"), "{error}");
    let plain = read(b"\xef\xbb\xbf./a/1.png\r\na/2.PNG").unwrap();
    assert_eq!(ids(Input::image(plain.catalog, Views::All, None).unwrap().table()), [("a", 2)]);
}

/// A small spool of each kind, and one of two groups.
fn spools(folder: &Path) -> Vec<Spool> {
    let text = captions(br#"{"a": "one", "b": "", "c/d": "three"}"#).unwrap().catalog;
    let text = Input::text(text, None).unwrap();
    let stamp = FileStamp::of(Path::new("/proc/self/exe")).unwrap();
    let source = Source { captions: [(String::new(), stamp)].into(), ..Source::default() };
    let list = folder.join("list.tsv");
    fs::write(&list, "a/1.png\t5\na/2.png\t300\nb/c/1.png\t7\nb/c/22.png\t70000\nb/c/3.png\t1\n").unwrap();
    let image = read_list(&list).unwrap().catalog;
    let sets = Input::view_sets(image.clone(), Views::Evenly(2), None).unwrap();
    let image = Input::image(image, Views::All, None).unwrap();
    let groups = [r#"{"a": "one", "b": "two", "c": "three"}"#, "{}", r#"{"b": "二", "d": "四"}"#];
    let groups: Vec<Input> = groups
        .into_iter()
        .zip(["english", "french", "chinese"])
        .map(|(text, name)| {
            Input::text(captions(text.as_bytes()).unwrap().catalog, None).unwrap().named(name)
        })
        .collect();
    vec![
        text.write_spool(&folder.join("text.plan"), Some(2), source).unwrap(),
        image.write_spool(&folder.join("image.plan"), Some(2), Source::default()).unwrap(),
        sets.write_spool(&folder.join("sets.plan"), Some(2), Source::default()).unwrap(),
        write_spool(&folder.join("groups.plan"), &groups, Some(2), Source::default()).unwrap(),
    ]
}

#[test]
fn a_spool_gives_back_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let spools = spools(folder.path());
    let [text, image, sets, groups] = &spools[..] else { panic!("four spools") };
    for spool in &spools {
        spool.verify().unwrap();
        let tables = spool.tables().unwrap();
        let rows = tables.iter().map(|table| spool.header().kind.rows(table)).sum::<u64>();
        assert_eq!(rows, spool.blocks().rows());
        assert!(spool.block(spool.blocks().count()).is_err());
    }
    assert_eq!(rows(text), ["one", "", "three"].map(|caption| Row::Caption(caption.to_owned())));
    assert_eq!(text.header().kind, Kind::Text);
    assert!(text.header().source.captions.contains_key(""));
    assert_eq!(image.block(1).unwrap()[1], Row::View(View::file("b/c/22.png", 70000)));
    let set = |views: &[(&str, u64)]| {
        Row::ViewSet(views.iter().map(|(path, bytes)| View::file(*path, *bytes)).collect())
    };
    // Of 1, 22 and 3, in order of name, the first and the last are taken.
    let expected = [set(&[("a/1.png", 5), ("a/2.png", 300)]), set(&[("b/c/1.png", 7), ("b/c/3.png", 1)])];
    assert_eq!(rows(sets), expected);
    assert_eq!(ids(&sets.tables().unwrap()[0]), [("a", 2), ("b/c", 2)]);
    let names: Vec<_> =
        groups.header().groups.iter().map(|group| (group.name.as_str(), group.rows)).collect();
    assert_eq!(names, [("english", 3), ("chinese", 2)], "a group without rows has no place");
    let captions = |block| groups.block(block).unwrap();
    let expected = [&["one", "two"][..], &["three"], &["二", "四"]];
    for (block, expected) in expected.into_iter().enumerate() {
        let expected: Vec<_> = expected.iter().map(|text| Row::Caption((*text).to_owned())).collect();
        assert_eq!(captions(block as u64), expected, "no block spans groups");
    }
    assert_eq!(groups.blocks().count(), 3);
    assert_eq!(ids(&groups.tables().unwrap()[1]), [("b", 1), ("d", 1)]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn the_digest_covers_content_and_blocks_and_not_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |text: &[u8], block_rows: u64, source: Source| {
        let input = Input::text(captions(text).unwrap().catalog, None).unwrap();
        input.write_spool(&folder.path().join("x.plan"), Some(block_rows), source).unwrap().digest()
    };
    let moved = Source { renders: Some("/elsewhere".into()), ..Source::default() };
    let base = digest(br#"{"a": "x", "b": "y"}"#, 2, Source::default());
    assert_eq!(digest(br#"{"b": "y", "a": "x"}"#, 2, moved), base);
    assert_ne!(digest(br#"{"a": "x", "b": "y"}"#, 1, Source::default()), base);
    assert_ne!(digest(br#"{"a": "x", "b": "z"}"#, 2, Source::default()), base);
    assert_ne!(digest(br#"{"a": "x", "c": "y"}"#, 2, Source::default()), base);
    assert_ne!(digest(br#"{"a": "xy", "b": ""}"#, 2, Source::default()), base);
}

#[test]
fn the_digest_covers_which_group_a_caption_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |groups: &[(&str, &[u8])]| {
        let input = |(name, text): &(&str, &[u8])| {
            Input::text(captions(text).unwrap().catalog, None).unwrap().named(name)
        };
        let groups: Vec<Input> = groups.iter().map(input).collect();
        write_spool(&folder.path().join("x.plan"), &groups, Some(2), Source::default()).unwrap().digest()
    };
    let (one, two) = (&br#"{"a": "x"}"#[..], &br#"{"b": "y"}"#[..]);
    let base = digest(&[("english", one), ("chinese", two)]);
    assert_eq!(digest(&[("english", one), ("chinese", two), ("french", b"{}")]), base);
    let others: [&[(&str, &[u8])]; 5] = [
        &[("english", one)],
        &[("chinese", one), ("english", two)],
        &[("english", two), ("chinese", one)],
        &[("english", br#"{"a": "x", "b": "y"}"#)],
        &[("", br#"{"a": "x", "b": "y"}"#)],
    ];
    for other in others {
        assert_ne!(digest(other), base);
    }
}

#[test]
fn groups_of_one_file_are_of_one_kind_and_duplicates_are_named_with_their_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.plan");
    let text = Input::text(captions(br#"{"a": "x"}"#).unwrap().catalog, None).unwrap().named("english");
    let sets = Input::view_sets(Catalog::new(Keep::Everything), Views::All, None).unwrap();
    assert!(write_spool(&path, &[text.clone(), sets], None, Source::default()).is_err());
    let twice = captions(br#"{"a": "x", "a": "y"}"#).unwrap().catalog;
    let twice = Input::text(twice, None).unwrap().named("chinese");
    let error = write_spool(&path, &[text, twice], None, Source::default()).unwrap_err();
    assert!(error.message.contains("several captions in chinese: 'a'"), "{error}");
}

/// Opens and reads everything.
fn read_all(path: &Path) -> Result<(), Error> {
    let spool = Spool::open(path)?;
    spool.tables()?;
    (0..spool.blocks().count()).try_for_each(|block| spool.block(block).map(drop))?;
    spool.verify()
}

#[test]
fn any_flipped_or_missing_byte_of_a_spool_is_found() {
    let folder = tempfile::tempdir().unwrap();
    spools(folder.path());
    let broken = folder.path().join("broken.plan");
    for name in ["text.plan", "image.plan", "sets.plan", "groups.plan"] {
        let good = fs::read(folder.path().join(name)).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&broken, &bytes).unwrap();
            assert!(read_all(&broken).is_err(), "{name}, byte {at} flipped");
            if at % 8 == 0 {
                fs::write(&broken, &good[..at]).unwrap();
                assert!(read_all(&broken).is_err(), "{name} cut at {at}");
                fs::write(&broken, [&good[..at], &[good[at]], &good[at..]].concat()).unwrap();
                assert!(read_all(&broken).is_err(), "{name} with byte {at} twice");
            }
        }
        fs::write(&broken, [&good[..], &[0]].concat()).unwrap();
        assert!(read_all(&broken).is_err(), "{name} with a byte more");
    }
}

#[test]
fn a_block_of_a_spool_damaged_after_opening_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spools = spools(folder.path());
    let path = folder.path().join("text.plan");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).rposition(|window| window == b"three").unwrap();
    bytes[at] = b'T';
    fs::write(&path, bytes).unwrap();
    assert!(spools[0].block(0).is_ok());
    let error = spools[0].block(1).unwrap_err();
    assert_eq!(error.exit, Exit::Damaged);
    assert!(error.message.contains("text.plan") && error.message.contains("block 1"), "{error}");
}

#[test]
fn a_spool_takes_the_rows_of_its_table_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.plan");
    let table = Input::text(captions(br#"{"a": "x", "b": "y"}"#).unwrap().catalog, None).unwrap();
    let header = |rows| SpoolHeader {
        kind: Kind::Text,
        block_rows: 4,
        groups: vec![RowGroup { name: String::new(), rows }],
        assets_left_out: 0,
        source: Source::default(),
    };
    assert!(SpoolWriter::create(&path, &header(3), &[table.table()]).is_err());
    let mut writer = SpoolWriter::create(&path, &header(2), &[table.table()]).unwrap();
    writer.caption("x").unwrap();
    assert!(writer.view(&View::file("a/1.png", 1)).is_err());
    assert!(writer.finish().is_err(), "a row is missing");
    let mut writer = SpoolWriter::create(&path, &header(2), &[table.table()]).unwrap();
    writer.caption("x").unwrap();
    writer.caption("y").unwrap();
    assert!(writer.caption("z").is_err(), "a row too many");
    assert_eq!(rows(&writer.finish().unwrap()).len(), 2);
    let empty = SpoolWriter::create(&path, &header(0), &[&Table::default()]).unwrap().finish().unwrap();
    assert_eq!((empty.blocks().count(), empty.tables().unwrap()[0].len()), (0, 0));
    empty.verify().unwrap();
}
