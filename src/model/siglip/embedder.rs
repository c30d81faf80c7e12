//! SigLIP behind the contract of the job: one tower with its preprocessing.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use serde_json::Value;
use tch::{Kind, TchError, Tensor};

use super::config::Config;
use super::preprocess::Preprocess;
use super::text::TextTower;
use super::tokens::Tokens;
use super::vision::VisionTower;
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::layers::{Computed, Stages, normalise, to_array};
use crate::model::picture::Background;
use crate::model::weights::{Loader, Weights, torch};
use crate::model::{Embedder, Item, Modality, Model, Prepared, Preparer, Preprocessing, Settings};

/// One tower on its device.
pub struct Siglip {
    tower: Tower,
    kind: Kind,
    device: tch::Device,
    dim: usize,
    /// What a slot without an item is computed from.
    padding: Tensor,
}

enum Tower {
    Text(TextTower),
    Vision(Box<VisionTower>, Preprocess),
}

/// Tensors that a checkpoint may hold and no tower needs: what scales logits, and buffers of positions
/// that old versions of transformers saved.
fn is_left_over(name: &str) -> bool {
    matches!(name, "logit_scale" | "logit_bias")
        || name.ends_with(".position_ids")
        || name.starts_with("lm_head.")
}

/// Loads one tower; the other's weights are checked to be there and of the right shape, and not read.
///
/// # Errors
/// As [`crate::model::load`].
pub fn load(dir: &Path, config: &Value, modality: Modality, settings: &Settings) -> Result<Model> {
    let config = Config::parse(dir, config)?;
    let (embedder, preparer) = match modality {
        Modality::Text => {
            let tokens = tokens(dir, &config)?;
            let embedder = Siglip::text(dir, &config, &tokens, settings)?;
            (embedder, Arc::new(TextPreparer(tokens)) as Arc<dyn Preparer>)
        }
        Modality::Image => {
            let preprocess = Preprocess::load(dir, config.vision.image_size, settings.background)?;
            let embedder = Siglip::vision(dir, &config, &preprocess, settings)?;
            (embedder, Arc::new(ImagePreparer(preprocess)) as Arc<dyn Preparer>)
        }
    };
    Ok(Model { preparer, embedder: Box::new(embedder) })
}

fn tokens(dir: &Path, config: &Config) -> Result<Tokens> {
    Tokens::load(dir, config.text.max_position_embeddings, config.text.vocab_size)
}

/// One tower's preprocessing alone.
///
/// # Errors
/// As [`crate::model::load`], without the weights.
pub fn preprocessing(
    dir: &Path,
    config: &Value,
    modality: Modality,
    background: Background,
) -> Result<Preprocessing> {
    let config = Config::parse(dir, config)?;
    let (preparer, provenance): (Arc<dyn Preparer>, Value) = match modality {
        Modality::Text => {
            let tokens = tokens(dir, &config)?;
            let provenance = tokens.provenance();
            (Arc::new(TextPreparer(tokens)), provenance)
        }
        Modality::Image => {
            let preprocess = Preprocess::load(dir, config.vision.image_size, background)?;
            let provenance = preprocess.provenance();
            (Arc::new(ImagePreparer(preprocess)), provenance)
        }
    };
    Ok(Preprocessing { preparer, provenance: provenance.to_string() })
}

struct TextPreparer(Tokens);

impl Preparer for TextPreparer {
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        let Item::Caption(caption) = item else {
            return Err(ItemError::new(ItemErrorKind::Unreadable, "a view where a caption is wanted"));
        };
        let ids = self.0.ids(caption)?;
        let ids = Tensor::f_from_slice(&ids)
            .map_err(|error| ItemError::new(ItemErrorKind::Unreadable, torch("ids", &error).message))?;
        Ok(Prepared(vec![ids]))
    }
}

struct ImagePreparer(Preprocess);

impl Preparer for ImagePreparer {
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        let Item::View(bytes) = item else {
            return Err(ItemError::new(ItemErrorKind::Unreadable, "a caption where a view is wanted"));
        };
        Ok(Prepared(vec![self.0.pixels(bytes)?]))
    }
}

impl Siglip {
    /// The text tower of the folder `dir`.
    ///
    /// # Errors
    /// Weights that are missing, unknown, of another shape or truncated.
    pub fn text(dir: &Path, config: &Config, tokens: &Tokens, settings: &Settings) -> Result<Self> {
        let weights = checked(dir, config)?;
        let tower = Tower::Text(TextTower::load(&reading(&weights, settings), &config.text)?);
        let padding = Tensor::f_from_slice(&tokens.padding()).map_err(|error| torch("padding", &error))?;
        Ok(Self::new(tower, config.text.projection_size, padding, settings))
    }

    /// The vision tower of the folder `dir`.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn vision(dir: &Path, config: &Config, preprocess: &Preprocess, settings: &Settings) -> Result<Self> {
        let weights = checked(dir, config)?;
        let tower = VisionTower::load(&reading(&weights, settings), &config.vision)?;
        let padding = preprocess.grey().map_err(|error| torch("padding", &error))?;
        let tower = Tower::Vision(Box::new(tower), preprocess.clone());
        Ok(Self::new(tower, config.vision.blocks.hidden_size, padding, settings))
    }

    fn new(tower: Tower, dim: usize, padding: Tensor, settings: &Settings) -> Self {
        Self { tower, kind: settings.precision.kind(), device: settings.device.torch(), dim, padding }
    }

    /// As [`Embedder::embed`], showing every stage on the way.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_observed(&self, slots: &[Option<Prepared>], stages: &mut Stages<'_>) -> Result<Array2<f32>> {
        if slots.is_empty() {
            return Ok(Array2::zeros((0, self.dim)));
        }
        let inputs: Option<Vec<&Tensor>> = slots
            .iter()
            .map(|slot| slot.as_ref().map_or(Some(&self.padding), |prepared| prepared.0.first()))
            .collect();
        let inputs = inputs.ok_or_else(|| Error::new("an item prepared by another family"))?;
        let _no_grad = tch::no_grad_guard();
        let rows = self.forward(&inputs, stages).and_then(|rows| normalise(&rows));
        to_array(&rows.map_err(|error| failed(slots.len(), &error))?)
    }

    fn forward(&self, inputs: &[&Tensor], stages: &mut Stages<'_>) -> std::result::Result<Tensor, TchError> {
        let batch = Tensor::f_stack(inputs, 0)?.f_to_device(self.device)?;
        match &self.tower {
            Tower::Text(tower) => tower.forward(&batch, stages), // (B, T)
            Tower::Vision(tower, preprocess) => {
                let pixels: Computed = preprocess.normalise(&batch)?.f_to_kind(self.kind); // (B, side, side, 3)
                tower.forward(&pixels?, stages)
            }
        }
    }
}

/// What libtorch said of a batch of so many items, with the setting that mends it.
fn failed(batch: usize, error: &TchError) -> Error {
    let error = torch(&format!("embedding a batch of {batch}"), error);
    if error.message.contains("out of memory") && batch > 1 {
        // The batch size decides bits, so a run cannot go on with another.
        return error.hint(format!("start again with --overwrite --batch-size {}", batch / 2));
    }
    error
}

impl Embedder for Siglip {
    fn dim(&self) -> usize {
        self.dim
    }

    fn embed(&mut self, slots: &[Option<Prepared>]) -> Result<Array2<f32>> {
        self.embed_observed(slots, &mut |_, _| {})
    }
}

/// The weights of a folder, proven to be exactly what `config` describes.
fn checked(dir: &Path, config: &Config) -> Result<Weights> {
    let weights = Weights::open(dir)?;
    let loader = Loader::dry(&weights);
    TextTower::load(&loader, &config.text)?;
    VisionTower::load(&loader, &config.vision)?;
    loader.finish(is_left_over)?;
    Ok(weights)
}

fn reading<'a>(weights: &'a Weights, settings: &Settings) -> Loader<'a> {
    Loader::reading(weights, settings.precision.kind(), settings.device.torch())
}
