//! Vectors of other programs, in files of arrays: NumPy's `.npy` with the ids as JSON, `.npz`, and pickled
//! dictionaries.
//!
//! [`open`] reads ids and counts, and notes where each row lies; the rows themselves are read by [`Rows`], in
//! the order of the sorted ids. Memory holds the ids and 16 bytes for each run of rows that follow each other,
//! never the vectors. What cannot be read in place goes to a scratch file, once.
//!
//! A pickle is a program for a machine. It is not run: what builds dictionaries of arrays is recognised by
//! name, and everything else is refused.

mod elements;
mod index;
mod metadata;
mod npy;
mod npz;
mod pickle;
mod row;
mod rows;
mod scratch;
mod source;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::plan::Kind;
pub use index::Vectors;
pub use row::{Judge, NotUnit, Verdict};
pub use rows::Rows;
pub use source::Format;
use {index::Index, scratch::Scratch, source::Sources};

/// More components than any model's vectors have: what says so is no vector.
const DIM_MAX: u64 = 1 << 16;

/// What is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Files of one format, which together are one source.
    pub files: &'a [PathBuf],
    /// Of `.npy` files: the JSON files of their ids, one for each, in their order.
    pub metadata: &'a [PathBuf],
    /// Whether assets have a vector for each view, or one.
    pub kind: Kind,
    /// The output. What cannot be read in place is unpacked into an unnamed file in its folder.
    pub output: &'a Path,
}

/// Opens source files and finds out where the vectors of each asset lie. `progress` is told how many more bytes
/// were gone through, of [`bytes_to_read`].
///
/// # Errors
/// A file cannot be read, is of another format than the first or of none that is known, is damaged, or holds
/// something else than vectors of one length; names the file and the place. An id comes twice; names it.
pub fn open(request: &Request<'_>, progress: &mut dyn FnMut(u64)) -> Result<Vectors> {
    let sources = Sources::open(request.files, request.metadata, progress)?;
    let mut index = Index::default();
    let mut scratch = Scratch::beside(request.output);
    let per_view = request.kind.has_row_per_view();
    for (number, source) in sources.files.iter().enumerate() {
        let number = u16::try_from(number).ok().filter(|&number| number < elements::SCRATCH);
        let number = number.ok_or_else(|| Error::new(format!("over {} files", elements::SCRATCH)))?;
        let read = match sources.format {
            Format::Npy => npy::index(source, number, per_view, &mut index),
            Format::Npz => npz::index(source, number, per_view, &mut index, &mut scratch),
            Format::Pickle => pickle::index(source, number, per_view, &mut index, &mut scratch),
        };
        read.map_err(|error| source.about(error))?;
        progress(source.bytes);
    }
    index.finish(sources, scratch.finish()?)
}

/// How many bytes [`open`] goes through, each file once for its digest and once for what is in it.
///
/// # Errors
/// A file cannot be read.
pub fn bytes_to_read(files: &[PathBuf]) -> Result<u64> {
    Ok(2 * files.iter().map(|path| source::bytes_of(path)).sum::<Result<u64>>()?)
}

/// A number of components that a vector may have.
fn check_dim(dim: u64) -> Result<usize> {
    match dim {
        0 => Err(Error::new("vectors without components")),
        1..=DIM_MAX => Ok(dim as usize),
        _ => Err(Error::new(format!("vectors of {dim} components; at most {DIM_MAX} are possible"))),
    }
}
