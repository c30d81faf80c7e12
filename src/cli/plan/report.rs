//! The plan as data: what `--json` prints, and what the text is made from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::look::Pictures;
use super::odd::OddInput;
use crate::input::Input;
use crate::plan::Kind;
use crate::store::DiskNeed;

/// All that `plan` says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub output_dir: PathBuf,
    pub dim_is_assumed: bool,
    pub dtype: String,
    pub compression: String,
    pub ranks: u64,
    /// Rows a second of one rank.
    pub rate: Option<f64>,
    /// The most at any time, the files made one after the other.
    pub needed_bytes: u64,
    pub free_bytes: u64,
    /// Of an unfinished job, which does not need them again.
    pub taken_bytes: u64,
    /// 0 where the disk is large enough.
    pub short_bytes: u64,
    pub files: Vec<FilePlan>,
    /// What a sample of the views looks like.
    pub pictures: Option<Pictures>,
    pub odd: Vec<OddInput>,
    /// What does not fit, and what to change.
    pub warnings: Vec<String>,
    /// The job script, where one was written.
    pub sbatch: Option<PathBuf>,
}

impl Report {
    /// Seconds that the slowest rank computes, where a rate was given; the files are made one after the other.
    pub fn seconds(&self) -> Option<f64> {
        self.rate?;
        Some(self.files.iter().filter_map(|file| file.seconds).sum())
    }
}

impl Report {
    /// Adds what to do about the pictures, if `background` is what becomes of their transparency.
    pub fn advise(&mut self, background: &str) {
        if let Some(pictures) = &mut self.pictures {
            pictures.advise(background);
        }
    }
}

/// One file of embeddings.
#[derive(Clone, Debug, Serialize)]
pub struct FilePlan {
    pub file: String,
    /// Whether it is there already.
    pub exists: bool,
    pub kind: Kind,
    /// The groups of the file, where it has named ones.
    pub groups: Vec<GroupRows>,
    pub assets: u64,
    /// How many assets have so many views, before `--views` takes its choice; empty for captions.
    pub views_found: BTreeMap<u64, u64>,
    pub rows: u64,
    pub dim: u64,
    /// Bytes of the longest id.
    pub longest_id: u64,
    pub block_rows: u64,
    pub blocks: u64,
    pub chunk_rows: u64,
    pub rows_per_rank_min: u64,
    pub rows_per_rank_max: u64,
    pub bytes: DiskNeed,
    /// What it takes of a GPU, where the model is at hand.
    pub memory: Option<MemoryNeed>,
    /// For the rank that has most, where a rate was given.
    pub seconds: Option<f64>,
}

/// A named group of a file.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRows {
    pub name: String,
    pub rows: u64,
}

/// What a model and a batch take of a device's memory.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryNeed {
    pub precision: String,
    pub weights_bytes: u64,
    /// With what the libraries take.
    pub batch_bytes: u64,
    /// Tokens of the batch, padding included.
    pub batch_tokens: u64,
}

/// How many of the assets that are taken have how many views.
pub fn histogram(groups: &[Input]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for input in groups.iter().filter(|input| input.kind().has_views()) {
        let taken = input.all().assets().take(input.table().len());
        taken.for_each(|asset| *counts.entry(asset.count()).or_default() += 1);
    }
    counts
}
