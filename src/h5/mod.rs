//! Parallel HDF5: files that all ranks hold open together, and the collective transfers into them.
//!
//! The only `unsafe` code over HDF5. The `hdf5` crate writes with the default transfer list, never
//! collectively, and closes on drop; closing is collective, so a rank that unwinds alone would hang
//! the job. Here every handle is closed by an explicit [`ParallelFile::finish`], and leaked otherwise.
//!
//! | call | collective |
//! |---|---|
//! | [`ParallelFile::create`], [`ParallelFile::open`], [`ParallelFile::open_read`], [`ParallelFile::finish`] | yes |
//! | [`ParallelFile::create_group`], [`ParallelFile::create_rows`], [`ParallelFile::open_rows`] | yes |
//! | [`ParallelFile::write_attribute`] | yes |
//! | [`ParallelFile::flush`], [`RowDataset::write`], [`RowDataset::close`] | yes |
//! | [`RowDataset::read`], [`RowDataset::offset`] | no |

mod file;
mod rows;

pub use file::{Layout, Object, ParallelFile};
pub use rows::RowDataset;

/// The HDF5 library that is loaded: major, minor, release.
pub fn library_version() -> (u32, u32, u32) {
    let (major, minor, release) = hdf5::library_version();
    (major.into(), minor.into(), release.into())
}
