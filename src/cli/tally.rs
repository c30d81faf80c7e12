//! A progress bar of rows for commands that read or write whole files; shown on a terminal alone.

use indicatif::{ProgressBar, ProgressStyle};

/// Rows done, of all.
pub struct Tally(ProgressBar);

impl Tally {
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} rows, {eta} left")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub fn set(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
