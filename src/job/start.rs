//! What a job does on start, decided once from what stands on disk.
//!
//! | journal of this run | stage | output | then |
//! |---|---|---|---|
//! | yes | yes | none, or to be replaced | resume |
//! | yes | yes | of this run | done: the clean-up was interrupted |
//! | yes | no | of this run | done: the stage itself became the output |
//! | yes | no | none, or another's | damaged |
//! | no, or to be replaced | | of this run | done, unless to be replaced |
//! | no, or to be replaced | | of another run | refused, unless to be replaced |
//! | of another run | | none | refused, unless to be replaced or nothing is committed |
//! | no | | none | fresh |
//!
//! "To be replaced" is `--overwrite`. A run that it began is resumed by the same command, whatever the
//! number of restarts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::store::{
    Committed, Header, Journal, OutputPaths, read_journal, remove, restore_metadata, sealed_fingerprint,
};

/// What a job does on start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Begin anew, and discard what an unfinished run has left; an output stays until the new one is
    /// complete.
    Fresh,
    /// Go on from the committed blocks of this same run.
    Resume,
    /// The output is there, complete, and made as it is asked for.
    Done,
}

/// Decides what to do about an output. On rank 0, under the lock.
///
/// # Errors
/// An output or an unfinished run that was made differently, with what differs; a stage that is missing.
pub fn decide(paths: &OutputPaths, wanted: &Header, overwrite: bool) -> Result<Start> {
    let journal = match paths.journal.exists().then(|| read_journal(&paths.journal)).transpose() {
        // What cannot be read is replaced like the rest.
        Err(_) if overwrite => None,
        journal => journal?,
    };
    if paths.output.is_dir() {
        return Err(Error::new(format!("{} is a folder, where the output is to be", paths.output.display()))
            .hint("move it away, or give the output another name"));
    }
    let is_output = paths.output.exists();
    let sealed_differently = is_output.then(|| differences_to_sealed(&paths.output, wanted)).transpose()?;
    let is_sealed = sealed_differently.as_ref().is_some_and(Vec::is_empty);
    if let Some((header, ..)) = &journal
        && header.is_same_run(wanted)
        && (!overwrite || header.overwrites)
    {
        return match (paths.partial.exists(), is_sealed) {
            (true, true) if !header.overwrites => Ok(Start::Done),
            (true, _) => Ok(Start::Resume),
            (false, true) => Ok(Start::Done),
            (false, false) => Err(stage_is_missing(paths)),
        };
    }
    if overwrite {
        return Ok(Start::Fresh);
    }
    if let Some(differences) = sealed_differently {
        return if differences.is_empty() {
            Ok(Start::Done)
        } else {
            Err(made_differently(&format!("{} exists and", paths.output.display()), &differences))
        };
    }
    match journal {
        Some((header, committed, _)) if !committed.digests.is_empty() => {
            let what = format!(
                "an unfinished run of {} ({} blocks committed)",
                paths.output.display(),
                committed.digests.len()
            );
            Err(made_differently(&what, &wanted.fingerprint.differences(&header.fingerprint)))
        }
        _ => Ok(Start::Fresh),
    }
}

fn differences_to_sealed(output: &Path, wanted: &Header) -> Result<Vec<String>> {
    let sealed = sealed_fingerprint(output, &wanted.fingerprint).map_err(|error| {
        error.hint(format!("--overwrite replaces {}; it stays until then", output.display()))
    })?;
    Ok(wanted.fingerprint.differences(&sealed))
}

fn stage_is_missing(paths: &OutputPaths) -> Error {
    Error::new(format!(
        "{} is there, but the rows it speaks of are not: {} is missing",
        paths.journal.display(),
        paths.partial.display()
    ))
    .exit(Exit::Damaged)
    .hint("put the file back, or start again with --overwrite")
}

fn made_differently(what: &str, differences: &[String]) -> Error {
    let mut text = format!("{what} was made differently (now, not then):");
    for difference in differences {
        text.push_str("\n    ");
        text.push_str(difference);
        if difference.starts_with("plan_sha256") {
            text.push_str(
                "\n      (the set of assets: captions, names or sizes of views, --views, --max-assets, \
                 --block-rows)",
            );
        }
    }
    Error::new(text).hint("use what it was made with, another --output-dir, or --overwrite to discard it")
}

/// Brings the files of an output into the state that `start` needs, and opens the journal of a resume.
/// On rank 0, under the lock.
///
/// # Errors
/// What the file system reports, or a damaged journal.
pub fn prepare(paths: &OutputPaths, start: Start, wanted: &Header) -> Result<Option<(Journal, Committed)>> {
    match start {
        Start::Fresh => {
            [&paths.journal, &paths.partial, &paths.tmp].into_iter().try_for_each(|path| remove(path))?;
            adopt_plan(paths)?;
            Ok(None)
        }
        Start::Resume => {
            if restore_metadata(&paths.partial, &paths.tmp)? {
                tracing::info!("{}: undid an interrupted seal", paths.partial.display());
            }
            remove(&paths.tmp)?;
            adopt_plan(paths)?;
            let (journal, _, committed) = Journal::open(&paths.journal)?;
            Ok(Some((journal, committed)))
        }
        Start::Done => {
            remove(&paths.plan_new)?;
            let is_own = |header: &Header| header.is_same_run(wanted);
            if read_journal(&paths.journal).map_or(true, |(header, ..)| is_own(&header)) {
                paths.remove_leftovers()?;
            } else {
                tracing::warn!("{} is of another, unfinished run: left alone", paths.journal.display());
            }
            Ok(None)
        }
    }
}

/// A spool that was made for this start becomes the run's.
fn adopt_plan(paths: &OutputPaths) -> Result<()> {
    if paths.plan_new.exists() {
        crate::store::rename_durably(&paths.plan_new, &paths.plan)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RowGroup;
    use crate::store::{Digest, Fingerprint, Record, StoredType};

    fn header(precision: &str, overwrites: bool) -> Header {
        let parts = [("precision".to_owned(), precision.to_owned())].into();
        let fingerprint = Fingerprint { parts, about: [].into() };
        let groups = vec![RowGroup { name: String::new(), rows: 8 }];
        Header { fingerprint, groups, block_rows: 4, dim: 2, stored: StoredType::F32, overwrites }
    }

    /// A folder in which a run with this header has committed so many blocks.
    fn begun(header: &Header, blocks: u8) -> (tempfile::TempDir, OutputPaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = OutputPaths::new(&folder.path().join("o.h5"));
        let mut journal = Journal::create(&paths.journal, header).unwrap();
        std::fs::write(&paths.partial, "").unwrap();
        let digests = (0..blocks).map(|n| Digest([n; 32])).collect();
        journal.append(&[Record { first_block: 0, digests, ..Record::default() }]).unwrap();
        (folder, paths)
    }

    #[test]
    fn a_run_goes_on_from_its_own_and_is_refused_by_anothers() {
        let (_folder, paths) = begun(&header("f32", false), 1);
        assert_eq!(decide(&paths, &header("f32", false), false), Ok(Start::Resume));
        let error = decide(&paths, &header("bf16", false), false).unwrap_err();
        assert!(error.message.contains("precision: bf16, not f32"), "{error}");
        assert_eq!(decide(&paths, &header("bf16", true), true), Ok(Start::Fresh));
        std::fs::remove_file(&paths.partial).unwrap();
        assert_eq!(decide(&paths, &header("f32", false), false).unwrap_err().exit, Exit::Damaged);
    }

    #[test]
    fn a_run_that_has_committed_nothing_holds_nobody_off() {
        let (_folder, paths) = begun(&header("f32", false), 0);
        assert_eq!(decide(&paths, &header("bf16", false), false), Ok(Start::Fresh));
    }

    #[test]
    fn overwriting_begins_once_and_then_goes_on() {
        let (_folder, paths) = begun(&header("f32", false), 1);
        assert_eq!(decide(&paths, &header("f32", true), true), Ok(Start::Fresh));
        let (_folder, paths) = begun(&header("f32", true), 1);
        assert_eq!(decide(&paths, &header("f32", true), true), Ok(Start::Resume));
        assert_eq!(decide(&paths, &header("f32", false), false), Ok(Start::Resume));
    }

    #[test]
    fn what_is_told_but_decides_nothing_does_not_hinder_a_resume() {
        let (_folder, paths) = begun(&header("f32", false), 1);
        let mut renamed = header("f32", false);
        renamed.fingerprint.about.insert("model_name".into(), "another".into());
        assert_eq!(decide(&paths, &renamed, false), Ok(Start::Resume));
    }

    #[test]
    fn nothing_there_is_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let paths = OutputPaths::new(&folder.path().join("o.h5"));
        assert_eq!(decide(&paths, &header("f32", false), false), Ok(Start::Fresh));
    }
}
