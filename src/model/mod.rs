//! The models: from an item's text or bytes to its vector. Knows nothing of ranks or files of results.
//!
//! The job sees two things of a family: a [`Preparer`], which many decoding threads share, and an
//! [`Embedder`], which lives on the rank's model thread. Both come from [`load`]; what a folder holds,
//! without loading it, from [`describe`] and [`checkpoint::digests`], which need no libtorch.

pub mod activation;
pub mod checkpoint;
pub mod json;
pub mod siglip;
pub mod siglip2;

#[cfg(feature = "engine")]
pub mod device;
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

use crate::error::{Error, Result};

/// The families this program knows, by the `model_type` of their `config.json`.
/// A new family is one folder beside `siglip/` and one line here.
const FAMILIES: [(&str, Family); 2] =
    [(siglip::MODEL_TYPE, Family::Siglip), (siglip2::MODEL_TYPE, Family::Siglip2)];

/// A family of models: one architecture with its own preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// SigLIP, and SigLIP 2 of fixed resolution.
    Siglip,
    /// SigLIP 2 NaFlex, of variable resolution.
    Siglip2,
}

/// Which of a model's towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    Text,
    Image,
}

/// What a model folder says of itself, read from its small files alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub family: Family,
    /// The name for provenance: `_name_or_path` of the config, else the folder's own name.
    pub name: String,
    /// Length of a caption's vector.
    pub text_dim: usize,
    /// Length of a view's vector.
    pub image_dim: usize,
    /// Every caption is padded or truncated to this many tokens.
    pub max_position_embeddings: usize,
}

/// Describes the model in `dir` from its `config.json`.
///
/// # Errors
/// A folder or config that is missing or broken; a `model_type` that is not supported, by its name;
/// a setting of the config that is not supported, by its name.
pub fn describe(dir: &Path) -> Result<Description> {
    let config = json::read(&dir.join(checkpoint::CONFIG))?;
    match family(dir, &config)? {
        Family::Siglip => {
            siglip::config::Config::parse(dir, &config).map(|parsed| parsed.describe(dir, &config))
        }
        Family::Siglip2 => {
            siglip2::config::Config::parse(dir, &config).map(|parsed| parsed.describe(dir, &config))
        }
    }
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

#[cfg(feature = "engine")]
pub use engine::{
    Embedder, Item, Model, PictureSettings, Prepared, Preparer, Preprocessing, Settings, load, preprocessing,
};

/// What needs libtorch.
#[cfg(feature = "engine")]
mod engine {
    use std::path::Path;
    use std::sync::Arc;

    use ndarray::Array2;

    use super::device::{Device, Precision};
    use super::picture::Background;
    use super::{Family, Modality, checkpoint, describe, siglip, siglip2};
    use crate::error::{Error, ItemError, Result};

    /// One item as it comes from the input.
    #[derive(Clone, Copy, Debug)]
    pub enum Item<'a> {
        Caption(&'a str),
        /// The bytes of a picture file.
        View(&'a [u8]),
    }

    /// An item ready for the model (token ids, resized pixels): opaque outside this module.
    pub struct Prepared(pub(in crate::model) Vec<tch::Tensor>);

    /// Turns an item into what the model takes: tokenising, decoding, resizing.
    pub trait Preparer: Send + Sync {
        /// # Errors
        /// What is wrong with this item; the job marks its row and goes on.
        fn prepare(&self, item: Item<'_>) -> std::result::Result<Prepared, ItemError>;
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
        pub pictures: PictureSettings,
        /// libtorch's threads inside one operation on a CPU.
        pub threads: usize,
    }

    /// What may be asked of the preprocessing of pictures, beside what the model's own files say.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PictureSettings {
        pub background: Background,
        /// The most patches a picture becomes, for models of variable resolution; `None`: as their files say.
        pub max_num_patches: Option<usize>,
    }

    impl PictureSettings {
        /// Refuses what a family does not have.
        fn check(self, dir: &Path, family: Family) -> Result<()> {
            match self.max_num_patches {
                Some(_) if family != Family::Siglip2 => Err(Error::new(format!(
                    "--max-num-patches: {} takes pictures of one size and has no number of patches to set",
                    dir.display()
                ))
                .hint("it is a setting of SigLIP 2 NaFlex (model type `siglip2`); leave it out here")),
                Some(number) if !(1..=siglip2::MAX_NUM_PATCHES_MAX).contains(&number) => {
                    let most = siglip2::MAX_NUM_PATCHES_MAX;
                    Err(Error::new(format!("--max-num-patches is {number}; possible are 1 to {most}")))
                }
                _ => Ok(()),
            }
        }
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
    /// A tokenizer or preprocessing that is missing or not supported; settings that the model does not have.
    pub fn preprocessing(dir: &Path, modality: Modality, pictures: PictureSettings) -> Result<Preprocessing> {
        let family = describe(dir)?.family;
        pictures.check(dir, family)?;
        let config = super::json::read(&dir.join(checkpoint::CONFIG))?;
        match family {
            Family::Siglip => siglip::preprocessing(dir, &config, modality, pictures.background),
            Family::Siglip2 => siglip2::preprocessing(dir, &config, modality, pictures),
        }
    }

    /// Loads one tower of the model in `dir`.
    ///
    /// # Errors
    /// What [`describe`] reports; weights that are missing, unknown, of another shape or truncated, each
    /// by name; a tokenizer or preprocessing that is missing or not supported; settings that the model does
    /// not have.
    pub fn load(dir: &Path, modality: Modality, settings: &Settings) -> Result<Model> {
        let family = describe(dir)?.family;
        settings.pictures.check(dir, family)?;
        super::device::set_model_threads(settings.threads);
        super::device::check_tf32(settings.device, settings.precision)?;
        let config = super::json::read(&dir.join(checkpoint::CONFIG))?;
        match family {
            Family::Siglip => siglip::load(dir, &config, modality, settings),
            Family::Siglip2 => siglip2::load(dir, &config, modality, settings),
        }
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
        assert!(refusal(r#"{"model_type": "siglip3"}"#).contains("siglip, siglip2"));
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
