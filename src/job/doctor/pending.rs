//! A probe on a thread of its own: what it asks may never answer (a lost file server, a driver that
//! hangs), and the others must be told all the same.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use super::finding::Finding;

/// A probe that has been started.
pub struct Pending<T> {
    topic: &'static str,
    began: Instant,
    answer: Receiver<T>,
}

impl<T: Send + 'static> Pending<T> {
    /// Starts `work`.
    pub fn start(topic: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, answer) = channel();
        // Where no thread can be started, the sender is gone with the closure, and the wait says so.
        let _ = thread::Builder::new().name(topic.to_owned()).spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work());
        });
        Self { topic, began: Instant::now(), answer }
    }

    /// Its answer, if that comes before `until`.
    ///
    /// # Errors
    /// The finding that it does not.
    pub fn wait(self, until: Instant) -> Result<T, Finding> {
        let left = until.saturating_duration_since(Instant::now());
        self.answer.recv_timeout(left).map_err(|why| match why {
            RecvTimeoutError::Timeout => Finding::error(
                self.topic,
                format!("no answer within {:.0} s", self.began.elapsed().as_secs_f64()),
                "a file server or a driver may hang; where it is only slow, give it more time with --time-limit",
            ),
            RecvTimeoutError::Disconnected => {
                Finding::error(self.topic, "no thread could be started", "raise the limit of processes (ulimit -u)")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_probe_that_hangs_is_a_finding() {
        let soon = || Instant::now() + Duration::from_millis(50);
        assert_eq!(Pending::start("quick", || 7).wait(Instant::now() + Duration::from_secs(30)), Ok(7));
        let slow = Pending::start("slow", || thread::sleep(Duration::from_secs(3)));
        let finding = slow.wait(soon()).unwrap_err();
        assert!(finding.topic == "slow" && finding.what.contains("no answer"), "{finding:?}");
    }
}
