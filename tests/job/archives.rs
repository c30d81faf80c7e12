//! Pictures in archives give the vectors that the same pictures give in folders.

use std::fs;
use std::path::Path;
use std::process::Command;

use hyperslab::Exit;

use super::{embed, image_of, report, small};
use crate::util::{Contents, Dir, Run, assert_same, assert_sound, names, repository};

/// Assets of the small data set that the test looks at, and how each is packed.
const PACKED: [(&str, &str); 3] = [("pax", "tar"), ("deflated", "zip"), ("streamed", "zip")];

fn embed_renders(dir: &Dir, renders: &Path) -> Run {
    embed(dir, "").arg("--renders").arg(renders)
}

/// The same three assets as folders and as archives.
pub fn folders_and_archives(dir: &Dir) {
    let unpacked = small("renders/0");
    for (asset, (kind, ending)) in names(&unpacked).iter().zip(PACKED) {
        let (from, to) = (unpacked.join(asset), dir.join("folders/0").join(asset));
        fs::create_dir_all(&to).unwrap();
        fs::create_dir_all(dir.join("archives/0")).unwrap();
        for view in names(&from) {
            fs::copy(from.join(&view), to.join(&view)).unwrap();
        }
        let archive = dir.join(format!("archives/0/{asset}.{ending}"));
        let script = repository("tests/fixtures/archives.py");
        let mut pack = Command::new("/usr/bin/python3");
        pack.arg(script).arg(kind).arg(to).arg(archive).arg(format!("{asset}/"));
        assert!(pack.status().unwrap().success());
    }
}

#[test]
fn vectors_are_those_of_the_unpacked_pictures_on_any_number_of_ranks() {
    let dir = Dir::new();
    folders_and_archives(&dir);
    embed_renders(&dir, &dir.join("folders")).run().exits(Exit::Success);
    let expected = Contents::of(&image_of(&dir));
    assert_eq!(expected.assets.len(), 3);
    let one = Dir::new();
    embed_renders(&one, &dir.join("archives")).run().exits(Exit::Success);
    let found = Contents::of(&image_of(&one));
    assert_eq!((&found.assets, &found.rows), (&expected.assets, &expected.rows));
    assert!(found.failures.is_empty());
    let three = Dir::new();
    embed_renders(&three, &dir.join("archives")).ranks(3).run().exits(Exit::Success);
    assert_same(&image_of(&one), &image_of(&three));
    // From a list, archives are indexed by the ranks as well.
    let listed = Dir::new();
    let list = names(&dir.join("archives/0")).iter().map(|name| format!("0/{name}\n")).collect::<Vec<_>>();
    let list = listed.write("list.tsv", list.concat());
    let job = embed_renders(&listed, &dir.join("archives")).arg("--renders-list").arg(list);
    job.ranks(2).run().exits(Exit::Success);
    assert_same(&image_of(&one), &image_of(&listed));
}

#[test]
fn a_broken_archive_is_told_and_is_one_failed_row() {
    let dir = Dir::new();
    folders_and_archives(&dir);
    let archives = dir.join("archives/0");
    // The first one is packed as a tar.
    let tar = names(&archives).swap_remove(0);
    let bytes = fs::read(archives.join(&tar)).unwrap();
    // Within a picture; between two of them a tar breaks off otherwise.
    fs::write(archives.join(&tar), &bytes[..34_000]).unwrap();
    let job = embed_renders(&dir, &dir.join("archives")).set("--max-failures", "2").ranks(2).run();
    job.exits(Exit::Success).says("archives that are broken").says(&tar);
    let contents = Contents::of(&image_of(&dir));
    let [(_, reason)] = &contents.failures[..] else { panic!("{:?}", contents.failures) };
    assert!(reason.contains("cut off"), "{reason}");
    assert_eq!(report(&image_of(&dir))["failures"]["unreadable file"], 1);
    assert_sound(&image_of(&dir));
}

#[test]
fn pictures_without_views_end_the_job_naming_the_glob() {
    let dir = Dir::new();
    dir.write("renders/a/front.png", "x");
    dir.write("renders/a/back.png", "x");
    let job = embed_renders(&dir, &dir.join("renders")).ranks(2).run().exits(Exit::Failure);
    job.says("pictures found: 2 (").says("--view-glob").tells_one_error();
    let job = embed_renders(&dir, &dir.join("renders")).arg("--view-glob").arg("{a").run();
    job.exits(Exit::Usage).says("'{a'");
    let job = embed_renders(&dir, &dir.join("renders")).args("--layout folders").run();
    job.exits(Exit::Usage).says("expected auto, assets, views or shards");
    let job = embed_renders(&dir, &dir.join("renders")).args("--view-glob *.png --max-failures 2").run();
    job.exits(Exit::Success);
}
