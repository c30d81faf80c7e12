//! A sealed file that one process writes, row by row: what is imported, merged or exported, and not computed.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::ArrayView2;

use super::digest::Digest;
use super::draft::Draft;
use super::embeddings::RowsShape;
use super::parallel::{cores, in_order};
use super::reader::Reader;
use super::schema::{Compression, StoredType, attr};
use super::seal::{Contents, SealedFile};
use super::stored_rows::StoredRows;
use super::verify::verify_tables;
use crate::error::{Error, Exit, Result};
use crate::h5::Access;
use crate::plan::{Blocks, Kind, RowGroup, Table, default_block_rows};

/// A file to be written.
pub struct NewFile<'a> {
    pub path: &'a Path,
    /// Whether a file that is there is replaced.
    pub overwrite: bool,
    /// What its rows are made from.
    pub kind: Kind,
    /// Which embeddings it holds, e.g. `siglip_text`.
    pub name: &'a str,
    /// Groups in the order of their rows, each with its assets; one without name for vectors at the root.
    pub groups: Vec<(String, Table)>,
    /// Length of a vector.
    pub dim: usize,
    pub stored: StoredType,
    pub compression: Compression,
    /// Rows per block; by the number of rows, if it is not given.
    pub block_rows: Option<u64>,
    /// Strings of the root beside its name: what the vectors depend on.
    pub attributes: Vec<(String, String)>,
    /// Texts that had more tokens than the model takes, if that is known.
    pub truncated: Option<u64>,
}

/// A row to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRow<'a> {
    /// None where the item failed.
    pub vector: Option<&'a [f32]>,
    /// Why there is no vector; in files of view sets also what it was made without.
    pub failure: Option<&'a str>,
    /// Of how many views it is made, in files of view sets.
    pub num_images: i32,
}

/// A file that is being written. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct Writer {
    draft: Draft,
    file: SealedFile,
    kind: Kind,
    groups: Vec<RowGroup>,
    tables: Vec<Table>,
    dim: usize,
    stored: StoredType,
    blocks: Blocks,
    attributes: Vec<(String, String)>,
    truncated: Option<u64>,
    /// Rows that have been pushed.
    rows: u64,
    /// The rows of the block that is not complete yet, and which of them failed.
    block: Vec<f32>,
    failed: Vec<usize>,
    digests: BTreeMap<u64, Digest>,
    failures: BTreeMap<u64, String>,
    num_images: Vec<i32>,
}

impl Writer {
    /// Begins a file.
    ///
    /// # Errors
    /// Its name is taken, or it cannot be created.
    pub fn create(new: NewFile<'_>) -> Result<Self> {
        let draft = Draft::new(new.path, new.overwrite)?;
        let (names, tables): (Vec<String>, Vec<Table>) = new.groups.into_iter().unzip();
        let rows = tables.iter().map(|table| new.kind.rows(table));
        let groups: Vec<RowGroup> =
            names.into_iter().zip(rows).map(|(name, rows)| RowGroup { name, rows }).collect();
        let n_rows = groups.iter().map(|group| group.rows).sum();
        let block_rows = new.block_rows.unwrap_or_else(|| default_block_rows(n_rows));
        let blocks = Blocks::of_groups(groups.iter().map(|group| group.rows), block_rows);
        let shape = RowsShape { groups: &groups, rows: 0..n_rows, dim: new.dim as u64, stored: new.stored };
        let file = SealedFile::create(
            draft.temporary(),
            (&shape, blocks.block_rows()),
            new.compression,
            Access::Alone,
            true,
        )?;
        let mut attributes = vec![(attr::KIND.to_owned(), new.name.to_owned())];
        attributes.extend(new.attributes);
        Ok(Self {
            draft,
            file,
            kind: new.kind,
            groups,
            tables,
            dim: new.dim,
            stored: new.stored,
            blocks,
            attributes,
            truncated: new.truncated,
            rows: 0,
            block: Vec::new(),
            failed: Vec::new(),
            digests: BTreeMap::new(),
            failures: BTreeMap::new(),
            num_images: Vec::new(),
        })
    }

    /// The row that is next, in the order of groups, assets and views.
    ///
    /// # Errors
    /// A row that cannot be: one too many, of another length, with neither vector nor reason; or a full disk.
    pub fn push(&mut self, row: &NewRow<'_>) -> Result<()> {
        self.check(row).map_err(|what| {
            let path = self.draft.path().display();
            Error::new(format!("row {} of {path}: {what}", self.rows)).exit(Exit::Bug)
        })?;
        let within = self.block.len() / self.dim;
        if let Some(vector) = row.vector {
            self.block.extend(vector);
        } else {
            self.failed.push(within);
            self.block.extend(std::iter::repeat_n(f32::NAN, self.dim));
        }
        if let Some(reason) = row.failure {
            self.failures.insert(self.rows, reason.to_owned());
        }
        if self.kind == Kind::ViewSet {
            self.num_images.push(row.num_images);
        }
        self.rows += 1;
        if self.rows == self.blocks.range(self.digests.len() as u64).end {
            self.write_block()
        } else {
            Ok(())
        }
    }

    fn check(&self, row: &NewRow<'_>) -> std::result::Result<(), String> {
        let is_set = self.kind == Kind::ViewSet;
        match row.vector {
            _ if self.rows >= self.blocks.rows() => Err(format!("there are {} rows", self.blocks.rows())),
            Some(vector) if vector.len() != self.dim => {
                Err(format!("a vector of {}, expected {}", vector.len(), self.dim))
            }
            None if row.failure.is_none() => Err("neither vector nor reason".to_owned()),
            Some(_) if row.failure.is_some() && !is_set => Err("vector and failure".to_owned()),
            _ if is_set && (row.vector.is_some() != (row.num_images > 0)) => {
                Err(format!("made of {} views", row.num_images))
            }
            _ => Ok(()),
        }
    }

    fn write_block(&mut self) -> Result<()> {
        let index = self.digests.len() as u64;
        let rows = self.blocks.range(index);
        let shape = ((rows.end - rows.start) as usize, self.dim);
        let vectors = ArrayView2::from_shape(shape, &self.block)
            .map_err(|error| Error::new(error.to_string()).exit(Exit::Bug))?;
        let stored = StoredRows::encode(rows.start, &vectors, &self.failed, self.stored);
        self.file.write(&stored)?;
        self.digests.insert(index, stored.digest());
        self.block.clear();
        self.failed.clear();
        Ok(())
    }

    /// Completes the file, reads it again, and gives it its name.
    ///
    /// # Errors
    /// Rows are missing; a full disk; what was read is not what was written.
    pub fn finish(self) -> Result<()> {
        if self.rows != self.blocks.rows() {
            let (rows, path) = (self.blocks.rows(), self.draft.path().display());
            return Err(Error::new(format!("{path} got {} of {rows} rows", self.rows)).exit(Exit::Bug));
        }
        let contents = Contents {
            kind: self.kind,
            groups: &self.groups,
            tables: &self.tables,
            blocks: self.blocks,
            dim: self.dim as u64,
            stored: self.stored,
            digests: &self.digests,
            failures: self.failures,
            num_images: self.num_images,
            truncated: self.truncated,
            attributes: self.attributes,
        };
        self.file.complete(&contents)?;
        verify_tables(self.draft.temporary(), &contents)?;
        verify_blocks(self.draft.temporary(), &contents)?;
        self.draft.publish()
    }
}

/// Whether the rows of a file have the digests of those that were written.
fn verify_blocks(path: &Path, expected: &Contents<'_>) -> Result<()> {
    for (number, group) in expected.groups.iter().enumerate() {
        let reader = Reader::open_unnamed(path, &group.name)?;
        let blocks = expected.blocks.blocks_of_group(number);
        let first_row = expected.blocks.rows_of_group(number).start;
        let is_sound = |index: u64| {
            let rows = expected.blocks.range(blocks.start + index);
            let bytes = reader.stored_rows(rows.start - first_row..rows.end - first_row)?;
            Ok(expected.digests.get(&(blocks.start + index)) == Some(&Digest::of(&bytes)))
        };
        in_order(blocks.end - blocks.start, cores(), is_sound, |is_sound: Result<bool>| {
            if is_sound? {
                return Ok(());
            }
            Err(Error::new("what was written reads back as something else")
                .exit(Exit::Damaged)
                .hint("memory or the file system changed it: try again, elsewhere"))
        })?;
    }
    Ok(())
}
