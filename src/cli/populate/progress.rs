//! How far a table is: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::db::Step;

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The steps of one table.
pub struct Steps {
    table: &'static str,
    state: Mutex<State>,
}

struct State {
    bar: ProgressBar,
    step: Step,
    /// Of the step, or of the index that is being built.
    began: Instant,
    done: u64,
    last_line: Instant,
    is_terminal: bool,
}

impl Steps {
    pub fn new(table: &'static str) -> Self {
        let now = Instant::now();
        let state = State {
            bar: ProgressBar::new(0),
            step: Step::Rows,
            began: now,
            done: 0,
            last_line: now,
            is_terminal: std::io::stderr().is_terminal(),
        };
        Self { table, state: Mutex::new(state) }
    }

    /// Takes a report; from any thread.
    pub fn hear(&self, step: Step, done: u64, all: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        // Threads report out of order; an index begins anew from nothing.
        let is_new = state.step != step || step == Step::Index && done < state.done;
        if is_new || state.bar.length() != Some(all) {
            state.begin(self.table, step, all);
        }
        state.done = state.done.max(done);
        state.bar.set_position(state.done);
        if !state.is_terminal && state.last_line.elapsed() >= LINE_EVERY {
            let rate = state.done as f64 / state.began.elapsed().as_secs_f64();
            let left = all.saturating_sub(state.done) as f64 / rate.max(1e-3);
            let percent = 100.0 * state.done as f64 / all.max(1) as f64;
            tracing::info!("{}: {} {percent:.0} %, ETA {}", self.table, step.name(), duration(left));
            state.last_line = Instant::now();
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Ok(state) = self.state.lock() {
            state.bar.finish_and_clear();
        }
    }
}

impl State {
    fn begin(&mut self, table: &str, step: Step, all: u64) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::new(all);
        let unit = if step == Step::Rows { "{human_pos} of {human_len} rows" } else { "{percent} %" };
        let template = format!("{table}, {}  {{wide_bar}} {unit}, ETA {{eta}}", step.name());
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
        (self.step, self.began, self.done) = (step, Instant::now(), 0);
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Index => "index",
        }
    }
}

/// A span of time for people.
pub fn duration(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::from_secs_f64(seconds.clamp(1.0, 1e9)))
}
