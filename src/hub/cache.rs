//! The Hugging Face cache:
//!
//! ```text
//! models--org--name/blobs/<etag>                     the bytes
//!                   refs/<branch or tag>             the commit it stood for when it was last asked for
//!                   snapshots/<commit>/<file>        -> ../../blobs/<etag>
//! .locks/models--org--name/<etag>.lock               held while a blob is fetched
//! ```
//!
//! Where a file system has no symbolic links, a snapshot holds the files themselves.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::durable::{make_parent, rename, unwritable};
use super::lock::BlobLock;
use super::name::{ModelName, is_commit};
use super::variable;
use crate::error::{Context, Error, Result};

/// The cache: the folder in which every model has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of this user: `$HF_HUB_CACHE`, else below [`hf_home`].
    ///
    /// # Errors
    /// No variable says where, and there is no home.
    pub fn of_user() -> Result<Self> {
        Self::from_variables(variable)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let folder = match named {
            Some(folder) => expand(&folder, &variable),
            None => hf_home(&variable).map(|home| home.join("hub")),
        };
        let folder = folder.ok_or_else(|| {
            Error::new("cannot tell where the cache of models is: neither HF_HOME nor HOME is set")
                .hint("HF_HOME names its folder")
        })?;
        // What is said of it, also to other ranks, must hold whatever the working folder is.
        let folder = std::path::absolute(&folder).context(|| folder.display())?;
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The part of one model.
    pub fn model(&self, name: &ModelName) -> ModelCache {
        let folder = name.folder();
        ModelCache { folder: self.folder.join(&folder), locks: self.folder.join(".locks").join(&folder) }
    }
}

/// The folder of everything of Hugging Face's: `$HF_HOME`, else below `$XDG_CACHE_HOME`, else below `~/.cache`.
pub fn hf_home(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(home) = variable("HF_HOME") {
        return expand(&home, variable);
    }
    let caches = variable("XDG_CACHE_HOME").unwrap_or_else(|| "~/.cache".to_owned());
    Some(expand(&caches, variable)?.join("huggingface"))
}

/// A path with `~` as the home.
pub fn expand(path: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    match path.strip_prefix('~') {
        Some(below) if below.is_empty() || below.starts_with('/') => {
            Some(PathBuf::from(variable("HOME")?).join(below.trim_start_matches('/')))
        }
        _ => Some(path.into()),
    }
}

/// One model's part of the cache.
#[derive(Clone, Debug)]
pub struct ModelCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl ModelCache {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a revision stood for when it was last fetched.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes which commit a branch or tag stands for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let new = path.with_file_name(format!(".{}.new", std::process::id()));
        make_parent(&path)?;
        fs::write(&new, commit).and_then(|()| rename(&new, &path)).map_err(|error| unwritable(&path, &error))
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where a blob grows.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Waits until nobody else fetches this blob, huggingface_hub included.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn lock(&self, etag: &str) -> Result<BlobLock> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        BlobLock::take(&path)
    }

    /// Makes `file` of a snapshot from a blob: a link to it, or, where there are no links, the blob itself
    /// if it is `new` (nothing else can refer to it), and a copy otherwise.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn link(&self, etag: &str, commit: &str, file: &str, new: bool) -> Result<()> {
        self.link_with(|to, at| symlink(to, at), etag, commit, file, new)
    }

    fn link_with(
        &self,
        link: impl Fn(&Path, &Path) -> io::Result<()>,
        etag: &str,
        commit: &str,
        file: &str,
        new: bool,
    ) -> Result<()> {
        let at = self.snapshot(commit).join(file);
        let (blob, below) = (self.blob(etag), Path::new("../../blobs").join(etag));
        make_parent(&at)?;
        let linked = match fs::remove_file(&at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => link(&below, &at),
        };
        let is_there = || fs::read_link(&at).is_ok_and(|to| to == below);
        let made = match linked {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_there() => Ok(()),
            Err(error) if has_no_links(&error) && new => rename(&blob, &at),
            Err(error) if has_no_links(&error) => {
                let copy = at.with_file_name(format!(".{file}.{}", std::process::id()));
                fs::copy(&blob, &copy).and_then(|_| rename(&copy, &at))
            }
            made => made,
        };
        made.map_err(|error| unwritable(&at, &error))
    }
}

/// What a file system says that has no symbolic links.
fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn model() -> (tempfile::TempDir, ModelCache) {
        let folder = tempfile::tempdir().unwrap();
        let name = "org/name".parse().unwrap();
        let model = Cache { folder: folder.path().join("hub") }.model(&name);
        make_parent(&model.blob("e")).unwrap();
        fs::write(model.blob("e"), "bytes").unwrap();
        (folder, model)
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let folder = |variables: &[(&str, &str)]| {
            let find = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            Cache::from_variables(find).map(|cache| cache.folder.display().to_string())
        };
        let all = [("HF_HUB_CACHE", "/c"), ("HF_HOME", "~/h"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/home/u")];
        assert_eq!(folder(&all).unwrap(), "/c");
        assert_eq!(folder(&all[1..]).unwrap(), "/home/u/h/hub");
        assert_eq!(folder(&all[2..]).unwrap(), "/x/huggingface/hub");
        assert_eq!(folder(&all[3..]).unwrap(), "/home/u/.cache/huggingface/hub");
        assert!(folder(&[]).unwrap_err().message.contains("HF_HOME"));
    }

    #[test]
    fn a_snapshot_links_to_its_blobs() {
        let (_folder, model) = model();
        model.link("e", COMMIT, "config.json", true).unwrap();
        let file = model.snapshot(COMMIT).join("config.json");
        assert_eq!(fs::read_link(&file).unwrap(), Path::new("../../blobs/e"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "bytes");
        model.link("e", COMMIT, "config.json", false).unwrap();
    }

    #[test]
    fn without_links_a_snapshot_holds_the_files() {
        let (_folder, model) = model();
        let refused = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        model.link_with(refused, "e", COMMIT, "a", false).unwrap();
        assert!(model.blob("e").exists(), "another snapshot may refer to it");
        model.link_with(refused, "e", COMMIT, "b", true).unwrap();
        assert!(!model.blob("e").exists());
        for file in ["a", "b"] {
            assert_eq!(fs::read_to_string(model.snapshot(COMMIT).join(file)).unwrap(), "bytes");
        }
        assert_eq!(fs::read_dir(model.snapshot(COMMIT)).unwrap().count(), 2);
    }

    #[test]
    fn a_revision_is_what_it_was_noted_to_be() {
        let (_folder, model) = model();
        assert_eq!(model.commit("refs/pr/1"), None);
        model.set_commit("refs/pr/1", COMMIT).unwrap();
        assert_eq!(model.commit("refs/pr/1").as_deref(), Some(COMMIT));
        assert_eq!(model.commit(COMMIT).as_deref(), Some(COMMIT));
        fs::write(model.folder.join("refs/main"), "../../..").unwrap();
        assert_eq!(model.commit("main"), None);
    }
}
