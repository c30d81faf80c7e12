//! An array: each task embeds its share of the blocks into a stage of its own, `seal` makes one file of them.

use std::fs;
use std::path::{Path, PathBuf};

use hyperslab::Exit;
use hyperslab::plan::Shard;
use hyperslab::store::OutputPaths;

use super::{embed, goes_on, many, started, text_of};
use crate::util::{Dir, Run, Signal, assert_same, assert_sound, names, sha256, signal};

/// One task of the array that embeds the captions of many rounds.
fn task(dir: &Dir, shard: &str) -> Run {
    embed(dir, "many").set("--shard", shard)
}

fn seal(dir: &Dir) -> Run {
    dir.hyperslab(["seal"]).arg(text_of(dir))
}

/// The journal of a shard of the captions' output.
fn journal(dir: &Dir, number: u64, of: u64) -> PathBuf {
    of_shard(&text_of(dir), number, of).journal
}

fn of_shard(output: &Path, number: u64, of: u64) -> OutputPaths {
    OutputPaths::of_shard(output, Some(Shard::new(number, of).unwrap()))
}

/// Three tasks, all done.
fn three_shards() -> Dir {
    let dir = Dir::new();
    for (number, ranks) in [(1, 1), (2, 3), (3, 2)] {
        task(&dir, &format!("{number}/3"))
            .ranks(ranks)
            .run()
            .exits(Exit::Success)
            .prints("joins all of them");
    }
    dir
}

#[test]
fn shards_are_sealed_into_the_file_of_one_job() {
    let dir = three_shards();
    assert!(!text_of(&dir).exists());
    seal(&dir).ranks(2).run().exits(Exit::Success).prints("from 3 shards");
    assert_same(&many().output, &text_of(&dir));
    assert_sound(&text_of(&dir));
    let reports = ["run.shard-1-of-3.json", "run.shard-2-of-3.json", "run.shard-3-of-3.json"];
    let kept = reports.into_iter().chain(["siglip_text_embeddings.h5"]).collect::<Vec<_>>();
    assert_eq!(names(&dir.join("out")), kept);
    // Again: nothing to do, for the seal and for a task.
    seal(&dir).run().exits(Exit::Success).prints("nothing to do");
    task(&dir, "2/3").run().exits(Exit::Success).prints("nothing to do");
}

#[test]
fn shards_are_sealed_without_compression_too() {
    let dir = three_shards();
    seal(&dir).args("--compression none").ranks(2).run().exits(Exit::Success);
    let whole = Dir::new();
    embed(&whole, "many").args("--compression none").run().exits(Exit::Success);
    assert_same(&text_of(&whole), &text_of(&dir));
}

#[test]
fn views_and_shards_without_blocks_make_the_file_too() {
    let (dir, whole) = (Dir::new(), Dir::new());
    // Eight captions are two blocks: of five shards three have none.
    let input = "--max-assets 8 --only text";
    for number in 1..=5 {
        embed(&dir, "text").args(input).set("--shard", format!("{number}/5")).run().exits(Exit::Success);
    }
    seal(&dir).run().exits(Exit::Success);
    embed(&whole, "text").args(input).run().exits(Exit::Success);
    assert_same(&text_of(&whole), &text_of(&dir));
}

#[test]
fn a_killed_task_goes_on_and_its_shard_is_missed_until_then() {
    let dir = Dir::new();
    task(&dir, "1/2").ranks(2).run().exits(Exit::Success);
    seal(&dir).run().exits(Exit::Failure).tells_one_error().says("shard 2 of 2 is missing");
    let job = task(&dir, "2/2").ranks(2).start();
    let second = of_shard(&text_of(&dir), 2, 2);
    killed_in_the_middle(job, &second);
    seal(&dir)
        .run()
        .exits(Exit::Failure)
        .tells_one_error()
        .says("shard 2 of 2 is not done: ")
        .says("of 126 blocks");
    task(&dir, "2/2").ranks(3).run().exits(Exit::Success).says("skipped (committed before)");
    seal(&dir).ranks(2).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

fn killed_in_the_middle(mut job: crate::util::Running, paths: &OutputPaths) {
    let committed = || {
        hyperslab::store::read_journal(&paths.journal).map_or(0, |(_, committed, _)| committed.digests.len())
    };
    job.until("20 blocks are committed", || committed() >= 20);
    job.kill();
    assert!((20..120).contains(&committed()), "{} blocks are committed", committed());
}

#[test]
fn what_does_not_belong_is_refused_by_name() {
    let dir = three_shards();
    let unharmed = sha256(&of_shard(&text_of(&dir), 2, 3).partial);
    let refused = |what: &[&str]| {
        let failed = seal(&dir).ranks(2).run().exits(Exit::Failure).tells_one_error();
        what.iter().fold(failed, |failed, what| failed.says(what));
        assert!(!text_of(&dir).exists());
    };
    // Missing.
    let (kept, away) = (journal(&dir, 2, 3), dir.join("away"));
    fs::rename(&kept, &away).unwrap();
    refused(&["shard 2 of 3 is missing", "--shard K/N"]);
    // Another's journal under its name.
    fs::copy(journal(&dir, 1, 3), &kept).unwrap();
    refused(&["shard 2 of 3 is another", "says that it is that of shard 1 of 3"]);
    fs::rename(&away, &kept).unwrap();
    // Double: of an array of two.
    let (one, two) = (of_shard(&text_of(&dir), 1, 3), of_shard(&text_of(&dir), 1, 2));
    fs::copy(&one.journal, &two.journal).unwrap();
    refused(&["shard 1 of 2 has blocks that shards of 3 have too"]);
    fs::remove_file(&two.journal).unwrap();
    // Damaged.
    let bytes = fs::read(&kept).unwrap();
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    fs::write(&kept, flipped).unwrap();
    refused(&["shard 2 of 3 is damaged", "header"]);
    fs::write(&kept, bytes).unwrap();
    // Its rows are gone.
    let rows = of_shard(&text_of(&dir), 2, 3).partial;
    fs::rename(&rows, &away).unwrap();
    refused(&["shard 2 of 3 has lost its rows"]);
    fs::rename(&away, &rows).unwrap();
    assert_eq!(sha256(&rows), unharmed);
    seal(&dir).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn a_shard_of_another_run_is_refused_with_what_differs() {
    let (dir, other) = (three_shards(), Dir::new());
    task(&other, "2/3").args("--batch-size 7").run().exits(Exit::Success);
    // Into the other's place.
    let (from, to) = (of_shard(&text_of(&other), 2, 3), of_shard(&text_of(&dir), 2, 3));
    fs::copy(from.journal, to.journal).unwrap();
    fs::copy(from.partial, to.partial).unwrap();
    seal(&dir)
        .run()
        .exits(Exit::Failure)
        .tells_one_error()
        .says("shard 2 of 3 is of another run")
        .says("batch_size");
    // And a task is told before it begins.
    task(&dir, "2/3").run().exits(Exit::Failure).says("batch_size");
    task(&dir, "2/3").arg("--overwrite").run().exits(Exit::Success);
    seal(&dir).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn a_byte_that_changes_in_a_shard_is_noticed_and_its_task_mends_it() {
    let dir = three_shards();
    let rows = of_shard(&text_of(&dir), 3, 3).partial;
    let mut bytes = fs::read(&rows).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&rows, bytes).unwrap();
    let failed = seal(&dir).ranks(2).run().exits(Exit::Damaged).says("no longer has the digest");
    failed.says("shard-3-of-3.partial");
    assert!(!text_of(&dir).exists());
    task(&dir, "3/3").run().exits(Exit::Success).says("1 committed blocks were damaged since");
    seal(&dir).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn a_single_shard_is_sealed_without_compression_and_a_seal_that_is_killed_begins_again() {
    let dir = Dir::new();
    task(&dir, "1/1").run().exits(Exit::Success);
    let none = || seal(&dir).args("--compression none");
    let killed = none().fault("FAULT=kill PATH=.tmp AFTER_CALLS=4").run();
    assert!(killed.stderr.contains("shim: rank 0: kill") && !text_of(&dir).exists(), "{killed}");
    none().ranks(2).run().exits(Exit::Success).prints("from 1 shards");
    let whole = Dir::new();
    embed(&whole, "many").args("--compression none").run().exits(Exit::Success);
    assert_same(&text_of(&whole), &text_of(&dir));
}

#[test]
fn a_seal_that_is_killed_while_it_removes_the_shards_is_done() {
    let dir = Dir::new();
    embed(&dir, "many").run().exits(Exit::Success);
    for shard in ["1/2", "2/2"] {
        task(&dir, shard).arg("--overwrite").run().exits(Exit::Success);
    }
    // A complete output of the same settings leaves alone what is to replace it.
    embed(&dir, "many").run().exits(Exit::Success).says("left alone").prints("nothing to do");
    seal(&dir).run().exits(Exit::Success).prints("from 2 shards");
    // As if it had died after the first shard.
    for shard in ["1/2", "2/2"] {
        task(&dir, shard).arg("--overwrite").run().exits(Exit::Success);
    }
    fs::remove_file(journal(&dir, 1, 2)).unwrap();
    seal(&dir).run().exits(Exit::Success).prints("nothing to do");
    assert!(!journal(&dir, 2, 2).exists());
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn tasks_that_start_together_make_one_plan() {
    let dir = Dir::new();
    let tasks: Vec<_> = (1..=4).map(|number| task(&dir, &format!("{number}/4")).start()).collect();
    for task in tasks {
        task.wait().exits(Exit::Success);
    }
    seal(&dir).ranks(2).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn the_place_in_an_array_is_taken_from_slurm() {
    let dir = Dir::new();
    let of_slurm = |id: &str, first: &str, last: &str, count: &str| {
        task(&dir, "array")
            .env("SLURM_ARRAY_TASK_ID", id)
            .env("SLURM_ARRAY_TASK_MIN", first)
            .env("SLURM_ARRAY_TASK_MAX", last)
            .env("SLURM_ARRAY_TASK_COUNT", count)
    };
    of_slurm("0", "0", "1", "2").run().exits(Exit::Success).says("shard 1 of 2");
    of_slurm("1", "1", "1", "1").run().exits(Exit::Failure).says("beside which shard 1 of 2 stands");
    of_slurm("5", "5", "5", "1").run().exits(Exit::Usage).says("--shard K/N");
    task(&dir, "array").run().exits(Exit::Usage).says("no task of a Slurm array");
    task(&dir, "3/2").run().exits(Exit::Usage).says("there is no shard 3 of 2");
}

#[test]
fn a_whole_job_and_an_array_do_not_mix_unasked() {
    let dir = Dir::new();
    task(&dir, "1/2").run().exits(Exit::Success);
    embed(&dir, "many").run().exits(Exit::Failure).says("an array has left shards");
    embed(&dir, "many").arg("--overwrite").run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
    assert_eq!(names(&dir.join("out")), ["run.json", "run.shard-1-of-2.json", "siglip_text_embeddings.h5"]);
    // A complete output is replaced by an array only where that is asked for.
    task(&dir, "1/2").args("--batch-size 7").run().exits(Exit::Failure).says("made differently");
    for shard in ["1/2", "2/2"] {
        task(&dir, shard).args("--batch-size 7 --overwrite").run().exits(Exit::Success);
    }
    assert_same(&many().output, &text_of(&dir));
    seal(&dir).run().exits(Exit::Success).prints("from 2 shards");
    assert_sound(&text_of(&dir));
    assert_ne!(sha256(&many().output), sha256(&text_of(&dir)));
}

#[test]
fn two_tasks_of_one_shard_do_not_run_together() {
    let dir = Dir::new();
    let (output, shard) = (text_of(&dir), of_shard(&text_of(&dir), 1, 2));
    let mut job = task(&dir, "1/2").start();
    job.until("the task has begun", || shard.journal.exists());
    signal(job.id(), Signal::STOP);
    task(&dir, "1/2").run().exits(Exit::Failure).says("works on this output");
    seal(&dir).run().exits(Exit::Failure).says("works on this output");
    signal(job.id(), Signal::CONT);
    job.wait().exits(Exit::Success);
    assert!(!output.exists());
}

#[test]
fn a_whole_job_is_not_disturbed_by_the_tasks_of_an_array() {
    let dir = Dir::new();
    let job = started(embed(&dir, "many").ranks(2), &text_of(&dir));
    task(&dir, "1/2").run().exits(Exit::Failure).says("works on this output");
    job.kill();
    task(&dir, "1/2").run().exits(Exit::Failure).says("a job of the whole of").says("lies unfinished");
    fs::remove_file(dir.join("out/siglip_text_embeddings.h5.plan.lock")).unwrap();
    goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
}
