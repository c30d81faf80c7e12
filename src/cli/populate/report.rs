//! What a load says before and after.

use serde_json::{Map, Value, json};

use super::progress::duration;
use crate::cli::out::{Stop, bytes, count, note, thousands, to_stdout};
use crate::db::{Action, Checked, Filled, Index, Plan};
use crate::error::{Exit, Result};

/// Says what will be done, and what it takes.
pub fn announce(plan: &Plan<'_>, database: &str) {
    let table = format!("{database}.{}", plan.target.layout.name);
    let estimate = &plan.estimate;
    let verb = match plan.action {
        Action::Nothing => {
            return note(format_args!("{table} holds all of {} already", plan.source.path.display()));
        }
        Action::Swap => "a new table",
        Action::Upsert => "into the table that is there",
    };
    note(format_args!(
        "{table} from {}: {verb}, up to {} of {}, about {}",
        plan.source.path.display(),
        count(estimate.rows, "row"),
        plan.vectors,
        bytes(estimate.table_bytes)
    ));
    if plan.action == Action::Upsert {
        // Its indexes are there, and grow.
        return;
    }
    if estimate.index == Index::None {
        return note("  no index: each search goes through all rows");
    }
    note(format_args!(
        "  {}: about {}, roughly {} with {}",
        estimate.index.describe(),
        bytes(estimate.index_bytes),
        duration(estimate.seconds),
        processes(estimate.workers + 1)
    ));
    if matches!(estimate.index, Index::Hnsw { .. }) && estimate.memory < estimate.memory_wanted {
        note(format_args!(
            "  warning: its graph wants {} of the server's memory to be built fast, and gets {}: it will take several \
             times as long; --index-memory gives more, --column halfvec halves it, --index ivfflat needs none",
            bytes(estimate.memory_wanted),
            bytes(estimate.memory)
        ));
    }
}

fn processes(n: usize) -> String {
    if n == 1 { "one process".to_owned() } else { format!("{n} processes") }
}

/// Prints what was done.
///
/// # Errors
/// A full disk behind standard output.
pub fn print(database: &str, done: &[(&Plan<'_>, Filled, Option<Checked>)], as_json: bool) -> Result<Exit> {
    to_stdout(|out| {
        for (plan, filled, checked) in done {
            if as_json {
                writeln!(out, "{}", as_object(database, plan, filled, checked.as_ref()))?;
            } else {
                writeln!(out, "{database}.{}", in_words(plan, filled, checked.as_ref()))?;
            }
        }
        Ok::<_, Stop>(Exit::Success)
    })
}

fn in_words(plan: &Plan<'_>, filled: &Filled, checked: Option<&Checked>) -> String {
    let rows = count(filled.mark.rows, "row");
    let change = match (plan.action, filled.upserted) {
        (Action::Nothing, _) => ", as it was".to_owned(),
        (_, Some(n)) => format!(", {} new or changed", thousands(n)),
        _ => String::new(),
    };
    let failed = filled.failed.filter(|n| *n > 0);
    let failed = failed.map(|n| format!("; {} without a vector left out", count(n, "item")));
    let verified = checked.map(|checked| {
        let (assets, vectors) = (count(checked.assets, "asset"), count(checked.vectors, "vector"));
        format!("; verified: {vectors} of {assets} are the file's, to the last bit")
    });
    let (failed, verified) = (failed.unwrap_or_default(), verified.unwrap_or_default());
    format!("{}: {rows} of {}{change}{failed}{verified}", plan.target.layout.name, plan.vectors)
}

fn as_object(database: &str, plan: &Plan<'_>, filled: &Filled, checked: Option<&Checked>) -> Value {
    let layout = plan.target.layout;
    let columns = layout.vectors.iter().zip(&filled.mark.vectors);
    let vectors: Map<_, _> = columns.map(|((column, _), n)| ((*column).to_owned(), json!(n))).collect();
    json!({
        "database": database,
        "table": layout.name,
        "file": plan.source.path,
        "type": plan.vectors.to_string(),
        "rows": filled.mark.rows,
        "vectors": vectors,
        "failed": filled.failed,
        "upserted": filled.upserted,
        "changed": plan.action != Action::Nothing && filled.upserted != Some(0),
        "indexes": filled.indexes,
        "verified_assets": checked.map(|checked| checked.assets),
    })
}
