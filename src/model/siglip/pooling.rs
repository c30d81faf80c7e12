//! The attention-pooling head of the vision towers.

use tch::Tensor;

use super::config::BlockConfig;
use crate::error::Result;
use crate::model::layers::{Computed, LayerNorm, Linear, Mlp, attention};
use crate::model::weights::{Loader, torch};

/// A learned probe attends to all patches; then x + MLP(layer norm(x)).
pub struct PoolingHead {
    probe: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm: LayerNorm,
    mlp: Mlp,
    heads: i64,
}

impl PoolingHead {
    /// Reads `<tower>.head`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, tower: &str, blocks: &BlockConfig) -> Result<Self> {
        let size = blocks.hidden_size;
        let name = format!("{tower}.head");
        // torch.nn.MultiheadAttention keeps q, k, v as thirds of one matrix.
        let weight = loader.tensor(&format!("{name}.attention.in_proj_weight"), &[3 * size, size])?;
        let bias = loader.tensor(&format!("{name}.attention.in_proj_bias"), &[3 * size])?;
        let third = |i: usize| -> Result<Linear> {
            let part = |x: &Tensor| x.f_narrow(0, (i * size) as i64, size as i64);
            let parts = part(&weight).and_then(|weight| Ok((weight, part(&bias)?)));
            parts.map(|(weight, bias)| Linear::new(weight, bias)).map_err(|error| torch(&name, &error))
        };
        let mlp = format!("{name}.mlp");
        Ok(Self {
            probe: loader.tensor(&format!("{name}.probe"), &[1, 1, size])?,
            q: third(0)?,
            k: third(1)?,
            v: third(2)?,
            out: Linear::load(loader, &format!("{name}.attention.out_proj"), size, size)?,
            norm: LayerNorm::load(loader, &format!("{name}.layernorm"), size, blocks.layer_norm_eps)?,
            mlp: Mlp::load(loader, &mlp, size, blocks.intermediate_size, blocks.activation)?,
            heads: blocks.num_heads as i64,
        })
    }

    /// (B, T, D) to (B, D), without the tokens that `mask` hides.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Computed {
        let batch = x.size3()?.0;
        let q = self.q.forward(&self.probe)?.f_expand([batch, 1, -1], false)?.f_contiguous()?; // (B, 1, D)
        let (k, v) = (self.k.forward(x)?, self.v.forward(x)?); // (B, T, D) each
        let x = self.out.forward(&attention(&q, &k, &v, self.heads, mask)?)?; // (B, 1, D)
        let x = x.f_add(&self.mlp.forward(&self.norm.forward(&x)?)?)?;
        x.f_select(1, 0) // (B, D)
    }
}
