//! Where plan, ranks and machine do not fit each other.

use super::report::{FilePlan, Report};
use super::text::duration;
use crate::cli::out::{bytes, count};

/// The longest job that most sites let run.
pub const DAY_S: f64 = 86_400.0;

/// What does not fit, each with what to change.
pub fn warnings(report: &Report) -> Vec<String> {
    let idle = report.files.iter().filter_map(|file| idle_ranks(file, report.ranks));
    idle.chain(short_disk(report)).chain(long_job(report)).collect()
}

fn idle_ranks(file: &FilePlan, ranks: u64) -> Option<String> {
    (file.rows > 0 && file.blocks < ranks).then(|| {
        format!(
            "{}: {} for {ranks} ranks, {} of which get nothing to do; take fewer ranks, or --block-rows {} (part of \
             what makes results bit-identical)",
            file.file,
            count(file.blocks, "block"),
            ranks - file.blocks,
            (file.rows / ranks).max(1)
        )
    })
}

fn short_disk(report: &Report) -> Option<String> {
    (report.short_bytes > 0).then(|| {
        format!(
            "the disk is {} short: make room, choose another --output-dir, or need less (--dtype f16, --views N); \
             `embed` refuses to start",
            bytes(report.short_bytes)
        )
    })
}

fn long_job(report: &Report) -> Option<String> {
    let seconds = report.seconds().filter(|seconds| *seconds > DAY_S)?;
    Some(format!(
        "the job takes {}, longer than many sites allow: take more ranks; ended by its time limit, it goes on from the \
         last round when it is started again",
        duration(seconds)
    ))
}
