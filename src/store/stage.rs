//! `<output>.partial`: rows at their final offsets, the only thing that changes while a job runs.
//!
//! Contiguous, allocated early, never filled, and flushed once at creation: from then on only raw
//! bytes at fixed offsets change, so the file always opens, and writing a round twice is harmless.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::embeddings::{Embeddings, RowsShape};
use super::stored_rows::StoredRows;
use crate::comm::RawComm;
use crate::error::{Context, Error, Result};
use crate::h5::{Layout, ParallelFile};

/// The stage, open on all ranks.
pub struct Stage {
    file: ParallelFile,
    rows: Embeddings,
    /// The same file for positioned reads, past MPI and HDF5: what any other reader would see.
    reader: File,
    /// Where each group's rows lie in the file, in bytes.
    extents: Vec<Range<u64>>,
    path: PathBuf,
}

impl Stage {
    /// Creates the stage with its final shape, reserves its space, and makes it durable. Collective;
    /// `is_root` on the one rank that reserves.
    ///
    /// # Errors
    /// What the file system or HDF5 reports, e.g. that the disk cannot hold it.
    pub fn create(path: &Path, shape: &RowsShape<'_>, comm: RawComm, is_root: bool) -> Result<Self> {
        let file = ParallelFile::create(path, comm)?;
        let rows = Embeddings::create(&file, shape, Layout::Contiguous)?;
        file.flush()?;
        let stage = Self::new(file, rows, path)?;
        if is_root {
            stage.extents.iter().try_for_each(|extent| reserve(path, extent))?;
        }
        Ok(stage)
    }

    /// Opens the stage of an earlier job. Collective.
    ///
    /// # Errors
    /// No such file, or one of another shape or size.
    pub fn open(path: &Path, shape: &RowsShape<'_>, comm: RawComm) -> Result<Self> {
        let file = ParallelFile::open(path, comm)?;
        let rows = Embeddings::open(&file, shape).map_err(|error| {
            Error::new(format!("{}: {error}", path.display()))
                .hint("it is not the stage that its journal speaks of; start again with --overwrite")
        })?;
        Self::new(file, rows, path)
    }

    fn new(file: ParallelFile, rows: Embeddings, path: &Path) -> Result<Self> {
        let row_bytes = rows.row_bytes() as u64;
        let extent = |(offset, rows): (Option<u64>, u64)| match offset {
            Some(offset) => Ok(offset..offset + rows * row_bytes),
            None if rows == 0 => Ok(0..0),
            None => Err(Error::new(format!("{} has no space allocated", path.display()))),
        };
        let extents = rows.offsets().zip(rows.group_rows()).map(extent).collect::<Result<_>>()?;
        let reader = File::open(path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, rows, reader, extents, path: path.to_owned() })
    }

    /// Bytes of one row as stored.
    pub fn row_bytes(&self) -> usize {
        self.rows.row_bytes()
    }

    /// Where each group's rows lie in the file, in bytes.
    pub fn extents(&self) -> &[Range<u64>] {
        &self.extents
    }

    /// Writes this rank's rows of the round, possibly none. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn write(&self, rows: &StoredRows) -> Result<()> {
        self.rows.write(rows)
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
    pub fn read(&self, rows: Range<u64>) -> Result<StoredRows> {
        let row_bytes = self.rows.row_bytes() as u64;
        let mut bytes = vec![0; ((rows.end - rows.start) * row_bytes) as usize];
        let mut rest = &mut bytes[..];
        for (extent, own) in self.extents.iter().zip(self.rows.by_group(rows.clone())) {
            let (own_bytes, after) = rest.split_at_mut(((own.end - own.start) * row_bytes) as usize);
            self.reader.read_exact_at(own_bytes, extent.start + own.start * row_bytes).context(|| {
                format!("cannot read rows {}..{} of {}", rows.start, rows.end, self.path.display())
            })?;
            rest = after;
        }
        Ok(StoredRows { start: rows.start, bytes })
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

/// Reserves the space of a group's rows, so that the disk cannot fill up under a running job. Early
/// allocation by HDF5 reserves nothing: the file stays sparse.
fn reserve(path: &Path, extent: &Range<u64>) -> Result<()> {
    use rustix::io::Errno;
    let bytes = extent.end - extent.start;
    if bytes == 0 {
        return Ok(());
    }
    let file =
        File::options().write(true).open(path).context(|| format!("cannot open {}", path.display()))?;
    match fallocate(&file, FallocateFlags::empty(), extent.start, bytes) {
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
