//! Filling a staging table: several connections, each with a COPY, share the entries run by run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::entries::{Counts, Entry, Runs, Source};
use super::publish::clear;
use super::row::RowWriter;
use super::table::{Target, Vectors};
use super::{Progress, STAGING, Server, Session, open, quoted};
use crate::error::{Error, Exit, Result};

/// Bytes that are sent at once.
const SENT_BYTES: usize = 1 << 20;

/// Where a load goes.
pub struct Destination<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    pub staging: &'a Target,
    pub vectors: Vectors,
}

/// Makes the staging table and fills it. One that is to be the final table (`is_final`) has keys, and survives a crash
/// of the server. `progress` counts rows of the file.
///
/// # Errors
/// Rows that do not read, or what the server says; the table is gone then, if the server still answers.
pub fn load(
    session: &mut Session,
    to: &Destination<'_>,
    source: &Source,
    is_final: bool,
    connections: usize,
    progress: Progress<'_>,
) -> Result<Counts> {
    let what = "to make the staging table";
    let drop_old = format!("DROP TABLE IF EXISTS {}", to.staging.sql());
    session.run(what, &format!("CREATE SCHEMA IF NOT EXISTS {}; {drop_old}", quoted(STAGING)))?;
    session.run(what, &source.layout.create_sql(STAGING, to.vectors, is_final))?;
    if is_final {
        session.run(what, &source.layout.keys_sql(STAGING))?;
    }
    let loaded = copy(to, source, connections, progress);
    if loaded.is_err() {
        // A disk that is full has room again, then.
        let _ = clear(session, to.staging);
    }
    loaded
}

fn copy(to: &Destination<'_>, source: &Source, connections: usize, progress: Progress<'_>) -> Result<Counts> {
    let runs = Runs::new(source.entries()?);
    let (done, all) = (AtomicU64::new(0), source.n_rows());
    let has_failed = AtomicBool::new(false);
    let work = || {
        let copied = copy_runs(to, source, &runs, &has_failed, |rows| {
            progress(done.fetch_add(rows, Ordering::Relaxed) + rows, all);
        });
        if copied.is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
        copied
    };
    let outcomes: Vec<Result<Counts>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections.max(1)).map(|_| scope.spawn(work)).collect();
        let panicked = |_| Err(Error::new("a thread panicked").exit(Exit::Bug));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut all = Counts::of(source.layout);
    for counts in outcomes {
        all.add(&counts?);
    }
    Ok(all)
}

/// What one connection does.
fn copy_runs<I>(
    to: &Destination<'_>,
    source: &Source,
    runs: &Runs<I>,
    has_failed: &AtomicBool,
    done: impl Fn(u64),
) -> Result<Counts>
where
    I: Iterator<Item = Result<Entry>>,
{
    let mut session = open(to.server, to.database)?;
    let columns = source.layout.filled().join(", ");
    let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", to.staging.sql());
    let mut copy = session.copy_in("to fill the staging table", &sql)?;
    let mut writer = RowWriter::new(source, to.vectors.stored)?;
    let mut sent = 0;
    loop {
        let run = runs.next()?;
        if run.is_empty() {
            break;
        }
        for entry in run {
            if has_failed.load(Ordering::Relaxed) {
                return Ok(Counts::of(source.layout));
            }
            sent += writer.write(&entry)?;
            if writer.bytes().len() >= SENT_BYTES {
                copy.send(writer.bytes())?;
                writer.clear();
            }
            done(entry.rows.iter().flatten().map(|rows| rows.end - rows.start).sum());
        }
    }
    let counts = writer.finish();
    copy.send(writer.bytes())?;
    let taken = copy.finish()?;
    if taken != sent {
        return Err(Error::new(format!("the server took {taken} of {sent} rows")));
    }
    Ok(counts)
}
