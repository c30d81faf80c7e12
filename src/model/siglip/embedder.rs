//! SigLIP behind the contract of the job: one tower with its preprocessing.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::config::{Config, TextConfig};
use super::preprocess::Preprocess;
use super::text::TextTower;
use super::tokens::Tokens;
use super::vision::VisionTower;
use crate::error::{ItemError, ItemErrorKind, Result};
use crate::model::checkpoint::is_left_over;
use crate::model::layers::{Computed, Stages};
use crate::model::tower::{Tower, TowerEmbedder, stack};
use crate::model::weights::{Loader, Weights, torch};
use crate::model::{Item, Modality, Model, Options, Prepared, Preparer, Preprocessing, Settings};

/// Loads one tower; the other's weights are checked to be there and of the right shape, and not read.
///
/// # Errors
/// As [`crate::model::load`].
pub fn load(dir: &Path, config: &Value, modality: Modality, settings: &Settings) -> Result<Model> {
    let config = Config::parse(dir, config)?;
    let weights = checked(dir, &config)?;
    match modality {
        Modality::Text => text_model(&weights, &config.text, tokens(dir, &config)?, settings),
        Modality::Image => {
            let preprocess = Preprocess::load(
                dir,
                config.vision.image_size,
                settings.options.background.unwrap_or_default(),
            )?;
            let embedder = vision(&weights, &config, &preprocess, settings)?;
            Ok(Model { preparer: image_preparer(preprocess), embedder: Box::new(embedder) })
        }
    }
}

/// One tower's preprocessing alone.
///
/// # Errors
/// As [`crate::model::load`], without the weights.
pub fn preprocessing(
    dir: &Path,
    config: &Value,
    modality: Modality,
    options: &Options,
) -> Result<Preprocessing> {
    let config = Config::parse(dir, config)?;
    match modality {
        Modality::Text => Ok(text_preprocessing(tokens(dir, &config)?)),
        Modality::Image => {
            let preprocess =
                Preprocess::load(dir, config.vision.image_size, options.background.unwrap_or_default())?;
            let provenance = preprocess.provenance().to_string();
            Ok(Preprocessing { preparer: image_preparer(preprocess), provenance })
        }
    }
}

fn tokens(dir: &Path, config: &Config) -> Result<Tokens> {
    Tokens::load(dir, "", config.text.max_position_embeddings, config.text.vocab_size)
}

fn image_preparer(preprocess: Preprocess) -> Arc<dyn Preparer> {
    preparer_of_views(move |bytes| Ok(Prepared::alike(vec![preprocess.pixels(bytes)?])))
}

/// The weights of a folder, proven to be exactly what `config` describes.
///
/// # Errors
/// Weights that are missing, unknown, of another shape or truncated.
pub fn checked(dir: &Path, config: &Config) -> Result<Weights> {
    let weights = Weights::open(dir)?;
    let loader = Loader::dry(&weights);
    TextTower::load(&loader, &config.text)?;
    VisionTower::load(&loader, &config.vision)?;
    loader.finish(is_left_over)?;
    Ok(weights)
}

/// The vision tower.
///
/// # Errors
/// Weights that cannot be read.
pub fn vision(
    weights: &Weights,
    config: &Config,
    preprocess: &Preprocess,
    settings: &Settings,
) -> Result<TowerEmbedder<impl Tower + use<>>> {
    let tower = Vision {
        tower: VisionTower::load(&Loader::of(weights, settings), &config.vision)?,
        preprocess: preprocess.clone(),
        dim: config.vision.blocks.hidden_size,
        kind: settings.precision.kind(),
        device: settings.device.torch(),
    };
    let padding = preprocess.grey().map_err(|error| torch("padding", &error))?;
    Ok(TowerEmbedder::new(tower, Prepared::alike(vec![padding])))
}

struct Vision {
    tower: VisionTower,
    preprocess: Preprocess,
    dim: usize,
    kind: Kind,
    device: tch::Device,
}

impl Tower for Vision {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, items: &[&Prepared], stages: &mut Stages<'_>) -> Computed {
        let pixels = stack(items, 0)?.f_to_device(self.device)?; // (B, side, side, 3)
        let pixels = self.preprocess.normalise(&pixels)?.f_to_kind(self.kind)?;
        self.tower.forward(&pixels, stages)
    }
}

/// The text tower with its tokenizer.
///
/// # Errors
/// Weights that cannot be read.
pub fn text_model(
    weights: &Weights,
    config: &TextConfig,
    tokens: Tokens,
    settings: &Settings,
) -> Result<Model> {
    let embedder = text(weights, config, &tokens, settings)?;
    Ok(Model { preparer: Arc::new(TextPreparer(tokens)), embedder: Box::new(embedder) })
}

/// The tokenizer of a text tower.
pub fn text_preprocessing(tokens: Tokens) -> Preprocessing {
    let provenance = tokens.provenance().to_string();
    Preprocessing { preparer: Arc::new(TextPreparer(tokens)), provenance }
}

/// The text tower.
///
/// # Errors
/// Weights that cannot be read.
pub fn text(
    weights: &Weights,
    config: &TextConfig,
    tokens: &Tokens,
    settings: &Settings,
) -> Result<TowerEmbedder<impl Tower + use<>>> {
    let tower = TextTower::load(&Loader::of(weights, settings), config)?;
    let tower = Text { tower, dim: config.projection_size, device: settings.device.torch() };
    let padding = Tensor::f_from_slice(&tokens.padding()).map_err(|error| torch("padding", &error))?;
    Ok(TowerEmbedder::new(tower, Prepared::alike(vec![padding])))
}

struct Text {
    tower: TextTower,
    dim: usize,
    device: tch::Device,
}

impl Tower for Text {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, items: &[&Prepared], stages: &mut Stages<'_>) -> Computed {
        self.tower.forward(&stack(items, 0)?.f_to_device(self.device)?, stages) // (B, T)
    }
}

struct TextPreparer(Tokens);

impl Preparer for TextPreparer {
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        let Item::Caption(caption) = item else {
            return Err(ItemError::new(ItemErrorKind::Unreadable, "a view where a caption is wanted"));
        };
        let found = self.0.ids(caption)?;
        let ids = Tensor::f_from_slice(&found.ids)
            .map_err(|error| ItemError::new(ItemErrorKind::Unreadable, torch("ids", &error).message))?;
        Ok(Prepared::alike(vec![ids]).cut(found.is_cut))
    }
}

/// A preparer that makes of a picture file's bytes what `prepare` does.
pub fn preparer_of_views(
    prepare: impl Fn(&[u8]) -> std::result::Result<Prepared, ItemError> + Send + Sync + 'static,
) -> Arc<dyn Preparer> {
    Arc::new(ImagePreparer(prepare))
}

struct ImagePreparer<F>(F);

impl<F> Preparer for ImagePreparer<F>
where
    F: Fn(&[u8]) -> std::result::Result<Prepared, ItemError> + Send + Sync,
{
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        match item {
            Item::View(bytes) => (self.0)(bytes),
            Item::Caption(_) => {
                Err(ItemError::new(ItemErrorKind::Unreadable, "a caption where a view is wanted"))
            }
        }
    }
}
