//! Storage that fails or changes bytes: nothing that is not on disk counts, and the job can go on.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use hyperslab::Exit;
use hyperslab::store::{OutputPaths, read_journal};

use super::{IMAGE, embed, goes_on, image_of, text_of};
use crate::util::{Contents, Dir, Run, assert_same, assert_sound, committed_blocks, names};

fn views(dir: &Dir) -> Run {
    embed(dir, "image")
}

/// The views' file of a job that nothing happens to.
fn undisturbed() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("undisturbed");
        views(&dir).args("--overwrite").ranks(2).run().exits(Exit::Success);
        image_of(&dir)
    })
}

#[test]
fn a_bit_that_changes_on_its_way_to_disk_is_noticed_before_it_counts() {
    let dir = Dir::new();
    let output = image_of(&dir);
    // In a round of blocks, which are 1,024 bytes each, and not in metadata.
    let failed = views(&dir).ranks(3).fault("FAULT=flip PATH=.partial MIN=1000 AFTER_CALLS=5").run();
    let failed = failed.exits(Exit::Damaged).says("shim: rank 0: flip").says("was read back by rank");
    let failed = failed.tells_one_error();
    let block = failed.stderr.split_once(": block ").unwrap().1.split_once(", written by rank").unwrap().0;
    let (_, committed, _) = read_journal(&OutputPaths::new(&output).journal).unwrap();
    assert!(!committed.digests.contains_key(&block.parse().unwrap()), "block {block}");
    // Whole rounds of one block per rank, and none after.
    assert!(!committed.digests.is_empty() && committed.digests.len() < 34);
    assert_eq!(committed.digests.len() % 3, 0);
    goes_on(views(&dir).ranks(2), &output, undisturbed());
}

#[test]
fn a_bit_that_changes_in_the_sealed_file_is_noticed_before_it_has_its_name() {
    let dir = Dir::new();
    let output = image_of(&dir);
    let failed = views(&dir).ranks(3).fault("FAULT=flip PATH=.tmp MIN=3000").run();
    failed.says("shim: rank 0: flip").exits(Exit::Damaged).tells_one_error();
    assert_eq!(names(&dir.join("out")), ["journal", "partial", "plan"].map(|end| format!("{IMAGE}.{end}")));
    goes_on(views(&dir).ranks(2), &output, undisturbed());
}

#[test]
fn a_bit_that_changes_in_any_write_of_the_seal_is_noticed_or_does_no_harm() {
    let mut noticed = 0;
    for calls in 0.. {
        let dir = Dir::new();
        let output = image_of(&dir);
        let ended = views(&dir).fault(&format!("FAULT=flip PATH=.h5.tmp AFTER_CALLS={calls}")).run();
        if ended.status.success() {
            assert_sound(&output);
            assert_eq!(Contents::of(&output), Contents::of(undisturbed()));
            if !ended.stderr.contains("shim:") {
                break;
            }
        } else {
            ended.exits(Exit::Damaged).tells_one_error();
            goes_on(views(&dir), &output, undisturbed());
            noticed += 1;
        }
    }
    // Rows, table, failures, digests, and the metadata that leads to them.
    assert!(noticed >= 6, "{noticed}");
}

#[test]
fn a_stage_that_changes_after_its_commit_is_not_sealed_and_mended_by_a_resume() {
    let (dir, undisturbed) = (Dir::new(), Dir::new());
    let output = text_of(&dir);
    embed(&dir, "text").args("--no-seal").run().exits(Exit::Success);
    let partial = OutputPaths::new(&output).partial;
    let file = File::options().read(true).write(true).open(&partial).unwrap();
    // In block 2: the rows, at the file's end, are 17 of 256 bytes.
    let at = file.metadata().unwrap().len() - 17 * 256 + 2 * 1024 + 77;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let unchecked = embed(&dir, "text").args("--verify-resume none");
    for run in [unchecked, dir.hyperslab(["seal"]).arg(&output)] {
        for compression in ["gzip:4", "none"] {
            let failed = run.clone().set("--compression", compression).ranks(2).run().exits(Exit::Damaged);
            failed.tells_one_error().says("block 2 (rows 8 to 11)").says("--verify-resume all");
            assert!(!output.exists());
        }
    }
    let mended = embed(&dir, "text").ranks(2).run().exits(Exit::Success);
    mended.says("1 committed blocks were damaged since, e.g. block 2").prints("1 computed, 4 skipped");
    embed(&undisturbed, "text").run().exits(Exit::Success);
    assert_same(&text_of(&undisturbed), &output);
}

/// A job on 3 ranks with a fault that must end it within seconds; the next run goes on.
#[track_caller]
fn fails_and_goes_on(fault: &str, message: &str) {
    let dir = Dir::new();
    let failed = views(&dir).ranks(3).fault(fault).run().says("shim: rank");
    let failed = failed.exits(Exit::Failure).says(message).tells_one_error();
    assert!(failed.took < Duration::from_secs(30), "{failed}");
    let output = image_of(&dir);
    assert!(!output.exists());
    goes_on(views(&dir), &output, undisturbed());
}

#[test]
fn a_failed_sync_of_rows_is_no_commit() {
    fails_and_goes_on("FAULT=fsync-eio PATH=.partial AFTER_CALLS=4 RANK=0", "cannot flush");
    fails_and_goes_on("FAULT=fsync-eio PATH=.partial AFTER_CALLS=4 RANK=2", "cannot flush");
}

#[test]
fn a_failed_write_of_rows_is_no_commit_and_no_hang() {
    fails_and_goes_on("FAULT=eio PATH=.partial AFTER=9000", "siglip_image_embeddings.h5.partial");
}

#[test]
fn a_quota_that_is_used_up_is_no_commit_and_no_hang() {
    for (end, bytes, told) in
        [(".partial", 9000, ".partial"), (".journal", 2000, "quota"), (".tmp", 9000, ".tmp")]
    {
        fails_and_goes_on(&format!("FAULT=edquot PATH={end} AFTER={bytes}"), told);
    }
}

#[test]
fn a_failed_write_of_the_sealed_file_costs_the_seal_alone() {
    fails_and_goes_on("FAULT=enospc PATH=.tmp AFTER=9000", "siglip_image_embeddings.h5.tmp");
}

#[test]
fn a_failed_sync_of_the_sealed_file_costs_the_seal_alone() {
    // The first sync is the spool's, which is written under a name of that ending.
    fails_and_goes_on("FAULT=fsync-eio PATH=.tmp AFTER_CALLS=1", "siglip_image_embeddings.h5.tmp");
}

#[test]
fn a_failed_write_or_sync_of_the_journal_is_no_commit() {
    fails_and_goes_on("FAULT=fsync-eio PATH=.journal AFTER_CALLS=2", "cannot append to");
    fails_and_goes_on("FAULT=enospc PATH=.journal AFTER=1000", "No space left on device");
    fails_and_goes_on("FAULT=eio PATH=.journal AFTER=1000", "Input/output error");
}

#[test]
fn a_failed_write_of_the_spool_is_told() {
    let dir = Dir::new();
    let failed = views(&dir).ranks(3).fault("FAULT=enospc PATH=.plan.new.tmp").run().exits(Exit::Failure);
    failed.says("siglip_image_embeddings.h5.plan").says("No space left on device").tells_one_error();
    assert_eq!(committed_blocks(&image_of(&dir)), 0);
    views(&dir).run().exits(Exit::Success);
    assert_same(undisturbed(), &image_of(&dir));
    assert_eq!(names(&dir.join("out")), ["run.json", IMAGE]);
}

#[test]
fn a_torn_journal_costs_its_last_round_alone() {
    let dir = Dir::new();
    let output = image_of(&dir);
    views(&dir).args("--no-seal").ranks(2).run().exits(Exit::Success);
    let journal = OutputPaths::new(&output).journal;
    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let committed = committed_blocks(&output);
    assert!((5..34).contains(&committed));
    goes_on(views(&dir).ranks(3), &output, undisturbed());
}
