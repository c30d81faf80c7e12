//! Qwen3-Embedding behind the contract of the job.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::config::Config;
use super::decoder::Decoder;
use super::text::{TextTower, prepared};
use super::tokens::Tokens;
use crate::error::{ItemError, ItemErrorKind, Result};
use crate::model::checkpoint::is_left_over;
use crate::model::options::Options;
use crate::model::tokenizer::TextIds;
use crate::model::tower::TowerEmbedder;
use crate::model::weights::{Loader, Weights, torch};
use crate::model::{Item, Model, Prepared, Preparer, Preprocessing, Settings};

/// Loads the model.
///
/// # Errors
/// As [`crate::model::load`].
pub fn load(dir: &Path, config: &Value, settings: &Settings) -> Result<Model> {
    let config = Config::parse(dir, config)?;
    let weights = checked(dir, &config)?;
    let preparer = preparer(tokens(dir, &config, &settings.options)?);
    Ok(Model { preparer, embedder: Box::new(text(&weights, &config, settings)?) })
}

/// The tokenizer alone.
///
/// # Errors
/// As [`crate::model::load`], without the weights.
pub fn preprocessing(dir: &Path, config: &Value, options: &Options) -> Result<Preprocessing> {
    let tokens = tokens(dir, &Config::parse(dir, config)?, options)?;
    let provenance = tokens.provenance().to_string();
    Ok(Preprocessing { preparer: preparer(tokens), provenance })
}

fn tokens(dir: &Path, config: &Config, options: &Options) -> Result<Tokens> {
    Tokens::load(dir, config.decoder.tokens_max(), config.decoder.vocab_size, options)
}

fn preparer(tokens: Tokens) -> Arc<dyn Preparer> {
    Arc::new(TextPreparer(move |caption: &str| tokens.ids(caption)))
}

/// The weights of a folder, proven to be exactly what `config` describes.
///
/// # Errors
/// Weights that are missing, unknown, of another shape or truncated.
pub fn checked(dir: &Path, config: &Config) -> Result<Weights> {
    let weights = Weights::open(dir)?;
    let loader = Loader::dry(&weights);
    Decoder::load(&loader, prefix(&weights), &config.decoder)?;
    loader.finish(is_left_over)?;
    Ok(weights)
}

/// What tensors' names begin with: nothing as the base model saves them, `model.` as the causal one does.
pub fn prefix(weights: &Weights) -> &'static str {
    if weights.has_prefix("model.") { "model." } else { "" }
}

/// The decoder on its device.
///
/// # Errors
/// Weights that cannot be read.
pub fn text(weights: &Weights, config: &Config, settings: &Settings) -> Result<TowerEmbedder<TextTower>> {
    text_with_prefix(weights, prefix(weights), &config.decoder, settings)
}

/// The decoder of a model whose tensors' names begin with `prefix`.
///
/// # Errors
/// Weights that cannot be read.
pub fn text_with_prefix(
    weights: &Weights,
    prefix: &str,
    config: &super::config::DecoderConfig,
    settings: &Settings,
) -> Result<TowerEmbedder<TextTower>> {
    let target = (settings.precision.kind(), settings.device.torch());
    let tower = TextTower::load(&Loader::of(weights, settings), prefix, config, target)?;
    let padding = prepared(&[0]).map_err(|error| torch("padding", &error))?;
    Ok(TowerEmbedder::new(tower, padding).cut(settings.options.dim))
}

/// A preparer of captions, by what gives their ids.
pub struct TextPreparer<F>(pub F);

impl<F> Preparer for TextPreparer<F>
where
    F: Fn(&str) -> std::result::Result<TextIds, ItemError> + Send + Sync,
{
    fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError> {
        let Item::Caption(caption) = item else {
            return Err(ItemError::new(ItemErrorKind::Unreadable, "a view where a caption is wanted"));
        };
        let found = (self.0)(caption)?;
        let prepared = prepared(&found.ids).map(|prepared| prepared.cut(found.is_cut));
        prepared.map_err(|error| ItemError::new(ItemErrorKind::Unreadable, torch("ids", &error).message))
    }
}
