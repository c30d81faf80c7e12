//! `embed --retry-failed`: what failed in a complete output is embedded again, the rest is taken over.

use std::fs;
use std::path::Path;

use hyperslab::Exit;

use super::{embed, image_of, small, started, text_of};
use crate::util::{Dir, Run, assert_same, assert_sound, committed_blocks, names, sha256};

/// The small data set's views, of which some can be changed.
fn renders(dir: &Dir) -> std::path::PathBuf {
    let renders = dir.join("renders");
    copy(&small("renders"), &renders);
    renders
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(from, to).is_ok()) }
    }
}

/// All pictures of a folder, sorted.
fn pictures(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() { found.extend(pictures(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

fn views(dir: &Dir, renders: &Path) -> Run {
    embed(dir, "").arg("--renders").arg(renders)
}

/// Replaces pictures by what is none, of other sizes; returns what they were.
fn broken(pictures: &[&std::path::PathBuf]) -> Vec<Vec<u8>> {
    let broken = |(n, path): (usize, &&std::path::PathBuf)| {
        let whole = fs::read(path).unwrap();
        fs::write(path, &b"no picture, of this length"[..9 + n]).unwrap();
        whole
    };
    pictures.iter().enumerate().map(broken).collect()
}

fn mend(pictures: &[&std::path::PathBuf], whole: Vec<Vec<u8>>) {
    pictures.iter().zip(whole).for_each(|(path, whole)| fs::write(path, whole).unwrap());
}

#[test]
fn mended_pictures_give_the_file_of_a_run_in_which_nothing_failed() {
    for (compression, ranks) in [("gzip:4", 2), ("none", 3)] {
        let dir = Dir::new();
        let renders = renders(&dir);
        let all = pictures(&renders);
        // Two of one block, one of another.
        let bad = [&all[9], &all[10], &all[77]];
        let whole = broken(&bad);
        let run = |dir: &Dir| views(dir, &renders).args("--batch-size 8").set("--compression", compression);
        run(&dir).run().exits(Exit::Success).prints("broken picture: ");
        mend(&bad[..2], whole[..2].to_vec());
        let retried = run(&dir).arg("--retry-failed").ranks(ranks).run().exits(Exit::Success);
        retried.says("items are embedded again");
        assert_sound(&image_of(&dir));
        // The others, one after the other.
        mend(&bad[2..], whole[2..].to_vec());
        run(&dir).arg("--retry-failed").run().exits(Exit::Success);
        let undisturbed = Dir::new();
        run(&undisturbed).run().exits(Exit::Success);
        assert_same(&image_of(&undisturbed), &image_of(&dir));
        assert_eq!(names(&dir.join("out")), ["run.json", "siglip_image_embeddings.h5"]);
    }
}

#[test]
fn what_fails_again_stays_failed_and_nothing_else_changes() {
    let dir = Dir::new();
    let renders = renders(&dir);
    let all = pictures(&renders);
    broken(&[&all[9], &all[77]]);
    views(&dir, &renders).run().exits(Exit::Success);
    let before = sha256(&image_of(&dir));
    views(&dir, &renders).arg("--retry-failed").ranks(2).run().exits(Exit::Success);
    assert_eq!(sha256(&image_of(&dir)), before);
}

#[test]
fn nothing_is_embedded_where_nothing_failed_or_nothing_is_there() {
    let dir = Dir::new();
    let plain = || embed(&dir, "text").args("--max-assets 3");
    plain()
        .arg("--retry-failed")
        .run()
        .exits(Exit::Failure)
        .says("is not there")
        .says("leave --retry-failed out");
    plain().run().exits(Exit::Success);
    let before = sha256(&text_of(&dir));
    plain()
        .arg("--retry-failed")
        .run()
        .exits(Exit::Success)
        .says("has no failed items")
        .prints("nothing to do");
    assert_eq!(sha256(&text_of(&dir)), before);
}

#[test]
fn captions_that_were_empty_can_be_filled_in() {
    let (dir, undisturbed) = (Dir::new(), Dir::new());
    let captions = |dir: &Dir, second: &str| {
        let text = format!(r#"{{"a":"a chair","b":"{second}","c":"a red car","d":"a cup"}}"#);
        dir.write("captions.json", text);
    };
    captions(&dir, "");
    let run = |dir: &Dir| embed(dir, "captions.json");
    run(&dir).args("--max-failures 1").run().exits(Exit::Success).prints("empty caption: 1");
    captions(&dir, "a green tree");
    captions(&undisturbed, "a green tree");
    run(&undisturbed).run().exits(Exit::Success);
    run(&dir).run().exits(Exit::Failure).says("plan_sha256");
    run(&dir).arg("--retry-failed").run().exits(Exit::Success);
    assert_same(&text_of(&undisturbed), &text_of(&dir));
}

#[test]
fn only_what_failed_may_have_changed() {
    let dir = Dir::new();
    let renders = renders(&dir);
    let all = pictures(&renders);
    let whole = broken(&[&all[9]]);
    views(&dir, &renders).run().exits(Exit::Success);
    let before = sha256(&image_of(&dir));
    let retry = || views(&dir, &renders).arg("--retry-failed");
    let other = broken(&[&all[50]]);
    retry()
        .run()
        .exits(Exit::Failure)
        .tells_one_error()
        .says("the input has changed in items that have their vectors");
    mend(&[&all[50]], other);
    retry().args("--batch-size 3").run().exits(Exit::Failure).says("batch_size");
    retry().args("--views 3").run().exits(Exit::Failure).says("the input has 51 in blocks of 4");
    assert_eq!(sha256(&image_of(&dir)), before);
    assert_eq!(names(&dir.join("out")), ["run.json", "siglip_image_embeddings.h5"]);
    mend(&[&all[9]], whole);
    retry().run().exits(Exit::Success);
}

#[test]
fn a_retry_that_is_killed_goes_on_with_or_without_being_asked_again() {
    for again in ["--retry-failed", ""] {
        let (dir, undisturbed) = (Dir::new(), Dir::new());
        let renders = renders(&dir);
        let all = pictures(&renders);
        let bad: Vec<_> = all.iter().step_by(8).collect();
        let whole = broken(&bad);
        // Blocks of one row: enough rounds to be killed in.
        let run = |dir: &Dir| views(dir, &renders).set("--block-rows", "1").args("--max-failures 100");
        run(&dir).run().exits(Exit::Success);
        mend(&bad, whole);
        let before = sha256(&image_of(&dir));
        started(run(&dir).arg("--retry-failed").ranks(2), &image_of(&dir)).kill();
        assert!((40..136).contains(&committed_blocks(&image_of(&dir))));
        assert_eq!(sha256(&image_of(&dir)), before, "the complete output stays until the new one is there");
        run(&dir).args(again).ranks(3).run().exits(Exit::Success).says("skipped (committed before)");
        run(&undisturbed).run().exits(Exit::Success);
        assert_same(&image_of(&undisturbed), &image_of(&dir));
    }
}

#[test]
fn a_retry_gives_way_to_another_but_not_an_unfinished_run() {
    let (dir, undisturbed) = (Dir::new(), Dir::new());
    let renders = renders(&dir);
    let all = pictures(&renders);
    let bad: Vec<_> = all.iter().step_by(8).collect();
    let (first, last) = bad.split_at(bad.len() / 2);
    let whole = [broken(first), broken(last)];
    let run = |dir: &Dir| views(dir, &renders).set("--block-rows", "1").args("--max-failures 100");
    run(&dir).run().exits(Exit::Success);
    // Mended further while the retry of the first ones lies unfinished.
    let [first_whole, last_whole] = whole;
    mend(first, first_whole);
    started(run(&dir).arg("--retry-failed").ranks(2), &image_of(&dir)).kill();
    mend(last, last_whole);
    run(&dir).arg("--retry-failed").ranks(2).run().exits(Exit::Success).says(" 0 skipped");
    run(&undisturbed).run().exits(Exit::Success);
    assert_same(&image_of(&undisturbed), &image_of(&dir));
    // One that is to replace the output altogether has more to lose.
    started(run(&dir).arg("--overwrite").ranks(2), &image_of(&dir)).kill();
    let refused = run(&dir).arg("--retry-failed").run().exits(Exit::Failure);
    refused.tells_one_error().says("an unfinished run stands beside").says("finish it first");
    run(&dir).run().exits(Exit::Success).says("skipped (committed before)");
    assert_same(&image_of(&undisturbed), &image_of(&dir));
}
