//! The vision tower of Qwen3-VL.
//!
//! Where it departs from the usual ViT: patches span two frames, of which a picture fills both; four
//! neighbouring patches become one token; the states of some layers become tokens too, for the decoder's first
//! layers (DeepStack, Meng et al. 2024). Attention stays within a picture: pictures of one size go through
//! together, each a row of the batch.

use tch::{Kind, TchError, Tensor};

use super::config::VisionConfig;
use super::positions::{OfGrid, Positions};
use crate::error::Result;
use crate::model::activation::Activation;
use crate::model::grid::Grid;
use crate::model::layers::{Computed, LayerNorm, Linear, Mlp, Stages};
use crate::model::weights::{Loader, torch};

/// `nn.LayerNorm(…, eps=1e-6)` of the reference, which no config sets.
const EPS: f64 = 1e-6;

pub struct VisionTower {
    patches: PatchEmbedding,
    positions: Positions,
    blocks: Vec<Block>,
    merger: Merger,
    /// The layer after which each is used, in order of layers.
    deepstack: Vec<(usize, Merger)>,
}

/// Pictures as tokens of the decoder: (N, T, D) each, T being the tokens of one picture.
pub struct Features {
    /// What stands in the pictures' places.
    pub tokens: Tensor,
    /// What is added there after each of the decoder's first layers.
    pub deepstack: Vec<Tensor>,
}

impl VisionTower {
    /// Reads `<prefix>patch_embed`, `<prefix>pos_embed`, `<prefix>blocks.<i>`, `<prefix>merger`,
    /// `<prefix>deepstack_merger_list.<i>`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, prefix: &str, config: &VisionConfig) -> Result<Self> {
        let table = [config.positions, config.hidden_size];
        let table = loader.tensor(&format!("{prefix}pos_embed.weight"), &table)?;
        let block = |i| Block::load(loader, &format!("{prefix}blocks.{i}"), config);
        let merger = |(i, &layer): (usize, &usize)| {
            let name = format!("{prefix}deepstack_merger_list.{i}");
            Ok((layer, Merger::load(loader, &name, config, true)?))
        };
        let mut deepstack = config.deepstack.iter().enumerate().map(merger).collect::<Result<Vec<_>>>()?;
        deepstack.sort_by_key(|(layer, _)| *layer);
        Ok(Self {
            patches: PatchEmbedding::load(loader, &format!("{prefix}patch_embed.proj"), config)?,
            positions: Positions::new(table, config).map_err(|error| torch("positions", &error))?,
            blocks: (0..config.num_layers).map(block).collect::<Result<_>>()?,
            merger: Merger::load(loader, &format!("{prefix}merger"), config, false)?,
            deepstack,
        })
    }

    /// Normalised patches (N, T, patch) of pictures of one grid to tokens for the decoder. Stages:
    /// `embeddings`, `block.<i>`, `merger`, `deepstack.<j>`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(
        &self,
        patches: &Tensor,
        grid: Grid,
        stages: &mut Stages<'_>,
    ) -> std::result::Result<Features, TchError> {
        let positions = self.positions.of(grid)?;
        let mut x = self.patches.forward(patches)?.f_add(&positions.learned)?; // (N, T, D) + (T, D)
        stages("embeddings", &x);
        let mut deepstack = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &positions)?;
            stages(&format!("block.{i}"), &x);
            for (_, merger) in self.deepstack.iter().filter(|(layer, _)| *layer == i) {
                let tokens = merger.forward(&x)?;
                stages(&format!("deepstack.{}", deepstack.len()), &tokens);
                deepstack.push(tokens);
            }
        }
        let tokens = self.merger.forward(&x)?; // (N, tokens, out)
        stages("merger", &tokens);
        Ok(Features { tokens, deepstack })
    }
}

/// The convolution whose stride is its kernel, as one matrix product over flattened patches.
struct PatchEmbedding {
    /// Takes a patch flattened as (frame, row, column, channel).
    linear: Linear,
    frames: i64,
}

impl PatchEmbedding {
    fn load(loader: &Loader<'_>, name: &str, config: &VisionConfig) -> Result<Self> {
        let (size, frames, patch) = (config.hidden_size, config.temporal_patch_size, config.patch_size);
        let weight = loader.tensor(&format!("{name}.weight"), &[size, 3, frames, patch, patch])?;
        // (D, channel, frame, row, column) to (D, frame, row, column, channel), the order pixels lie in.
        let weight = weight
            .f_permute([0, 2, 3, 4, 1])
            .and_then(|weight| weight.f_reshape([size as i64, -1]))
            .map_err(|error| torch(name, &error))?;
        let bias = loader.tensor(&format!("{name}.bias"), &[size])?;
        Ok(Self { linear: Linear::new(weight, bias), frames: frames as i64 })
    }

    fn forward(&self, patches: &Tensor) -> Computed {
        self.linear.forward(&patches.f_repeat([1, 1, self.frames])?) // (N, T, D)
    }
}

struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn load(loader: &Loader<'_>, name: &str, config: &VisionConfig) -> Result<Self> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            norm1: LayerNorm::load(loader, &format!("{name}.norm1"), size, EPS)?,
            attention: Attention::load(loader, &format!("{name}.attn"), config)?,
            norm2: LayerNorm::load(loader, &format!("{name}.norm2"), size, EPS)?,
            mlp: load_mlp(loader, &format!("{name}.mlp"), [size, inner, size], config.activation)?,
        })
    }

    fn forward(&self, x: &Tensor, positions: &OfGrid) -> Computed {
        let x = x.f_add(&self.attention.forward(&self.norm1.forward(x)?, positions)?)?; // (N, T, D)
        x.f_add(&self.mlp.forward(&self.norm2.forward(&x)?)?) // (N, T, D)
    }
}

struct Attention {
    qkv: Linear,
    out: Linear,
    heads: i64,
    head_dim: i64,
}

impl Attention {
    fn load(loader: &Loader<'_>, name: &str, config: &VisionConfig) -> Result<Self> {
        let size = config.hidden_size;
        Ok(Self {
            qkv: Linear::load(loader, &format!("{name}.qkv"), size, 3 * size)?,
            out: Linear::load(loader, &format!("{name}.proj"), size, size)?,
            heads: config.num_heads as i64,
            head_dim: config.head_dim() as i64,
        })
    }

    fn forward(&self, x: &Tensor, positions: &OfGrid) -> Computed {
        let (pictures, patches, size) = x.size3()?;
        let qkv = self.qkv.forward(x)?.f_view([pictures, patches, 3, self.heads, self.head_dim])?;
        let part = |i| qkv.f_select(2, i)?.f_transpose(1, 2); // (N, H, T, D/H)
        let turned = |x: Tensor| {
            let kind = x.kind();
            positions.angles.turn(&x.f_to_kind(Kind::Float)?)?.f_to_kind(kind)
        };
        let x = Tensor::f_scaled_dot_product_attention(
            &turned(part(0)?)?,
            &turned(part(1)?)?,
            &part(2)?,
            None::<&Tensor>,
            0.0,
            false,
            None::<f64>, // 1 / sqrt(D/H)
            false,
        )?; // (N, H, T, D/H)
        self.out.forward(&x.f_transpose(1, 2)?.f_reshape([pictures, patches, size])?)
    }
}

/// Makes one token of the patches of a square.
struct Merger {
    norm: LayerNorm,
    /// Whether a whole token is normalised, and not each of its patches.
    norm_is_of_token: bool,
    mlp: Mlp,
    /// Components of all patches of a token.
    size: i64,
}

impl Merger {
    fn load(loader: &Loader<'_>, name: &str, config: &VisionConfig, norm_is_of_token: bool) -> Result<Self> {
        let size = config.hidden_size * config.merge_size * config.merge_size;
        let normed = if norm_is_of_token { size } else { config.hidden_size };
        // GELU by the error function, whatever the blocks have.
        let mlp = load_mlp(loader, name, [size, size, config.out_hidden_size], Activation::Gelu)?;
        let norm = LayerNorm::load(loader, &format!("{name}.norm"), normed, EPS)?;
        Ok(Self { norm, norm_is_of_token, mlp, size: size as i64 })
    }

    fn forward(&self, x: &Tensor) -> Computed {
        let pictures = x.size3()?.0;
        let merged = |x: &Tensor| x.f_reshape([pictures, -1, self.size]); // (N, tokens, patches of a token)
        let x = if self.norm_is_of_token {
            self.norm.forward(&merged(x)?)?
        } else {
            merged(&self.norm.forward(x)?)?
        };
        self.mlp.forward(&x) // (N, tokens, out)
    }
}

/// Reads `<name>.linear_fc1` and `<name>.linear_fc2`, of these sizes at their ends and between them.
fn load_mlp(
    loader: &Loader<'_>,
    name: &str,
    [inputs, inner, outputs]: [usize; 3],
    activation: Activation,
) -> Result<Mlp> {
    let fc1 = Linear::load(loader, &format!("{name}.linear_fc1"), inputs, inner)?;
    let fc2 = Linear::load(loader, &format!("{name}.linear_fc2"), inner, outputs)?;
    Ok(Mlp::new(fc1, fc2, activation))
}
