//! The rows of a complete output, by the numbers that go through all groups: what is taken over from it
//! where its failed items are embedded again.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::reader::Reader;
use super::schema::attr;
use super::stored_rows::StoredRows;
use crate::error::{Error, Exit, Result};
use crate::plan::{Blocks, RowGroup, Table};

/// A complete output of the same groups and blocks as a run.
pub struct SealedRows {
    path: PathBuf,
    blocks: Blocks,
    /// Of each group.
    readers: Vec<Reader>,
    /// Those of which something failed, in order.
    failed: Vec<u64>,
}

impl SealedRows {
    /// Opens an output that has these groups in these blocks.
    ///
    /// # Errors
    /// It has other groups, rows or blocks, or cannot be read.
    pub fn open(path: &Path, groups: &[RowGroup], blocks: Blocks) -> Result<Self> {
        let mut readers = Vec::new();
        let mut failed = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let reader = Reader::open_unnamed(path, &group.name)?;
            if (reader.n_rows(), reader.block_rows()) != (group.rows, blocks.block_rows()) {
                return Err(Error::new(format!(
                    "{} has {} rows in blocks of {}, the input has {} in blocks of {}",
                    path.display(),
                    reader.n_rows(),
                    reader.block_rows(),
                    group.rows,
                    blocks.block_rows()
                )));
            }
            let first = blocks.rows_of_group(number).start;
            let failures = reader.failures_of(0..reader.n_rows())?;
            failed.extend(failures.into_iter().map(|failure| first + failure.row));
            readers.push(reader);
        }
        Ok(Self { path: path.to_owned(), blocks, readers, failed })
    }

    /// The rows of which something failed, in order.
    pub fn failed(&self) -> &[u64] {
        &self.failed
    }

    /// Whether something of the row with this number failed.
    pub fn has_failed(&self, row: u64) -> bool {
        self.failed.binary_search(&row).is_ok()
    }

    /// The rows of a block of which something failed, by their places in it; nothing where there are none.
    pub fn failed_of(&self, block: u64) -> Option<Vec<usize>> {
        let rows = self.blocks.range(block);
        let place = |bound: u64| self.failed.partition_point(|row| *row < bound);
        let failed = &self.failed[place(rows.start)..place(rows.end)];
        (!failed.is_empty()).then(|| failed.iter().map(|row| (row - rows.start) as usize).collect())
    }

    /// Whether its assets, with how many rows of each, are those of these tables.
    ///
    /// # Errors
    /// A failed read.
    pub fn has_tables(&self, tables: &[Table]) -> Result<bool> {
        for (reader, table) in self.readers.iter().zip(tables) {
            let mut expected = table.iter();
            for asset in reader.iter_prefix("")? {
                let asset = asset?;
                let is_same = expected.next().is_some_and(|(id, count)| {
                    let rows = if reader.assets().has_views() { u64::from(count) } else { 1 };
                    id == asset.id && rows == asset.rows.end - asset.rows.start
                });
                if !is_same {
                    return Ok(false);
                }
            }
            if expected.next().is_some() {
                return Ok(false);
            }
        }
        Ok(self.readers.len() == tables.len())
    }

    /// Texts that had more tokens than the model takes.
    ///
    /// # Errors
    /// The file does not say.
    pub fn truncated(&self) -> Result<u64> {
        match self.readers.first() {
            // Of files of captions alone.
            Some(reader) if !reader.assets().has_views() && reader.num_images().is_none() => {
                Ok(reader.root_integer(attr::TRUNCATED_ITEMS)?.max(0) as u64)
            }
            _ => Ok(0),
        }
    }

    /// A string attribute of the root, if it is there.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.readers.first().and_then(|reader| reader.root_string(name).ok())
    }

    /// The vectors of a block `[rows, dim]`, checked against its digest.
    ///
    /// # Errors
    /// The block is damaged, or cannot be read.
    pub fn block(&self, block: u64) -> Result<Array2<f32>> {
        let (all, path) = (self.blocks.range(block), self.path.display());
        let group =
            (0..self.readers.len()).find(|&group| self.blocks.rows_of_group(group).contains(&all.start));
        let Some((group, reader)) = group.and_then(|group| Some((group, self.readers.get(group)?))) else {
            return Err(Error::new(format!("{path} has no block {block}")).exit(Exit::Bug));
        };
        let first = self.blocks.rows_of_group(group).start;
        let vectors = reader.rows(all.start - first..all.end - first)?;
        let is_nan = |row: &usize| vectors.row(*row).iter().all(|value| value.is_nan());
        let failed: Vec<usize> = (0..vectors.nrows()).filter(is_nan).collect();
        let stored = StoredRows::encode(all.start, &vectors.view(), &failed, reader.stored());
        let number = block - self.blocks.blocks_of_group(group).start;
        if reader.digest_of_block(number)? == stored.digest() {
            return Ok(vectors);
        }
        Err(Error::new(format!("block {block} of {path} is damaged"))
            .exit(Exit::Damaged)
            .hint("take the file from its source again, or compute it again with --overwrite"))
    }
}
