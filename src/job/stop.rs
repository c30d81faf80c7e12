//! What ends a job early, after the running round: SIGTERM, SIGINT, SIGUSR1, and a time limit. A second
//! signal ends it at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::error::{Context, Error, Exit, Result};

/// Why a job ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    Signal,
    TimeLimit,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "stopped by a signal",
            Self::TimeLimit => "stopped, because --time-limit leaves no time for more",
        })
    }
}

impl Why {
    /// The error of a job that ends early; `done` says how far it has come.
    pub fn error(self, done: &str) -> Error {
        Error::new(format!("{self}; {done}"))
            .exit(Exit::Resume)
            .hint("run the same command again: it goes on from there")
    }
}

/// Whether this process was asked to stop.
#[derive(Clone)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Listens for signals from now on, and looks at the clock from `deadline` on.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn listen(deadline: Option<Instant>) -> Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGUSR1] {
            // In this order: the first signal finds the flag down and only raises it.
            flag::register_conditional_default(signal, Arc::clone(&signalled))
                .and_then(|_| flag::register(signal, Arc::clone(&signalled)))
                .context(|| "cannot listen for signals")?;
        }
        Ok(Self { signalled, deadline })
    }

    /// Why to stop now, if at all.
    pub fn asked(&self) -> Option<Why> {
        self.asked_before(Duration::ZERO)
    }

    /// Why not to begin something that takes so long.
    pub fn asked_before(&self, next: Duration) -> Option<Why> {
        if self.signalled.load(Ordering::Relaxed) {
            return Some(Why::Signal);
        }
        let is_late = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) <= next;
        self.deadline.is_some_and(is_late).then_some(Why::TimeLimit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_stops_what_would_not_end_before_it() {
        let stop =
            Stop { signalled: Arc::default(), deadline: Some(Instant::now() + Duration::from_secs(60)) };
        assert_eq!(stop.asked(), None);
        assert_eq!(stop.asked_before(Duration::from_secs(30)), None);
        assert_eq!(stop.asked_before(Duration::from_secs(90)), Some(Why::TimeLimit));
        stop.signalled.store(true, Ordering::Relaxed);
        assert_eq!(stop.asked(), Some(Why::Signal));
        assert_eq!(Stop { signalled: Arc::default(), deadline: None }.asked_before(Duration::MAX), None);
    }
}
