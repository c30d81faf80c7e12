//! What an `embed` job, and what encodes outside of one, are asked to do.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::own_model::OwnModel;
use crate::hub::ModelFolder;
use crate::input::Ids;
use crate::input::views::Layout;
use crate::model::device::{DeviceRequest, Precision};
use crate::model::{Modality, Options};
use crate::plan::{Kind, Shard, Views};
use crate::store::schema::StoredType;
use crate::store::{Compression, Replaces};

/// One job: one model, and the outputs to make with it, in this order.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The model as typed: its folder, or its name in the cache.
    pub model: PathBuf,
    pub outputs: Vec<OutputRequest>,
    pub device: DeviceRequest,
    /// Whether ranks may share a GPU.
    pub share_gpu: bool,
    /// `None`: the device's default.
    pub precision: Option<Precision>,
    pub options: Options,
    pub stored: StoredType,
    pub compression: Compression,
    /// Items computed together where all are alike; `None`: the device's default.
    pub batch_size: Option<usize>,
    /// Tokens computed together where items have lengths; `None`: as model and device have it.
    pub max_tokens_per_batch: Option<usize>,
    /// `None`: the cores this rank may use.
    pub decode_threads: Option<usize>,
    /// libtorch's threads inside one operation on a CPU.
    pub threads: usize,
    pub max_failures: MaxFailures,
    /// Most blocks per rank between two commits; `None`: as memory allows.
    pub round_blocks: Option<u64>,
    pub mode: Mode,
    /// Which of the committed blocks a resume checks.
    pub verify_resume: VerifyResume,
    /// When the job ends by itself, to be resumed, if it is not done: from its start on.
    pub time_limit: Option<Duration>,
    /// How long a rank may be silent; `None`: for ever.
    pub watchdog: Option<Duration>,
    /// Seal when all rows are committed; otherwise leave that to `hyperslab seal`.
    pub seal: bool,
}

/// What a job is to do about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Go on from what an unfinished run of the same settings has left, or begin.
    GoOn,
    /// Begin anew; an output is replaced once the new one is complete.
    Overwrite,
    /// Embed the failed items of a complete output again, and replace it.
    RetryFailed,
    /// One task of an array: its blocks alone, into a stage of its own. `overwrite` discards what the shard
    /// has left, and lets the seal replace an output.
    Shard { shard: Shard, overwrite: bool },
}

impl Mode {
    /// Whether what is there is discarded.
    pub fn overwrites(self) -> bool {
        matches!(self, Self::Overwrite | Self::Shard { overwrite: true, .. })
    }

    pub fn shard(self) -> Option<Shard> {
        if let Self::Shard { shard, .. } = self { Some(shard) } else { None }
    }

    /// Whether an unfinished run that replaces so much is what this one would go on with.
    pub fn goes_on_from(self, replaces: Replaces) -> bool {
        match self {
            Self::RetryFailed => matches!(replaces, Replaces::Failures { .. }),
            _ if self.overwrites() => replaces == Replaces::Output,
            _ => true,
        }
    }
}

/// Which of the committed blocks are read again on a resume, and compared with their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyResume {
    All,
    /// One of 16, evenly spread.
    Sample,
    None,
}

/// A file of captions, and where their vectors go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionFile {
    /// The group of the output; empty for the root, which then holds the only captions.
    pub group: String,
    pub path: PathBuf,
}

/// One output file and what goes into it.
#[derive(Clone, Debug)]
pub struct OutputRequest {
    /// The models' family, with which the file's kind begins: `siglip` or `qwen`.
    pub family: &'static str,
    pub kind: Kind,
    pub output: PathBuf,
    /// The captions, in the order of their groups' rows; none for views.
    pub captions: Vec<CaptionFile>,
    pub renders: Option<PathBuf>,
    pub renders_list: Option<PathBuf>,
    pub layout: Layout,
    /// Names of the pictures that are views; none: digits and the ending.
    pub view_glob: Vec<String>,
    pub views: Views,
    pub max_assets: Option<u64>,
    pub id_map: Option<PathBuf>,
    /// With an id map, which of an asset's ids is stored.
    pub ids: Ids,
    /// `None`: from the number of rows.
    pub block_rows: Option<u64>,
}

impl OutputRequest {
    /// The `kind` attribute of the file.
    pub fn kind_name(&self) -> String {
        let made_from = match self.kind {
            Kind::Text => "text",
            Kind::Image | Kind::ViewSet => "image",
        };
        format!("{}_{made_from}", self.family)
    }
}

/// How many items may fail before the job stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    Items(u64),
    /// Of all rows, in percent.
    Percent(f64),
}

impl MaxFailures {
    /// The number of items allowed to fail out of `rows`.
    pub fn of(self, rows: u64) -> u64 {
        match self {
            Self::Items(items) => items,
            Self::Percent(percent) => (rows as f64 * percent / 100.0).floor() as u64,
        }
    }
}

impl FromStr for MaxFailures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is neither a number of items nor a percentage such as 5%");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Items).map_err(|_| wrong()),
        }
    }
}

/// Which model encodes, and how.
#[derive(Clone, Debug, Default)]
pub struct EncoderRequest {
    pub folder: ModelFolder,
    pub device: DeviceRequest,
    /// What is asked for.
    pub precision: Option<Precision>,
    /// What the rows were computed in that the vectors are to be compared with, if any are.
    pub precision_of_rows: Option<Precision>,
    pub options: Options,
    /// libtorch's threads inside one operation on a CPU; `None`: all cores.
    pub threads: Option<usize>,
    /// Items computed together where all are alike; `None`: the device's default.
    pub batch_size: Option<usize>,
    /// Tokens computed together where items have lengths; `None`: as model and device have it.
    pub max_tokens_per_batch: Option<usize>,
    /// What will be encoded; nothing else is loaded.
    pub modalities: Vec<Modality>,
}

impl EncoderRequest {
    /// For a file's own model, as the file was made.
    pub fn of_file(own: &OwnModel) -> Self {
        Self {
            folder: own.folder.clone(),
            precision_of_rows: own.precision,
            options: own.options.clone(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_on_failures_are_counts_or_percentages() {
        assert_eq!("12".parse(), Ok(MaxFailures::Items(12)));
        assert_eq!("2.5%".parse(), Ok(MaxFailures::Percent(2.5)));
        assert_eq!(MaxFailures::Percent(10.0).of(99), 9);
        assert_eq!(MaxFailures::Items(0).of(99), 0);
        for bad in ["", "-1", "%", "101%", "NaN%", "many"] {
            assert!(bad.parse::<MaxFailures>().is_err(), "{bad}");
        }
    }
}
