//! SigLIP 2 NaFlex: pictures keep their aspect, in as many patches as they fill up to a maximum.
//!
//! The text tower, the blocks and the pooling head are SigLIP's, from `siglip/`. What is its own:
//! the size a picture takes ([`size`]), patches with padding ([`preprocess`](Preprocess)), positions by the
//! picture's own grid ([`positions`]), and a mask that hides the padding.

pub mod config;

#[cfg(feature = "engine")]
mod embedder;
#[cfg(feature = "engine")]
mod positions;
#[cfg(feature = "engine")]
mod preprocess;
#[cfg(feature = "engine")]
mod size;
#[cfg(feature = "engine")]
pub mod vision;

#[cfg(feature = "engine")]
pub use embedder::{checked, load, preprocessing, vision as vision_embedder};
#[cfg(feature = "engine")]
pub use preprocess::Preprocess;
#[cfg(feature = "engine")]
pub use size::target;

/// What `config.json` calls this family.
pub const MODEL_TYPE: &str = "siglip2";

/// More patches than this would be a mistake: a batch of such pictures fits no memory.
pub const MAX_NUM_PATCHES_MAX: usize = 1 << 14;
