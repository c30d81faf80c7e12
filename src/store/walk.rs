//! The rows of a file one by one, in bounded memory, with all that it says of each.

use std::ops::Range;

use ndarray::Array2;

use super::reader::Reader;
use super::table::FailedItem;
use super::writer::NewRow;
use crate::error::Result;

/// Rows of a window, at least.
const WINDOW_ROWS: u64 = 1024;
/// Windows that are kept. The old pipeline's files have each rank's assets together, so that their ids in order lie in
/// as many places as there were ranks.
const KEPT: usize = 2;
const KEPT_OF_OLD: usize = 32;

/// Reads rows in windows, and keeps those that were used last.
pub struct RowWalk<'a> {
    reader: &'a Reader,
    window_rows: u64,
    kept_max: usize,
    /// Those used last at the end.
    kept: Vec<Window>,
}

struct Window {
    rows: Range<u64>,
    vectors: Array2<f32>,
    failures: Vec<FailedItem>,
    /// Of files of view sets.
    num_images: Vec<i32>,
}

impl<'a> RowWalk<'a> {
    pub fn new(reader: &'a Reader) -> Self {
        let window_rows = WINDOW_ROWS.next_multiple_of(reader.chunk_rows());
        let kept_max = if reader.is_old() { KEPT_OF_OLD } else { KEPT };
        Self { reader, window_rows, kept_max, kept: Vec::new() }
    }

    /// A row as it would be written. In a file of the old pipeline a vector that is zero, or not finite, is what it
    /// left of an item that failed.
    ///
    /// # Errors
    /// A row that is not there, or a failed read.
    pub fn row(&mut self, row: u64) -> Result<NewRow<'_>> {
        self.use_window_of(row)?;
        let is_old = self.reader.is_old();
        Ok(self.kept.last().map_or_else(NewRow::default, |window| window.row(row, is_old)))
    }

    /// A row's values as they stand in the file, whatever they are.
    ///
    /// # Errors
    /// A row that is not there, or a failed read.
    pub fn stored(&mut self, row: u64) -> Result<&[f32]> {
        self.use_window_of(row)?;
        Ok(self.kept.last().and_then(|window| window.stored(row)).unwrap_or_default())
    }

    /// Makes the window of a row the last one.
    fn use_window_of(&mut self, row: u64) -> Result<()> {
        let place = self.kept.iter().rposition(|window| window.rows.contains(&row));
        let window = match place {
            Some(place) if place + 1 == self.kept.len() => return Ok(()),
            Some(place) => self.kept.remove(place),
            None => {
                if self.kept.len() >= self.kept_max {
                    self.kept.remove(0);
                }
                self.read_window(row)?
            }
        };
        self.kept.push(window);
        Ok(())
    }

    fn read_window(&self, row: u64) -> Result<Window> {
        let reader = self.reader;
        let start = row / self.window_rows * self.window_rows;
        // A row past the end is refused by the read of its own.
        let rows = start..(start + self.window_rows).min(reader.n_rows().max(row + 1));
        let vectors = reader.rows_of_each(std::slice::from_ref(&rows))?;
        Ok(Window {
            vectors: vectors.into_iter().next().unwrap_or_default(),
            failures: reader.failures_of(rows.clone())?,
            num_images: reader.num_images().map_or(Ok(Vec::new()), |all| all.of_rows(rows.clone()))?,
            rows,
        })
    }
}

impl Window {
    fn stored(&self, row: u64) -> Option<&[f32]> {
        self.vectors.row((row - self.rows.start) as usize).to_slice()
    }

    fn row(&self, row: u64, is_old: bool) -> NewRow<'_> {
        let index = (row - self.rows.start) as usize;
        let vector = self.stored(row);
        let listed = self.failures.binary_search_by_key(&row, |failure| failure.row);
        let listed = listed.ok().map(|place| self.failures[place].reason.as_str());
        let found = vector.and_then(|vector| if is_old { lost(vector) } else { None });
        let num_images = self.num_images.get(index).copied();
        let has_vector = match num_images {
            Some(n) => n > 0,
            None => listed.or(found).is_none(),
        };
        NewRow {
            vector: vector.filter(|_| has_vector),
            failure: listed.or(found),
            num_images: num_images.unwrap_or_default(),
        }
    }
}

/// Why a vector of the old pipeline is none, if it is none.
pub fn lost(vector: &[f32]) -> Option<&'static str> {
    if vector.iter().all(|value| *value == 0.0) {
        Some("zero vector in the source")
    } else if vector.iter().any(|value| !value.is_finite()) {
        Some("vector not finite in the source")
    } else {
        None
    }
}
