//! `--retry-failed`: an output whose failed items are embedded again, and whose other rows are taken over.
//!
//! The items take the places they had: the vectors are those of a run in which nothing failed. What is mended
//! may change the plan (a picture has another size), but in nothing else than the items that failed.

use super::spool::PLAN;
use super::start::{self, Decision, Start};
use crate::error::{Error, Result};
use crate::input::Spool;
use crate::plan::Table;
use crate::store::schema::attr;
use crate::store::{Digest, Header, OutputPaths, Replaces, SealedRows, read_journal};

/// Decides what to do about an output whose failed items are to be embedded again. On rank 0, under the lock.
///
/// # Errors
/// There is no complete output, it was made differently, or an unfinished run stands beside it.
pub fn decide(paths: &OutputPaths, wanted: &Header, spool: &Spool, tables: &[Table]) -> Result<Decision> {
    let output = paths.output.display();
    if paths.journal.exists() {
        let (header, committed, _) = read_journal(&paths.journal)?;
        let is_retry = matches!(header.replaces, Replaces::Failures { .. });
        if is_retry && header.is_same_run(wanted) && paths.partial.exists() {
            return Ok(Decision::new(Start::Resume, header.replaces));
        }
        // A retry of what has been mended further since is begun anew; and the run that made the output may have
        // been killed before it removed its journal.
        let is_over = is_retry || header.replaces == Replaces::Nothing && paths.output.exists();
        if !is_over && !committed.digests.is_empty() {
            return Err(Error::new(format!("an unfinished run stands beside {output}"))
                .hint("finish it first, with the same command without --retry-failed"));
        }
    }
    if !paths.output.exists() {
        return Err(Error::new(format!("{output} is not there: there are no failed items of it"))
            .hint("leave --retry-failed out: `hyperslab embed` begins, or goes on where it stopped"));
    }
    let mut differences = start::differences_to_sealed(&paths.output, wanted)?;
    let plan_differs = differences.iter().any(|difference| difference.starts_with(PLAN));
    differences.retain(|difference| !difference.starts_with(PLAN));
    if !differences.is_empty() {
        return Err(start::output_differs(paths, &differences));
    }
    let sealed = SealedRows::open(&paths.output, &wanted.groups, wanted.blocks())?;
    if plan_differs {
        check_same_input(&sealed, spool, tables).map_err(|error| {
            Error::new(format!("{output}: {}", error.message))
                .hint("only items that failed may have changed; --overwrite embeds everything again")
        })?;
    }
    if sealed.failed().is_empty() {
        tracing::info!("{output} has no failed items");
        return Ok(Decision::new(Start::Done, Replaces::Nothing));
    }
    tracing::info!("{output}: {} failed items are embedded again", sealed.failed().len());
    Ok(Decision::new(Start::Fresh, Replaces::Failures { truncated: sealed.truncated()? }))
}

/// Whether a new plan differs from that of a sealed file in nothing but items that failed.
///
/// # Errors
/// It does, or the file cannot be read.
pub fn check_same_input(sealed: &SealedRows, spool: &Spool, tables: &[Table]) -> Result<()> {
    if !sealed.has_tables(tables)? {
        return Err(Error::new("the input has other assets, or other numbers of views, now"));
    }
    let now = Digest(spool.digest_without(|row| sealed.has_failed(row))?).to_string();
    match sealed.attribute(attr::EMBEDDED_INPUT_SHA256) {
        Some(then) if then == now => Ok(()),
        Some(_) => Err(Error::new("the input has changed in items that have their vectors")),
        None => Err(Error::new("it does not say what its vectors were made from, and the input has changed")),
    }
}
