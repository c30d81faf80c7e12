//! From the staging table to the one that the service reads, in one transaction.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::table::{Mark, Target, Vectors};
use super::{STAGING, Session, literal, quoted};
use crate::error::Result;

/// How long a lock is waited for at a time: behind us, all who only read would wait as well.
const LOCK_TURN: &str = "2s";
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// And altogether.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// What is there before a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No table, or one without rows.
    Nothing,
    /// All that the load would bring, and nothing else.
    Same(Mark),
    /// Other rows.
    Rows(u64),
}

/// Looks at the table.
///
/// # Errors
/// A failed query.
pub fn found(session: &mut Session, target: &Target, source: &str) -> Result<Found> {
    let what = format!("to look at the table {}", target.layout.name);
    let exists = format!("SELECT to_regclass({}) IS NOT NULL", literal(&target.sql()));
    if session.value::<bool>(&what, &exists)? != Some(true) {
        return Ok(Found::Nothing);
    }
    let rows: i64 =
        session.value(&what, &format!("SELECT count(*) FROM {}", target.sql()))?.unwrap_or_default();
    let rows = rows as u64;
    match target.mark(session)? {
        Some(mark) if mark.source == source && mark.rows == rows => Ok(Found::Same(mark)),
        _ if rows == 0 => Ok(Found::Nothing),
        _ => Ok(Found::Rows(rows)),
    }
}

/// Makes the staging table the one that is read.
///
/// # Errors
/// What the server says; nothing has changed then.
pub fn swap(session: &mut Session, target: &Target, mark: &Mark) -> Result<()> {
    let what = format!("to put the new table {} into place", target.layout.name);
    let staging = target.in_schema(STAGING);
    let kept = rights(session, target)?;
    let sql = format!(
        "DROP TABLE IF EXISTS {}; ALTER TABLE {} SET SCHEMA {}; {kept} {}",
        target.sql(),
        staging.sql(),
        quoted(&target.schema),
        target.mark_sql(Some(mark))
    );
    in_transaction(session, &what, &sql)?;
    Ok(())
}

/// SQL that gives the new table the owner and the rights of the old one: the service goes on reading.
fn rights(session: &mut Session, target: &Target) -> Result<String> {
    let name = literal(&target.sql());
    let sql = format!(
        "SELECT string_agg(sql, ' ') FROM (\
         SELECT format('GRANT %s ON TABLE %s TO %s%s;', a.privilege_type, {name}, \
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, \
         CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS sql \
         FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass({name}) AND a.grantee <> c.relowner \
         UNION ALL SELECT format('ALTER TABLE %s OWNER TO %s;', {name}, relowner::regrole) \
         FROM pg_class WHERE oid = to_regclass({name})) AS each"
    );
    Ok(session.value("to read the table's rights", &sql)?.unwrap_or_default())
}

/// Puts the staging table's rows into the one that is read; how many were new or other.
///
/// # Errors
/// What the server says; nothing has changed then.
pub fn merge(session: &mut Session, target: &Target) -> Result<u64> {
    let layout = target.layout;
    let what = format!("to put the rows into the table {}", layout.name);
    // A row keeps its number.
    let columns: Vec<&str> = layout.filled().into_iter().filter(|column| *column != "id").collect();
    let is_key = |column: &str| layout.key().split(", ").any(|key| key == column);
    let changed: Vec<&str> = columns.iter().copied().filter(|column| !is_key(column)).collect();
    let is_vector = |column: &str| layout.vectors.iter().any(|(name, _)| *name == column);
    // A language that the file does not have stays as it was.
    let new = |column: &str| {
        if is_vector(column) && layout.vectors.len() > 1 {
            format!("COALESCE(EXCLUDED.{column}, there.{column})")
        } else {
            format!("EXCLUDED.{column}")
        }
    };
    let set: Vec<String> = changed.iter().map(|column| format!("{column} = {}", new(column))).collect();
    let old: Vec<String> = changed.iter().map(|column| format!("there.{column}")).collect();
    let next: Vec<String> = changed.iter().map(|column| new(column)).collect();
    let sql = format!(
        "INSERT INTO {} AS there ({columns}) SELECT {columns} FROM {} ORDER BY {key} ON CONFLICT ({key}) DO UPDATE \
         SET {} WHERE ({}) IS DISTINCT FROM ({})",
        target.sql(),
        target.in_schema(STAGING).sql(),
        set.join(", "),
        old.join(", "),
        next.join(", "),
        columns = columns.join(", "),
        key = layout.key(),
    );
    let n = in_transaction(session, &what, &sql)?;
    if n > 0 {
        // It is no longer what one source makes.
        session.run(&what, &target.mark_sql(None))?;
    }
    Ok(n)
}

/// Runs statements in a transaction; none of them has an effect where one fails. A lock that somebody else holds is
/// waited for in short turns, between which those who read the table come before us.
///
/// # Errors
/// What the server says; the lock is held for too long.
pub fn in_transaction(session: &mut Session, what: &str, sql: &str) -> Result<u64> {
    let began = Instant::now();
    loop {
        let done =
            session.run(what, &format!("BEGIN; SET LOCAL lock_timeout = '{LOCK_TURN}'; {sql}; COMMIT"));
        let Err(error) = done else { return done };
        let _ = session.run(what, "ROLLBACK");
        // lock_not_available
        if !error.message.ends_with("[55P03]") {
            return Err(error);
        }
        if began.elapsed() > LOCK_PATIENCE {
            return Err(error.hint(
                "somebody holds a lock on the table (SELECT * FROM pg_locks JOIN pg_stat_activity USING (pid) says \
                 who): when it is free, run the same command again, which goes on from here",
            ));
        }
        tracing::info!("waiting for whoever holds a lock on the table");
        sleep(LOCK_PAUSE);
    }
}

/// Adds what tables of the old populator's first days lack.
///
/// # Errors
/// A failed statement.
pub fn complete(session: &mut Session, target: &Target) -> Result<()> {
    let what = "to add the column is_high_quality";
    let there = format!(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname = 'is_high_quality'",
        literal(&target.sql())
    );
    if session.value::<i64>(what, &there)? == Some(0) {
        let add = "ADD COLUMN is_high_quality boolean DEFAULT false";
        in_transaction(session, what, &format!("ALTER TABLE {} {add}", target.sql()))?;
    }
    Ok(())
}

/// Removes a staging table, and with the last one their schema.
///
/// # Errors
/// A failed statement.
pub fn clear(session: &mut Session, staging: &Target) -> Result<()> {
    let what = "to remove the staging table";
    session.run(what, &format!("DROP TABLE IF EXISTS {}", staging.sql()))?;
    // One of another file may be there, to be gone on with.
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = {}", literal(STAGING));
    if session.value::<i64>(what, &tables)? == Some(0) {
        session.run(what, &format!("DROP SCHEMA IF EXISTS {}", quoted(STAGING)))?;
    }
    Ok(())
}

/// Whether a staging table is there that a load from this source filled to its end, which a later step interrupted.
///
/// # Errors
/// A failed query.
pub fn filled(
    session: &mut Session,
    staging: &Target,
    source: &str,
    vectors: Vectors,
) -> Result<Option<Mark>> {
    if staging.vectors(session).ok().flatten() != Some(vectors) {
        return Ok(None);
    }
    let mark = staging.mark(session)?.filter(|mark| mark.source == source);
    let Some(mark) = mark else { return Ok(None) };
    let count = format!("SELECT count(*) FROM {}", staging.sql());
    // An unlogged table is empty after a crash of the server.
    let rows: Option<i64> = session.value("to count the rows of the staging table", &count)?;
    Ok(Some(mark).filter(|mark| rows == Some(mark.rows as i64)))
}
