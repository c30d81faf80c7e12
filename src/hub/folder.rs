//! From what was typed for a model to its folder, without the network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::{Cache, ModelCache};
use super::name::{ModelName, is_commit};
use crate::error::{Error, Result};
use crate::model::checkpoint;

/// Any of these is enough to make ids of a caption.
const TOKENIZERS: [&str; 4] =
    [checkpoint::TOKENIZER, checkpoint::SPIECE, checkpoint::TOKENIZER_MODEL, checkpoint::VOCABULARY];

/// A model's folder, and which model of the hub it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFolder {
    pub path: PathBuf,
    /// `org/name`, where the folder is a snapshot of the cache.
    pub name: Option<String>,
    pub commit: Option<String>,
}

impl ModelFolder {
    /// A folder as typed. A snapshot of a cache says itself what it is.
    pub fn new(path: &Path) -> Self {
        let parts = snapshot_parts(path);
        let (name, commit) = parts.unzip();
        Self { path: path.to_owned(), name, commit }
    }
}

/// Repository and commit of `.../models--org--name/snapshots/<commit>`.
fn snapshot_parts(path: &Path) -> Option<(String, String)> {
    let path = std::path::absolute(path).ok()?;
    let mut parts = path.iter().rev().map(|part| part.to_str().unwrap_or_default());
    let (commit, snapshots, model) = (parts.next()?, parts.next()?, parts.next()?);
    let name = ModelName::from_folder(model).filter(|_| snapshots == "snapshots" && is_commit(commit))?;
    Some((name, commit.to_owned()))
}

/// The folder of the model `typed`: what lies there, else what the cache has under that name.
///
/// # Errors
/// Neither is there, or the cache has the model in part: names what is missing and the command that
/// fetches it.
pub fn find(typed: &Path) -> Result<ModelFolder> {
    if typed.exists() {
        return Ok(ModelFolder::new(typed));
    }
    let text = typed.to_string_lossy();
    let Ok(name) = text.parse::<ModelName>() else {
        return Err(Error::new(format!("there is no model folder '{text}'")).hint(
            "--model takes a folder, or the name org/name of a model that `hyperslab fetch` has fetched",
        ));
    };
    find_cached(&name).map_err(|error| {
        let message = format!("there is no folder '{text}', and {}", error.message);
        Error { message, ..error }
    })
}

/// What the cache has of a model, whatever lies under its name elsewhere.
///
/// # Errors
/// As [`find`].
pub fn find_cached(name: &ModelName) -> Result<ModelFolder> {
    let cache = Cache::of_user()?;
    let model = cache.model(name);
    let absent = |what: &str| {
        Error::new(format!("the model '{name}' {what}"))
            .hint(format!("where there is internet, e.g. on a login node: hyperslab fetch {name}"))
    };
    if !model.folder().is_dir() {
        return Err(absent(&format!("is not in the cache ({})", cache.folder().display())));
    }
    let Some(commit) = model.commit(&name.revision) else {
        let folder = model.folder().display();
        return Err(absent(&format!("has no revision '{}' in the cache ({folder})", name.revision)));
    };
    let folder = ModelFolder::new(&model.snapshot(&commit));
    let missing = missing(&folder.path);
    if missing.is_empty() {
        return Ok(folder);
    }
    Err(Error::new(format!(
        "the model '{name}' is incomplete in the cache: {} lacks {}",
        folder.path.display(),
        missing.join(", ")
    ))
    .hint(format!("where there is internet, e.g. on a login node: hyperslab fetch {name}")))
}

/// The snapshot of a name in the cache, if nothing that a job may need is missing of it.
pub fn find_complete(model: &ModelCache, name: &ModelName) -> Option<ModelFolder> {
    let folder = ModelFolder::new(&model.snapshot(&model.commit(&name.revision)?));
    let has_tokenizer = TOKENIZERS.iter().any(|file| folder.path.join(file).exists());
    (has_tokenizer && missing(&folder.path).is_empty()).then_some(folder)
}

/// What a snapshot lacks without which no job can run.
fn missing(snapshot: &Path) -> Vec<String> {
    let weights = checkpoint::weight_files(snapshot);
    let weights = weights.unwrap_or_else(|_| vec!["its weights (*.safetensors)".to_owned()]);
    let all = [checkpoint::CONFIG.to_owned()].into_iter().chain(weights);
    // A link whose blob is not there counts as missing.
    all.filter(|file| !snapshot.join(file).exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_what_it_is() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let path = format!("/cache/models--org--name/snapshots/{commit}");
        let folder = ModelFolder::new(Path::new(&path));
        assert_eq!((folder.name.as_deref(), folder.commit.as_deref()), (Some("org/name"), Some(commit)));
        for path in ["/cache/models--org--name/snapshots/main", "/snapshots", "model", "."] {
            assert_eq!(ModelFolder::new(Path::new(path)).name, None, "{path}");
        }
    }
}
