//! The pre-norm encoder block that both towers are made of, biases everywhere.

use tch::Tensor;

use super::config::BlockConfig;
use crate::error::Result;
use crate::model::layers::{Computed, LayerNorm, Linear, Mlp, Stages, attention};
use crate::model::weights::Loader;

/// All blocks of a tower.
pub struct Encoder {
    blocks: Vec<Block>,
}

impl Encoder {
    /// Reads `<tower>.encoder.layers.<i>`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, tower: &str, config: &BlockConfig) -> Result<Self> {
        let block = |i| Block::load(loader, &format!("{tower}.encoder.layers.{i}"), config);
        Ok(Self { blocks: (0..config.num_layers).map(block).collect::<Result<_>>()? })
    }

    /// (B, T, D) to (B, T, D), tokens that `mask` hides being seen by nobody; stages `block.0`, `block.1`, …
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, mut x: Tensor, mask: Option<&Tensor>, stages: &mut Stages<'_>) -> Computed {
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, mask)?;
            stages(&format!("block.{i}"), &x);
        }
        Ok(x)
    }
}

struct Block {
    norm1: LayerNorm,
    attention: SelfAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn load(loader: &Loader<'_>, name: &str, config: &BlockConfig) -> Result<Self> {
        let (size, eps) = (config.hidden_size, config.layer_norm_eps);
        let mlp = format!("{name}.mlp");
        Ok(Self {
            norm1: LayerNorm::load(loader, &format!("{name}.layer_norm1"), size, eps)?,
            attention: SelfAttention::load(loader, &format!("{name}.self_attn"), config)?,
            norm2: LayerNorm::load(loader, &format!("{name}.layer_norm2"), size, eps)?,
            mlp: Mlp::load(loader, &mlp, size, config.intermediate_size, config.activation)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Computed {
        let x = x.f_add(&self.attention.forward(&self.norm1.forward(x)?, mask)?)?; // (B, T, D)
        x.f_add(&self.mlp.forward(&self.norm2.forward(&x)?)?) // (B, T, D)
    }
}

struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
}

impl SelfAttention {
    fn load(loader: &Loader<'_>, name: &str, config: &BlockConfig) -> Result<Self> {
        let size = config.hidden_size;
        let linear = |part: &str| Linear::load(loader, &format!("{name}.{part}"), size, size);
        Ok(Self {
            q: linear("q_proj")?,
            k: linear("k_proj")?,
            v: linear("v_proj")?,
            out: linear("out_proj")?,
            heads: config.num_heads as i64,
        })
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Computed {
        let (q, k, v) = (self.q.forward(x)?, self.k.forward(x)?, self.v.forward(x)?); // (B, T, D) each
        self.out.forward(&attention(&q, &k, &v, self.heads, mask)?)
    }
}
