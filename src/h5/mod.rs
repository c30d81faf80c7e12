//! HDF5 files that all ranks hold open together, or one process alone; the collective transfers into them, and
//! chunks as they lie in a file.
//!
//! The only `unsafe` code over HDF5. The `hdf5` crate writes with the default transfer list, never
//! collectively, and closes on drop; closing is collective, so a rank that unwinds alone would hang
//! the job. Here every handle is closed by an explicit [`RowFile::finish`], and leaked otherwise.
//!
//! | call, of a file opened with [`Access::Together`] | collective |
//! |---|---|
//! | [`RowFile::create`], [`RowFile::open`], [`RowFile::open_read`], [`RowFile::finish`] | yes |
//! | [`RowFile::create_group`], [`RowFile::create_rows`], [`RowFile::open_rows`] | yes |
//! | [`RowFile::write_attribute`] | yes |
//! | [`RowFile::flush`], [`RowDataset::write`], [`RowDataset::close`] | yes |
//! | [`RowDataset::read`], [`RowDataset::offset`] | no |

mod chunk;
mod file;
mod rows;
#[cfg(feature = "engine")]
mod transfer;

pub use chunk::read_chunk;
pub use file::{Access, Layout, Object, RowFile};
pub use rows::RowDataset;

/// The HDF5 library that is loaded: major, minor, release.
pub fn library_version() -> (u32, u32, u32) {
    let (major, minor, release) = hdf5::library_version();
    (major.into(), minor.into(), release.into())
}
