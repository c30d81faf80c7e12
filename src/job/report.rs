//! What a run was: the summary on standard output, and `run.json` beside the outputs.
//!
//! Whatever depends on circumstances (time, hosts, number of ranks) goes here and not into the output,
//! so that equal work gives equal files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanCount};
use serde::{Deserialize, Serialize};

use super::spans::Spans;
use crate::error::{Context, Result};
use crate::plan::Shard;
use crate::store::{Committed, rename_durably};

/// One rank's place and time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RankReport {
    pub host: String,
    pub device: String,
    pub decode_threads: usize,
    /// Rows that this rank computed.
    pub rows: u64,
    /// Wall time of this rank, which begins with its own process.
    pub wall_s: f64,
    pub spans: Spans,
}

/// One output's run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OutputReport {
    pub rows: u64,
    /// Assets with views that the id map does not name: they have no rows.
    pub assets_left_out: u64,
    /// Rows that this run computed; the others were committed before.
    pub rows_computed: u64,
    pub blocks_skipped: u64,
    pub blocks_computed: u64,
    /// Items without a vector.
    pub failed_items: u64,
    /// Assets that were embedded without some of their views.
    pub partly_failed_items: u64,
    /// Both, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Texts that had more tokens than the model takes, and lost their ends.
    pub truncated_items: u64,
    /// Rows a second while computing.
    pub rows_per_s: f64,
    /// From the job's start, or the last output's end, to this output's end, in seconds: mean of all ranks.
    pub wall_s: f64,
    /// Mean of all ranks.
    pub spans: Spans,
    /// End of the run, in seconds since 1970.
    pub ended_unix_s: u64,
    /// Which shard's rows these are, of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    pub sealed: bool,
    pub output_bytes: u64,
    pub fingerprint: String,
    pub program: String,
    pub ranks: Vec<RankReport>,
}

impl OutputReport {
    /// Counts the failures by reason.
    pub fn count_failures(&mut self, committed: &Committed) {
        let partly = committed.failures.values().filter(|error| error.has_vector()).count() as u64;
        self.failed_items = committed.failures.len() as u64 - partly;
        self.partly_failed_items = partly;
        self.truncated_items = committed.truncated_texts();
        for error in committed.failures.values() {
            *self.failures.entry(error.kind.to_string()).or_default() += 1;
        }
    }

    /// Takes over the ranks and their mean spans.
    pub fn add_ranks(&mut self, ranks: Vec<RankReport>) {
        let mut sum = Spans::default();
        for rank in &ranks {
            sum.merge(&rank.spans);
        }
        let share = 1.0 / ranks.len().max(1) as f64;
        self.spans = sum.scaled(share);
        self.wall_s = ranks.iter().map(|rank| rank.wall_s).sum::<f64>() * share;
        self.ranks = ranks;
        self.ended_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    }

    /// What the id map left out, if anything.
    pub fn left_out(&self) -> Option<String> {
        let n = self.assets_left_out;
        let (assets, them) = if n == 1 { ("asset", "it") } else { ("assets", "them") };
        let text = || format!("{} {assets} with views, the id map does not name {them}", HumanCount(n));
        (n > 0).then(text)
    }

    /// The summary for people.
    pub fn summary(&self, output: &Path) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<10} {value}");
        };
        line(
            "rows",
            format!(
                "{} ({} computed now, {} before)",
                HumanCount(self.rows),
                HumanCount(self.rows_computed),
                HumanCount(self.rows - self.rows_computed)
            ),
        );
        if let Some(left_out) = self.left_out() {
            line("left out", left_out);
        }
        line("blocks", format!("{} computed, {} skipped", self.blocks_computed, self.blocks_skipped));
        let reasons: Vec<String> =
            self.failures.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let partly = match self.partly_failed_items {
            0 => String::new(),
            partly => format!(", {} without some views", HumanCount(partly)),
        };
        line("failed", format!("{}{partly}{reasons}", HumanCount(self.failed_items)));
        if self.truncated_items > 0 {
            line("cut", format!("{} texts at the model's limit of tokens", HumanCount(self.truncated_items)));
        }
        line("rate", format!("{:.1} rows/s (ranks: {})", self.rows_per_s, self.ranks.len()));
        let Spans { start_s, decode_s, model_s, write_s, seal_s } = self.spans;
        line(
            "time",
            format!(
                "{:.2} s: start {start_s:.2}, waiting for decode {decode_s:.2}, model {model_s:.2}, waiting for \
             write {write_s:.2}, seal {seal_s:.2}",
                self.wall_s
            ),
        );
        let output = output.display();
        line(
            "file",
            match self.shard {
                _ if self.sealed => format!("{output} ({})", HumanBytes(self.output_bytes)),
                None => format!("committed, not sealed: run `hyperslab seal {output}`"),
                Some(shard) => {
                    format!("shard {shard} is committed: `hyperslab seal {output}` joins all of them")
                }
            },
        );
        text
    }
}

/// Writes the report of an output into `run.json` beside it, which holds the last run of every output of
/// that folder. Shards, which may end at one time, have a file each.
///
/// # Errors
/// The file cannot be written.
pub fn write_run_json(output: &Path, report: &OutputReport) -> Result<()> {
    let path = match report.shard {
        None => output.with_file_name("run.json"),
        Some(Shard { number, of }) => output.with_file_name(format!("run.shard-{number}-of-{of}.json")),
    };
    let mut all: BTreeMap<String, serde_json::Value> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let what = || format!("cannot write {}", path.display());
    let name = output.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    all.insert(name, serde_json::to_value(report).context(what)?);
    let new = path.with_extension("json.new");
    std::fs::write(&new, serde_json::to_vec_pretty(&all).context(what)?).context(what)?;
    rename_durably(&new, &path)
}
