//! Rounds: one run of blocks per rank, written together, read back, made durable, and only then counted.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::source::Source;
use super::stop::{Stop, Why};
use crate::comm::World;
use crate::error::{Context, Error, Exit, Result};
use crate::plan::{Blocks, Runs};
use crate::store::schema::StoredType;
use crate::store::{Committed, Entry, Failure, Journal, Record, Stage, StoredRows, check_digests};

/// The share of the time between two commits that a commit may cost.
const COMMIT_SHARE_MAX: f64 = 0.02;
/// Work between two commits, in seconds: what a crash may cost, and how soon a signal is heard (Slurm
/// kills 30 s after SIGTERM by default).
const ROUND_S_MAX: f64 = 10.0;

/// What a round may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most blocks per rank and round.
    pub round_blocks: u64,
    /// Most failed items before the job stops.
    pub failures: u64,
}

/// A rank's part in the loop of rounds.
pub struct Rounds<'a> {
    pub world: &'a World,
    pub stage: &'a Stage,
    /// On rank 0.
    pub journal: Option<Journal>,
    pub blocks: &'a Blocks,
    /// Those that this run commits.
    pub own: Range<u64>,
    pub stored: StoredType,
    pub limits: Limits,
    pub stop: &'a Stop,
    /// What is committed so far, on every rank.
    pub committed: Committed,
    /// Rows that this rank computed and that are committed.
    pub rows_here: u64,
}

/// What a rank tells the others before a round's write.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Report {
    /// This rank's run; no digests, no blocks.
    record: Record,
    /// Whether and why this rank was asked to stop, or would not begin another round.
    stop: Option<Why>,
    /// Blocks per rank in the next round; rank 0's word counts.
    next_round_blocks: u64,
}

/// A run of consecutive blocks, ready to be written.
#[derive(Default)]
struct Run {
    record: Record,
    rows: StoredRows,
}

impl Rounds<'_> {
    /// Commits round after round until every block of every rank's share is committed.
    ///
    /// # Errors
    /// A failure of any rank, the same on all; with [`Exit::Resume`] where the job was asked to stop.
    pub fn run(&mut self, mut runs: Runs, source: &Source<'_>, progress: &mut Progress) -> Result<()> {
        let begin = Instant::now();
        let mut blocks_done = 0;
        let mut round_blocks = 1;
        let mut commit_s = 0.0;
        loop {
            let round_begin = Instant::now();
            let run = self.next_run(&mut runs, round_blocks, source);
            let run = self.world.agree(run)?;
            let next_round_blocks = self.next_round_blocks(begin, blocks_done, commit_s);
            // Another round, from its first block to its commit.
            let next_s = round_begin.elapsed().as_secs_f64() * next_round_blocks as f64 / round_blocks as f64
                + 2.0 * commit_s;
            let stop = self.stop.asked_before(Duration::from_secs_f64(next_s));
            let report = Report { record: run.record, stop, next_round_blocks };
            blocks_done += report.record.digests.len() as u64;
            let rows = (run.rows.bytes.len() / self.stage.row_bytes().max(1)) as u64;
            let reports = self.exchange(&report)?;
            if reports.iter().all(|report| report.record.digests.is_empty()) {
                return Ok(());
            }
            let commit_begin = Instant::now();
            self.commit(&run.rows, &reports)?;
            commit_s = commit_begin.elapsed().as_secs_f64();
            self.rows_here += rows;
            round_blocks = reports.first().map_or(1, |report| report.next_round_blocks);
            progress.set(self.committed.rows(self.blocks));
            let stop = reports.iter().find_map(|report| report.stop);
            self.check_limits(stop).map_err(Error::on_all_ranks)?;
        }
    }

    /// Waits for this rank's next run: empty when its share is done.
    fn next_run(&self, runs: &mut Runs, round_blocks: u64, source: &Source<'_>) -> Result<Run> {
        let Some(range) = runs.next_run(round_blocks) else { return Ok(Run::default()) };
        let rows = StoredRows { start: self.blocks.range(range.start).start, bytes: Vec::new() };
        let mut run = Run { record: Record { first_block: range.start, ..Record::default() }, rows };
        for block in range {
            let done = source.block(block)?;
            let start = self.blocks.range(block).start;
            let failed = done.failures.iter().filter(|(_, error)| !error.has_vector());
            let failed: Vec<usize> = failed.map(|(row, _)| *row).collect();
            let encoded = StoredRows::encode(start, &done.vectors.view(), &failed, self.stored);
            run.record.digests.push(encoded.digest());
            run.rows.bytes.extend(encoded.bytes);
            let failures =
                done.failures.into_iter().map(|(row, error)| Failure { row: start + row as u64, error });
            run.record.failures.extend(failures);
            run.record.truncated.push(done.truncated);
        }
        Ok(run)
    }

    /// Rank 0's choice for the round after the coming one: as small as it can be with commits that cost
    /// little beside computing, for a smaller loss at a crash.
    fn next_round_blocks(&self, begin: Instant, blocks_done: u64, commit_s: f64) -> u64 {
        if blocks_done == 0 {
            return 1;
        }
        let block_s = (begin.elapsed().as_secs_f64() / blocks_done as f64).max(1e-6);
        let cheap = (commit_s / (COMMIT_SHARE_MAX * block_s)).ceil();
        let safe = (ROUND_S_MAX / block_s).floor();
        (cheap.min(safe) as u64).clamp(1, self.limits.round_blocks)
    }

    fn exchange(&self, report: &Report) -> Result<Vec<Report>> {
        let bytes = serde_json::to_vec(report).context(|| "cannot encode a round's report")?;
        let reports = self.world.all_gather(&bytes);
        reports
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).context(|| "cannot decode a round's report"))
            .collect()
    }

    /// Collective write, global flush, read-back by another rank, and the record, each agreed on by all
    /// before the next. The flush comes before the read-back, because MPI-IO promises no rank another
    /// rank's bytes without it.
    fn commit(&mut self, rows: &StoredRows, reports: &[Report]) -> Result<()> {
        self.world.agree(self.stage.write(rows))?;
        self.world.agree(self.stage.flush())?;
        self.world.agree(self.read_back(reports))?;
        let records: Vec<Record> = reports
            .iter()
            .map(|report| report.record.clone())
            .filter(|record| !record.digests.is_empty())
            .collect();
        let entries: Vec<Entry> = records.iter().cloned().map(Entry::Committed).collect();
        let appended = self.journal.as_mut().map_or(Ok(()), |journal| journal.append(&entries));
        self.world.agree(appended)?;
        for record in records {
            self.committed.add(record);
        }
        Ok(())
    }

    /// Reads what the next rank wrote and compares it with the digests of what that rank computed.
    fn read_back(&self, reports: &[Report]) -> Result<()> {
        let neighbour = (self.world.rank() + 1) % self.world.size();
        let Some(Report { record, .. }) = reports.get(neighbour) else { return Ok(()) };
        let blocks = record.first_block..record.first_block + record.digests.len() as u64;
        let read = self.stage.read(self.blocks.rows_of(blocks.clone()))?;
        let mut expected = Committed::default();
        expected.add(record.clone());
        let form = (self.blocks, self.stage.row_bytes());
        check_digests(&read, blocks, form, &expected.digests).map_err(|block| {
            Error::new(format!(
                "block {block}, written by rank {neighbour}, was read back by rank {} with other bytes than \
                 were written",
                self.world.rank()
            ))
            .exit(Exit::Damaged)
            .hint(
                "nothing of this round counts; memory, network or file system changed the data, or the MPI \
                 library's I/O is defective (OpenMPI before 4.1.7 / 5.0.6 is known for it): run the same \
                 command again, on other nodes or with `--mca io ^ompio`",
            )
        })
    }

    /// Whether the job may go on after this round.
    fn check_limits(&self, stop: Option<Why>) -> Result<()> {
        check_failures(&self.committed, self.limits.failures)?;
        let (done, blocks) = (self.committed.digests.len() as u64, self.own.end - self.own.start);
        match stop {
            Some(why) if done < blocks => Err(why.error(&format!("{done} of {blocks} blocks are committed"))),
            _ => Ok(()),
        }
    }
}

/// Whether no more items have failed than may.
///
/// # Errors
/// More have; says which was the last.
pub fn check_failures(committed: &Committed, limit: u64) -> Result<()> {
    // An asset that is embedded without some of its views has not failed.
    let failed = || committed.failures.iter().filter(|(_, error)| !error.has_vector());
    let failures = failed().count() as u64;
    let Some((row, error)) = failed().next_back().filter(|_| failures > limit) else {
        return Ok(());
    };
    Err(Error::new(format!(
        "failed items: {failures}, more than --max-failures allows ({limit}); the last one, row {row}: {error}"
    ))
    .hint("mend the input and start again with --overwrite, or raise --max-failures and go on"))
}
