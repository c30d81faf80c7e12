//! Jobs that end early: a rank that panics or cannot read, a signal, a second job.

use std::fs;
use std::time::Duration;

use hyperslab::Exit;

use super::{TEXT, assert_in_the_middle, embed, goes_on, in_mid_run, many, started, text_of};
use crate::util::{Dir, LAUNCHER, Signal, assert_same, foreign_launcher, names, signal};

#[test]
fn a_rank_that_panics_ends_the_job() {
    for rank in [0, 1] {
        let dir = Dir::new();
        let trigger = dir.join("now");
        let fault = format!("FAULT=clock RANK={rank} TRIGGER={}", trigger.display());
        let job = started(embed(&dir, "many").ranks(3).fault(&fault), &text_of(&dir));
        fs::write(trigger, "").unwrap();
        let failed =
            job.wait().exits(Exit::Bug).says(&format!("rank {rank}: a defect in hyperslab")).says("panicked");
        assert!(failed.took < Duration::from_secs(30), "{failed}");
        assert_in_the_middle(&text_of(&dir));
        goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
    }
}

#[test]
fn a_rank_without_memory_for_a_batch_ends_the_job_with_a_smaller_one_named() {
    let dir = Dir::new();
    let trigger = dir.join("now");
    let fault = format!("FAULT=nomem MIN=4096 RANK=1 TRIGGER={}", trigger.display());
    let job = started(embed(&dir, "many").ranks(3).fault(&fault), &text_of(&dir));
    fs::write(trigger, "").unwrap();
    let failed = job.wait().exits(Exit::Failure).tells_one_error().says("rank 1: embedding a batch");
    let failed = failed.says("can't allocate memory").says("--overwrite --batch-size 2");
    assert!(failed.took < Duration::from_secs(30), "{failed}");
    assert_in_the_middle(&text_of(&dir));
    goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
}

#[test]
fn a_rank_that_cannot_open_a_file_ends_the_job() {
    for (file, rank) in [
        ("model.safetensors", 1),
        ("model.safetensors", 0),
        ("config.json", 2),
        (".partial", 1),
        (".plan.new", 2),
    ] {
        let dir = Dir::new();
        let job = embed(&dir, "text").ranks(3).fault(&format!("FAULT=eacces PATH={file} RANK={rank}"));
        let failed = job.run().exits(Exit::Failure).tells_one_error();
        let failed = failed.says(&format!("error: rank {rank}: ")).says(file).says("Permission denied");
        assert!(failed.took < Duration::from_secs(20), "{failed}");
        assert!(!text_of(&dir).exists());
        embed(&dir, "text").run().exits(Exit::Success);
        assert_eq!(names(&dir.join("out")), ["run.json", TEXT]);
    }
}

#[test]
fn a_signal_to_one_rank_ends_the_job_after_the_round() {
    for (rank, what) in [(1, Signal::TERM), (0, Signal::INT), (2, Signal::USR1)] {
        let dir = Dir::new();
        let job = in_mid_run(&dir, 3);
        signal(job.rank(rank), what);
        let ended = job.wait().exits(Exit::Resume).tells_one_error();
        ended
            .says("stopped by a signal; ")
            .says("of 251 blocks are committed")
            .says("run the same command again");
        assert_in_the_middle(&text_of(&dir));
        assert!(!text_of(&dir).with_extension("h5.lock").exists());
        goes_on(embed(&dir, "many"), &text_of(&dir), &many().output);
    }
}

#[test]
fn a_signal_to_the_launcher_or_to_one_process_ends_the_job_after_the_round() {
    for (ranks, what) in [(2, Signal::USR1), (0, Signal::TERM)] {
        let dir = Dir::new();
        let job = in_mid_run(&dir, ranks);
        signal(job.id(), what);
        job.wait().exits(Exit::Resume).tells_one_error();
        assert_in_the_middle(&text_of(&dir));
    }
}

#[test]
fn a_second_job_on_an_output_is_refused_while_the_first_runs() {
    let dir = Dir::new();
    let first = in_mid_run(&dir, 2);
    let root = first.rank(0);
    let holder = format!("pid {root} on ");
    signal(root, Signal::STOP);
    for second in [embed(&dir, "many").ranks(2), embed(&dir, "many").args("--overwrite")] {
        second.run().exits(Exit::Failure).tells_one_error().says(&holder).says("works on this output");
    }
    let seal = dir.hyperslab(["seal"]).arg(text_of(&dir)).run();
    seal.exits(Exit::Failure).tells_one_error().says(&holder);
    signal(root, Signal::CONT);
    first.wait().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn the_lock_of_a_killed_job_is_taken_over() {
    let dir = Dir::new();
    in_mid_run(&dir, 2).kill();
    assert!(text_of(&dir).with_extension("h5.lock").exists());
    embed(&dir, "many").ranks(2).run().exits(Exit::Success).says("took over").says("which is gone");
    assert_eq!(names(&dir.join("out")), ["run.json", TEXT]);
}

#[test]
fn ranks_that_do_not_find_each_other_are_refused() {
    for variable in ["PMI_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"] {
        let dir = Dir::new();
        let refused = embed(&dir, "text").env(variable, "8").run().exits(Exit::Failure);
        let refused = refused.tells_one_error().says("8 processes").says("a world of 1").says(variable);
        refused.says(&format!("start with: {LAUNCHER} -n N hyperslab"));
        assert!(!dir.join("out").exists());
    }
}

#[test]
fn ranks_started_by_the_launcher_of_another_mpi_are_refused() {
    let Some(launcher) = foreign_launcher() else { return };
    let dir = Dir::new();
    let refused = embed(&dir, "text").ranks(2).launcher(launcher).run().exits(Exit::Failure);
    let refused = refused.says("2 processes").says("a world of 1").says("this program was built with");
    refused.says(&format!("start with: {LAUNCHER} -n N hyperslab"));
    assert!(!dir.join("out").exists());
}
