//! The models: from an item's text or bytes to its vector. Knows nothing of ranks or files of results.
//!
//! The job sees two things of a family: a [`Preparer`], which many decoding threads share, and an
//! [`Embedder`], which lives on the rank's model thread. Both come from [`load`]; what a folder holds,
//! without loading it, from [`describe`] and [`checkpoint::digests`], which need no libtorch.

pub mod activation;
mod background;
pub mod checkpoint;
pub mod json;
pub mod memory;
mod options;
pub mod qwen3;
pub mod qwen3_vl;
pub mod siglip;
pub mod siglip2;

#[cfg(feature = "engine")]
pub mod device;
#[cfg(feature = "engine")]
pub mod grid;
#[cfg(feature = "engine")]
pub mod layers;
#[cfg(feature = "engine")]
pub mod picture;
#[cfg(feature = "engine")]
pub mod pixels;
#[cfg(feature = "engine")]
pub mod pytext;
#[cfg(feature = "engine")]
pub mod tokenizer;
#[cfg(feature = "engine")]
pub mod tower;
#[cfg(feature = "engine")]
pub mod weights;

use std::path::Path;

use serde_json::Value;

use memory::Work;

use crate::error::{Error, Result};

/// The families this program knows, by the `model_type` of their `config.json`.
/// A new family is one folder beside `siglip/` and one line here.
const FAMILIES: [(&str, Family); 4] = [
    (siglip::MODEL_TYPE, Family::Siglip),
    (siglip2::MODEL_TYPE, Family::Siglip2),
    (qwen3::MODEL_TYPE, Family::Qwen3),
    (qwen3_vl::MODEL_TYPE, Family::Qwen3Vl),
];

/// A family of models: one architecture with its own preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// SigLIP, and SigLIP 2 of fixed resolution.
    Siglip,
    /// SigLIP 2 NaFlex, of variable resolution.
    Siglip2,
    /// Qwen3-Embedding: texts.
    Qwen3,
    /// Qwen3-VL-Embedding: texts, and several views of an asset at once.
    Qwen3Vl,
}

/// What a model is to embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    Text,
    /// A view, or the views of an asset together, as the family has it.
    Image,
}

impl Modality {
    /// Of items that are made from views, or from captions.
    pub fn from_views(has_views: bool) -> Self {
        if has_views { Self::Image } else { Self::Text }
    }
}

/// What a model folder says of itself, read from its small files alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub family: Family,
    /// The name for provenance: `_name_or_path` of the config, else the folder's own name.
    pub name: String,
    /// Length of a caption's vector.
    pub text_dim: usize,
    /// Length of a picture's vector; `None` for a model of texts alone.
    pub image_dim: Option<usize>,
    /// Every caption is truncated to this many tokens (by SigLIP also padded).
    pub max_position_embeddings: usize,
    /// What computing a caption takes of memory.
    pub text_work: Work,
    /// What computing pictures takes of memory.
    pub image_work: Option<Work>,
}

impl Description {
    /// Length of the vectors of a kind of item; `None` where the model takes none of it.
    pub fn dim(&self, modality: Modality) -> Option<usize> {
        match modality {
            Modality::Text => Some(self.text_dim),
            Modality::Image => self.image_dim,
        }
    }

    /// What computing a kind of item takes of memory; `None` where the model takes none of it.
    pub fn work(&self, modality: Modality) -> Option<Work> {
        match modality {
            Modality::Text => Some(self.text_work),
            Modality::Image => self.image_work,
        }
    }
}

impl Family {
    /// Whether its vectors may be cut to fewer components.
    pub fn has_dim(self) -> bool {
        self.command() == "qwen"
    }

    /// The command that embeds with it: `hyperslab embed <this>`.
    pub fn command(self) -> &'static str {
        match self {
            Self::Siglip | Self::Siglip2 => "siglip",
            Self::Qwen3 | Self::Qwen3Vl => "qwen",
        }
    }
}

/// Describes the model in `dir` from its `config.json`.
///
/// # Errors
/// A folder or config that is missing or broken; a `model_type` that is not supported, by its name;
/// a setting of the config that is not supported, by its name.
pub fn describe(dir: &Path) -> Result<Description> {
    let config = json::read(&dir.join(checkpoint::CONFIG))?;
    Ok(match family(dir, &config)? {
        Family::Siglip => siglip::config::Config::parse(dir, &config)?.describe(dir, &config),
        Family::Siglip2 => siglip2::config::Config::parse(dir, &config)?.describe(dir, &config),
        Family::Qwen3 => qwen3::config::Config::parse(dir, &config)?.describe(dir, &config),
        Family::Qwen3Vl => qwen3_vl::config::Config::parse(dir, &config)?.describe(dir, &config),
    })
}

fn family(dir: &Path, config: &Value) -> Result<Family> {
    let path = dir.join(checkpoint::CONFIG);
    let supported = || FAMILIES.map(|(name, _)| name).join(", ");
    let Some(found) = config.get("model_type").and_then(Value::as_str) else {
        return Err(Error::new(format!("{}: no `model_type`", path.display()))
            .hint(format!("a Hugging Face model folder is wanted; supported model types: {}", supported())));
    };
    let known = FAMILIES.iter().find(|(name, _)| *name == found);
    known.map(|(_, family)| *family).ok_or_else(|| {
        Error::new(format!("{}: model type `{found}` is not supported", path.display()))
            .hint(format!("supported model types: {}", supported()))
    })
}

/// The name a model goes by in provenance.
fn display_name(dir: &Path, config: &Value) -> String {
    let named = config.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    // A path of the machine that saved the model says nothing to anyone else; its last part does.
    let named = named.map(|name| name.rsplit('/').take(2).collect::<Vec<_>>()).map(|mut parts| {
        parts.reverse();
        parts.join("/")
    });
    let folder = || dir.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned());
    named.or_else(folder).unwrap_or_else(|| dir.display().to_string())
}

pub use background::Background;
#[cfg(feature = "engine")]
pub use engine::{Embedder, Item, Model, Prepared, Preparer, Preprocessing, Settings, load, preprocessing};
pub use options::{Options, TextForm};

/// What needs libtorch.
#[cfg(feature = "engine")]
mod engine {
    use std::path::Path;
    use std::sync::Arc;

    use ndarray::Array2;
    use tch::{TchError, Tensor};

    use super::device::{Device, Precision};
    use super::options::Options;
    use super::{Family, Modality, checkpoint, describe, qwen3, qwen3_vl, siglip, siglip2};
    use crate::error::{Error, ItemError, ItemErrorKind, Result};

    /// One item as it comes from the input.
    #[derive(Clone, Copy, Debug)]
    pub enum Item<'a> {
        Caption(&'a str),
        /// The bytes of a picture file.
        View(&'a [u8]),
    }

    /// An item ready for the model (token ids, resized pixels): opaque outside this module.
    pub struct Prepared {
        tensors: Vec<Tensor>,
        tokens: usize,
        is_cut: bool,
    }

    impl Prepared {
        /// Of a model whose items all have one shape.
        pub(in crate::model) fn alike(tensors: Vec<Tensor>) -> Self {
            Self { tensors, tokens: 0, is_cut: false }
        }

        /// Of a model whose items have lengths of their own.
        pub(in crate::model) fn of_length(tensors: Vec<Tensor>, tokens: usize) -> Self {
            Self { tensors, tokens, is_cut: false }
        }

        /// Length of its sequence, by which items are put into batches; 0 where all items are alike.
        pub fn tokens(&self) -> usize {
            self.tokens
        }

        /// Notes whether it is a text that lost its end.
        pub(in crate::model) fn cut(self, is_cut: bool) -> Self {
            Self { is_cut, ..self }
        }

        /// Whether it is a text that had more tokens than the model takes.
        pub fn is_cut(&self) -> bool {
            self.is_cut
        }

        /// The tensor at `place`, or the error of an item that was prepared for another tower.
        pub(in crate::model) fn tensor(&self, place: usize) -> std::result::Result<&Tensor, TchError> {
            let wrong = || TchError::Shape("an item prepared for another tower".to_owned());
            self.tensors.get(place).ok_or_else(wrong)
        }

        /// The tensors from `place` on.
        pub(in crate::model) fn tensors_from(&self, place: usize) -> &[Tensor] {
            self.tensors.get(place..).unwrap_or_default()
        }
    }

    /// Turns an item into what the model takes: tokenising, decoding, resizing.
    pub trait Preparer: Send + Sync {
        /// # Errors
        /// What is wrong with this item; the job marks its row and goes on.
        fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError>;

        /// One item out of some views of an asset, each of them prepared before, for models that see several
        /// at once.
        ///
        /// # Errors
        /// What is wrong with them together, e.g. that they are too many.
        fn join(&self, _views: Vec<Prepared>) -> std::result::Result<Prepared, ItemError> {
            let detail = "this model sees one view at a time";
            Err(ItemError::new(ItemErrorKind::Unreadable, detail))
        }
    }

    /// A model on its device.
    pub trait Embedder: Send {
        /// Length of every vector.
        fn dim(&self) -> usize;

        /// L2-normalised vectors `[slots.len(), dim]`, one per slot. A slot without an item is computed
        /// from padding, so that a failed item never changes the shape its neighbours are computed in;
        /// the caller discards its row.
        ///
        /// # Errors
        /// What libtorch reports, e.g. that the batch does not fit the device's memory.
        fn embed(&mut self, slots: &[Option<Prepared>]) -> Result<Array2<f32>>;
    }

    /// How a model is to be run.
    #[derive(Clone, Debug)]
    pub struct Settings {
        pub device: Device,
        pub precision: Precision,
        pub options: Options,
        /// libtorch's threads inside one operation on a CPU.
        pub threads: usize,
    }

    /// One tower of a model, loaded.
    pub struct Model {
        pub preparer: Arc<dyn Preparer>,
        pub embedder: Box<dyn Embedder>,
    }

    /// One tower's preprocessing, without its weights.
    pub struct Preprocessing {
        pub preparer: Arc<dyn Preparer>,
        /// Everything of it that decides what the model sees, as canonical JSON (keys sorted, no white
        /// space).
        pub provenance: String,
    }

    /// Reads one tower's preprocessing.
    ///
    /// # Errors
    /// A tokenizer or preprocessing that is missing or not supported; options that the model does not have.
    pub fn preprocessing(dir: &Path, modality: Modality, options: &Options) -> Result<Preprocessing> {
        let family = checked_family(dir, modality, options)?;
        let config = super::json::read(&dir.join(checkpoint::CONFIG))?;
        match family {
            Family::Siglip => siglip::preprocessing(dir, &config, modality, options),
            Family::Siglip2 => siglip2::preprocessing(dir, &config, modality, options),
            Family::Qwen3 => qwen3::preprocessing(dir, &config, options),
            Family::Qwen3Vl => qwen3_vl::preprocessing(dir, &config, modality, options),
        }
    }

    /// Loads one tower of the model in `dir`.
    ///
    /// # Errors
    /// What [`describe`] reports; weights that are missing, unknown, of another shape or truncated, each
    /// by name; a tokenizer or preprocessing that is missing or not supported; options that the model does
    /// not have.
    pub fn load(dir: &Path, modality: Modality, settings: &Settings) -> Result<Model> {
        let family = checked_family(dir, modality, &settings.options)?;
        super::device::set_model_threads(settings.threads);
        super::device::check_tf32(settings.device, settings.precision)?;
        let config = super::json::read(&dir.join(checkpoint::CONFIG))?;
        match family {
            Family::Siglip => siglip::load(dir, &config, modality, settings),
            Family::Siglip2 => siglip2::load(dir, &config, modality, settings),
            Family::Qwen3 => qwen3::load(dir, &config, settings),
            Family::Qwen3Vl => qwen3_vl::load(dir, &config, modality, settings),
        }
    }

    /// The family of a folder that can do what is asked of it.
    fn checked_family(dir: &Path, modality: Modality, options: &Options) -> Result<Family> {
        let description = describe(dir)?;
        let Some(dim) = description.dim(modality) else {
            return Err(Error::new(format!("{} is a model of texts alone", dir.display()))
                .hint("leave --renders out, or take a model that sees pictures, e.g. Qwen3-VL-Embedding"));
        };
        options.check(dir, description.family, dim)?;
        Ok(description.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_models_are_refused_by_name() {
        let dir = Path::new("/models/clip");
        let refusal = |config: &str| {
            let config = serde_json::from_str(config).expect("valid JSON");
            family(dir, &config).expect_err("unsupported").to_string()
        };
        assert!(refusal(r#"{"model_type": "clip"}"#).contains("`clip`"));
        assert!(refusal(r#"{"model_type": "siglip3"}"#).contains("siglip, siglip2, qwen3, qwen3_vl"));
        assert!(refusal("{}").contains("model_type"));
        assert!(refusal("{}").contains("siglip"));
    }

    #[test]
    fn a_name_keeps_the_last_two_parts_of_a_path() {
        let name =
            |config: &str| display_name(Path::new("/"), &serde_json::from_str(config).expect("valid JSON"));
        assert_eq!(name(r#"{"_name_or_path": "google/siglip-base"}"#), "google/siglip-base");
        assert_eq!(name(r#"{"_name_or_path": "/home/a/b/siglip"}"#), "b/siglip");
    }
}
