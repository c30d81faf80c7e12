//! Progress for people: a bar with rate and ETA on a terminal, plain lines elsewhere; rank 0 alone.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Seconds between two plain lines: often enough to see life, seldom enough for a log of days.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Rows done out of all rows of one stage of the job.
pub struct Progress {
    label: String,
    total: u64,
    /// Rows that were done before this run began.
    before: u64,
    begin: Instant,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Progress {
    /// `visible` on the one rank that speaks.
    pub fn new(label: &str, total: u64, before: u64, visible: bool) -> Self {
        let shown = if !visible {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(
                "{prefix} {bar:30} {human_pos}/{human_len} rows  {per_sec}  ETA {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total).with_style(style).with_prefix(label.to_owned());
            bar.set_position(before);
            bar.reset_eta();
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: Instant::now() }
        };
        Self { label: label.to_owned(), total, before, begin: Instant::now(), shown }
    }

    /// Shows that `rows` of all rows are done.
    pub fn set(&mut self, rows: u64) {
        let line = self.line(rows);
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(rows),
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                tracing::info!("{line}");
            }
            Shown::Lines { .. } | Shown::Nothing => {}
        }
    }

    fn line(&self, rows: u64) -> String {
        let rate = (rows - self.before) as f64 / self.begin.elapsed().as_secs_f64().max(1e-9);
        let left = Duration::from_secs_f64(((self.total - rows) as f64 / rate.max(1e-9)).min(1e9));
        format!(
            "{}: {} of {} rows, {rate:.1} rows/s, ETA {}",
            self.label,
            HumanCount(rows),
            HumanCount(self.total),
            HumanDuration(left)
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
