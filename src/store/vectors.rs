//! `/embeddings` as it is read: rows of bytes, by any number of threads at once.
//!
//! HDF5's calls share one lock. So a contiguous dataset is read past it, and of a chunked one only the chunks' bytes
//! are fetched through it: to inflate them, which takes ten times longer, is each thread's own work.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use half::f16;
use hdf5::filters::Filter;
use hdf5::plist::dataset_create::Layout;
use hdf5::{Dataset, H5Type};
use ndarray::{Array2, s};

use super::schema::StoredType;
use crate::error::{Context, Error, Result};
use crate::h5;

/// A thread's room for a chunk. To ask the system for so much each time costs several threads at once more than to
/// inflate does.
#[derive(Default)]
struct Scratch {
    raw: Vec<u8>,
    inflated: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The dataset of vectors of a group.
pub(super) struct Vectors {
    pub dataset: Dataset,
    pub stored: StoredType,
    /// Rows, and the length of a vector.
    pub shape: [usize; 2],
    place: Place,
}

/// How the rows lie in the file.
enum Place {
    Contiguous {
        file: Arc<File>,
        offset: u64,
    },
    Chunked(Chunks),
    /// Some other way, which HDF5 knows.
    Other,
}

/// Chunks of whole rows, with filters that are undone here.
struct Chunks {
    rows: u64,
    shuffled: bool,
    deflated: bool,
}

impl Vectors {
    /// The dataset, of which `file` is open too.
    pub fn new(dataset: Dataset, (stored, shape): (StoredType, [usize; 2]), file: &Arc<File>) -> Self {
        let place = match (dataset.layout(), dataset.offset(), Chunks::of(&dataset, shape[1])) {
            (Layout::Contiguous, Some(offset), _) => Place::Contiguous { file: Arc::clone(file), offset },
            (_, _, Some(chunks)) => Place::Chunked(chunks),
            _ => Place::Other,
        };
        Self { dataset, stored, shape, place }
    }

    /// Rows of one chunk; none where there are no chunks.
    pub fn chunk_rows(&self) -> Option<usize> {
        self.dataset.chunk().and_then(|chunk| chunk.first().copied())
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape[1] * self.stored.size_bytes()
    }

    /// The bytes of these rows, which must be there: whole rows, little-endian.
    ///
    /// # Errors
    /// A failed read, or a chunk that does not inflate.
    pub fn read(&self, rows: Range<u64>) -> Result<Vec<u8>> {
        let row_bytes = self.row_bytes();
        let n_bytes = (rows.end - rows.start) as usize * row_bytes;
        match &self.place {
            Place::Contiguous { file, offset } => {
                let mut bytes = vec![0; n_bytes];
                file.read_exact_at(&mut bytes, offset + rows.start * row_bytes as u64)
                    .context(|| "a read of the file")?;
                Ok(bytes)
            }
            Place::Chunked(chunks) => {
                let mut bytes = Vec::with_capacity(n_bytes);
                let mut start = rows.start;
                while start < rows.end {
                    let chunk = start / chunks.rows;
                    let end = rows.end.min((chunk + 1) * chunks.rows);
                    self.append_of_chunk(chunks, start..end, &mut bytes)?;
                    start = end;
                }
                Ok(bytes)
            }
            Place::Other => self.through_hdf5(rows),
        }
    }

    /// Appends rows that lie in one chunk.
    fn append_of_chunk(&self, chunks: &Chunks, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let first = rows.start / chunks.rows * chunks.rows;
        let within = (rows.start - first) as usize..(rows.end - first) as usize;
        SCRATCH.with_borrow_mut(|Scratch { raw, inflated }| {
            if h5::read_chunk(&self.dataset, &[first, 0], raw)? != 0 {
                out.extend(self.through_hdf5(rows)?);
                return Ok(());
            }
            let chunk_bytes = chunks.rows as usize * self.row_bytes();
            let bytes = if chunks.deflated {
                inflate(raw, chunk_bytes, inflated)?;
                inflated
            } else {
                raw
            };
            if bytes.len() != chunk_bytes {
                return Err(Error::new(format!("a chunk has {} bytes, expected {chunk_bytes}", bytes.len())));
            }
            self.append(bytes, within, chunks.shuffled, out);
            Ok(())
        })
    }

    /// Appends some rows of a chunk whose other filters are undone.
    fn append(&self, chunk: &[u8], rows: Range<usize>, shuffled: bool, out: &mut Vec<u8>) {
        let elements = rows.start * self.shape[1]..rows.end * self.shape[1];
        match self.stored {
            _ if !shuffled => out.extend(&chunk[rows.start * self.row_bytes()..rows.end * self.row_bytes()]),
            StoredType::F32 => unshuffle::<4>(chunk, elements, out),
            StoredType::F16 => unshuffle::<2>(chunk, elements, out),
        }
    }

    fn through_hdf5(&self, rows: Range<u64>) -> Result<Vec<u8>> {
        Ok(match self.stored {
            StoredType::F32 => {
                self.slice::<f32>(rows)?.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            StoredType::F16 => {
                self.slice::<f16>(rows)?.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
        })
    }

    fn slice<T: H5Type>(&self, rows: Range<u64>) -> Result<Array2<T>> {
        let range = rows.start as usize..rows.end as usize;
        self.dataset.read_slice_2d(s![range, ..]).context(|| "HDF5")
    }
}

impl Chunks {
    fn of(dataset: &Dataset, dim: usize) -> Option<Self> {
        let rows = match dataset.chunk()?[..] {
            [rows, columns] if rows > 0 && columns == dim => rows as u64,
            _ => return None,
        };
        let (shuffled, deflated) = match dataset.filters()[..] {
            [] => (false, false),
            [Filter::Shuffle] => (true, false),
            [Filter::Deflate(_)] => (false, true),
            [Filter::Shuffle, Filter::Deflate(_)] => (true, true),
            _ => return None,
        };
        Some(Self { rows, shuffled, deflated })
    }
}

/// Puts what `deflated` (zlib, RFC 1950, with its checksum) holds, which is to be `n_bytes`, in the place of what
/// `inflated` holds.
fn inflate(deflated: &[u8], n_bytes: usize, inflated: &mut Vec<u8>) -> Result<()> {
    inflated.clear();
    // Exactly so much: what does not fit is no chunk of this file.
    inflated.shrink_to(n_bytes);
    inflated.reserve_exact(n_bytes);
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress_vec(deflated, inflated, FlushDecompress::Finish);
    match status.context(|| "a chunk does not inflate")? {
        Status::StreamEnd => Ok(()),
        Status::Ok | Status::BufError => Err(Error::new(format!(
            "a chunk does not inflate to {n_bytes} bytes: {} of {} taken",
            zlib.total_in(),
            deflated.len()
        ))),
    }
}

/// Appends elements of `N` bytes out of a shuffled chunk, in which first bytes come first, then all second ones, and
/// so on (HDF5's filter 2).
fn unshuffle<const N: usize>(chunk: &[u8], elements: Range<usize>, out: &mut Vec<u8>) {
    let planes: [&[u8]; N] = {
        let length = chunk.len() / N;
        std::array::from_fn(|byte| &chunk[byte * length + elements.start..byte * length + elements.end])
    };
    let begin = out.len();
    out.resize(begin + elements.len() * N, 0);
    for (index, element) in out[begin..].chunks_exact_mut(N).enumerate() {
        for (byte, plane) in element.iter_mut().zip(planes) {
            *byte = plane[index];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_out_of_a_shuffled_chunk() {
        let shuffled = [0x00, 0x10, 0x20, 0x01, 0x11, 0x21];
        let mut out = vec![9];
        unshuffle::<2>(&shuffled, 1..3, &mut out);
        assert_eq!(out, [9, 0x10, 0x11, 0x20, 0x21]);
    }

    #[test]
    fn a_chunk_of_another_length_does_not_inflate() {
        let mut deflated = Vec::new();
        let mut zlib = flate2::read::ZlibEncoder::new(&[7_u8; 1000][..], flate2::Compression::fast());
        std::io::Read::read_to_end(&mut zlib, &mut deflated).unwrap();
        let mut inflated = vec![1; 2000];
        inflate(&deflated, 1000, &mut inflated).unwrap();
        assert_eq!(inflated, [7; 1000]);
        assert!(inflate(&deflated, 999, &mut inflated).is_err());
        assert!(inflate(&deflated[..deflated.len() - 1], 1000, &mut inflated).is_err());
        let mut damaged = deflated.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(inflate(&damaged, 1000, &mut inflated).is_err());
    }
}
