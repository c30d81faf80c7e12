//! What an `embed` job is asked to do, every default filled in.

use std::path::PathBuf;
use std::str::FromStr;

use crate::input::Ids;
use crate::input::views::Layout;
use crate::model::Options;
use crate::model::device::{DeviceRequest, Precision};
use crate::plan::{Kind, Views};
use crate::store::Compression;
use crate::store::schema::StoredType;

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
    /// Replace what is there instead of going on from it.
    pub overwrite: bool,
    /// Seal when all rows are committed; otherwise leave that to `hyperslab seal`.
    pub seal: bool,
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
