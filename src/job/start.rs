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
//! number of restarts. An array's task looks at its own shard's journal and stage in the same way.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::request::Mode;
use crate::error::{Error, Exit, Result};
use crate::plan::Shard;
use crate::store::{
    Committed, Header, Journal, OutputPaths, Replaces, read_journal, remove, restore_metadata,
    sealed_fingerprint,
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

/// What a job does on start, and what becomes of an output that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub start: Start,
    pub replaces: Replaces,
}

impl Decision {
    pub fn new(start: Start, replaces: Replaces) -> Self {
        Self { start, replaces }
    }
}

/// Decides what to do about an output. On rank 0, under the lock.
///
/// # Errors
/// An output or an unfinished run that was made differently, with what differs; a stage that is missing.
pub fn decide(paths: &OutputPaths, wanted: &Header, mode: Mode) -> Result<Decision> {
    let journal = match paths.journal.exists().then(|| read_journal(&paths.journal)).transpose() {
        // What cannot be read is replaced like the rest.
        Err(_) if mode.overwrites() => None,
        journal => journal?,
    };
    if paths.output.is_dir() {
        return Err(Error::new(format!("{} is a folder, where the output is to be", paths.output.display()))
            .hint("move it away, or give the output another name"));
    }
    let is_output = paths.output.exists();
    let sealed_differently = is_output.then(|| differences_to_sealed(&paths.output, wanted)).transpose()?;
    if let Some((header, ..)) = &journal
        && header.is_same_run(wanted)
        && mode.goes_on_from(header.replaces)
    {
        let start = go_on(paths, header, sealed_differently.as_deref())?;
        return Ok(Decision::new(start, header.replaces));
    }
    if mode.overwrites() {
        return Ok(Decision::new(Start::Fresh, Replaces::Output));
    }
    if let Some(differences) = sealed_differently {
        return if differences.is_empty() {
            Ok(Decision::new(Start::Done, Replaces::Nothing))
        } else {
            Err(output_differs(paths, &differences))
        };
    }
    refuse_shards_of_others(paths, wanted)?;
    match journal {
        Some((header, committed, _)) if !committed.digests.is_empty() => {
            Err(unfinished_differs(paths, &header, &committed, wanted))
        }
        _ => Ok(Decision::new(Start::Fresh, Replaces::Nothing)),
    }
}

/// With a journal of this run.
fn go_on(paths: &OutputPaths, header: &Header, sealed_differently: Option<&[String]>) -> Result<Start> {
    let is_sealed = sealed_differently.is_some_and(<[String]>::is_empty);
    match (paths.partial.exists(), sealed_differently) {
        (true, Some([])) if header.replaces == Replaces::Nothing => Ok(Start::Done),
        (true, Some(differences)) if header.replaces == Replaces::Nothing => {
            Err(output_differs(paths, differences))
        }
        (true, _) => Ok(Start::Resume),
        (false, _) if is_sealed => Ok(Start::Done),
        (false, _) => Err(stage_is_missing(paths)),
    }
}

/// Refuses shards beside the output that this run neither is one of nor would go on from.
fn refuse_shards_of_others(paths: &OutputPaths, wanted: &Header) -> Result<()> {
    let output = paths.output.display();
    if wanted.shard.is_some() && OutputPaths::new(&paths.output).journal.exists() {
        return Err(Error::new(format!("a job of the whole of {output} lies unfinished beside it"))
            .hint("finish it, with the same command without --shard, or discard it with --overwrite"));
    }
    for shard in paths.shards()? {
        let Some(own) = wanted.shard else {
            return Err(Error::new(format!("an array has left shards of {output}, e.g. {shard}")).hint(
                "`hyperslab seal` makes the output from them, once all are done; --overwrite discards them",
            ));
        };
        if shard.of != own.of {
            return Err(Error::new(format!(
                "this is shard {own} of {output}, beside which shard {shard} stands"
            ))
            .hint("all tasks of an array need the same number of shards; --overwrite begins anew"));
        }
        let sibling = OutputPaths::of_shard(&paths.output, Some(shard));
        // One that is damaged is for its own task to tell.
        if let Ok((header, committed, _)) = read_journal(&sibling.journal)
            && !committed.digests.is_empty()
            && shard != own
            && !header.is_same_output(wanted)
        {
            return Err(unfinished_differs(&sibling, &header, &committed, wanted));
        }
    }
    Ok(())
}

/// In what a sealed file was made differently.
///
/// # Errors
/// It is no file of this program, or damaged.
pub fn differences_to_sealed(output: &Path, wanted: &Header) -> Result<Vec<String>> {
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

/// The error where an output was made differently.
pub fn output_differs(paths: &OutputPaths, differences: &[String]) -> Error {
    made_differently(&format!("{} exists and", paths.output.display()), differences)
}

/// The error where an unfinished run was made differently.
pub fn unfinished_differs(
    paths: &OutputPaths,
    header: &Header,
    committed: &Committed,
    wanted: &Header,
) -> Error {
    let shard = header.shard.map(|shard| format!(", shard {shard}")).unwrap_or_default();
    let what = format!(
        "an unfinished run of {}{shard} ({} blocks committed)",
        paths.output.display(),
        committed.digests.len()
    );
    made_differently(&what, &wanted.fingerprint.differences(&header.fingerprint))
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
            let of_others = journals_of_others(paths, wanted)?;
            match (of_others.first(), wanted.shard) {
                (Some(journal), _) => {
                    tracing::warn!("{} is of another, unfinished run: left alone", journal.display());
                }
                (None, Some(_)) => {
                    paths.remove_own()?;
                    remove(&paths.plan_lock)?;
                }
                (None, None) => paths.remove_leftovers()?,
            }
            Ok(None)
        }
    }
}

/// The journals that stand beside a complete output and are of another run.
fn journals_of_others(paths: &OutputPaths, wanted: &Header) -> Result<Vec<std::path::PathBuf>> {
    let of_shard = |shard: Shard| OutputPaths::of_shard(&paths.output, Some(shard)).journal;
    let beside = if wanted.shard.is_some() { Vec::new() } else { paths.shards()? };
    let journals = beside.into_iter().map(of_shard).chain([paths.journal.clone()]);
    let is_others = |path: &std::path::PathBuf| {
        read_journal(path).is_ok_and(|(header, ..)| {
            // An array that is to replace the output goes on, whatever it is like.
            let replaces = header.shard.is_some() && header.replaces == Replaces::Output;
            replaces || !header.is_same_output(wanted)
        })
    };
    Ok(journals.filter(is_others).collect())
}

/// A spool that was made for this start becomes the run's.
///
/// # Errors
/// What the file system reports.
pub fn adopt_plan(paths: &OutputPaths) -> Result<()> {
    if paths.plan_new.exists() {
        crate::store::rename_durably(&paths.plan_new, &paths.plan)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RowGroup;
    use crate::store::{Digest, Entry, Fingerprint, Record, StoredType};

    const WHOLE: Option<Shard> = None;

    fn header(precision: &str, replaces: Replaces, shard: Option<Shard>) -> Header {
        let parts = [("precision".to_owned(), precision.to_owned())].into();
        let fingerprint = Fingerprint { parts, about: [].into() };
        let groups = vec![RowGroup { name: String::new(), rows: 8 }];
        Header { fingerprint, groups, block_rows: 4, dim: 2, stored: StoredType::F32, shard, replaces }
    }

    /// What a job asks for.
    fn wanted(precision: &str) -> Header {
        header(precision, Replaces::Nothing, WHOLE)
    }

    /// A folder in which a run with this header has committed so many blocks.
    fn begun(header: &Header, blocks: u8) -> (tempfile::TempDir, OutputPaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = OutputPaths::of_shard(&folder.path().join("o.h5"), header.shard);
        let mut journal = Journal::create(&paths.journal, header).unwrap();
        std::fs::write(&paths.partial, "").unwrap();
        let first_block = header.own_blocks().start;
        let digests = (0..blocks).map(|n| Digest([n; 32])).collect();
        journal.append(&[Entry::Committed(Record { first_block, digests, ..Record::default() })]).unwrap();
        (folder, paths)
    }

    fn decided(paths: &OutputPaths, wanted: &Header, mode: Mode) -> Result<(Start, Replaces)> {
        decide(paths, wanted, mode).map(|decision| (decision.start, decision.replaces))
    }

    #[test]
    fn a_run_goes_on_from_its_own_and_is_refused_by_anothers() {
        let (_folder, paths) = begun(&wanted("f32"), 1);
        assert_eq!(decided(&paths, &wanted("f32"), Mode::GoOn), Ok((Start::Resume, Replaces::Nothing)));
        let error = decided(&paths, &wanted("bf16"), Mode::GoOn).unwrap_err();
        assert!(error.message.contains("precision: bf16, not f32"), "{error}");
        assert_eq!(decided(&paths, &wanted("bf16"), Mode::Overwrite), Ok((Start::Fresh, Replaces::Output)));
        std::fs::remove_file(&paths.partial).unwrap();
        assert_eq!(decided(&paths, &wanted("f32"), Mode::GoOn).unwrap_err().exit, Exit::Damaged);
    }

    #[test]
    fn a_run_that_has_committed_nothing_holds_nobody_off() {
        let (_folder, paths) = begun(&wanted("f32"), 0);
        assert_eq!(decided(&paths, &wanted("bf16"), Mode::GoOn), Ok((Start::Fresh, Replaces::Nothing)));
    }

    #[test]
    fn overwriting_begins_once_and_then_goes_on() {
        let (_folder, paths) = begun(&wanted("f32"), 1);
        assert_eq!(decided(&paths, &wanted("f32"), Mode::Overwrite), Ok((Start::Fresh, Replaces::Output)));
        let (_folder, paths) = begun(&header("f32", Replaces::Output, WHOLE), 1);
        for mode in [Mode::Overwrite, Mode::GoOn] {
            assert_eq!(decided(&paths, &wanted("f32"), mode), Ok((Start::Resume, Replaces::Output)));
        }
    }

    #[test]
    fn what_is_told_but_decides_nothing_does_not_hinder_a_resume() {
        let (_folder, paths) = begun(&wanted("f32"), 1);
        let mut renamed = wanted("f32");
        renamed.fingerprint.about.insert("model_name".into(), "another".into());
        assert_eq!(decided(&paths, &renamed, Mode::GoOn), Ok((Start::Resume, Replaces::Nothing)));
    }

    #[test]
    fn nothing_there_is_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let paths = OutputPaths::new(&folder.path().join("o.h5"));
        assert_eq!(decided(&paths, &wanted("f32"), Mode::GoOn), Ok((Start::Fresh, Replaces::Nothing)));
    }

    #[test]
    fn shards_stand_beside_their_own_kind_alone() {
        let shard = |number, of| Shard::new(number, of).unwrap();
        let of = |precision, shard| header(precision, Replaces::Nothing, Some(shard));
        let (_folder, paths) = begun(&of("f32", shard(1, 2)), 1);
        let sibling = OutputPaths::of_shard(&paths.output, Some(shard(2, 2)));
        let mode = |shard, overwrite| Mode::Shard { shard, overwrite };
        let decide_second = |precision, overwrite| {
            decided(&sibling, &of(precision, shard(2, 2)), mode(shard(2, 2), overwrite))
        };
        assert_eq!(decide_second("f32", false), Ok((Start::Fresh, Replaces::Nothing)));
        let error = decide_second("bf16", false).unwrap_err();
        assert!(error.message.contains("shard 1 of 2 (1 blocks committed)"), "{error}");
        assert_eq!(decide_second("bf16", true), Ok((Start::Fresh, Replaces::Output)));
        let other = OutputPaths::of_shard(&paths.output, Some(shard(2, 3)));
        let error = decided(&other, &of("f32", shard(2, 3)), mode(shard(2, 3), false)).unwrap_err();
        assert!(error.message.contains("beside which shard 1 of 2 stands"), "{error}");
        let whole = OutputPaths::new(&paths.output);
        assert!(
            decided(&whole, &wanted("f32"), Mode::GoOn).unwrap_err().message.contains("an array has left")
        );
    }
}
