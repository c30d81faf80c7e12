//! Jobs that are killed with SIGKILL: what is committed stays, and the end is that of an undisturbed job.

use std::fs;
use std::time::Duration;

use hyperslab::Exit;
use hyperslab::store::OutputPaths;

use super::{TEXT, assert_in_the_middle, embed, goes_on, in_mid_run, many, report, text_of};
use crate::util::{Dir, Outcome, Run, Signal, assert_same, committed_blocks, names, signal};

#[test]
fn a_killed_job_goes_on_with_another_number_of_ranks() {
    for (killed, next) in [(3, 2), (2, 5)] {
        let dir = Dir::new();
        in_mid_run(&dir, killed).kill();
        assert_in_the_middle(&text_of(&dir));
        goes_on(embed(&dir, "many").ranks(next), &text_of(&dir), &many().output);
    }
}

#[test]
fn a_job_that_is_killed_again_and_again_arrives() {
    let dir = Dir::new();
    let output = text_of(&dir);
    for (ranks, blocks) in [(2, 20), (3, 60), (1, 100)] {
        let mut job = embed(&dir, "many").ranks(ranks).start();
        job.until("it has gone on", || committed_blocks(&output) >= blocks);
        job.kill();
    }
    goes_on(embed(&dir, "many").ranks(2), &output, &many().output);
}

#[test]
fn a_rank_that_is_killed_takes_the_others_with_it() {
    for rank in [0, 2] {
        let dir = Dir::new();
        let job = in_mid_run(&dir, 3);
        signal(job.rank(rank), Signal::KILL);
        let outcome = job.wait();
        assert!(!outcome.status.success() && outcome.took < Duration::from_secs(30), "{outcome}");
        assert_in_the_middle(&text_of(&dir));
        goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
    }
}

/// Kills a job of the small data set's captions before every single write to files whose names end in `suffix`;
/// each time, the next run must end as if nothing had been. Returns how many writes there were.
fn kill_before_every_write(suffix: &str, compression: &str) -> usize {
    let undisturbed = Dir::new();
    let job = |dir: &Dir| embed(dir, "text").set("--compression", compression);
    job(&undisturbed).run().exits(Exit::Success);
    for calls in 0.. {
        let dir = Dir::new();
        let killed = job(&dir).fault(&format!("FAULT=kill PATH={suffix} AFTER_CALLS={calls}")).run();
        if killed.status.success() {
            assert!(!killed.stderr.contains("shim:"), "{killed}");
            return calls;
        }
        assert!(killed.stderr.contains("shim: rank 0: kill"), "{killed}");
        assert!(!text_of(&dir).exists(), "a file that is not complete has the output's name");
        goes_on(job(&dir), &text_of(&dir), &text_of(&undisturbed));
    }
    unreachable!("a job has an end")
}

#[test]
fn a_seal_that_compresses_may_be_killed_before_any_write() {
    assert!(kill_before_every_write(".tmp", "gzip:4") > 5);
}

#[test]
fn a_seal_that_takes_the_stage_may_be_killed_before_any_write() {
    assert!(kill_before_every_write(".partial", "none") > 10);
}

#[test]
fn the_journal_may_be_killed_before_any_write() {
    assert!(kill_before_every_write(".journal", "gzip:4") >= 5);
    assert_eq!(kill_before_every_write(".journal.new", "none"), 1);
    assert_eq!(kill_before_every_write(".backup.new", "none"), 1);
}

/// A job whose rank 0 is killed before its write number `calls` to files whose names end in `suffix`, or as
/// late as there are writes: in how many a rank writes depends on the MPI.
fn killed_before_write(suffix: &str, calls: usize, job: impl Fn(&Dir) -> Run) -> (Dir, Outcome) {
    for calls in (1..=calls).rev() {
        let dir = Dir::new();
        let killed = job(&dir).fault(&format!("FAULT=kill PATH={suffix} AFTER_CALLS={calls}")).run();
        if killed.stderr.contains("shim: rank 0: kill") {
            assert!(!killed.status.success(), "{killed}");
            return (dir, killed);
        }
        assert!(killed.status.success(), "{killed}");
    }
    panic!("rank 0 does not write to *{suffix}")
}

#[test]
fn a_killed_seal_is_finished_by_the_next_run_or_by_seal() {
    for (compression, path, calls) in [
        ("gzip:4", ".tmp", 3),
        // Before the last writes: the stage's metadata is changed by then.
        ("none", ".partial", 11),
    ] {
        let undisturbed = Dir::new();
        let job = |dir: &Dir| embed(dir, "text").set("--compression", compression);
        job(&undisturbed).ranks(2).run().exits(Exit::Success);
        for seal_alone in [false, true] {
            let (dir, killed) = killed_before_write(path, calls, |dir| job(dir).ranks(3));
            let output = text_of(&dir);
            assert_eq!(committed_blocks(&output), 5);
            assert!(OutputPaths::new(&output).tmp.exists(), "{killed}");
            if seal_alone {
                let seal = dir.hyperslab(["seal"]).arg(&output).set("--compression", compression);
                seal.ranks(2).run().exits(Exit::Success).prints("sealed");
            } else {
                job(&dir).ranks(5).run().exits(Exit::Success);
                assert_eq!(report(&output)["blocks_computed"], 0);
            }
            assert_same(&text_of(&undisturbed), &output);
        }
    }
}

#[test]
fn leftovers_beside_a_complete_output_are_removed() {
    let dir = Dir::new();
    let output = text_of(&dir);
    embed(&dir, "text").args("--no-seal").run().exits(Exit::Success);
    let left: Vec<_> = names(&dir.join("out")).into_iter().filter(|name| name != "run.json").collect();
    assert_eq!(left, ["journal", "partial", "plan"].map(|end| format!("{TEXT}.{end}")));
    let saved: Vec<_> =
        left.iter().map(|name| (name, fs::read(dir.join("out").join(name)).unwrap())).collect();
    dir.hyperslab(["seal"]).arg(&output).run().exits(Exit::Success);
    let sealed = fs::read(&output).unwrap();
    // As if the job had died between the rename and what comes after it.
    for (name, content) in &saved {
        fs::write(dir.join("out").join(name), content).unwrap();
    }
    embed(&dir, "text").ranks(2).run().exits(Exit::Success).prints("is complete; nothing to do");
    assert_eq!(names(&dir.join("out")), ["run.json", TEXT]);
    assert_eq!(fs::read(&output).unwrap(), sealed);
}
