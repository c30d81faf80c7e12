//! `<output>.partial`: rows at their final offsets, the only thing that changes while a job runs.
//!
//! Contiguous, allocated early, never filled, and flushed once at creation: from then on only raw
//! bytes at fixed offsets change, so the file always opens, and writing a round twice is harmless.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use ndarray::ArrayView2;
use rustix::fs::{FallocateFlags, fallocate};

use super::Digest;
use super::schema::{self, StoredType};
use crate::comm::RawComm;
use crate::error::{Context, Error, Result};
use crate::h5::{Layout, ParallelFile, RowDataset};

/// Rows in their stored form: what is written, digested and read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRows {
    /// The first row.
    pub start: u64,
    /// Whole rows, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl StoredRows {
    /// Encodes vectors `[rows, dim]` that begin at row `start`; `failed` lists the rows within them that
    /// have no vector and become NaN.
    pub fn encode(start: u64, rows: &ArrayView2<'_, f32>, failed: &[usize], stored: StoredType) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * stored.size_bytes());
        for (index, row) in rows.outer_iter().enumerate() {
            let is_failed = failed.contains(&index);
            for &value in row {
                match stored {
                    StoredType::F32 if is_failed => bytes.extend(schema::FAILED_F32.to_le_bytes()),
                    StoredType::F32 => bytes.extend(value.to_le_bytes()),
                    StoredType::F16 if is_failed => bytes.extend(schema::FAILED_F16.to_le_bytes()),
                    StoredType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                }
            }
        }
        Self { start, bytes }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// The stage, open on all ranks.
pub struct Stage {
    file: ParallelFile,
    rows: RowDataset,
    /// The same file for positioned reads, past MPI and HDF5: what any other reader would see.
    reader: File,
    /// Where row 0 begins, in bytes.
    offset: u64,
    path: PathBuf,
}

impl Stage {
    /// Creates the stage with its final shape, reserves its space, and makes it durable. Collective;
    /// `is_root` on the one rank that reserves.
    ///
    /// # Errors
    /// What the file system or HDF5 reports, e.g. that the disk cannot hold it.
    pub fn create(
        path: &Path,
        (rows, dim): (u64, u64),
        stored: StoredType,
        comm: RawComm,
        is_root: bool,
    ) -> Result<Self> {
        let file = ParallelFile::create(path, comm)?;
        let dataset =
            file.create_rows(schema::EMBEDDINGS, &stored.descriptor(), &[rows, dim], Layout::Contiguous)?;
        file.flush()?;
        let stage = Self::new(file, dataset, path)?;
        if is_root {
            reserve(path, stage.offset, rows * stage.rows.row_bytes() as u64)?;
        }
        Ok(stage)
    }

    /// Opens the stage of an earlier job. Collective.
    ///
    /// # Errors
    /// No such file, or one of another shape or size.
    pub fn open(path: &Path, (rows, dim): (u64, u64), stored: StoredType, comm: RawComm) -> Result<Self> {
        let file = ParallelFile::open(path, comm)?;
        let dataset = file.open_rows(schema::EMBEDDINGS)?;
        let row_bytes = dim as usize * stored.size_bytes();
        if dataset.rows() != rows || dataset.row_bytes() != row_bytes {
            return Err(Error::new(format!(
                "{} holds {} rows of {} bytes; its journal speaks of {rows} of {row_bytes}",
                path.display(),
                dataset.rows(),
                dataset.row_bytes()
            ))
            .hint("it is not this run's stage; start again with --overwrite"));
        }
        Self::new(file, dataset, path)
    }

    fn new(file: ParallelFile, rows: RowDataset, path: &Path) -> Result<Self> {
        let offset = match rows.offset() {
            Some(offset) => offset,
            None if rows.rows() == 0 => 0,
            None => return Err(Error::new(format!("{} has no space allocated", path.display()))),
        };
        let reader = File::open(path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, rows, reader, offset, path: path.to_owned() })
    }

    /// Bytes of one row as stored.
    pub fn row_bytes(&self) -> usize {
        self.rows.row_bytes()
    }

    /// Where the rows lie in the file, in bytes.
    pub fn extent(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.rows.rows() * self.rows.row_bytes() as u64
    }

    /// Writes this rank's rows of the round, possibly none. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn write(&self, rows: &StoredRows) -> Result<()> {
        self.rows.write(rows.start, &rows.bytes)
    }

    /// Makes what was written durable on every rank. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk or a failed `fsync`.
    pub fn flush(&self) -> Result<()> {
        self.file.flush()
    }

    /// Reads rows, whoever wrote them. Not collective.
    ///
    /// # Errors
    /// The file is shorter than its rows, or cannot be read.
    pub fn read(&self, start: u64, count: u64) -> Result<StoredRows> {
        let row_bytes = self.rows.row_bytes() as u64;
        let mut bytes = vec![0; (count * row_bytes) as usize];
        self.reader
            .read_exact_at(&mut bytes, self.offset + start * row_bytes)
            .context(|| format!("cannot read rows {start}..{} of {}", start + count, self.path.display()))?;
        Ok(StoredRows { start, bytes })
    }

    /// Closes the stage. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn finish(self) -> Result<()> {
        self.rows.close();
        self.file.finish()
    }
}

/// Reserves the space of all rows, so that the disk cannot fill up under a running job. Early
/// allocation by HDF5 reserves nothing: the file stays sparse.
fn reserve(path: &Path, offset: u64, bytes: u64) -> Result<()> {
    use rustix::io::Errno;
    if bytes == 0 {
        return Ok(());
    }
    let file =
        File::options().write(true).open(path).context(|| format!("cannot open {}", path.display()))?;
    match fallocate(&file, FallocateFlags::empty(), offset, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            tracing::warn!("{}: this file system cannot reserve space; keep it free", path.display());
            Ok(())
        }
        Err(error) => {
            Err(Error::new(format!("cannot reserve {bytes} bytes for {}: {error}", path.display()))
                .hint("free space on the target, raise its quota, or choose another --output-dir"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_stored_little_endian_and_failed_ones_as_the_one_nan() {
        let rows = ndarray::array![[1.0_f32, -0.5], [7.0, 8.0]];
        let stored = StoredRows::encode(5, &rows.view(), &[1], StoredType::F32);
        assert_eq!(stored.bytes[..8], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
        assert_eq!(stored.bytes[8..], [0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f]);
        let half = StoredRows::encode(5, &rows.view(), &[0], StoredType::F16);
        assert_eq!(half.bytes, [0, 0x7e, 0, 0x7e, 0, 0x47, 0, 0x48]);
    }
}
