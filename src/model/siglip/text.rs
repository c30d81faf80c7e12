//! SigLIP's text tower.
//!
//! Where it departs from the usual: attention is not causal and has no mask, so padding takes part,
//! and the vector is the state of the *last* position, which is padding for all but the longest text.

use tch::Tensor;

use super::block::Encoder;
use super::config::TextConfig;
use crate::error::Result;
use crate::model::layers::{Computed, LayerNorm, Linear, Stages};
use crate::model::weights::Loader;

const TOWER: &str = "text_model";

pub struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    encoder: Encoder,
    final_norm: LayerNorm,
    head: Linear,
}

impl TextTower {
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, config: &TextConfig) -> Result<Self> {
        let (size, length) = (config.blocks.hidden_size, config.max_position_embeddings);
        let embeddings = format!("{TOWER}.embeddings");
        Ok(Self {
            tokens: loader
                .tensor(&format!("{embeddings}.token_embedding.weight"), &[config.vocab_size, size])?,
            positions: loader.tensor(&format!("{embeddings}.position_embedding.weight"), &[length, size])?,
            encoder: Encoder::load(loader, TOWER, &config.blocks)?,
            final_norm: LayerNorm::load(
                loader,
                &format!("{TOWER}.final_layer_norm"),
                size,
                config.blocks.layer_norm_eps,
            )?,
            head: Linear::load(loader, &format!("{TOWER}.head"), size, config.projection_size)?,
        })
    }

    /// Token ids (B, T), T being `max_position_embeddings`, to vectors (B, projection), not normalised.
    /// Stages: `embeddings`, `block.<i>`, `final_layer_norm`, `pooled`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, ids: &Tensor, stages: &mut Stages<'_>) -> Computed {
        let x = Tensor::f_embedding(&self.tokens, ids, -1, false, false)?; // (B, T, D)
        let x = x.f_add(&self.positions)?; // (B, T, D) + (T, D)
        stages("embeddings", &x);
        let x = self.encoder.forward(x, None, stages)?; // (B, T, D)
        let x = self.final_norm.forward(&x)?;
        stages("final_layer_norm", &x);
        let x = self.head.forward(&x.f_select(1, -1)?)?; // (B, D) to (B, projection)
        stages("pooled", &x);
        Ok(x)
    }
}
