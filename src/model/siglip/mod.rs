//! SigLIP, and SigLIP 2 of fixed resolution: two towers into one space of vectors.
//!
//! Read [`vision`] and [`text`] in the order of the architecture; names of stages are those the
//! reference fixtures use.

pub mod config;

#[cfg(feature = "engine")]
pub mod block;
#[cfg(feature = "engine")]
mod canonical;
#[cfg(feature = "engine")]
mod charsmap;
#[cfg(feature = "engine")]
pub mod embedder;
#[cfg(feature = "engine")]
pub mod pooling;
#[cfg(feature = "engine")]
mod preprocess;
#[cfg(feature = "engine")]
mod protobuf;
#[cfg(feature = "engine")]
mod sentencepiece;
#[cfg(feature = "engine")]
pub mod text;
#[cfg(feature = "engine")]
pub mod tokens;
#[cfg(feature = "engine")]
pub mod vision;

#[cfg(feature = "engine")]
pub use embedder::{load, preprocessing};
#[cfg(feature = "engine")]
pub use preprocess::Preprocess;
#[cfg(feature = "engine")]
pub use tokens::Tokens;

/// What `config.json` calls this family.
pub const MODEL_TYPE: &str = "siglip";
