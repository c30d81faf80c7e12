//! `<output>.partial`: rows at their final offsets, the only thing that changes while a job runs.
//!
//! Contiguous, allocated early, never filled, and flushed once at creation: from then on only raw
//! bytes at fixed offsets change, so the file always opens, and writing a round twice is harmless.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::embeddings::{Embeddings, RowsShape, own_rows};
use super::open;
use super::schema;
use super::stored_rows::StoredRows;
use crate::comm::RawComm;
use crate::error::{Context, Error, Exit, Result};
use crate::h5::{Access, Layout, RowFile};

/// The stage, open on all ranks.
pub struct Stage {
    file: RowFile,
    rows: Embeddings,
    reader: StageReader,
}

impl Stage {
    /// Creates the stage with its final shape, reserves its space, and makes it durable. Collective;
    /// `is_root` on the one rank that reserves.
    ///
    /// # Errors
    /// What the file system or HDF5 reports, e.g. that the disk cannot hold it.
    pub fn create(path: &Path, shape: &RowsShape<'_>, comm: RawComm, is_root: bool) -> Result<Self> {
        let file = RowFile::create(path, Access::Together(comm))?;
        let rows = Embeddings::create(&file, shape, Layout::Contiguous)?;
        file.flush()?;
        let stage = Self::new(file, rows, path)?;
        if is_root {
            stage.reader.extents().try_for_each(|extent| reserve(path, &extent))?;
        }
        Ok(stage)
    }

    /// Opens the stage of an earlier job. Collective.
    ///
    /// # Errors
    /// No such file, or one of another shape or size.
    pub fn open(path: &Path, shape: &RowsShape<'_>, comm: RawComm) -> Result<Self> {
        let file = RowFile::open(path, Access::Together(comm))?;
        let rows = Embeddings::open(&file, shape).map_err(|error| another_stage(path, &error))?;
        Self::new(file, rows, path)
    }

    fn new(file: RowFile, rows: Embeddings, path: &Path) -> Result<Self> {
        let reader = StageReader::new(rows.places(), rows.row_bytes(), path)?;
        Ok(Self { file, rows, reader })
    }

    /// Bytes of one row as stored.
    pub fn row_bytes(&self) -> usize {
        self.rows.row_bytes()
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
    /// Those of [`StageReader::read`].
    pub fn read(&self, rows: Range<u64>) -> Result<StoredRows> {
        self.reader.read(rows)
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

/// The rows of a stage for positioned reads, past MPI and HDF5: what any other reader would see.
pub struct StageReader {
    file: File,
    path: PathBuf,
    row_bytes: u64,
    /// Which rows the file holds of each group, and where these begin in it, in bytes.
    parts: Vec<(Range<u64>, u64)>,
}

impl StageReader {
    /// Opens the stage of an earlier job on this rank alone.
    ///
    /// # Errors
    /// No such file, or one of another shape or size.
    pub fn open(path: &Path, shape: &RowsShape<'_>) -> Result<Self> {
        let file = open::hdf5_file(path).map_err(|error| match error.exit {
            Exit::Damaged => another_stage(path, &error.message),
            _ => error,
        })?;
        let mut places = Vec::new();
        for (group, rows) in shape.parts() {
            let name = schema::path_in(group, schema::EMBEDDINGS);
            let dataset = file.dataset(&name).map_err(|error| another_stage(path, &error))?;
            let expected = [(rows.end - rows.start) as usize, shape.dim as usize];
            let is_right = dataset.shape() == expected
                && dataset.dtype().is_ok_and(|element| element.size() == shape.stored.size_bytes());
            if !is_right {
                let found = dataset.shape();
                let why = format!("/{name} has shape {found:?}, expected {expected:?} of {}", shape.stored);
                return Err(another_stage(path, &why));
            }
            places.push((rows, dataset.offset()));
        }
        Self::new(places, shape.row_bytes(), path)
    }

    fn new(
        places: impl IntoIterator<Item = (Range<u64>, Option<u64>)>,
        row_bytes: usize,
        path: &Path,
    ) -> Result<Self> {
        let part = |(rows, offset): (Range<u64>, Option<u64>)| match offset {
            Some(offset) => Ok((rows, offset)),
            None if rows.is_empty() => Ok((rows, 0)),
            None => Err(Error::new(format!("{} has no space allocated", path.display()))),
        };
        let parts = places.into_iter().map(part).collect::<Result<_>>()?;
        let file = File::open(path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), row_bytes: row_bytes as u64, parts })
    }

    /// Where each group's rows lie in the file, in bytes.
    pub fn extents(&self) -> impl Iterator<Item = Range<u64>> {
        self.parts.iter().map(|(rows, offset)| *offset..offset + (rows.end - rows.start) * self.row_bytes)
    }

    /// Reads rows, whoever wrote them.
    ///
    /// # Errors
    /// The file is shorter than its rows, or cannot be read.
    pub fn read(&self, rows: Range<u64>) -> Result<StoredRows> {
        let mut bytes = vec![0; ((rows.end - rows.start) * self.row_bytes) as usize];
        let mut rest = &mut bytes[..];
        for (held, offset) in &self.parts {
            let own = own_rows(held, &rows);
            let (own_bytes, after) = rest.split_at_mut(((own.end - own.start) * self.row_bytes) as usize);
            self.file.read_exact_at(own_bytes, offset + own.start * self.row_bytes).context(|| {
                format!("cannot read rows {} to {} of {}", rows.start, rows.end, self.path.display())
            })?;
            rest = after;
        }
        Ok(StoredRows { start: rows.start, bytes })
    }
}

fn another_stage(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(format!("{}: {why}", path.display()))
        .exit(Exit::Damaged)
        .hint("it is damaged, or not the stage that its journal speaks of; start again with --overwrite")
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
