//! Records at known offsets of a file: the table of assets and the list of failures, searched with
//! a few small reads and never loaded whole. Only the tables of the old pipeline's files are.
//!
//! Reads go past HDF5 (whose calls share one lock), so several threads can use these at once.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::schema::{AssetRecord, FailureLayout, NUM_IMAGES_BYTES, TableLayout, i32_le};
use crate::error::{Context, Error, Exit, Result};

/// Bytes read at once: by a search for its last steps, by a walk for each window.
const SEARCH_BYTES: usize = 4 << 10;
const WALK_BYTES: usize = 64 << 10;

/// An asset and the rows of `/embeddings` that are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    pub id: String,
    pub rows: Range<u64>,
}

/// An item of which something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedItem {
    pub asset_id: String,
    pub row: u64,
    pub reason: String,
}

/// `n` records of fixed width, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub place: Place,
    pub path: PathBuf,
    /// Of their dataset, from the root.
    pub name: String,
    pub record_bytes: usize,
    pub n: u64,
}

/// Where records lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file, from this byte on.
    File(Arc<File>, u64),
    Memory(Arc<[u8]>),
}

impl Records {
    /// The bytes of the records in `range`, cut to those there are.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (start, end) = (range.start.min(self.n), range.end.min(self.n));
        let mut bytes = vec![0; end.saturating_sub(start) as usize * self.record_bytes];
        let offset = start * self.record_bytes as u64;
        match &self.place {
            Place::File(file, begin) => file
                .read_exact_at(&mut bytes, begin + offset)
                .context(|| format!("cannot read {}", self.path.display()))?,
            Place::Memory(all) => {
                let n_bytes = bytes.len();
                bytes.copy_from_slice(&all[offset as usize..][..n_bytes]);
            }
        }
        Ok(bytes)
    }

    /// Cuts all records into windows of bounded size: `(index of the first, bytes)`.
    pub fn windows(&self, range: Range<u64>) -> impl Iterator<Item = Result<(u64, Vec<u8>)>> {
        let step = self.per(WALK_BYTES);
        let end = range.end.min(self.n);
        (range.start..end)
            .step_by(step as usize)
            .map(move |start| Ok((start, self.read(start..end.min(start + step))?)))
    }

    /// Index of the first record for which `before` is false; all before it are true.
    fn partition_point(&self, before: impl Fn(u64, &[u8]) -> bool) -> Result<u64> {
        let (mut low, mut high) = (0, self.n);
        while high - low > self.per(SEARCH_BYTES) {
            let middle = low + (high - low) / 2;
            if before(middle, &self.read(middle..middle + 1)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let bytes = self.read(low..high)?;
        let ahead = (low..high).zip(bytes.chunks_exact(self.record_bytes));
        Ok(low + ahead.take_while(|(index, record)| before(*index, record)).count() as u64)
    }

    fn per(&self, bytes: usize) -> u64 {
        (bytes / self.record_bytes).max(1) as u64
    }
}

/// The table: assets sorted by the bytes of their ids, each with its rows.
#[derive(Clone, Debug)]
pub struct Assets {
    pub(super) records: Records,
    pub(super) layout: TableLayout,
    /// Rows of `/embeddings`, which no asset may reach beyond.
    pub(super) n_rows: u64,
}

impl Assets {
    /// How many there are.
    pub fn n(&self) -> u64 {
        self.records.n
    }

    /// Whether an asset has a row for each of its views, rather than one row.
    pub fn has_views(&self) -> bool {
        matches!(self.layout, TableLayout::RowPerView { .. })
    }

    /// The asset with this id.
    ///
    /// # Errors
    /// A failed read, or a record that cannot be right.
    pub fn find(&self, id: &str) -> Result<Option<Asset>> {
        let index = self.lower_bound(id)?;
        Ok(self.at(index)?.filter(|asset| asset.id == id))
    }

    /// Indexes of the assets whose ids begin with `prefix`.
    ///
    /// # Errors
    /// A failed read.
    pub fn with_prefix(&self, prefix: &str) -> Result<Range<u64>> {
        let prefix = prefix.as_bytes();
        let start = self.search(|id| id < prefix)?;
        let end = self.search(|id| id < prefix || id.starts_with(prefix))?;
        Ok(start..end)
    }

    /// The assets with these indexes, in order, read in windows of bounded size.
    pub fn iter(&self, range: Range<u64>) -> impl Iterator<Item = Result<Asset>> {
        let width = self.records.record_bytes;
        self.records.windows(range).flat_map(move |window| match window {
            Err(error) => vec![Err(error)],
            Ok((first, bytes)) => (first..)
                .zip(bytes.chunks_exact(width))
                .map(|(index, one)| self.checked(index, one))
                .collect(),
        })
    }

    /// Indexes of the assets that own any of these rows (at least one).
    ///
    /// # Errors
    /// A failed read.
    pub fn of_rows(&self, rows: Range<u64>) -> Result<Range<u64>> {
        let starting_before = |row: u64| {
            self.records.partition_point(|index, bytes| {
                u64::try_from(self.layout.decode(index, bytes).start_idx).is_ok_and(|start| start < row)
            })
        };
        let first = starting_before(rows.start.saturating_add(1))?.saturating_sub(1);
        Ok(first..starting_before(rows.end)?.max(first))
    }

    /// Up to `n` ids around the place where `id` would be, which share at least half of it.
    ///
    /// # Errors
    /// A failed read, or a record that cannot be right.
    pub fn near(&self, id: &str, n: u64) -> Result<Vec<String>> {
        let place = self.lower_bound(id)?;
        let mut near: Vec<(usize, String)> = self
            .iter(place.saturating_sub(n)..place.saturating_add(n))
            .map(|asset| asset.map(|asset| (common_prefix(id, &asset.id), asset.id)))
            .collect::<Result<_>>()?;
        near.retain(|(common, _)| *common > 0 && 2 * common >= id.len());
        near.sort_by_key(|(common, _)| std::cmp::Reverse(*common));
        Ok(near.into_iter().take(n as usize).map(|(_, id)| id).collect())
    }

    fn at(&self, index: u64) -> Result<Option<Asset>> {
        let bytes = self.records.read(index..index.saturating_add(1))?;
        if bytes.is_empty() { Ok(None) } else { self.checked(index, &bytes).map(Some) }
    }

    fn lower_bound(&self, id: &str) -> Result<u64> {
        self.search(|other| other < id.as_bytes())
    }

    fn search(&self, before: impl Fn(&[u8]) -> bool) -> Result<u64> {
        self.records.partition_point(|index, bytes| before(self.layout.decode(index, bytes).id))
    }

    fn checked(&self, index: u64, bytes: &[u8]) -> Result<Asset> {
        let AssetRecord { id, start_idx, count } = self.layout.decode(index, bytes);
        let rows = u64::try_from(start_idx)
            .ok()
            .zip(u64::try_from(count).ok())
            .and_then(|(start, count)| Some(start..start.checked_add(count)?))
            .filter(|rows| rows.end <= self.n_rows);
        match (std::str::from_utf8(id), rows) {
            (Ok(id), Some(rows)) => Ok(Asset { id: id.to_owned(), rows }),
            (Err(_), _) => Err(self.damaged(index, "its id is not UTF-8")),
            (Ok(id), None) => Err(self.damaged(
                index,
                &format!("'{id}' starts at row {start_idx} and has {count}, of {} rows in all", self.n_rows),
            )),
        }
    }

    fn damaged(&self, index: u64, what: &str) -> Error {
        let path = self.records.path.display();
        Error::new(format!("{path}: entry {index} of {} is damaged: {what}", self.records.name))
            .hint(format!("`hyperslab verify {path}` lists all that is wrong"))
            .exit(Exit::Damaged)
    }
}

/// How many views the vector of each row is made from, in files with a row for an asset's set of views.
#[derive(Clone, Debug)]
pub struct NumImages {
    pub(super) records: Records,
}

impl NumImages {
    /// Those of these rows, cut to the rows there are: 0 where the asset failed.
    ///
    /// # Errors
    /// A failed read.
    pub fn of_rows(&self, rows: Range<u64>) -> Result<Vec<i32>> {
        Ok(self.records.read(rows)?.chunks_exact(NUM_IMAGES_BYTES).map(i32_le).collect())
    }

    /// The views of all vectors.
    ///
    /// # Errors
    /// A failed read.
    pub(super) fn sum(&self) -> Result<u64> {
        let each =
            |bytes: &[u8]| bytes.chunks_exact(NUM_IMAGES_BYTES).map(i32_le).map(i64::from).sum::<i64>();
        let mut sum = 0;
        for window in self.records.windows(0..self.records.n) {
            sum += each(&window?.1);
        }
        Ok(u64::try_from(sum).unwrap_or(0))
    }
}

/// The list of failed items, sorted by row.
#[derive(Clone, Debug)]
pub struct FailedItems {
    pub(super) records: Records,
    pub(super) layout: FailureLayout,
}

impl FailedItems {
    /// How many there are.
    pub fn n(&self) -> u64 {
        self.records.n
    }

    /// The failures among these rows, by row.
    ///
    /// # Errors
    /// A failed read.
    pub fn of_rows(&self, rows: Range<u64>) -> Result<Vec<FailedItem>> {
        let before = |bound: u64| {
            self.records.partition_point(|_, bytes| {
                u64::try_from(self.layout.decode(bytes).row).is_ok_and(|row| row < bound)
            })
        };
        let start = before(rows.start)?;
        let end = start.saturating_add(rows.end.saturating_sub(rows.start));
        self.iter(start..end)
            .take_while(|failure| failure.as_ref().map_or(true, |failure| failure.row < rows.end))
            .collect()
    }

    /// The failures with these indexes, in order, read in windows of bounded size. Bytes that are
    /// not UTF-8 are replaced; a row below zero reads as the largest one.
    pub fn iter(&self, range: Range<u64>) -> impl Iterator<Item = Result<FailedItem>> {
        let width = self.records.record_bytes;
        self.records.windows(range).flat_map(move |window| match window {
            Err(error) => vec![Err(error)],
            Ok((_, bytes)) => bytes.chunks_exact(width).map(|one| Ok(self.decoded(one))).collect(),
        })
    }

    fn decoded(&self, bytes: &[u8]) -> FailedItem {
        let record = self.layout.decode(bytes);
        FailedItem {
            asset_id: String::from_utf8_lossy(record.id).into_owned(),
            row: u64::try_from(record.row).unwrap_or(u64::MAX),
            reason: String::from_utf8_lossy(record.reason).into_owned(),
        }
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
