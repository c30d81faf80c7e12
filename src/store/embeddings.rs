//! `/embeddings` of every group of a file that all ranks hold open, as one run of rows.

use std::ops::Range;

use super::schema::{self, StoredType};
use super::stored_rows::StoredRows;
use crate::error::{Error, Result};
use crate::h5::{Layout, RowDataset, RowFile};
use crate::plan::RowGroup;

/// Which rows a file has, and of which form.
#[derive(Clone, Debug)]
pub struct RowsShape<'a> {
    /// All groups of the output, in order of their rows.
    pub groups: &'a [RowGroup],
    /// The rows that this file has of them, by the numbers that go through all groups.
    pub rows: Range<u64>,
    /// Length of a vector.
    pub dim: u64,
    pub stored: StoredType,
}

impl RowsShape<'_> {
    /// Bytes of one row as stored.
    pub fn row_bytes(&self) -> usize {
        self.dim as usize * self.stored.size_bytes()
    }

    /// Each group's name, and the rows that this file has of it.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Range<u64>)> {
        let mut end = 0;
        self.groups.iter().map(move |group| {
            let start = end;
            end += group.rows;
            let within = |row: u64| row.clamp(self.rows.start, self.rows.end);
            (group.name.as_str(), within(start)..within(end))
        })
    }
}

/// The datasets of all groups, whose rows are numbered through, group after group.
pub struct Embeddings {
    parts: Vec<Part>,
    row_bytes: usize,
}

/// A group's dataset, and which of all rows it holds.
struct Part {
    rows: Range<u64>,
    dataset: RowDataset,
}

impl Embeddings {
    /// Creates the groups that have a name, and the dataset of each. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub(super) fn create(file: &RowFile, shape: &RowsShape<'_>, layout: Layout) -> Result<Self> {
        for group in shape.groups.iter().filter(|group| !group.name.is_empty()) {
            file.create_group(&group.name)?;
        }
        Self::of_each(shape, |path, rows| {
            file.create_rows(path, &shape.stored.descriptor(), &[rows, shape.dim], layout)
        })
    }

    /// Opens the dataset of each group. Collective.
    ///
    /// # Errors
    /// What HDF5 reports; a dataset of another shape.
    #[cfg(feature = "engine")]
    pub fn open(file: &RowFile, shape: &RowsShape<'_>) -> Result<Self> {
        let row_bytes = shape.row_bytes();
        Self::of_each(shape, |path, rows| {
            let dataset = file.open_rows(path)?;
            if dataset.rows() == rows && dataset.row_bytes() == row_bytes {
                return Ok(dataset);
            }
            let (found, found_bytes) = (dataset.rows(), dataset.row_bytes());
            Err(Error::new(format!(
                "/{path} has {found} rows of {found_bytes} bytes, expected {rows} of {row_bytes}"
            )))
        })
    }

    fn of_each(shape: &RowsShape<'_>, dataset: impl Fn(&str, u64) -> Result<RowDataset>) -> Result<Self> {
        let part = |(name, rows): (&str, Range<u64>)| {
            let dataset = dataset(&schema::path_in(name, schema::EMBEDDINGS), rows.end - rows.start)?;
            Ok(Part { rows, dataset })
        };
        Ok(Self { parts: shape.parts().map(part).collect::<Result<_>>()?, row_bytes: shape.row_bytes() })
    }

    /// Bytes of one row as stored.
    #[cfg(feature = "engine")]
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// What it holds of each group, and where that begins in the file, in bytes: nowhere where it is in chunks, or
    /// nothing.
    #[cfg(feature = "engine")]
    pub(super) fn places(&self) -> impl Iterator<Item = (Range<u64>, Option<u64>)> {
        self.parts.iter().map(|part| (part.rows.clone(), part.dataset.offset()))
    }

    /// Writes this rank's rows, possibly none, in all groups that they lie in. Collective.
    ///
    /// # Errors
    /// Rows that are not there, or what HDF5 reports.
    pub(super) fn write(&self, rows: &StoredRows) -> Result<()> {
        let end = rows.start + (rows.bytes.len() / self.row_bytes.max(1)) as u64;
        let mut rest = &rows.bytes[..];
        for part in &self.parts {
            let own = own_rows(&part.rows, &(rows.start..end));
            let bytes = (own.end - own.start) as usize * self.row_bytes;
            let (bytes, after) = rest.split_at_checked(bytes).unwrap_or((rest, &[]));
            part.dataset.write(own.start, bytes)?;
            rest = after;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("rows {} to {end} are not all of a group's", rows.start)))
    }

    /// Reads rows. Not collective.
    ///
    /// # Errors
    /// Rows that are not there, or what HDF5 reports, e.g. a chunk that does not inflate.
    #[cfg(feature = "engine")]
    pub fn read(&self, rows: Range<u64>) -> Result<StoredRows> {
        let mut bytes = Vec::with_capacity((rows.end - rows.start) as usize * self.row_bytes);
        for part in &self.parts {
            let own = own_rows(&part.rows, &rows);
            if !own.is_empty() {
                bytes.extend(part.dataset.read(own.start, (own.end - own.start) as usize)?);
            }
        }
        Ok(StoredRows { start: rows.start, bytes })
    }

    /// Closes the datasets. Collective.
    pub fn close(self) {
        self.parts.into_iter().for_each(|part| part.dataset.close());
    }
}

/// What a dataset that holds the rows `held` has of a run of rows, by its own numbers: empty where it has
/// nothing of it.
pub(super) fn own_rows(held: &Range<u64>, rows: &Range<u64>) -> Range<u64> {
    let (start, end) = (rows.start.max(held.start), rows.end.min(held.end));
    if start < end { start - held.start..end - held.start } else { 0..0 }
}
