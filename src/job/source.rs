//! Where a rank's blocks come from.

use std::time::Duration;

use super::pipeline::{BlockRows, Pipeline};
use crate::comm::World;
use crate::error::{Error, Exit, Result};
use crate::store::SealedRows;

/// A rank's blocks, in the order of its share.
pub struct Source<'a> {
    pub world: &'a World,
    /// How long nothing may move.
    pub watchdog: Option<Duration>,
    pub pipeline: &'a Pipeline,
    /// The output whose failed items are embedded again: what it has of the others is taken from it.
    pub sealed: Option<&'a SealedRows>,
}

impl Source<'_> {
    /// The block that is next, waiting for it.
    ///
    /// # Errors
    /// It cannot be computed, or the sealed rows cannot be read.
    pub fn block(&self, block: u64) -> Result<BlockRows> {
        match self.sealed {
            None => self.computed(block),
            Some(sealed) => self.retried(block, sealed),
        }
    }

    fn computed(&self, block: u64) -> Result<BlockRows> {
        let ended = || Error::new("the model thread ended before its share was done").exit(Exit::Bug);
        let done = self.pipeline.next_block(self.watchdog, || self.world.pulse()).ok_or_else(ended)??;
        debug_assert_eq!(done.block, block, "blocks arrive in the order of the share");
        Ok(done)
    }

    /// The block as it is in the sealed file, but for the rows that failed and what decides about their batches.
    fn retried(&self, block: u64, sealed: &SealedRows) -> Result<BlockRows> {
        let vectors = sealed.block(block)?;
        let Some(failed) = sealed.failed_of(block) else {
            let (failures, prepared) = (Vec::new(), Vec::new());
            return Ok(BlockRows { block, vectors, failures, truncated: 0, prepared });
        };
        let mut done = self.computed(block)?;
        if let Some((row, error)) = done.failures.iter().find(|(row, _)| !failed.contains(row)) {
            return Err(Error::new(format!(
                "row {row} of block {block} has its vector, but cannot be embedded again now: {error}"
            ))
            .hint("what failed is embedded together with its neighbours: put back what they are made from"));
        }
        for (row, vector) in vectors.outer_iter().enumerate() {
            // What was prepared with what failed has the vector of a batch in which nothing is missing.
            if done.prepared.binary_search(&row).is_err() {
                done.vectors.row_mut(row).assign(&vector);
            }
        }
        Ok(done)
    }
}
