//! All stages of an output as one run of rows: a whole job's one, or those of an array's shards.

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::embeddings::RowsShape;
use super::stage::StageReader;
use super::stored_rows::StoredRows;
use crate::error::{Error, Exit, Result};
use crate::plan::Blocks;

/// A stage, and which blocks it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFile {
    pub path: PathBuf,
    pub blocks: Range<u64>,
}

/// The stages of an output, for reading blocks. One at a time is open: there may be as many as an array has
/// tasks, of which a rank reads a few, one after the other.
pub struct Stages<'a> {
    files: &'a [StageFile],
    blocks: &'a Blocks,
    /// That of the output.
    shape: RowsShape<'a>,
    /// The number of the open one.
    open: RefCell<Option<(usize, StageReader)>>,
}

impl<'a> Stages<'a> {
    /// `files` in order of their blocks, which are all `blocks`; `shape` is the output's.
    pub fn new(files: &'a [StageFile], blocks: &'a Blocks, shape: RowsShape<'a>) -> Self {
        Self { files, blocks, shape, open: RefCell::default() }
    }

    /// Reads the rows of consecutive blocks.
    ///
    /// # Errors
    /// A stage that is missing, of another shape, or too short, or cannot be read.
    pub fn read(&self, blocks: Range<u64>) -> Result<StoredRows> {
        let mut rows = StoredRows { start: self.blocks.rows_of(blocks.clone()).start, bytes: Vec::new() };
        for (number, file) in self.files.iter().enumerate() {
            let own = blocks.start.max(file.blocks.start)..blocks.end.min(file.blocks.end);
            if !own.is_empty() {
                rows.bytes.extend(self.read_from(number, self.blocks.rows_of(own))?.bytes);
            }
        }
        let expected = self.blocks.rows_of(blocks.clone()).count() * self.shape.row_bytes();
        if rows.bytes.len() == expected {
            return Ok(rows);
        }
        Err(Error::new(format!("no stage holds all of blocks {} to {}", blocks.start, blocks.end))
            .exit(Exit::Bug))
    }

    /// The stage that holds a block.
    pub fn holder(&self, block: u64) -> Option<&StageFile> {
        self.files.iter().find(|file| file.blocks.contains(&block))
    }

    fn read_from(&self, number: usize, rows: Range<u64>) -> Result<StoredRows> {
        let mut open = self.open.borrow_mut();
        let reader = match open.take() {
            Some((at, reader)) if at == number => reader,
            _ => {
                let file = &self.files[number];
                let rows = self.blocks.rows_of(file.blocks.clone());
                StageReader::open(&file.path, &RowsShape { rows, ..self.shape.clone() })?
            }
        };
        let read = reader.read(rows);
        *open = Some((number, reader));
        read
    }
}
