//! Archives that are damaged, or change after they were planned.

use std::fs;

use hyperslab::input::ViewReader;
use hyperslab::input::views::Rule;

use super::{Root, read, rows};

/// What is left of an archive cut to `len` bytes gives its views' own contents or failures, and what is
/// missing is told.
fn check_cut(root: &Root, archive: &str, whole: &[u8], views: usize, len: usize) {
    fs::write(root.path().join(archive), &whole[..len]).unwrap();
    let (found, odd) = root.find(&Rule::default());
    let mut good = 0;
    for (path, read) in found.values().flatten() {
        match read {
            Ok(content) => {
                assert!(path.ends_with(content.as_str()), "{path}: {content}");
                good += 1;
            }
            Err(why) => assert!(why.starts_with("unreadable file: "), "{why}"),
        }
    }
    let is_told = !odd.alarms().is_empty();
    assert!(good == views || is_told, "{archive} cut at {len}: {good} views, and nothing said");
    let fails = found.values().flatten().any(|(_, read)| read.is_err());
    assert!(fails || good == views || odd.without_end.count == 1, "{archive} cut at {len}: no view fails");
}

#[test]
fn archives_cut_anywhere_keep_what_is_whole_and_tell_the_rest() {
    let names = ["x/000.png", "x/001.png", "x/001.json", "x/002_depth.png", "x/003.png"];
    for (kind, archive) in [("gnu", "x.tar"), ("pax", "x.tar"), ("stored", "x.zip"), ("streamed", "x.zip")] {
        let root = Root::new();
        root.archive(kind, archive, &names);
        let whole = fs::read(root.path().join(archive)).unwrap();
        // A tar is padded with zeros to 10 KiB.
        let content = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let step = if archive == "x.tar" { 67 } else { 11 };
        for len in (0..content).step_by(step) {
            check_cut(&root, archive, &whole, 3, len);
        }
        check_cut(&root, archive, &whole, 3, whole.len());
    }
}

#[test]
fn archives_with_any_byte_flipped_never_panic() {
    for (kind, archive) in [("gnu", "x.tar"), ("pax", "x.tar"), ("deflated", "x.zip"), ("zip64", "x.zip")] {
        let root = Root::new();
        root.archive(kind, archive, &["x/000.png", "x/001.png"]);
        let whole = fs::read(root.path().join(archive)).unwrap();
        let content = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in (0..content).step_by(if archive == "x.tar" { 31 } else { 1 }) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(root.path().join(archive), &bytes).unwrap();
            // Duplicates and odd ids are errors; anything else is read or fails as an item.
            let Ok(spool) = root.list(&Rule::default(), 1).and_then(|listing| root.spool(listing)) else {
                continue;
            };
            let reader = ViewReader::new(root.path());
            for view in rows(&spool) {
                let _ = reader.read(&view);
            }
        }
    }
}

#[test]
fn a_nested_zip_that_is_cut_fails_alone() {
    let (inner, root) = (Root::new(), Root::new());
    inner.archive("stored", "imgs/good.zip", &["000.png"]).archive("stored", "imgs/cut.zip", &["000.png"]);
    let cut = fs::read(inner.path().join("imgs/cut.zip")).unwrap();
    fs::write(inner.path().join("imgs/cut.zip"), &cut[..cut.len() - 30]).unwrap();
    fs::write(inner.path().join("imgs/empty.zip"), "").unwrap();
    for outer in ["stored", "deflated"] {
        root.archive_of(outer, "outer.zip", &inner.path());
        let (found, odd) = root.find(&Rule::default());
        assert!(found["good"][0].1.is_ok());
        for broken in ["cut", "empty"] {
            assert!(found[broken][0].1.as_ref().unwrap_err().contains("central directory"), "{found:?}");
        }
        assert_eq!(odd.broken_archives.count, 2);
        assert!(odd.broken_archives.first[0].starts_with("outer.zip/imgs/cut.zip ("), "{odd:?}");
    }
}

#[test]
fn what_is_no_archive_says_what_it_seems_to_be() {
    let root = Root::new();
    root.write("0/gz.tar", b"\x1f\x8b\x08\0 compressed")
        .write("0/text.zip", b"text")
        .write("0/zero.tar", b"");
    let (found, odd) = root.find(&Rule::default());
    let why = |id: &str| found[id][0].1.clone().unwrap_err();
    assert!(why("0/gz").contains("gzip"), "{}", why("0/gz"));
    assert!(why("0/zero").contains("empty"), "{}", why("0/zero"));
    assert!(why("0/text").contains("central directory"), "{}", why("0/text"));
    assert_eq!(odd.broken_archives.count, 3);
}

#[test]
fn an_archive_that_changed_after_planning_is_found_when_it_is_read() {
    for (kind, archive) in [("gnu", "x.tar"), ("stored", "x.zip"), ("deflated", "x.zip")] {
        let root = Root::new();
        root.archive(kind, archive, &["x/000.png", "x/001.png"]);
        let spool = root.spool(root.list(&Rule::default(), 1).unwrap()).unwrap();
        let (views, path) = (rows(&spool), root.path().join(archive));
        let first = |what: &str| {
            let why = read(&ViewReader::new(root.path()), &views[0]).unwrap_err();
            assert!(why.contains(what), "{kind}: {why}");
        };
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        first("when the plan was made");
        // Of the same length, with other members: a tar's tells by its header, a zip's by its content.
        root.archive(kind, archive, &["x/00a.png", "x/00b.png"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
        first("unreadable file: ");
        fs::remove_file(&path).unwrap();
        first("No such file");
        fs::write(&path, &whole).unwrap();
        assert_eq!(read(&ViewReader::new(root.path()), &views[0]).unwrap(), "x/000.png");
    }
}

#[test]
fn threads_share_open_archives() {
    let root = Root::new();
    for asset in 0..80 {
        let names = [0, 1, 2].map(|view| format!("{asset}/{view:03}.png"));
        root.write(&format!("keep/{asset}"), b"");
        if asset < 8 {
            root.archive("gnu", &format!("{asset}.tar"), &names.each_ref().map(String::as_str));
        } else {
            let from = root.path().join(format!("{}.tar", asset % 8));
            fs::create_dir_all(root.path().join("more")).unwrap();
            fs::copy(from, root.path().join(format!("more/{asset}.tar"))).unwrap();
        }
    }
    let rule = super::rule(hyperslab::input::views::Layout::Assets);
    let spool = root.spool(root.list(&rule, 2).unwrap()).unwrap();
    let (views, reader) = (rows(&spool), ViewReader::new(root.path()));
    assert_eq!(views.len(), 240);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (views, reader) = (&views, &reader);
            scope.spawn(move || {
                for view in views.iter().cycle().skip(thread * 3).take(240) {
                    assert!(view.path.ends_with(&read(reader, view).unwrap()));
                }
            });
        }
    });
}
