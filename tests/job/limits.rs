//! What ends a job that would not end by itself: a time limit, and the watchdog.

use std::time::Duration;

use hyperslab::Exit;

use super::{assert_in_the_middle, embed, goes_on, in_mid_run, many, started, text_of};
use crate::util::{Dir, Signal, assert_same, committed_blocks, is_open_mpi, signal};

#[test]
fn a_time_limit_ends_the_job_in_time_and_it_goes_on() {
    let dir = Dir::new();
    // Slow commits: some seconds of rounds.
    let slow = embed(&dir, "many").fault("FAULT=slow PATH=.journal").args("--time-limit 4s").ranks(2);
    let ended = slow.run().exits(Exit::Resume).tells_one_error().says("--time-limit leaves no time");
    assert!(ended.took < Duration::from_secs(30), "{ended}");
    assert!((1..250).contains(&committed_blocks(&text_of(&dir))));
    goes_on(embed(&dir, "many").ranks(3), &text_of(&dir), &many().output);
}

#[test]
fn a_limit_that_is_over_before_anything_is_computed_leaves_nothing_undone() {
    let dir = Dir::new();
    embed(&dir, "text").args("--time-limit 1ms").run().exits(Exit::Resume).says("nothing was computed");
    embed(&dir, "text").run().exits(Exit::Success);
}

#[test]
fn a_seal_that_the_limit_ends_is_finished_by_seal() {
    let dir = Dir::new();
    embed(&dir, "many").args("--no-seal").run().exits(Exit::Success);
    let ended = embed(&dir, "many").args("--time-limit 1ms").run().exits(Exit::Resume);
    ended.says("all rows are committed").says("hyperslab seal");
    dir.hyperslab(["seal"]).arg(text_of(&dir)).ranks(2).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn limits_that_are_none_are_refused() {
    let dir = Dir::new();
    embed(&dir, "text").args("--time-limit soon").run().exits(Exit::Usage).says("3h50m");
    embed(&dir, "text").args("--watchdog 1s").run().exits(Exit::Usage).says("less than 2 s");
    embed(&dir, "text").args("--watchdog off").run().exits(Exit::Success);
}

#[test]
fn a_stopped_rank_ends_the_job_in_the_watchdogs_time() {
    for rank in [2, 0] {
        let dir = Dir::new();
        let job = started(embed(&dir, "many").args("--watchdog 3s").ranks(3), &text_of(&dir));
        signal(job.rank(rank), Signal::STOP);
        let failed = job.wait();
        assert!(!failed.status.success() && failed.took < Duration::from_secs(60), "{failed}");
        // In a call that the stopped one does not join, the others do not know who is missing.
        let words = [&format!("rank {rank} on "), "has been inside one call for", "waits for a rank"];
        assert!(words.iter().any(|words| failed.stderr.contains(words)), "{failed}");
        assert_in_the_middle(&text_of(&dir));
        goes_on(embed(&dir, "many").args("--watchdog 3s"), &text_of(&dir), &many().output);
    }
}

#[test]
fn a_stopped_rank_ends_the_seal_in_the_watchdogs_time() {
    let dir = Dir::new();
    embed(&dir, "many").args("--no-seal").run().exits(Exit::Success);
    let seal = || dir.hyperslab(["seal"]).arg(text_of(&dir)).args("--watchdog 3s").ranks(2);
    let failed = seal().fault("FAULT=stop PATH=.tmp RANK=1").run();
    assert!(!failed.status.success() && failed.took < Duration::from_secs(60), "{failed}");
    assert!(
        failed.stderr.contains("shim: rank 1: stop") && failed.stderr.contains("error: rank"),
        "{failed}"
    );
    seal().run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn a_file_system_that_does_not_answer_ends_the_job_in_the_watchdogs_time() {
    let dir = Dir::new();
    let job = embed(&dir, "image").args("--watchdog 3s").ranks(2).fault("FAULT=hang PATH=00003.png RANK=1");
    let failed = job.run().exits(Exit::Failure).tells_one_error().says("rank 1: no item was read");
    assert!(failed.took < Duration::from_secs(40), "{failed}");
    embed(&dir, "image").run().exits(Exit::Success);
}

#[test]
fn a_second_signal_ends_the_job_at_once() {
    if !is_open_mpi() {
        // Hydra passes no second signal on.
        return;
    }
    let dir = Dir::new();
    let job = in_mid_run(&dir, 2);
    let rank = job.rank(1);
    signal(rank, Signal::STOP);
    signal(rank, Signal::TERM);
    signal(rank, Signal::CONT);
    signal(rank, Signal::TERM);
    let ended = job.wait();
    assert!(!ended.status.success(), "{ended}");
    goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
}
