//! Building the indexes of a table, with what the server has for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use sqlx::Row;

use super::estimate::Estimate;
use super::index::Index;
use super::publish::in_transaction;
use super::table::Target;
use super::{Progress, Server, Session, literal, open};
use crate::error::Result;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Builds the indexes that a table lacks: of its flags, and of each column of vectors in `columns`; `progress` hears
/// of blocks or rows of the one that is being built. One that is there stays if it is of the kind that is wanted, or
/// with its parameters too (`is_exact`).
///
/// # Errors
/// What the server says.
pub fn build(
    session: &mut Session,
    (server, database): (&Server, &str),
    target: &Target,
    columns: &[&str],
    estimate: &Estimate,
    is_exact: bool,
    progress: Progress<'_>,
) -> Result<()> {
    let vectors = columns.iter().map(|column| {
        let name = target.layout.index_name(column);
        let operators = format!("{}_cosine_ops", estimate.vectors.stored.name());
        Wanted { name, on: format!("{column} {operators}"), index: estimate.index }
    });
    let flags = Wanted {
        name: target.layout.index_name("is_high_quality"),
        on: "is_high_quality".to_owned(),
        index: Index::None,
    };
    for wanted in std::iter::once(flags).chain(vectors) {
        let Some(Method { name: method, with, shown }) = wanted.method() else { continue };
        let there = definition(session, target, &wanted.name)?;
        let is_wanted = |there: &str| {
            there.contains(&format!("USING {method} ({})", wanted.on))
                && (!is_exact || there.ends_with(&shown))
        };
        if there.as_deref().is_some_and(is_wanted) {
            continue;
        }
        let create = |name: &str| {
            format!("CREATE INDEX {name} ON {} USING {method} ({}){with}", target.sql(), wanted.on)
        };
        if there.is_none() {
            build_one(session, (server, database), target, estimate, &create(&wanted.name), progress)?;
            continue;
        }
        // Beside the one of another kind, which is used meanwhile; an earlier load may have left it unnamed.
        let new = format!("{}_new", wanted.name);
        let (old_name, new_name) = (target.name_of(&wanted.name), target.name_of(&new));
        let what = format!("to replace the index {}", wanted.name);
        session.run(&what, &format!("DROP INDEX IF EXISTS {new_name}"))?;
        build_one(session, (server, database), target, estimate, &create(&new), progress)?;
        let rename = format!("DROP INDEX {old_name}; ALTER INDEX {new_name} RENAME TO {}", wanted.name);
        in_transaction(session, &what, &rename)?;
    }
    Ok(())
}

/// Runs a statement that builds an index, with what the server has for it.
fn build_one(
    session: &mut Session,
    (server, database): (&Server, &str),
    target: &Target,
    estimate: &Estimate,
    sql: &str,
    progress: Progress<'_>,
) -> Result<()> {
    let what = format!("to build an index of {}", target.layout.name);
    let table = target.sql();
    session.run(&what, &settings(estimate, &table))?;
    let pid = session.value::<i32>(&what, "SELECT pg_backend_pid()")?.unwrap_or_default();
    // Where it gets no connection of its own, there is no progress to be seen.
    let watcher = open(server, database).ok();
    let built = watched(watcher, pid, progress, || session.run(&what, sql));
    session.run(&what, &format!("ALTER TABLE {table} RESET (parallel_workers)"))?;
    built.map(|_| ())
}

/// Lets the planner know the table; figures about its vectors would say nothing.
///
/// # Errors
/// What the server says.
pub fn analyze(session: &mut Session, target: &Target) -> Result<()> {
    session.run("to analyze the table", &format!("ANALYZE {} (asset_id, is_high_quality)", target.sql()))?;
    Ok(())
}

/// An index that a table is to have.
struct Wanted {
    name: String,
    /// Column and operators.
    on: String,
    index: Index,
}

/// How an index is stored.
struct Method {
    name: &'static str,
    /// Its parameters, as they are said, and as PostgreSQL shows them.
    with: String,
    shown: String,
}

impl Wanted {
    /// None where searches are to go through all rows.
    fn method(&self) -> Option<Method> {
        let method = |name, with: String, shown: String| Some(Method { name, with, shown });
        match self.index {
            Index::Hnsw { m, ef_construction: ef } => method(
                "hnsw",
                format!(" WITH (m = {m}, ef_construction = {ef})"),
                format!(" WITH (m='{m}', ef_construction='{ef}')"),
            ),
            Index::IvfFlat { lists } => {
                method("ivfflat", format!(" WITH (lists = {lists})"), format!(" WITH (lists='{lists}')"))
            }
            Index::None if self.on == "is_high_quality" => method("btree", String::new(), String::new()),
            Index::None => None,
        }
    }
}

/// The indexes over vectors that a table has under our names, as PostgreSQL describes them.
///
/// # Errors
/// A failed query.
pub fn there(session: &mut Session, target: &Target) -> Result<Vec<String>> {
    let mut there = Vec::new();
    for (column, _) in target.layout.vectors {
        let definition = definition(session, target, &target.layout.index_name(column))?;
        let after = |text: String| text.split_once(" USING ").map(|(_, how)| how.to_owned());
        there.extend(definition.and_then(after));
    }
    Ok(there)
}

fn settings(estimate: &Estimate, table: &str) -> String {
    let workers = estimate.workers;
    format!(
        "SET maintenance_work_mem = '{}kB'; SET max_parallel_maintenance_workers = {workers}; \
         SET max_parallel_workers = {}; ALTER TABLE {table} SET (parallel_workers = {workers})",
        // What the setting takes at most.
        (estimate.memory / 1024).min(i32::MAX as u64),
        workers.max(1)
    )
}

/// What the table's index of this name is; none where there is none, or one that was not finished.
fn definition(session: &mut Session, target: &Target, name: &str) -> Result<Option<String>> {
    let sql = format!(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index \
         WHERE indexrelid = to_regclass({}) AND indrelid = to_regclass({}) AND indisvalid",
        literal(&target.name_of(name)),
        literal(&target.sql())
    );
    session.value("to look for an index", &sql)
}

/// Does `work`, and asks meanwhile how far it is.
fn watched<T>(
    mut watcher: Option<Session>,
    pid: i32,
    progress: Progress<'_>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let look = || {
            while !is_done.load(Ordering::Relaxed) {
                if let Some((done, all)) = watcher.as_mut().and_then(|watcher| how_far(watcher, pid)) {
                    progress(done, all);
                }
                thread::park_timeout(LOOK_EVERY);
            }
        };
        let looks = scope.spawn(look);
        // However the work ends: the scope waits for the one who looks.
        let _ends = Ends { is_done: &is_done, looks: looks.thread().clone() };
        work()
    })
}

/// Ends the looking when it is dropped.
struct Ends<'a> {
    is_done: &'a AtomicBool,
    looks: Thread,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.looks.unpark();
    }
}

/// What PostgreSQL's own view says: HNSW tells blocks, IVFFlat rows.
fn how_far(watcher: &mut Session, pid: i32) -> Option<(u64, u64)> {
    let sql = "SELECT CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END, \
               CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END \
               FROM pg_stat_progress_create_index WHERE pid = $1";
    let rows = watcher.rows("to ask how far an index is", sqlx::query(sql).bind(pid)).ok()?;
    let row = rows.first()?;
    let (done, all): (i64, i64) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
    (all > 0).then_some((done as u64, all as u64))
}
