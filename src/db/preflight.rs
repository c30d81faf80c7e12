//! What would go wrong at the end of a load, found before its beginning.

use super::nearest::RESULT;
use super::table::Target;
use super::{Session, literal};
use crate::error::{Error, Exit, Result};

/// Refuses to put a new table in the place of one of which more would be lost than its rows, or whose names others
/// have.
///
/// # Errors
/// What would be lost, or who has the names; a failed query.
pub fn check_swap(session: &mut Session, target: &Target) -> Result<()> {
    let what = "to look at what the table has beside its rows";
    let columns: Vec<String> = target.layout.filled().into_iter().map(literal).collect();
    let sql = format!(
        "WITH old AS (SELECT c.* FROM pg_class c WHERE c.oid = to_regclass({name})) \
         SELECT string_agg(has, ', ') FROM (\
         SELECT 'it is no plain table' AS has FROM old WHERE relkind <> 'r' \
         UNION ALL SELECT 'row-level security' FROM old WHERE relrowsecurity \
         UNION ALL SELECT 'the policy ' || polname FROM pg_policy, old WHERE polrelid = old.oid \
         UNION ALL SELECT 'the trigger ' || tgname FROM pg_trigger, old WHERE tgrelid = old.oid AND NOT tgisinternal \
         UNION ALL SELECT 'the publication ' || pubname FROM pg_publication_rel r \
         JOIN pg_publication p ON p.oid = r.prpubid, old WHERE prrelid = old.oid \
         UNION ALL SELECT 'rights of the column ' || attname FROM pg_attribute, old \
         WHERE attrelid = old.oid AND attacl IS NOT NULL \
         UNION ALL SELECT 'the column ' || attname FROM pg_attribute, old WHERE attrelid = old.oid AND attnum > 0 \
         AND NOT attisdropped AND attname NOT IN ('id', 'created_at', {columns}) \
         UNION ALL SELECT DISTINCT 'the view ' || r.ev_class::regclass FROM pg_depend d \
         JOIN pg_rewrite r ON r.oid = d.objid, old WHERE d.refobjid = old.oid AND d.classid = 'pg_rewrite'::regclass \
         AND r.ev_class <> old.oid \
         UNION ALL SELECT 'the foreign key ' || conname FROM pg_constraint, old WHERE confrelid = old.oid) AS each",
        name = literal(&target.sql()),
        columns = columns.join(", ")
    );
    if let Some(has) = session.value::<String>(what, &sql)? {
        let table = target.layout.name;
        return Err(Error::new(format!("a new table in the place of {table} would be without {has}"))
            .hint("--upsert keeps the table; or drop it yourself, and make that anew afterwards")
            .exit(Exit::Usage));
    }
    check_names(session, target)
}

/// A table that was renamed keeps the names of its indexes.
fn check_names(session: &mut Session, target: &Target) -> Result<()> {
    let names: Vec<String> = target.layout.own_names().iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT string_agg(c.relname || coalesce(' of the table ' || i.indrelid::regclass, ''), ', ') FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE n.nspname = {} AND c.relname IN ({}) AND i.indrelid IS DISTINCT FROM to_regclass({table}) \
         AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.refobjid = to_regclass({table}))",
        literal(&target.schema),
        names.join(", "),
        table = literal(&target.sql()),
    );
    match session.value::<String>("to look for the names of the indexes", &sql)? {
        None => Ok(()),
        Some(others) => Err(Error::new(format!("names that the new table needs are taken: {others}"))
            .hint("rename or drop them: ALTER INDEX ... RENAME TO ...")
            .exit(Exit::Usage)),
    }
}

/// Refuses to put rows into a table that does not tell them apart as the load does.
///
/// # Errors
/// It has no such key; a failed query.
pub fn check_upsert(session: &mut Session, target: &Target) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         WHERE c.oid = to_regclass({}) AND c.relkind = 'r' AND i.indisunique AND i.indpred IS NULL \
         AND (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = i.indrelid \
         AND a.attnum = ANY (i.indkey)) = {}",
        literal(&target.sql()),
        literal(target.layout.key())
    );
    if session.value::<i64>("to look for the table's key", &sql)?.unwrap_or_default() > 0 {
        return Ok(());
    }
    let (table, key) = (target.layout.name, target.layout.key());
    Err(Error::new(format!(
        "{table} is no plain table with a unique key of {key}, by which rows are found again"
    ))
    .hint(format!("ALTER TABLE {table} ADD UNIQUE ({key}); or --replace makes the table anew"))
    .exit(Exit::Usage))
}

/// Whether the function is there.
///
/// # Errors
/// One of our name and of another form, which could not be replaced; a failed query.
pub fn has_function(session: &mut Session, target: &Target) -> Result<bool> {
    let name = literal(&format!("{}(vector, integer)", target.name_of("nearest_assets")));
    let sql = format!(
        "SELECT CASE WHEN to_regtype('vector') IS NOT NULL THEN pg_get_function_result(to_regprocedure({name})) END"
    );
    match session.value::<String>("to look for the function nearest_assets", &sql)? {
        Some(result) if result != RESULT => {
            Err(Error::new(format!("there is a function nearest_assets that returns {result}, not {RESULT}"))
                .hint("rename it, or DROP FUNCTION nearest_assets(vector, integer)")
                .exit(Exit::Usage))
        }
        found => Ok(found.is_some()),
    }
}
