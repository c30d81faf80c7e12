//! Nothing hangs: when the time is up, the process says where it was and ends the job.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::comm;
use crate::error::Exit;

/// What is done when the time is up, with the step that did not end.
type LastWords = Box<dyn FnOnce(&str) + Send>;

/// Ends the process, and the job with it, at a time that is set when it is made.
#[derive(Clone)]
pub struct Watchdog {
    state: Arc<Mutex<State>>,
    began: Instant,
    limit: Duration,
}

struct State {
    step: &'static str,
    last_words: Option<LastWords>,
    /// Before MPI has started there is no job to abort.
    mpi_runs: bool,
}

impl Watchdog {
    /// Begins to count; `last_words` until there are better ones.
    pub fn start(limit: Duration, last_words: impl FnOnce(&str) + Send + 'static) -> Self {
        let state =
            State { step: "the start of MPI", last_words: Some(Box::new(last_words)), mpi_runs: false };
        let watchdog = Self { state: Arc::new(Mutex::new(state)), began: Instant::now(), limit };
        let (watched, sleeps) = (watchdog.clone(), limit);
        thread::spawn(move || {
            thread::sleep(sleeps);
            watched.time_is_up();
        });
        watchdog
    }

    /// The point of time after this part of the whole.
    pub fn at(&self, part: f64) -> Instant {
        self.began + self.limit.mul_f64(part)
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// MPI runs from here on; the step that comes next.
    pub fn mpi_has_started(&self, step: &'static str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mpi_runs = true;
        state.step = step;
    }

    /// The step that comes next.
    pub fn enters(&self, step: &'static str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).step = step;
    }

    /// What to do when the time is up, in the place of what was to be done.
    pub fn then(&self, last_words: impl FnOnce(&str) + Send + 'static) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_words = Some(Box::new(last_words));
    }

    fn time_is_up(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last_words) = state.last_words.take() {
            last_words(state.step);
        }
        if state.mpi_runs {
            comm::abort(Exit::Failure);
        }
        std::process::exit(Exit::Failure.code());
    }
}
