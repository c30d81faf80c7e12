//! The vision tower of SigLIP 2 NaFlex: SigLIP's, on patches that stand in a grid of each picture's own.

use std::sync::Arc;

use tch::{TchError, Tensor};

use super::config::VisionConfig;
use super::positions::Positions;
use crate::error::Result;
use crate::model::grid::Grid;
use crate::model::layers::{Computed, LayerNorm, Linear, Stages, key_mask};
use crate::model::siglip::block::Encoder;
use crate::model::siglip::pooling::PoolingHead;
use crate::model::weights::Loader;

const TOWER: &str = "vision_model";

pub struct VisionTower {
    patches: Linear,
    positions: Arc<Positions>,
    encoder: Encoder,
    post_norm: LayerNorm,
    head: PoolingHead,
}

impl VisionTower {
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, config: &VisionConfig) -> Result<Self> {
        let (size, eps) = (config.blocks.hidden_size, config.blocks.layer_norm_eps);
        let patch = 3 * config.patch_size * config.patch_size;
        let side = config.positions_side;
        let embeddings = format!("{TOWER}.embeddings");
        let positions =
            loader.tensor(&format!("{embeddings}.position_embedding.weight"), &[side * side, size])?;
        Ok(Self {
            patches: Linear::load(loader, &format!("{embeddings}.patch_embedding"), patch, size)?,
            positions: Arc::new(Positions::new(&positions, side)?),
            encoder: Encoder::load(loader, TOWER, &config.blocks)?,
            post_norm: LayerNorm::load(loader, &format!("{TOWER}.post_layernorm"), size, eps)?,
            head: PoolingHead::load(loader, TOWER, &config.blocks)?,
        })
    }

    /// What interpolates positions, for threads that would do so ahead.
    pub fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.positions)
    }

    /// Normalised patches (B, T, patch) of pictures with these grids, T being the most patches a picture may
    /// have, to vectors (B, D), not normalised. Stages: `embeddings`, `block.<i>`, `post_layernorm`, `pooled`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, patches: &Tensor, grids: &[Grid], stages: &mut Stages<'_>) -> Computed {
        let tokens = patches.size3()?.1;
        let counts: Vec<i64> = grids.iter().map(|grid| grid.patches()).collect();
        let x = self.patches.forward(patches)?; // (B, T, D)
        // Always, even where every picture fills its patches: bits must not depend on neighbours.
        let mask = key_mask(&counts, tokens, x.kind(), x.device())?; // (B, 1, 1, T)
        let x = x.f_add(&self.all_positions(grids, tokens)?)?;
        stages("embeddings", &x);
        let x = self.encoder.forward(x, Some(&mask), stages)?; // (B, T, D)
        let x = self.post_norm.forward(&x)?;
        stages("post_layernorm", &x);
        let x = self.head.forward(&x, Some(&mask))?; // (B, D)
        stages("pooled", &x);
        Ok(x)
    }

    /// (B, T, D); patches of padding have the position of the picture's first.
    fn all_positions(&self, grids: &[Grid], tokens: i64) -> Computed {
        let padded = grids.iter().map(|&grid| {
            let positions = self.positions.of(grid)?; // (rows x columns, D)
            let first = positions.f_narrow(0, 0, 1)?.f_expand([tokens - grid.patches(), -1], false)?;
            Tensor::f_cat(&[&positions, &first], 0) // (T, D)
        });
        Tensor::f_stack(&padded.collect::<std::result::Result<Vec<_>, TchError>>()?, 0)
    }
}
