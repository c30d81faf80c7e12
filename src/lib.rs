//! hyperslab: embeddings of millions of 3D assets, written by many ranks into one HDF5 file.
//!
//! The data flows one way:
//!
//! ```text
//! input ──> plan ──> [ per rank: read + decode ──> batch ──> model ──> rows ] ──> collective write ──> journal ──> seal
//! captions,  table,     threads       fixed by      libtorch    Array2    one .partial file    rank 0     compress, verify,
//! views      blocks,                  the plan      on the      <f32>     at hyperslabs        fsync      rename
//!            spool                                  rank's GPU
//! sealed file ──> info / list / get / verify / search / merge / export / populate
//! ```
//!
//! Without the feature `engine` the crate is a library for reading and writing the files, which needs neither MPI nor
//! libtorch: [`store::Reader`] opens a file, finds an asset (`get`), many (`get_each`), lists ids (`iter_prefix`);
//! [`store::RowWalk`] goes through all rows in bounded memory; [`store::Writer`] makes a file, row by row.
//!
//! Which calls are collective, i.e. made by every rank in the same order: everything in `comm` but the
//! questions who and where one is; in `h5` what its table says; in `store` what takes a communicator or
//! says so (stage and seal); in `job` every function that takes the `World`. Everything else is a rank's
//! own business. A rank that fails agrees with the others before the next collective call.

pub mod cli;
#[cfg(feature = "engine")]
pub mod comm;
pub mod db;
pub mod error;
pub mod h5;
pub mod hub;
pub mod input;
#[cfg(feature = "engine")]
pub mod job;
pub mod model;
pub mod plan;
pub mod store;

/// Program and version, as provenance names them.
pub const PROGRAM: &str = concat!("hyperslab ", env!("CARGO_PKG_VERSION"));

pub use error::{Error, Exit, ItemError, ItemErrorKind, Result};
