//! SigLIP 2 NaFlex behind the contract of the job: one tower with its preprocessing.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tch::{Kind, TchError};

use super::config::Config;
use super::positions::Positions;
use super::preprocess::{Preprocess, grid_of, prepared};
use super::vision::VisionTower;
use crate::error::{ItemError, ItemErrorKind, Result};
use crate::model::checkpoint::is_left_over;
use crate::model::grid::Grid;
use crate::model::layers::{Computed, Stages};
use crate::model::siglip::embedder::{preparer_of_views, text_model, text_preprocessing};
use crate::model::siglip::text::TextTower;
use crate::model::siglip::tokens::{SIGLIP2_CLASS, Tokens};
use crate::model::tower::{Tower, TowerEmbedder, stack};
use crate::model::weights::{Loader, Weights, torch};
use crate::model::{Modality, Model, Options, Prepared, Preparer, Preprocessing, Settings};

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
            let preprocess = preprocess(dir, &config, &settings.options)?;
            let (embedder, positions) = vision(&weights, &config, &preprocess, settings)?;
            Ok(Model { preparer: preparer(preprocess, Some(positions)), embedder: Box::new(embedder) })
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
            let preprocess = preprocess(dir, &config, options)?;
            let provenance = preprocess.provenance().to_string();
            Ok(Preprocessing { preparer: preparer(preprocess, None), provenance })
        }
    }
}

fn tokens(dir: &Path, config: &Config) -> Result<Tokens> {
    Tokens::load(dir, SIGLIP2_CLASS, config.text.max_position_embeddings, config.text.vocab_size)
}

fn preprocess(dir: &Path, config: &Config, options: &Options) -> Result<Preprocess> {
    let background = options.background.unwrap_or_default();
    Preprocess::load(dir, config.vision.patch_size, options.max_num_patches, background)
}

fn preparer(preprocess: Preprocess, positions: Option<Arc<Positions>>) -> Arc<dyn Preparer> {
    preparer_of_views(move |bytes| {
        let (patches, grid) = preprocess.patches(bytes)?;
        if let Some(positions) = &positions {
            // So that the model's thread finds them; what fails here fails there again, and is told there.
            let _ = positions.of(grid);
        }
        prepared(patches, grid)
            .map_err(|error| ItemError::new(ItemErrorKind::Unreadable, torch("grid", &error).message))
    })
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

/// The vision tower, and what interpolates its positions.
///
/// # Errors
/// Weights that cannot be read.
pub fn vision(
    weights: &Weights,
    config: &Config,
    preprocess: &Preprocess,
    settings: &Settings,
) -> Result<(TowerEmbedder<impl Tower + use<>>, Arc<Positions>)> {
    let tower = VisionTower::load(&Loader::of(weights, settings), &config.vision)?;
    let positions = tower.positions();
    let padding = preprocess.padding().map_err(|error| torch("padding", &error))?;
    let vision = Vision {
        tower,
        preprocess: preprocess.clone(),
        dim: config.vision.blocks.hidden_size,
        kind: settings.precision.kind(),
        device: settings.device.torch(),
    };
    Ok((TowerEmbedder::new(vision, padding), positions))
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
        let grids =
            items.iter().map(|item| grid_of(item)).collect::<std::result::Result<Vec<Grid>, TchError>>()?;
        let counts: Vec<i64> = grids.iter().map(|grid| grid.patches()).collect();
        let patches = stack(items, 0)?.f_to_device(self.device)?; // (B, T, patch)
        let patches = self.preprocess.normalise(&patches, &counts)?.f_to_kind(self.kind)?;
        self.tower.forward(&patches, &grids, stages)
    }
}
