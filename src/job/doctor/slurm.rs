//! How long the Slurm job that this is part of still has.

use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::HumanDuration;

use super::ask::ask;
use super::finding::Finding;

/// With less than this the doctor itself may be cut short.
const SECONDS_MIN: u64 = 120;

/// The time left of this Slurm job; nothing outside one.
pub fn time_left() -> Option<Finding> {
    let job = std::env::var("SLURM_JOB_ID").ok()?;
    let end = std::env::var("SLURM_JOB_END_TIME").ok().and_then(|end| end.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let asked = || ask("squeue", &["-h", "-o", "%L", "-j", &job]).and_then(|text| seconds(text.trim()));
    Some(match end.map(|end| end.saturating_sub(now)).or_else(asked) {
        Some(left) => judge(left),
        None => Finding::ok("slurm", format!("job {job}, without a time limit that could be told")),
    })
}

fn judge(left: u64) -> Finding {
    let what = format!("{} left of this job", HumanDuration(std::time::Duration::from_secs(left)));
    if left < SECONDS_MIN {
        return Finding::warning("slurm", what, "the batch system may end what runs here at any moment");
    }
    Finding::ok("slurm", what)
}

/// Of `days-hours:minutes:seconds`, of which the front may be missing.
fn seconds(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let of_clock =
        clock.split(':').try_fold(0, |sum: u64, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(days * 86_400 + of_clock)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn times_as_squeue_prints_them() {
        assert_eq!(seconds("1-02:03:04"), Some(93_784));
        assert_eq!(seconds("59:30"), Some(3570));
        assert_eq!(seconds("UNLIMITED"), None);
        assert_eq!(judge(60).verdict, Verdict::Warning);
        assert_eq!(judge(7200).verdict, Verdict::Ok);
    }
}
