//! Qwen3-VL-Embedding behind the contract of the job: texts, or sets of pictures.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tch::TchError;

use super::config::Config;
use super::image::{ImageTower, grid_of, prepared, prepared_view};
use super::preprocess::Preprocess;
use super::prompt::{Prompt, Sequence};
use super::vision::VisionTower;
use crate::error::{ItemError, ItemErrorKind, Result};
use crate::model::Background;
use crate::model::checkpoint::is_left_over;
use crate::model::grid::Grid;
use crate::model::options::Options;
use crate::model::qwen3::decoder::Decoder;
use crate::model::qwen3::text::TextTower;
use crate::model::qwen3::{TextPreparer, text_with_prefix};
use crate::model::tower::TowerEmbedder;
use crate::model::weights::{Loader, Weights, torch};
use crate::model::{Item, Modality, Model, Prepared, Preparer, Preprocessing, Settings};

/// Loads what is needed for a kind of item; the rest of the weights is checked to be there and of the right
/// shape, and not read.
///
/// # Errors
/// As [`crate::model::load`].
pub fn load(dir: &Path, config: &Value, modality: Modality, settings: &Settings) -> Result<Model> {
    let config = Config::parse(dir, config)?;
    let weights = checked(dir, &config)?;
    let prompt = prompt(dir, &config, &settings.options)?;
    match modality {
        Modality::Text => {
            let embedder = Box::new(text(&weights, &config, settings)?);
            Ok(Model { preparer: text_preparer(prompt), embedder })
        }
        Modality::Image => {
            let preprocess = preprocess(dir, &config, &settings.options)?;
            let embedder = Box::new(image(&weights, &config, &preprocess, settings)?);
            Ok(Model { preparer: Arc::new(ViewsPreparer { preprocess, prompt }), embedder })
        }
    }
}

/// The preprocessing alone.
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
    let prompt = prompt(dir, &config, options)?;
    let mut provenance = prompt.provenance();
    match modality {
        Modality::Text => {
            Ok(Preprocessing { preparer: text_preparer(prompt), provenance: provenance.to_string() })
        }
        Modality::Image => {
            let preprocess = preprocess(dir, &config, options)?;
            if let (Value::Object(all), Value::Object(more)) = (&mut provenance, preprocess.provenance()) {
                all.extend(more);
            }
            let preparer = Arc::new(ViewsPreparer { preprocess, prompt });
            Ok(Preprocessing { preparer, provenance: provenance.to_string() })
        }
    }
}

fn prompt(dir: &Path, config: &Config, options: &Options) -> Result<Prompt> {
    Prompt::load(dir, config, options.instruction.as_deref())
}

fn preprocess(dir: &Path, config: &Config, options: &Options) -> Result<Preprocess> {
    let background = options.background.unwrap_or(Background::Qwen);
    Preprocess::load(dir, &config.vision, options.max_pixels, background)
}

fn text_preparer(prompt: Prompt) -> Arc<dyn Preparer> {
    Arc::new(TextPreparer(move |caption: &str| prompt.text(caption)))
}

/// The weights of a folder, proven to be exactly what `config` describes.
///
/// # Errors
/// Weights that are missing, unknown, of another shape or truncated.
pub fn checked(dir: &Path, config: &Config) -> Result<Weights> {
    let weights = Weights::open(dir)?;
    let loader = Loader::dry(&weights);
    let [vision, decoder] = prefixes(&weights);
    VisionTower::load(&loader, vision, &config.vision)?;
    Decoder::load(&loader, decoder, &config.text)?;
    loader.finish(is_left_over)?;
    Ok(weights)
}

/// What the names of the two parts' tensors begin with: as the base model saves them, or as the generating one
/// does.
fn prefixes(weights: &Weights) -> [&'static str; 2] {
    if weights.has_prefix("model.") {
        ["model.visual.", "model.language_model."]
    } else {
        ["visual.", "language_model."]
    }
}

/// The decoder alone, on its device.
///
/// # Errors
/// Weights that cannot be read.
pub fn text(weights: &Weights, config: &Config, settings: &Settings) -> Result<TowerEmbedder<TextTower>> {
    text_with_prefix(weights, prefixes(weights)[1], &config.text, settings)
}

/// Both parts on their device.
///
/// # Errors
/// Weights that cannot be read.
pub fn image(
    weights: &Weights,
    config: &Config,
    preprocess: &Preprocess,
    settings: &Settings,
) -> Result<TowerEmbedder<ImageTower>> {
    let target = (settings.precision.kind(), settings.device.torch());
    let loader = Loader::of(weights, settings);
    let tower = ImageTower::load(&loader, prefixes(weights), config, preprocess.clone(), target)?;
    let nothing = Sequence { ids: vec![0], places: vec![0; 3] };
    let padding = prepared(&nothing, &[]).map_err(|error| torch("padding", &error))?;
    Ok(TowerEmbedder::new(tower, padding).cut(settings.options.dim))
}

/// Prepares views one by one, and joins those of an asset.
struct ViewsPreparer {
    preprocess: Preprocess,
    prompt: Prompt,
}

impl Preparer for ViewsPreparer {
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        let Item::View(bytes) = item else {
            return Err(ItemError::new(ItemErrorKind::Unreadable, "a caption where a view is wanted"));
        };
        let (patches, grid) = self.preprocess.patches(bytes)?;
        prepared_view(patches, grid, self.preprocess.tokens(grid)).map_err(|error| unreadable(&error))
    }

    fn join(&self, views: Vec<Prepared>) -> std::result::Result<Prepared, ItemError> {
        let grids: std::result::Result<Vec<Grid>, TchError> = views.iter().map(grid_of).collect();
        let sequence = self.prompt.pictures(&grids.map_err(|error| unreadable(&error))?, "")?;
        prepared(&sequence, &views).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &TchError) -> ItemError {
    ItemError::new(ItemErrorKind::Unreadable, torch("preparing pictures", error).message)
}
