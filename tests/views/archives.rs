//! Archives are read in place, and give what the unpacked files give.

use std::fs;
use std::path::Path;

use hyperslab::input::views::{Layout, Rule};

use super::{Found, Root, contents, rule};

/// Ids, and how many views each has.
fn ids(found: &Found) -> Vec<(&str, usize)> {
    found.iter().map(|(id, views)| (id.as_str(), views.len())).collect()
}

#[test]
fn g_objaverse_tars_of_every_format_are_as_folders() {
    let (folders, tars) = (Root::new(), Root::new());
    for (asset, kind) in [("10002", "gnu"), ("10017", "pax"), ("10018", "ustar")] {
        let names: Vec<_> = (0..3)
            .flat_map(|view| {
                let folder = format!("{asset}/campos_512_v4/{view:05}/{view:05}");
                [format!("{folder}.png"), format!("{folder}_albedo.png"), format!("{folder}.json")]
            })
            .collect();
        for name in &names {
            folders.write(&format!("4/{name}"), name.as_bytes());
        }
        tars.archive(kind, &format!("4/{asset}.tar"), &names.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let ((folders, odd), (tars, odd_tars)) = (folders.find(&Rule::default()), tars.find(&Rule::default()));
    assert_eq!(contents(&folders), contents(&tars));
    assert_eq!(tars["4/10017"][1].0, "4/10017.tar/10017/campos_512_v4/00001/00001.png");
    assert_eq!(odd.not_taken.0["*_albedo.png"].count, odd_tars.not_taken.0["*_albedo.png"].count);
    assert!(odd_tars.alarms().is_empty(), "{:?}", odd_tars.alarms());
}

/// Two views of G-Objaverse below `lead`, and what stands beside them.
fn cameras(lead: &str) -> Vec<String> {
    let names = (0..2).flat_map(|view| {
        let view = format!("{lead}{view:05}/{view:05}");
        ["", "_albedo", "_nd"].map(|kind| format!("{view}{kind}.png"))
    });
    names.collect()
}

/// Writes the files, each with its name for content, below `folder`, and as an archive.
fn both(folders: &Root, folder: &str, archives: &Root, archive: (&str, &str), files: &[String]) {
    for file in files {
        folders.write(&format!("{folder}{file}"), file.as_bytes());
    }
    archives.archive(archive.0, archive.1, &files.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_lies_beside_an_archives_own_folder_changes_no_id() {
    let (folders, archives) = (Root::new(), Root::new());
    for (asset, stray) in [("10002", "10002.json"), ("10017", "README"), ("10018", "preview.png")] {
        let files = [cameras(&format!("{asset}/campos_512_v4/")), vec![stray.to_owned()]].concat();
        for kind in ["tar", "zip"] {
            let format = if kind == "tar" { "gnu" } else { "deflated" };
            let archive = format!("{kind}/{asset}.{kind}");
            both(&folders, &format!("{kind}/"), &archives, (format, &archive), &files);
        }
    }
    let files = ["uid/000.png", "uid/001.png", "manifest.json"].map(str::to_owned);
    both(&folders, "", &archives, ("stored", "uid.zip"), &files);
    let ((folders, _), (archives, odd)) = (folders.find(&Rule::default()), archives.find(&Rule::default()));
    assert_eq!(contents(&folders), contents(&archives));
    assert_eq!(ids(&archives).len(), 7);
    assert_eq!((archives["tar/10002"].len(), archives["uid"].len()), (2, 2));
    assert_eq!(odd.not_taken.0["preview.png"].count, 2);
}

#[test]
fn a_tar_with_cameras_is_no_shard() {
    let (folders, tars) = (Root::new(), Root::new());
    both(&folders, "0/10002/", &tars, ("gnu", "0/10002.tar"), &cameras("campos_512_v4/"));
    let tar = ("pax", "0/10017/campos_512_v4.tar");
    both(&folders, "0/10017/campos_512_v4/", &tars, tar, &cameras(""));
    // A shard remains one, in folders or not.
    let shard = ["0/10018.front.png", "0/10018.json", "x/campos.png", "b.png"];
    tars.archive("ustar", "shards/00000.tar", &shard);
    let ((folders, _), (mut tars, _)) = (folders.find(&Rule::default()), tars.find(&Rule::default()));
    assert_eq!(tars.remove("b").map(|views| views.len()), Some(1));
    assert_eq!(tars.remove("x/campos").map(|views| views.len()), Some(1));
    assert_eq!(contents(&folders), contents(&tars));
    assert_eq!(ids(&tars), [("0/10002", 2), ("0/10017", 2)]);
}

#[test]
fn long_names_of_gnu_and_pax() {
    let root = Root::new();
    let long = format!("{}/{}", "n".repeat(90), "é".repeat(60));
    let name = format!("{long}/000.png");
    root.archive("gnu", "g.tar", &[&format!("g/{name}")]).archive("pax", "p.tar", &[&format!("p/{name}")]);
    let (found, _) = root.find(&Rule::default());
    let (g, p) = (format!("g/{long}"), format!("p/{long}"));
    let (in_g, in_p) = (format!("{g}/000.png"), format!("{p}/000.png"));
    assert_eq!(contents(&found), [(g.as_str(), vec![in_g.as_str()]), (p.as_str(), vec![in_p.as_str()])]);
}

#[test]
fn cap3d_zips_of_every_form_are_as_folders() {
    let root = Root::new();
    for kind in ["stored", "deflated", "zip64", "streamed"] {
        root.archive(kind, &format!("flat-{kind}.zip"), &["000.png", "001.png", "000_depth.png", "000.json"]);
        let own = format!("own-{kind}");
        let names = [format!("{own}/000.png"), format!("{own}/001.png")];
        root.archive(kind, &format!("{own}.zip"), &names.each_ref().map(String::as_str));
    }
    let (found, odd) = root.find(&Rule::default());
    assert_eq!(found.len(), 8);
    for kind in ["stored", "deflated", "zip64", "streamed"] {
        let (flat, own) = (format!("flat-{kind}"), format!("own-{kind}"));
        let read = |id: &str| found[id].iter().map(|(_, read)| read.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(read(&flat), ["000.png", "001.png"]);
        assert_eq!(read(&own), [format!("{own}/000.png"), format!("{own}/001.png")]);
    }
    assert!(odd.alarms().is_empty(), "{:?}", odd.alarms());
    assert_eq!(odd.not_taken.0["*_depth.png"].count, 4);
}

/// Cap3D's outer zip: a zip of each asset, inside a folder of its own.
fn nested(outer: &str, archive: &str) -> Root {
    let (inner, root) = (Root::new(), Root::new());
    for (place, kind) in ["stored", "deflated", "streamed"].into_iter().enumerate() {
        let uid = format!("uid{place}");
        let names = [format!("{uid}/000.png"), format!("{uid}/001.png")];
        let names = if place == 1 { ["000.png", "001.png"] } else { names.each_ref().map(String::as_str) };
        inner.archive(kind, &format!("Cap3D_Objaverse_renderimgs/{uid}.zip"), &names);
    }
    root.archive_of(outer, archive, &inner.path());
    root
}

#[test]
fn zips_inside_a_zip_stored_and_deflated() {
    for outer in ["stored", "deflated", "zip64", "streamed"] {
        let root = nested(outer, "some/where/compressed_imgs_perobj_00.zip");
        let (found, odd) = root.find(&Rule::default());
        assert_eq!(ids(&found), [("uid0", 2), ("uid1", 2), ("uid2", 2)], "{outer}");
        assert_eq!(contents(&found)[1].1, ["000.png", "001.png"]);
        assert_eq!(contents(&found)[2].1, ["uid2/000.png", "uid2/001.png"]);
        assert!(odd.alarms().is_empty(), "{:?}", odd.alarms());
    }
}

#[test]
fn shards_group_by_key() {
    let root = Root::new();
    root.archive("ustar", "shards/00000.tar", &["a.png", "a.json", "a.depth.png", "x/b.0.png", "x/b.1.png"]);
    root.archive("ustar", "shards/00001.tar", &["a.7.png", "c.jpg", "c.txt"]);
    let (found, odd) = root.find(&Rule::default());
    assert_eq!(
        contents(&found),
        [("a", vec!["a.7.png", "a.png"]), ("c", vec!["c.jpg"]), ("x/b", vec!["x/b.0.png", "x/b.1.png"])]
    );
    assert_eq!(odd.not_taken.0["*.depth.png"].count, 1);
    let glob = Rule::new(Layout::Auto, &["*.depth.png".to_owned()]).unwrap();
    let (found, _) = root.find(&glob);
    assert_eq!(contents(&found), [("a", vec!["a.depth.png"])]);
    // As assets, a flat tar is one.
    let flat = Root::new();
    flat.archive("gnu", "p/uid.tar", &["000.png", "001.png"]);
    let (found, _) = flat.find(&rule(Layout::Assets));
    assert_eq!(ids(&found), [("p/uid", 2)]);
    let own = Root::new();
    own.archive("gnu", "k.tar", &["k/a.png", "k/b.png"]);
    assert_eq!(ids(&own.find(&rule(Layout::Shards)).0), [("k/a", 1), ("k/b", 1)]);
    assert!(own.find(&Rule::default()).0.is_empty());
}

#[test]
fn a_view_that_is_there_twice_is_an_error_with_both_names() {
    let root = Root::new();
    root.archive("gnu", "s0.tar", &["a.png"]).archive("gnu", "s1.tar", &["a.png"]);
    let error = root.spool(root.list(&Rule::default(), 1).unwrap()).unwrap_err();
    assert!(error.message.contains("'s0.tar/a.png'") && error.message.contains("'s1.tar/a.png'"), "{error}");
    let root = Root::new();
    root.file("0/7/000.png").archive("gnu", "0/7.tar", &["7/000.png", "7/001.png"]);
    let error = root.spool(root.list(&Rule::default(), 1).unwrap()).unwrap_err();
    assert!(error.message.contains("'0/7.tar/7/000.png' and '0/7/000.png'"), "{error}");
}

#[test]
fn names_that_lead_elsewhere_are_named_and_not_taken() {
    let root = Root::new();
    root.archive("bad-names", "x.tar", &["0.png", "1.png", "2.png", "3.png", "4.png"]);
    let (found, odd) = root.find(&rule(Layout::Assets));
    assert_eq!(ids(&found), [("x/good", 1)]);
    assert_eq!(odd.bad_names.count, 4);
    assert!(odd.bad_names.first.contains(&"x.tar/../up.png".to_owned()), "{:?}", odd.bad_names.first);
}

#[test]
fn what_cannot_be_read_in_place_is_named() {
    let root = Root::new();
    root.file("a.tar.gz").file("b.tgz").file("0/c.7z");
    root.archive("bzip2", "d.zip", &["000.png", "001.png"]);
    root.archive("gnu", "e.tar", &["e/in.zip", "e/000.png"]);
    let (found, odd) = root.find(&Rule::default());
    let unsupported = odd.unsupported_archives.all();
    assert_eq!(unsupported.first, ["0/c.7z", "a.tar.gz", "b.tgz", "e.tar/e/in.zip"]);
    assert_eq!(odd.unreadable_members.count, 2);
    let why = found["d"][0].1.as_ref().unwrap_err();
    assert!(why.contains("Bzip2") && why.contains("repack"), "{why}");
    assert!(found["e"][0].1.is_ok());
}

#[test]
fn encrypted_members_fail_with_the_reason() {
    let root = Root::new();
    root.archive("stored", "a.zip", &["000.png"]);
    let path = root.path().join("a.zip");
    let mut bytes = fs::read(&path).unwrap();
    for (signature, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = bytes.windows(4).position(|window| window == signature).unwrap();
        bytes[at + flags] |= 1;
    }
    fs::write(&path, bytes).unwrap();
    let (found, odd) = root.find(&Rule::default());
    assert!(found["a"][0].1.as_ref().unwrap_err().contains("encrypted"));
    assert_eq!(odd.unreadable_members.count, 1);
}

#[test]
fn links_in_archives_fail_and_links_to_archives_are_followed() {
    use std::os::unix::fs::symlink;
    let (root, content) = (Root::new(), tempfile::tempdir().unwrap());
    fs::create_dir(content.path().join("a")).unwrap();
    fs::write(content.path().join("a/0.png"), "a/0.png").unwrap();
    symlink("0.png", content.path().join("a/1.png")).unwrap();
    fs::hard_link(content.path().join("a/0.png"), content.path().join("a/2.png")).unwrap();
    root.archive_of("gnu", "a.tar", content.path());
    symlink(root.path().join("a.tar"), root.path().join("b.tar")).unwrap();
    symlink("nowhere", root.path().join("c.zip")).unwrap();
    let (found, odd) = root.find(&rule(Layout::Assets));
    assert_eq!(ids(&found), [("a", 3), ("b/a", 3), ("c", 1)]);
    let views: Vec<_> = found["a"].iter().map(|(_, read)| read.is_ok()).collect();
    assert_eq!(views.iter().filter(|read| **read).count(), 1);
    assert!(found["c"][0].1.as_ref().unwrap_err().contains("No such file"));
    assert_eq!((odd.unreadable_members.count, odd.broken_archives.count), (4, 1));
}

#[test]
fn of_a_member_that_was_appended_again_the_last_is_read() {
    let (root, newer) = (Root::new(), tempfile::tempdir().unwrap());
    root.archive("gnu", "a.tar", &["a/0.png", "a/1.png"]);
    fs::create_dir(newer.path().join("a")).unwrap();
    fs::write(newer.path().join("a/0.png"), "newer").unwrap();
    append(&root.path().join("a.tar"), newer.path());
    let (found, _) = root.find(&Rule::default());
    assert_eq!(contents(&found), [("a", vec!["newer", "a/1.png"])]);
}

fn append(tar: &Path, folder: &Path) {
    let code = "import tarfile, sys\nwith tarfile.open(sys.argv[1], 'a') as tar: tar.add('a/0.png')";
    let mut python = std::process::Command::new("/usr/bin/python3");
    assert!(python.args(["-c", code]).arg(tar).current_dir(folder).status().unwrap().success());
}
