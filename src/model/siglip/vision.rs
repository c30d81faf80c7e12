//! SigLIP's vision tower.
//!
//! Where it departs from the usual ViT: no class token; the vector comes from a learned probe that
//! attends to all patches (multi-head attention pooling).

use tch::Tensor;

use super::block::Encoder;
use super::config::VisionConfig;
use super::pooling::PoolingHead;
use crate::error::Result;
use crate::model::layers::{Computed, LayerNorm, Linear, Stages};
use crate::model::weights::{Loader, torch};

const TOWER: &str = "vision_model";

pub struct VisionTower {
    patches: PatchEmbedding,
    positions: Tensor,
    encoder: Encoder,
    post_norm: LayerNorm,
    head: PoolingHead,
}

impl VisionTower {
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, config: &VisionConfig) -> Result<Self> {
        let (size, eps) = (config.blocks.hidden_size, config.blocks.layer_norm_eps);
        let positions = format!("{TOWER}.embeddings.position_embedding.weight");
        Ok(Self {
            patches: PatchEmbedding::load(loader, config)?,
            positions: loader.tensor(&positions, &[config.grid() * config.grid(), size])?,
            encoder: Encoder::load(loader, TOWER, &config.blocks)?,
            post_norm: LayerNorm::load(loader, &format!("{TOWER}.post_layernorm"), size, eps)?,
            head: PoolingHead::load(loader, TOWER, &config.blocks)?,
        })
    }

    /// Normalised pixels (B, side, side, 3) to vectors (B, D), not normalised.
    /// Stages: `embeddings`, `block.<i>`, `post_layernorm`, `pooled`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, pixels: &Tensor, stages: &mut Stages<'_>) -> Computed {
        let x = self.patches.forward(pixels)?.f_add(&self.positions)?; // (B, T, D) + (T, D)
        stages("embeddings", &x);
        let x = self.encoder.forward(x, None, stages)?; // (B, T, D)
        let x = self.post_norm.forward(&x)?;
        stages("post_layernorm", &x);
        let x = self.head.forward(&x, None)?; // (B, D)
        stages("pooled", &x);
        Ok(x)
    }
}

/// The convolution whose stride is its kernel, as one matrix product over flattened patches.
struct PatchEmbedding {
    /// Takes a patch flattened as (row, column, channel).
    linear: Linear,
    grid: i64,
    patch: i64,
}

impl PatchEmbedding {
    fn load(loader: &Loader<'_>, config: &VisionConfig) -> Result<Self> {
        let (size, patch) = (config.blocks.hidden_size, config.patch_size);
        let name = format!("{TOWER}.embeddings.patch_embedding");
        let weight = loader.tensor(&format!("{name}.weight"), &[size, 3, patch, patch])?;
        // (D, channel, row, column) to (D, row, column, channel), the order pixels lie in.
        let weight = weight
            .f_permute([0, 2, 3, 1])
            .and_then(|weight| weight.f_reshape([size as i64, -1]))
            .map_err(|error| torch(&name, &error))?;
        let bias = loader.tensor(&format!("{name}.bias"), &[size])?;
        Ok(Self { linear: Linear::new(weight, bias), grid: config.grid() as i64, patch: patch as i64 })
    }

    fn forward(&self, pixels: &Tensor) -> Computed {
        let (b, g, p) = (pixels.size4()?.0, self.grid, self.patch);
        // What is left of a whole number of patches is dropped ('valid').
        let x = pixels.f_narrow(1, 0, g * p)?.f_narrow(2, 0, g * p)?;
        let x = x.f_reshape([b, g, p, g, p * 3])?; // a row of a patch is contiguous
        let x = x.f_transpose(2, 3)?.f_reshape([b, g * g, p * p * 3])?; // (B, T, patch)
        self.linear.forward(&x) // (B, T, D)
    }
}
