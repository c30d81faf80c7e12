//! The causal decoder of Qwen3.
//!
//! Where it departs from the usual: the size of a head is a setting of its own; several heads of queries share
//! one of keys and values; each head's queries and keys are normalised before they are turned. Rows are padded
//! on the right: a token sees what is before it alone, so padding is seen by no real token, and attention needs
//! no mask.

use tch::{Kind, TchError, Tensor};

use super::config::DecoderConfig;
use super::rope::Angles;
use crate::error::Result;
use crate::model::activation::Activation;
use crate::model::layers::{Computed, Linear, RmsNorm, Stages, activate};
use crate::model::weights::Loader;

pub struct Decoder {
    tokens: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

impl Decoder {
    /// Reads `<prefix>embed_tokens`, `<prefix>layers.<i>`, `<prefix>norm`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, prefix: &str, config: &DecoderConfig) -> Result<Self> {
        let size = config.hidden_size;
        let layer = |i| Layer::load(loader, &format!("{prefix}layers.{i}"), config);
        Ok(Self {
            tokens: loader.tensor(&format!("{prefix}embed_tokens.weight"), &[config.vocab_size, size])?,
            layers: (0..config.num_layers).map(layer).collect::<Result<_>>()?,
            norm: RmsNorm::load(loader, &format!("{prefix}norm"), size, config.rms_norm_eps)?,
        })
    }

    /// Token ids (B, T) to their embeddings (B, T, D).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn embed(&self, ids: &Tensor) -> Computed {
        Tensor::f_embedding(&self.tokens, ids, -1, false, false)
    }

    /// Embeddings (B, T, D) of rows of `lengths` tokens to the states (B, D) of their last tokens; `after` may
    /// change what each layer gives. Stages: `embeddings`, `block.<i>`, `pooled`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(
        &self,
        mut x: Tensor,
        angles: &Angles,
        lengths: &[i64],
        after: impl Fn(usize, Tensor) -> Computed,
        stages: &mut Stages<'_>,
    ) -> Computed {
        stages("embeddings", &x);
        for (i, layer) in self.layers.iter().enumerate() {
            x = after(i, layer.forward(&x, angles)?)?;
            stages(&format!("block.{i}"), &x);
        }
        let x = self.norm.forward(&last(&x, lengths)?)?;
        stages("pooled", &x);
        Ok(x)
    }
}

/// The states (B, D) of the last tokens of rows (B, T, D) of `lengths` tokens.
fn last(x: &Tensor, lengths: &[i64]) -> Computed {
    let (_, tokens, size) = x.size3()?;
    let places: Vec<i64> = (0..).zip(lengths).map(|(row, length)| row * tokens + length - 1).collect();
    let places = Tensor::f_from_slice(&places)?.f_to_device(x.device())?;
    x.f_reshape([-1, size])?.f_index_select(0, &places)
}

struct Layer {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    mlp: GatedMlp,
}

impl Layer {
    fn load(loader: &Loader<'_>, name: &str, config: &DecoderConfig) -> Result<Self> {
        let norm = |part: &str| {
            RmsNorm::load(loader, &format!("{name}.{part}"), config.hidden_size, config.rms_norm_eps)
        };
        Ok(Self {
            norm1: norm("input_layernorm")?,
            attention: Attention::load(loader, &format!("{name}.self_attn"), config)?,
            norm2: norm("post_attention_layernorm")?,
            mlp: GatedMlp::load(loader, &format!("{name}.mlp"), config)?,
        })
    }

    fn forward(&self, x: &Tensor, angles: &Angles) -> Computed {
        let x = x.f_add(&self.attention.forward(&self.norm1.forward(x)?, angles)?)?; // (B, T, D)
        x.f_add(&self.mlp.forward(&self.norm2.forward(&x)?)?) // (B, T, D)
    }
}

struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
}

impl Attention {
    fn load(loader: &Loader<'_>, name: &str, config: &DecoderConfig) -> Result<Self> {
        let (size, dim) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_heads * dim, config.num_kv_heads * dim);
        let load = if config.attention_bias { Linear::load } else { Linear::load_unbiased };
        let linear = |part: &str, inputs, outputs| load(loader, &format!("{name}.{part}"), inputs, outputs);
        let norm = |part: &str| RmsNorm::load(loader, &format!("{name}.{part}"), dim, config.rms_norm_eps);
        Ok(Self {
            q: linear("q_proj", size, heads)?,
            k: linear("k_proj", size, kv_heads)?,
            v: linear("v_proj", size, kv_heads)?,
            out: linear("o_proj", heads, size)?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            heads: config.num_heads as i64,
            kv_heads: config.num_kv_heads as i64,
            head_dim: dim as i64,
        })
    }

    fn forward(&self, x: &Tensor, angles: &Angles) -> Computed {
        let (batch, tokens, _) = x.size3()?;
        let split = |x: Tensor, heads: i64| x.f_view([batch, tokens, heads, self.head_dim]);
        let q = self.q_norm.forward(&split(self.q.forward(x)?, self.heads)?)?.f_transpose(1, 2)?;
        let k = self.k_norm.forward(&split(self.k.forward(x)?, self.kv_heads)?)?.f_transpose(1, 2)?;
        let v = split(self.v.forward(x)?, self.kv_heads)?.f_transpose(1, 2)?; // (B, Hkv, T, D/H)
        let (k, v, shares) = self.shared(angles.turn(&k)?, v)?;
        let x = Tensor::f_scaled_dot_product_attention(
            &angles.turn(&q)?,
            &k,
            &v,
            None::<&Tensor>,
            0.0,
            true,
            None::<f64>, // 1 / sqrt(D/H)
            shares,
        )?; // (B, H, T, D/H)
        self.out.forward(&x.f_transpose(1, 2)?.f_reshape([batch, tokens, -1])?)
    }

    /// Keys and values for all heads of queries, and whether attention itself is to share them out: on a GPU its
    /// fused kernel does so for half precision alone; in f32 it would fall back to one that holds all scores.
    fn shared(&self, k: Tensor, v: Tensor) -> std::result::Result<(Tensor, Tensor, bool), TchError> {
        let is_half = matches!(k.kind(), Kind::BFloat16 | Kind::Half);
        let times = self.heads / self.kv_heads;
        if times == 1 || is_half || k.device() == tch::Device::Cpu {
            return Ok((k, v, times > 1));
        }
        let repeated = |x: Tensor| x.f_repeat_interleave_self_int(times, 1, None);
        Ok((repeated(k)?, repeated(v)?, false))
    }
}

/// SwiGLU (Shazeer 2020): one product, activated, gates another.
struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    fn load(loader: &Loader<'_>, name: &str, config: &DecoderConfig) -> Result<Self> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, inputs, outputs| {
            Linear::load_unbiased(loader, &format!("{name}.{part}"), inputs, outputs)
        };
        Ok(Self {
            gate: linear("gate_proj", size, inner)?,
            up: linear("up_proj", size, inner)?,
            down: linear("down_proj", inner, size)?,
            activation: config.activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Computed {
        let mut gate = activate(self.activation, self.gate.forward(x)?)?;
        self.down.forward(&gate.f_mul_(&self.up.forward(x)?)?)
    }
}

/// Rows of token ids (T), each of a length of its own, as (B, longest) with zeros behind them; and lengths.
///
/// # Errors
/// What libtorch reports.
pub fn padded(rows: &[&Tensor]) -> std::result::Result<(Tensor, Vec<i64>), TchError> {
    let lengths = rows.iter().map(|row| row.size1()).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((Tensor::f_pad_sequence(rows, true, 0.0, "right")?, lengths))
}
