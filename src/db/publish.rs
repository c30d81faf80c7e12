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

/// Makes the staging table the one that is read, and in the same moment what else `with` makes.
///
/// # Errors
/// What the server says; nothing has changed then.
pub fn swap(session: &mut Session, target: &Target, mark: &Mark, with: &str) -> Result<()> {
    let what = format!("to put the new table {} into place", target.layout.name);
    let staging = target.in_schema(STAGING);
    make_empty(session, target)?;
    let kept = rights(session, target)?;
    let sql = format!(
        "DROP TABLE IF EXISTS {}; ALTER TABLE {} SET SCHEMA {}; {kept} {}; {with}",
        target.sql(),
        staging.sql(),
        quoted(&target.schema),
        target.mark_sql(Some(mark))
    );
    in_transaction(session, &what, &sql)?;
    Ok(())
}

/// Makes an empty table where there is none, so that it gets what the schema gives to new tables: the rights in it go
/// over to the one that takes its place.
fn make_empty(session: &mut Session, target: &Target) -> Result<()> {
    let sql =
        format!("CREATE TABLE IF NOT EXISTS {} (LIKE {})", target.sql(), target.in_schema(STAGING).sql());
    session.run("to make the table", &sql)?;
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

/// Puts the staging table's rows into the one that is read; how many were new, other or gone. Of its assets the views
/// that the file does not have are removed. `columns` are those of vectors that the file has: others stay as they were.
///
/// # Errors
/// What the server says; nothing has changed then.
pub fn merge(session: &mut Session, target: &Target, columns: &[&str]) -> Result<u64> {
    let what = format!("to put the rows into the table {}", target.layout.name);
    // What it was filled from is forgotten in the same transaction, as soon as it is no longer so.
    let body = format!(
        "DECLARE gone bigint := 0; changed bigint; BEGIN {} {}; GET DIAGNOSTICS changed = ROW_COUNT; \
         IF changed + gone > 0 THEN {}; END IF; \
         PERFORM set_config('hyperslab.changed', (changed + gone)::text, false); END",
        removal(target),
        upsert(target, columns),
        target.mark_sql(None)
    );
    in_transaction(session, &what, &format!("DO {}", literal(&body)))?;
    let changed: Option<i64> = session.value(&what, "SELECT current_setting('hyperslab.changed')::int8")?;
    Ok(changed.unwrap_or_default() as u64)
}

/// Of a staged asset's views, those that are not staged.
fn removal(target: &Target) -> String {
    if !target.layout.has_views {
        return String::new();
    }
    let staging = target.in_schema(STAGING).sql();
    format!(
        "DELETE FROM {} AS there WHERE asset_id IN (SELECT asset_id FROM {staging}) AND NOT EXISTS (SELECT 1 FROM \
         {staging} AS staged WHERE staged.asset_id = there.asset_id AND staged.viewpoint_idx = there.viewpoint_idx); \
         GET DIAGNOSTICS gone = ROW_COUNT;",
        target.sql()
    )
}

fn upsert(target: &Target, vectors: &[&str]) -> String {
    let layout = target.layout;
    // A row keeps its number, and a language that the file does not have.
    let of_others =
        |column: &str| layout.vectors.iter().any(|(name, _)| *name == column) && !vectors.contains(&column);
    let columns: Vec<&str> =
        layout.filled().into_iter().filter(|column| *column != "id" && !of_others(column)).collect();
    let is_key = |column: &str| layout.key().split(", ").any(|key| key == column);
    let changed = columns.iter().filter(|column| !is_key(column));
    let each = |form: &dyn Fn(&str) -> String| {
        changed.clone().map(|column| form(column)).collect::<Vec<_>>().join(", ")
    };
    format!(
        "INSERT INTO {} AS there ({columns}) SELECT {columns} FROM {} ORDER BY {key} ON CONFLICT ({key}) DO UPDATE \
         SET {} WHERE ({}) IS DISTINCT FROM ({})",
        target.sql(),
        target.in_schema(STAGING).sql(),
        each(&|column| format!("{column} = EXCLUDED.{column}")),
        each(&|column| format!("there.{column}")),
        each(&|column| format!("EXCLUDED.{column}")),
        columns = columns.join(", "),
        key = layout.key(),
    )
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
    let is_there = format!("SELECT to_regnamespace({}) IS NOT NULL", literal(STAGING));
    if session.value::<bool>(what, &is_there)? != Some(true) {
        return Ok(());
    }
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
