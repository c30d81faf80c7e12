//! Options that say what is embedded.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::settings::layered;
use crate::plan::Views;

/// The input as typed.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Captions: a JSON object {"asset id": "caption", ...}
    #[arg(long, env = "HYPERSLAB_CAPTIONS", value_name = "FILE")]
    pub captions: Option<PathBuf>,
    /// Views: <ROOT>/<asset id>/*.png, .jpg, .jpeg or .webp; an id may contain slashes
    #[arg(long, env = "HYPERSLAB_RENDERS", value_name = "ROOT")]
    pub renders: Option<PathBuf>,
    /// Views from a list instead of a walk, as `find ROOT -type f -printf '%P\t%s\n'` prints it
    #[arg(long, env = "HYPERSLAB_RENDERS_LIST", value_name = "FILE")]
    pub renders_list: Option<PathBuf>,
    /// Views taken of each asset, in order of name: all, a number (spread evenly), or every:K [default: all]
    #[arg(long, env = "HYPERSLAB_VIEWS", value_name = "WHICH")]
    pub views: Option<Views>,
    /// Only the first N assets of each file, in order of id: for a trial
    #[arg(long, env = "HYPERSLAB_MAX_ASSETS", value_name = "N")]
    pub max_assets: Option<u64>,
    /// Rows of a block, the unit of batches, digests and restart [default: 1024, fewer for small inputs]
    #[arg(long, env = "HYPERSLAB_BLOCK_ROWS", value_name = "N")]
    pub block_rows: Option<NonZeroU64>,
}

layered!("input", InputArgs { captions, renders, renders_list, views, max_assets, block_rows });

/// The input as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSettings {
    pub captions: Option<PathBuf>,
    pub renders: Option<PathBuf>,
    pub renders_list: Option<PathBuf>,
    pub views: Views,
    pub max_assets: Option<u64>,
    /// `None`: from the number of rows.
    pub block_rows: Option<u64>,
}

impl InputArgs {
    pub fn resolve(self) -> InputSettings {
        InputSettings {
            captions: self.captions,
            renders: self.renders,
            renders_list: self.renders_list,
            views: self.views.unwrap_or_default(),
            max_assets: self.max_assets,
            block_rows: self.block_rows.map(NonZeroU64::get),
        }
    }
}
