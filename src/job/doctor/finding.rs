//! What a probe finds out: one line, whether that is well, and what to do where it is not.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How a job would fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// A job would run, with something to know about.
    Warning,
    /// A job would not run, or not be right.
    Error,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing found out by one rank, or about all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in one word: `gpu`, `model`, `locks`.
    pub topic: String,
    pub verdict: Verdict,
    pub what: String,
    /// What to do, where there is something to do.
    pub next: Option<String>,
}

impl Finding {
    pub fn ok(topic: &str, what: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), verdict: Verdict::Ok, what: what.into(), next: None }
    }

    pub fn warning(topic: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, next: Some(next.into()), ..Self::ok(topic, what) }
    }

    pub fn error(topic: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, ..Self::warning(topic, what, next) }
    }

    /// What would end a job with this error.
    pub fn of_error(topic: &str, error: Error) -> Self {
        Self { verdict: Verdict::Error, next: error.hint, ..Self::ok(topic, error.message) }
    }
}

/// `0-3, 5` for the ranks 0, 1, 2, 3 and 5.
pub fn ranges(ranks: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => runs.push((rank, rank)),
        }
    }
    let words = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_in_a_row_are_one_range() {
        let words = |ranks: &[usize]| ranges(&ranks.iter().copied().collect());
        assert_eq!(words(&[0, 1, 2, 3, 5]), "0-3, 5");
        assert_eq!(words(&[7]), "7");
        assert_eq!(words(&[]), "");
        assert_eq!(words(&[2, 1, 9, 10]), "1-2, 9-10");
    }
}
