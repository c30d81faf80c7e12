//! Qwen3-Embedding: a causal decoder whose last token's state is the vector of a text.
//!
//! Read [`decoder`] in the order of the architecture. The language model of Qwen3-VL-Embedding is the same
//! decoder, from here.

pub mod config;

#[cfg(feature = "engine")]
pub mod decoder;
#[cfg(feature = "engine")]
mod embedder;
#[cfg(feature = "engine")]
pub mod rope;
#[cfg(feature = "engine")]
pub mod text;
#[cfg(feature = "engine")]
pub mod tokens;

#[cfg(feature = "engine")]
pub use embedder::{TextPreparer, checked, load, preprocessing, text as text_embedder, text_with_prefix};

/// What `config.json` calls this family.
pub const MODEL_TYPE: &str = "qwen3";

/// Longest text in tokens, in the reference's own examples (README of QwenLM/Qwen3-Embedding).
pub const TOKENS_MAX: usize = 8192;

/// The shortest vector that the models were trained to be cut to (same source, "MRL support").
pub const DIM_MIN: usize = 32;
