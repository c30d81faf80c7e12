//! Rows as they go over the wire, in COPY's binary format (PostgreSQL's documentation, COPY, 'Binary Format').

use ndarray::ArrayView1;
use pgvector::{HalfVector, Vector};
use sqlx::encode::IsNull;
use sqlx::postgres::PgArgumentBuffer;
use sqlx::{Encode, Postgres};

use super::entries::{Counts, Entry, Source};
use super::table::{ID_CHARS, VectorType};
use crate::error::{Error, Exit, Result};
use crate::store::RowWalk;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];

/// Writes the rows of entries.
pub struct RowWriter<'a> {
    source: &'a Source,
    stored: VectorType,
    walks: Vec<Option<RowWalk<'a>>>,
    buffer: PgArgumentBuffer,
    counts: Counts,
}

/// An asset's vectors, and what else the table says of one of its rows.
pub struct Row {
    pub vectors: Vec<Option<Vec<f32>>>,
    pub num_images: i32,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.vectors.iter().all(Option::is_none)
    }
}

impl<'a> RowWriter<'a> {
    /// # Errors
    /// Those of [`RowWalk::new`].
    pub fn new(source: &'a Source, stored: VectorType) -> Result<Self> {
        let walk = |reader: &'a Option<_>| {
            reader.as_ref().map(|reader| RowWalk::new(reader, &source.path)).transpose()
        };
        let walks = source.readers.iter().map(walk).collect::<Result<_>>()?;
        let mut buffer = PgArgumentBuffer::default();
        buffer.extend_from_slice(HEADER);
        Ok(Self { source, stored, walks, buffer, counts: Counts::of(source.layout) })
    }

    /// The rows of an entry that the table has, each with its view's number; failed ones are left out, and counted.
    ///
    /// # Errors
    /// Rows that do not read, or a block that is not what its digest says.
    pub fn rows_of(&mut self, entry: &Entry, mut take: impl FnMut(u64, &Row) -> Result<()>) -> Result<()> {
        let n = entry.rows.iter().flatten().map(|rows| rows.end - rows.start).max().unwrap_or(0);
        for view in 0..n {
            let mut row = Row { vectors: Vec::new(), num_images: 0 };
            for (walk, rows) in self.walks.iter_mut().zip(&entry.rows) {
                let (Some(walk), Some(rows)) = (walk, rows) else {
                    row.vectors.push(None);
                    continue;
                };
                let found = walk.row(rows.start + view)?;
                row.num_images = found.num_images;
                let vector = found.vector.and_then(|vector| cut(vector, self.source.dim));
                self.counts.failed += u64::from(vector.is_none());
                row.vectors.push(vector);
            }
            if !row.is_empty() {
                take(view, &row)?;
            }
        }
        Ok(())
    }

    /// Appends the rows of an entry; how many.
    ///
    /// # Errors
    /// As [`rows_of`](Self::rows_of); an id that the table cannot hold.
    pub fn write(&mut self, entry: &Entry) -> Result<u64> {
        if entry.asset_id.chars().count() > ID_CHARS || entry.asset_id.contains('\0') {
            return Err(Error::new(format!(
                "the id '{}' does not fit the table: its column takes {ID_CHARS} characters, and no NUL",
                entry.asset_id.escape_debug()
            ))
            .hint("--valid-ids FILE leaves it out"));
        }
        let layout = self.source.layout;
        let first_row = entry.rows.iter().flatten().map(|rows| rows.start).next().unwrap_or(0);
        let is_high_quality = self.source.selection.high_quality.contains(&entry.asset_id);
        // Taken out, since `rows_of` borrows all of it.
        let (mut buffer, stored) = (std::mem::take(&mut self.buffer), self.stored);
        let mut counts = Counts::of(layout);
        let written = self.rows_of(entry, |view, row| {
            buffer.extend_from_slice(&(layout.filled().len() as i16).to_be_bytes());
            if layout.has_views {
                // From 1, as a sequence counts.
                put(&mut buffer, Some(int(first_row + view + 1)?))?;
            }
            put(&mut buffer, Some(entry.asset_id.as_str()))?;
            if layout.has_views {
                put(&mut buffer, Some(int(view)?))?;
            }
            for (vector, n) in row.vectors.iter().zip(&mut counts.vectors) {
                *n += u64::from(vector.is_some());
                match stored {
                    VectorType::Vector => put(&mut buffer, vector.clone().map(Vector::from))?,
                    VectorType::HalfVector => {
                        put(&mut buffer, vector.as_deref().map(HalfVector::from_f32_slice))?;
                    }
                }
            }
            if layout.has_num_images {
                put(&mut buffer, Some(row.num_images))?;
            }
            put(&mut buffer, Some(is_high_quality))?;
            counts.rows += 1;
            Ok(())
        });
        self.buffer = buffer;
        self.counts.add(&counts);
        written.map(|()| counts.rows)
    }

    /// What is written and was not taken yet.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Ends it; what has been counted.
    pub fn finish(&mut self) -> Counts {
        self.buffer.extend_from_slice(TRAILER);
        self.counts.clone()
    }
}

/// A field: its length, and its bytes; -1 is NULL.
fn put<'q, T: Encode<'q, Postgres>>(buffer: &mut PgArgumentBuffer, value: Option<T>) -> Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    let Some(value) = value else { return Ok(()) };
    let encoded =
        value.encode_by_ref(buffer).map_err(|error| Error::new(error.to_string()).exit(Exit::Bug))?;
    if let IsNull::No = encoded {
        let length = (buffer.len() - start - 4) as i32;
        buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn int(n: u64) -> Result<i32> {
    i32::try_from(n).map_err(|_| {
        Error::new(format!("row {n}: the service's table numbers its rows with 32 bits"))
            .hint("--valid-ids FILE makes fewer of them")
    })
}

/// The first `dim` components, normalised again where there are more; computed in double precision. None where all of
/// them are zero.
pub fn cut(vector: &[f32], dim: usize) -> Option<Vec<f32>> {
    let kept = &vector[..dim.min(vector.len())];
    if kept.len() == vector.len() {
        return Some(kept.to_vec());
    }
    let norm = ArrayView1::from(kept).mapv(|value| f64::from(value).powi(2)).sum().sqrt();
    (norm > 0.0).then(|| kept.iter().map(|value| (f64::from(*value) / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_postgresql_reads_them() {
        let mut buffer = PgArgumentBuffer::default();
        put(&mut buffer, Some(7_i32)).unwrap();
        put(&mut buffer, None::<i32>).unwrap();
        put(&mut buffer, Some("ab")).unwrap();
        put(&mut buffer, Some(Vector::from(vec![1.0_f32]))).unwrap();
        let expected = [
            &[0, 0, 0, 4, 0, 0, 0, 7][..],
            &[255; 4],
            &[0, 0, 0, 2, b'a', b'b'],
            &[0, 0, 0, 8, 0, 1, 0, 0, 0x3f, 0x80, 0, 0],
        ];
        assert_eq!(&buffer[..], expected.concat());
    }

    #[test]
    fn a_cut_vector_has_length_one() {
        assert_eq!(cut(&[3.0, 4.0, 12.0], 2), Some(vec![0.6, 0.8]));
        assert_eq!(cut(&[3.0, 4.0], 2), Some(vec![3.0, 4.0]));
        assert_eq!(cut(&[0.0, 0.0, 1.0], 2), None);
        assert!(int(1 << 40).is_err());
    }
}
