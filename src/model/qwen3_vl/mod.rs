//! Qwen3-VL-Embedding: texts, and several pictures at once, through one causal decoder.
//!
//! The language model is Qwen3's, from `qwen3/`. What is its own: the size a picture takes ([`smart_resize`]),
//! patches in the order in which four become a token ([`preprocess`](Preprocess)), the vision tower with its
//! mergers ([`vision`]), places in three dimensions ([`places`]), and the prompt around all of it
//! ([`prompt`](Prompt)).

pub mod config;

#[cfg(feature = "engine")]
mod embedder;
#[cfg(feature = "engine")]
pub mod image;
#[cfg(feature = "engine")]
pub mod places;
#[cfg(feature = "engine")]
mod positions;
#[cfg(feature = "engine")]
mod preprocess;
#[cfg(feature = "engine")]
mod prompt;
#[cfg(feature = "engine")]
mod size;
#[cfg(feature = "engine")]
pub mod vision;

#[cfg(feature = "engine")]
pub use embedder::{checked, image as image_embedder, load, preprocessing, text as text_embedder};
#[cfg(feature = "engine")]
pub use preprocess::Preprocess;
#[cfg(feature = "engine")]
pub use prompt::{Prompt, Sequence};
#[cfg(feature = "engine")]
pub use size::{PixelRange, smart_resize};

/// What `config.json` calls this family.
pub const MODEL_TYPE: &str = "qwen3_vl";

/// The shortest vector that the models were trained to be cut to (README of QwenLM/Qwen3-VL-Embedding).
pub const DIM_MIN: usize = 64;
