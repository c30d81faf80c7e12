//! A dataset whose first dimension counts rows, and the collective transfer of runs of rows.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use hdf5::Dataset;
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::{H5Dread, H5Dwrite};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_SELECT_SET, H5Sclose, H5Screate_simple, H5Sselect_hyperslab, H5Sselect_none};

use super::Access;
#[cfg(feature = "engine")]
use super::transfer::Transfer;
use crate::error::{Context, Error, Result};

/// An open dataset. Dropping it leaks the handle (closing may write metadata, which is collective);
/// [`close`](Self::close) closes it.
pub struct RowDataset {
    dataset: ManuallyDrop<Dataset>,
    shape: Vec<u64>,
    row_bytes: usize,
    name: String,
    path: PathBuf,
    access: Access,
}

impl RowDataset {
    pub(super) fn new(dataset: Dataset, name: &str, path: &Path, access: Access) -> Result<Self> {
        let shape: Vec<u64> = dataset.shape().into_iter().map(|n| n as u64).collect();
        let element = dataset.dtype().context(|| format!("cannot read the type of {name}"))?.size();
        let row_bytes = element * shape.iter().skip(1).product::<u64>() as usize;
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(Self { dataset: ManuallyDrop::new(dataset), shape, row_bytes, name, path, access })
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Bytes of one row in the stored type.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Where a contiguous dataset begins in the file, in bytes; `None` for other layouts.
    pub fn offset(&self) -> Option<u64> {
        self.dataset.offset()
    }

    /// Writes `rows`, whole rows in the stored type, from row `start` on; a rank with nothing to write
    /// passes an empty slice and still calls. Collective, and HDF5 is asked whether it really was.
    ///
    /// # Errors
    /// A run that does not fit the dataset, what HDF5 reports, or a transfer that fell back to
    /// independent writes.
    pub fn write(&self, start: u64, rows: &[u8]) -> Result<()> {
        let what = || format!("write to {} of {} at row {start}", self.name, self.path.display());
        match self.access {
            Access::Alone => self.transfer(start, rows, H5P_DEFAULT).context(what),
            #[cfg(feature = "engine")]
            Access::Together(_) => {
                let transfer = Transfer::collective().context(what)?;
                self.transfer(start, rows, transfer.id())
                    .and_then(|()| transfer.check_was_collective())
                    .context(|| format!("collective {}", what()))
            }
        }
    }

    fn transfer(&self, start: u64, rows: &[u8], plist: hid_t) -> Result<()> {
        let memory = self.memory_space(start, rows.len())?;
        let file = self.file_space(start, rows.len())?;
        let datatype = self.dataset.dtype().context(|| "its type")?;
        // SAFETY: all ids are alive for the call; `rows` holds as many bytes as both spaces select.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Dwrite(self.dataset.id(), datatype.id(), memory.0, file.0, plist, rows.as_ptr().cast())
        }))
        .context(|| "H5Dwrite")
        .map(drop)
    }

    /// Reads `count` rows from row `start` on. Not collective.
    ///
    /// # Errors
    /// A run that does not fit the dataset, or what HDF5 reports, e.g. a chunk that does not inflate.
    pub fn read(&self, start: u64, count: usize) -> Result<Vec<u8>> {
        let what = || format!("read from {} of {} at row {start}", self.name, self.path.display());
        let mut rows = vec![0_u8; count * self.row_bytes];
        let memory = self.memory_space(start, rows.len()).context(what)?;
        let file = self.file_space(start, rows.len()).context(what)?;
        let datatype = self.dataset.dtype().context(what)?;
        // SAFETY: all ids are alive for the call; `rows` has room for as many bytes as both select.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Dread(self.dataset.id(), datatype.id(), memory.0, file.0, H5P_DEFAULT, rows.as_mut_ptr().cast())
        }))
        .context(what)?;
        Ok(rows)
    }

    /// Closes the dataset. Collective where metadata is pending, so all ranks call it.
    pub fn close(self) {
        drop(ManuallyDrop::into_inner(self.dataset));
    }

    fn memory_space(&self, start: u64, bytes: usize) -> Result<Space> {
        let mut shape = self.shape.clone();
        let rows = self.rows_in(start, bytes)?;
        if let Some(first) = shape.first_mut() {
            *first = rows.max(1);
        }
        let space = Space::simple(&shape)?;
        if rows == 0 { space.select_none() } else { Ok(space) }
    }

    fn file_space(&self, start: u64, bytes: usize) -> Result<Space> {
        let rows = self.rows_in(start, bytes)?;
        let space = Space::simple(&self.shape)?;
        if rows == 0 {
            return space.select_none();
        }
        let mut corner = vec![0; self.shape.len()];
        let mut block = self.shape.clone();
        corner[0] = start;
        block[0] = rows;
        space.select_hyperslab(&corner, &block)
    }

    /// The number of rows in `bytes`, checked against the dataset.
    fn rows_in(&self, start: u64, bytes: usize) -> Result<u64> {
        let rows = (bytes / self.row_bytes.max(1)) as u64;
        if rows as usize * self.row_bytes != bytes || start.saturating_add(rows) > self.rows() {
            return Err(Error::new(format!(
                "{bytes} bytes at row {start} do not fit {} rows of {} bytes",
                self.rows(),
                self.row_bytes
            )));
        }
        Ok(rows)
    }
}

/// A dataspace, closed on drop (never collective).
struct Space(hid_t);

impl Space {
    fn simple(shape: &[hsize_t]) -> Result<Self> {
        let rank = i32::try_from(shape.len()).context(|| "too many dimensions")?;
        // SAFETY: `shape` has `rank` extents; a null pointer means maximal equal to current extents.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Screate_simple(rank, shape.as_ptr(), std::ptr::null())
        }))
        .context(|| "H5Screate_simple")
        .map(Self)
    }

    fn select_none(self) -> Result<Self> {
        // SAFETY: the id is alive as long as `self`.
        hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Sselect_none(self.0) })).context(|| "H5Sselect_none")?;
        Ok(self)
    }

    /// Selects the box of extents `block` at `corner`; both have one entry per dimension.
    fn select_hyperslab(self, corner: &[hsize_t], block: &[hsize_t]) -> Result<Self> {
        debug_assert_eq!(corner.len(), block.len());
        // SAFETY: the id is alive; null stride and block mean 1, and both slices have one entry for
        // each of the space's dimensions.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Sselect_hyperslab(
                self.0,
                H5S_SELECT_SET,
                corner.as_ptr(),
                std::ptr::null(),
                block.as_ptr(),
                std::ptr::null(),
            )
        }))
        .context(|| "H5Sselect_hyperslab")?;
        Ok(self)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the id was made by H5Screate_simple and is closed once.
        hdf5::sync::sync(|| unsafe { H5Sclose(self.0) });
    }
}
