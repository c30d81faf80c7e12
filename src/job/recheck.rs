//! What a resume checks before it goes on: are the committed blocks still what they were?

use std::ops::Range;

use super::request::VerifyResume;
use crate::comm::World;
use crate::error::{Context, Result};
use crate::plan::{self, Runs};
use crate::store::{Committed, Entry, Header, Journal, OutputPaths, StageReader, check_digests};

/// A sample takes every so many-th block.
const SAMPLE_EVERY: u64 = 16;

/// Takes the blocks that no longer have their digests out of what is committed, so that they are computed
/// again. Collective; the journal is on rank 0.
///
/// # Errors
/// The stage cannot be read, or the journal not written.
pub fn withdraw_damaged(
    world: &World,
    (paths, header): (&OutputPaths, &Header),
    which: VerifyResume,
    journal: &mut Option<Journal>,
    committed: &mut Committed,
) -> Result<()> {
    let chosen = chosen(which, committed);
    if chosen.is_empty() {
        return Ok(());
    }
    let stage = world.agree(StageReader::open(&paths.partial, &header.shape()))?;
    let share = plan::share(&chosen, world.rank() as u64, world.size() as u64);
    let found = world.attended(|| damaged(&stage, header, share, committed));
    let found = serde_json::to_vec(&found).context(|| "cannot encode the damaged blocks")?;
    let mut all: Vec<u64> = Vec::new();
    for found in world.all_gather(&found) {
        let found: Vec<u64> =
            serde_json::from_slice(&found).context(|| "cannot decode the damaged blocks")?;
        all.extend(found);
    }
    if all.is_empty() {
        return Ok(());
    }
    let blocks = header.blocks();
    for &block in &all {
        committed.withdraw(block, &blocks);
    }
    if world.is_root() {
        tracing::warn!(
            "{}: {} committed blocks were damaged since, e.g. block {}: they are computed again",
            paths.partial.display(),
            all.len(),
            all[0]
        );
    }
    let written = journal.as_mut().map_or(Ok(()), |journal| journal.append(&[Entry::Withdrawn(all)]));
    world.agree(written)
}

/// The blocks that are checked, as sorted ranges.
fn chosen(which: VerifyResume, committed: &Committed) -> Vec<Range<u64>> {
    let blocks = || committed.digests.keys().copied();
    let chosen: Vec<Range<u64>> = match which {
        VerifyResume::All => blocks().map(|block| block..block + 1).collect(),
        VerifyResume::Sample => {
            blocks().step_by(SAMPLE_EVERY as usize).map(|block| block..block + 1).collect()
        }
        VerifyResume::None => Vec::new(),
    };
    // Joined where they follow each other.
    let end = chosen.last().map_or(0, |last| last.end);
    plan::pending(0..end, &plan::pending(0..end, &chosen))
}

/// The blocks of a share that have another digest than they were committed with.
fn damaged(stage: &StageReader, header: &Header, share: Vec<Range<u64>>, committed: &Committed) -> Vec<u64> {
    let (blocks, row_bytes) = (header.blocks(), header.shape().row_bytes());
    let mut damaged = Vec::new();
    let mut runs = Runs::new(share);
    while let Some(block) = runs.next_run(1) {
        let whole = match stage.read(blocks.rows_of(block.clone())) {
            Ok(rows) => check_digests(&rows, block.clone(), (&blocks, row_bytes), &committed.digests).is_ok(),
            // A part of the disk that does not read any more may still be written.
            Err(error) => {
                tracing::warn!("{error}");
                false
            }
        };
        if !whole {
            damaged.extend(block);
        }
    }
    damaged
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
mod tests {
    use super::*;
    use crate::store::Digest;

    #[test]
    fn all_or_some_or_none_are_chosen() {
        let digests = (0..40).chain(50..60).map(|block| (block, Digest::default())).collect();
        let committed = Committed { digests, ..Committed::default() };
        assert_eq!(chosen(VerifyResume::All, &committed), [0..40, 50..60]);
        assert_eq!(chosen(VerifyResume::Sample, &committed), [0..1, 16..17, 32..33, 58..59]);
        assert_eq!(chosen(VerifyResume::None, &committed), []);
    }
}
