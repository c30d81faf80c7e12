//! What waits to be sealed beside an output: a whole job's stage, or the shards of an array.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::request::Mode;
use super::start::{self, Decision, Start};
use crate::error::{Error, Exit, Result};
use crate::plan::Shard;
use crate::store::{Committed, Header, OutputPaths, Replaces, StageFile, read_journal, remove};

/// So many shards are named where something is wrong with them.
const NAMED_MAX: usize = 10;

/// Stages that together have every block of an output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unsealed {
    /// Of the whole output.
    pub header: Header,
    pub committed: Committed,
    /// In order of their blocks.
    pub stages: Vec<StageFile>,
}

impl Unsealed {
    /// That of a job that makes the whole output.
    pub fn whole(paths: &OutputPaths, header: Header, committed: Committed) -> Self {
        let stage = StageFile { path: paths.partial.clone(), blocks: header.own_blocks() };
        Self { header, committed, stages: vec![stage] }
    }

    /// What stands beside an output; nothing where that is complete already. On rank 0, under the locks.
    ///
    /// # Errors
    /// Nothing is there; shards are missing, unfinished, of another run, or there twice, each by its name.
    pub fn find(paths: &OutputPaths) -> Result<Option<Self>> {
        // Left by an `embed` that was killed while it planned; not this run's.
        remove(&paths.plan_new)?;
        let shards = paths.shards()?;
        if !shards.is_empty() && !paths.journal.exists() {
            return of_shards(paths, &shards);
        }
        if !paths.journal.exists() && paths.output.exists() {
            paths.remove_leftovers()?;
            return Ok(None);
        }
        let (header, ..) = read_journal(&paths.journal).map_err(|error| {
            error.hint("`hyperslab embed --no-seal` leaves what is sealed here; is this that output's path?")
        })?;
        let Decision { start, .. } = start::decide(paths, &header, Mode::GoOn)?;
        if start == Start::Done {
            start::prepare(paths, start, &header)?;
            return Ok(None);
        }
        if let Some(shard) = shards.first()
            && header.replaces == Replaces::Nothing
        {
            return Err(Error::new(format!(
                "beside {} stand both a whole job's {} and shards of an array, e.g. {shard}",
                paths.output.display(),
                paths.journal.display(),
            ))
            .hint("delete the journal and stage of the one that is not meant"));
        }
        let opened = start::prepare(paths, Start::Resume, &header)?;
        let committed = opened.map(|(_, committed)| committed).unwrap_or_default();
        Ok(Some(Self::whole(paths, header, committed)))
    }
}

/// A shard's own words, from its journal.
type Word = (Header, Committed);

/// Joins the shards of an array.
fn of_shards(paths: &OutputPaths, shards: &[Shard]) -> Result<Option<Unsealed>> {
    let found: Vec<(Shard, Result<Word>)> = shards
        .iter()
        .map(|&shard| {
            let journal = read_journal(&own(paths, shard).journal);
            (shard, journal.map(|(header, committed, _)| (header, committed)))
        })
        .collect();
    let Some(header) = most_common(&found) else {
        return Err(found
            .into_iter()
            .find_map(|(_, word)| word.err())
            .unwrap_or_else(|| Error::new("no shards")));
    };
    let header = Header { shard: None, ..header.clone() };
    let differences =
        paths.output.exists().then(|| start::differences_to_sealed(&paths.output, &header)).transpose()?;
    let wrong = complaints(paths, &header, &found);
    match differences.as_deref() {
        // Where it replaces an output, a seal that was killed while it removed the shards leaves some of them.
        Some([]) if header.replaces == Replaces::Nothing || !wrong.is_empty() => {
            paths.remove_leftovers()?;
            return Ok(None);
        }
        Some(differences) if header.replaces == Replaces::Nothing => {
            return Err(start::output_differs(paths, differences));
        }
        _ if !wrong.is_empty() => return Err(refused(paths, &wrong)),
        _ => {}
    }
    let mut all = Unsealed { header, committed: Committed::default(), stages: Vec::new() };
    let count = all.header.blocks().count();
    for (shard, word) in found {
        all.committed.merge(word?.1);
        all.stages.push(StageFile { path: own(paths, shard).partial, blocks: shard.blocks(count) });
    }
    Ok(Some(all))
}

fn own(paths: &OutputPaths, shard: Shard) -> OutputPaths {
    OutputPaths::of_shard(&paths.output, Some(shard))
}

fn with_shard(header: &Header, shard: Shard) -> Header {
    Header { shard: Some(shard), ..header.clone() }
}

/// The header that most shards have: the others are foreign.
fn most_common(found: &[(Shard, Result<Word>)]) -> Option<&Header> {
    let mut counts: BTreeMap<String, (usize, &Header)> = BTreeMap::new();
    for (header, _) in found.iter().filter_map(|(_, word)| word.as_ref().ok()) {
        counts.entry(header.fingerprint.digest().to_string()).or_insert((0, header)).0 += 1;
    }
    counts.into_values().max_by_key(|(count, _)| *count).map(|(_, header)| header)
}

/// What is wrong with the shards, each by its name.
fn complaints(paths: &OutputPaths, header: &Header, found: &[(Shard, Result<Word>)]) -> Vec<String> {
    let count = header.blocks().count();
    let of = found
        .iter()
        .map(|(shard, _)| shard.of)
        .max_by_key(|of| found.iter().filter(|(shard, _)| shard.of == *of).count());
    let of = of.unwrap_or_default();
    let is_there = |number| found.iter().any(|(shard, _)| (shard.number, shard.of) == (number, of));
    let missing = (1..=of)
        .filter(|&number| !is_there(number))
        .filter_map(|number| Shard::new(number, of).ok())
        .filter(|shard| !shard.blocks(count).is_empty())
        .map(|shard| {
            format!("shard {shard} is missing: there is no {}", own(paths, shard).journal.display())
        });
    let of_each = found.iter().filter_map(|(shard, word)| {
        let why = if shard.of == of {
            complaint(&own(paths, *shard), &with_shard(header, *shard), word)?
        } else {
            format!("has blocks that shards of {of} have too")
        };
        Some(format!("shard {shard} {why}"))
    });
    missing.chain(of_each).collect()
}

/// What is wrong with one shard.
fn complaint(own: &OutputPaths, wanted: &Header, word: &Result<Word>) -> Option<String> {
    let (header, committed) = match word {
        Ok(word) => word,
        Err(error) => return Some(format!("is damaged: {}", error.message)),
    };
    if header.shard != wanted.shard {
        let says =
            header.shard.map_or_else(|| "a whole job's".to_owned(), |shard| format!("that of shard {shard}"));
        return Some(format!("is another: {} says that it is {says}", own.journal.display()));
    }
    if !header.is_same_output(wanted) {
        let differences = wanted.fingerprint.differences(&header.fingerprint).join("; ");
        return Some(format!("is of another run (the others', not its): {differences}"));
    }
    let blocks = wanted.own_blocks();
    let (done, all) = (committed.digests.len() as u64, blocks.end - blocks.start);
    if done < all {
        return Some(format!("is not done: {done} of {all} blocks are committed"));
    }
    (!own.partial.exists()).then(|| format!("has lost its rows: {} is missing", own.partial.display()))
}

fn refused(paths: &OutputPaths, wrong: &[String]) -> Error {
    let mut text = format!("{} cannot be made from the shards beside it:", paths.output.display());
    for line in wrong.iter().take(NAMED_MAX) {
        // Writing to a String does not fail.
        let _ = write!(text, "\n    {line}");
    }
    if wrong.len() > NAMED_MAX {
        let _ = write!(text, "\n    and {} more", wrong.len() - NAMED_MAX);
    }
    Error::new(text).exit(Exit::Failure).hint(
        "run the tasks of those shards again, each with its own --shard K/N: it goes on where it stopped (with \
         --overwrite it begins anew); delete the .journal and .partial of shards that do not belong here",
    )
}
