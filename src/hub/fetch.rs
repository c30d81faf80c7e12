//! A model of the hub into the cache: first what there is to fetch, then the bytes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::answer::Attempt;
use super::cache::{Cache, ModelCache};
use super::client::{Hub, Revision};
use super::download::{ModelFile, Shared};
use super::folder::ModelFolder;
use super::name::ModelName;
use super::variable;
use crate::error::{Error, Result};
use crate::model::checkpoint;

/// Files that are fetched at once.
const AT_ONCE: usize = 4;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Whether `HF_HUB_OFFLINE` forbids the network, as huggingface_hub reads it.
pub fn is_offline() -> bool {
    let is_true = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str());
    variable("HF_HUB_OFFLINE").or_else(|| variable("TRANSFORMERS_OFFLINE")).is_some_and(is_true)
}

/// What there is to fetch of a model.
pub struct Fetch<'a> {
    hub: &'a Hub,
    model: ModelCache,
    name: ModelName,
    pub commit: String,
    /// Those that other files are named by or read with first, the weights last.
    pub files: Vec<ModelFile>,
}

impl<'a> Fetch<'a> {
    /// Asks the hub what the model is made of. Fetches the index of its weights, if it has one.
    ///
    /// # Errors
    /// The hub cannot be reached, or has no such model for this user; a model without safetensors.
    pub fn new(hub: &'a Hub, cache: &Cache, name: &ModelName) -> Attempt<Self> {
        let revision = hub.revision(name)?;
        if !revision.has(checkpoint::CONFIG) {
            return Err(Error::new(format!(
                "{name} is no model of transformers: it has no {}",
                checkpoint::CONFIG
            ))
            .into());
        }
        let commit = revision.commit.clone();
        let mut fetch = Self { hub, model: cache.model(name), name: name.clone(), commit, files: Vec::new() };
        let small = checkpoint::SMALL_FILES.iter().filter(|file| revision.has(file));
        fetch.add(small.map(|&file| file.to_owned()).collect())?;
        let weights = fetch.weights(&revision)?;
        if let Some(absent) = weights.iter().find(|file| !revision.has(file)) {
            return Err(Error::new(format!(
                "{name}: {} names {absent}, which is not there",
                checkpoint::INDEX
            ))
            .into());
        }
        fetch.add(weights)?;
        Ok(fetch)
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(ModelFile::size).sum()
    }

    /// Bytes of them that are in the cache already.
    pub fn there(&self) -> u64 {
        self.files.iter().map(|file| file.there).sum()
    }

    /// Fetches what is missing; `report` is told, now and then, how many bytes are there.
    ///
    /// # Errors
    /// The first failure of any file.
    pub fn run(&self, report: &mut dyn FnMut(u64)) -> Result<ModelFolder> {
        let is_weights = |file: &&ModelFile| file.name.ends_with(".safetensors");
        let (weights, small): (Vec<_>, Vec<_>) = self.files.iter().partition(is_weights);
        let done = AtomicU64::new(self.there());
        // The weights say whether a snapshot is complete, so they come last.
        self.run_all(&small, &done, report)?;
        self.run_all(&weights, &done, report)?;
        self.model.set_commit(&self.name.revision, &self.commit)?;
        Ok(ModelFolder::new(&self.model.snapshot(&self.commit)))
    }

    fn run_all(&self, files: &[&ModelFile], done: &AtomicU64, report: &mut dyn FnMut(u64)) -> Result<()> {
        let (left, stop) = (Mutex::new(files.iter()), AtomicBool::new(false));
        let (hub, model, name, commit) = (self.hub, &self.model, &self.name, self.commit.as_str());
        let shared = Shared { hub, model, name, commit, done, stop: &stop };
        let work = || {
            // The lock is not held while fetching.
            let next = || left.lock().ok()?.next();
            while let Some(file) = next() {
                if let Err(error) = shared.fetch(file) {
                    // Whoever stops because of another has nothing to tell.
                    return if stop.swap(true, Ordering::Relaxed) { Ok(()) } else { Err(error) };
                }
            }
            Ok(())
        };
        scope(|threads| {
            let workers: Vec<_> = (0..AT_ONCE.min(files.len())).map(|_| threads.spawn(work)).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                sleep(REPORT_EVERY);
                report(done.load(Ordering::Relaxed));
            }
            let crashed = |_| Err(Error::new("a download crashed").exit(crate::error::Exit::Bug));
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(crashed))
        })
    }

    /// The names of the weight files, for which their index is fetched.
    fn weights(&mut self, revision: &Revision) -> Attempt<Vec<String>> {
        if revision.has(checkpoint::WEIGHTS) {
            return Ok(vec![checkpoint::WEIGHTS.to_owned()]);
        }
        if !revision.has(checkpoint::INDEX) {
            return Err(Error::new(format!(
                "{} has no weights as safetensors: neither {} nor {}",
                self.name,
                checkpoint::WEIGHTS,
                checkpoint::INDEX
            ))
            .hint(
                "weights in the pickle format are not read, because they can run code; many models have a \
                 revision with safetensors: try NAME@refs/pr/1, or convert a copy with transformers' \
                 save_pretrained",
            )
            .into());
        }
        self.add(vec![checkpoint::INDEX.to_owned()])?;
        let index: Vec<_> = self.files.iter().filter(|file| file.name == checkpoint::INDEX).collect();
        self.run_all(&index, &AtomicU64::new(self.there()), &mut |_| {})?;
        for index in self.files.iter_mut().filter(|file| file.name == checkpoint::INDEX) {
            index.there = index.size();
        }
        Ok(checkpoint::weight_files(&self.model.snapshot(&self.commit))?)
    }

    /// Asks what these files are.
    fn add(&mut self, names: Vec<String>) -> Attempt<()> {
        for name in names {
            let info = self.hub.file_info(&self.name, &self.commit, &name)?;
            self.files.push(ModelFile::new(name, info, &self.model, &self.commit));
        }
        Ok(())
    }
}
