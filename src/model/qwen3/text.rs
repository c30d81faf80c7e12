//! Texts through the decoder, in batches of texts of about one length.

use tch::{Kind, TchError, Tensor};

use super::config::DecoderConfig;
use super::decoder::{Decoder, padded};
use super::rope::Rope;
use crate::error::Result;
use crate::model::Prepared;
use crate::model::layers::{Computed, Stages};
use crate::model::tower::{Tower, tensors};
use crate::model::weights::{Loader, torch};

/// The decoder as a tower of texts.
pub struct TextTower {
    decoder: Decoder,
    rope: Rope,
    dim: usize,
    device: tch::Device,
}

impl TextTower {
    /// Reads the decoder whose tensors' names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(
        loader: &Loader<'_>,
        prefix: &str,
        config: &DecoderConfig,
        (kind, device): (Kind, tch::Device),
    ) -> Result<Self> {
        let rope = Rope::new(config.rope_theta, config.head_dim, kind, device);
        Ok(Self {
            decoder: Decoder::load(loader, prefix, config)?,
            rope: rope.map_err(|error| torch("rotary positions", &error))?,
            dim: config.hidden_size,
            device,
        })
    }

    /// Token ids (B, T) of texts of `lengths` tokens to vectors (B, D), not normalised.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward_ids(&self, ids: &Tensor, lengths: &[i64], stages: &mut Stages<'_>) -> Computed {
        let x = self.decoder.embed(&ids.f_to_device(self.device)?)?; // (B, T, D)
        let angles = self.rope.in_sequence(ids.size2()?.1)?;
        self.decoder.forward(x, &angles, lengths, |_, x| Ok(x), stages)
    }
}

impl Tower for TextTower {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, items: &[&Prepared], stages: &mut Stages<'_>) -> Computed {
        let (ids, lengths) = padded(&tensors(items, 0)?)?;
        self.forward_ids(&ids, &lengths, stages)
    }

    fn smaller(&self, items: &[&Prepared]) -> Option<String> {
        smaller_by_tokens(items)
    }
}

/// The setting that halves a batch of items of lengths of their own, or makes the one item smaller.
pub fn smaller_by_tokens(items: &[&Prepared]) -> Option<String> {
    let longest = items.iter().map(|item| item.tokens()).max()?;
    Some(match items.len() {
        1 => "--precision bf16, or with pictures a smaller --max-pixels or fewer --views".to_owned(),
        items => format!("--max-tokens-per-batch {}", items * longest / 2),
    })
}

/// A text on its way to the tower.
///
/// # Errors
/// What libtorch reports.
pub fn prepared(ids: &[i64]) -> std::result::Result<Prepared, TchError> {
    Ok(Prepared::of_length(vec![Tensor::f_from_slice(ids)?], ids.len()))
}
