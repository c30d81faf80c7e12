//! Options that say what is embedded.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::settings::layered;
use crate::error::{Error, Exit, Result};
use crate::input::Ids;
use crate::input::views::Layout;
use crate::plan::Views;

/// The input as typed.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Captions: a JSON object {"asset id": "caption", ...}, .jsonl with asset_id and caption on each line,
    /// or .csv of two columns without header; each also .gz
    #[arg(long, env = "HYPERSLAB_CAPTIONS", value_name = "FILE")]
    pub captions: Option<PathBuf>,
    /// Captions in Chinese, in the same forms; for Qwen, which keeps them in a group of their own
    #[arg(long, env = "HYPERSLAB_CAPTIONS_ZH", value_name = "FILE")]
    pub captions_zh: Option<PathBuf>,
    /// Views: folders, .tar and .zip files of pictures named by numbers, <ROOT>/<asset id>/000.png; an id may
    /// contain slashes
    #[arg(long, env = "HYPERSLAB_RENDERS", value_name = "ROOT")]
    pub renders: Option<PathBuf>,
    /// Views from a list instead of a walk, as `find ROOT -type f -printf '%P\t%s\n'` prints it
    #[arg(long, env = "HYPERSLAB_RENDERS_LIST", value_name = "FILE")]
    pub renders_list: Option<PathBuf>,
    /// How folders and archives are laid out; auto knows the usual ones by their paths [default: auto]
    #[arg(
        long,
        env = "HYPERSLAB_LAYOUT",
        value_name = "LAYOUT",
        long_help = "How folders and archives are laid out [default: auto]\n\
            - assets: a folder of pictures is an asset, each picture a view: <asset id>/000.png (Cap3D)\n\
            - views:  a folder is one view, its first picture: <asset id>/<view>/000.png, or \
            <asset id>/campos_512_v4/00000/00000.png (G-Objaverse)\n\
            - shards: a tar is a webdataset shard: <asset id>.png, or <asset id>.000.png and so on\n\
            - auto:   views where a folder begins with campos_ or is <digits>/<digits>/<digits>, shards for tars \
            whose views lie neither below the tar's own name nor below campos_*, else assets"
    )]
    pub layout: Option<Layout>,
    /// Names of the pictures that are views, instead of digits and the ending, such as '*_color.png'; may be
    /// repeated
    #[arg(long, env = "HYPERSLAB_VIEW_GLOB", value_name = "GLOB")]
    pub view_glob: Option<Vec<String>>,
    /// Views taken of each asset, in order of name: all, a number (spread evenly), or every:K [default: all; of
    /// Qwen, which makes one vector of them, 8]
    #[arg(long, env = "HYPERSLAB_VIEWS", value_name = "WHICH")]
    pub views: Option<Views>,
    /// Only the first N assets of each file, in order of the ids that are stored: for a trial
    #[arg(long, env = "HYPERSLAB_MAX_ASSETS", value_name = "N")]
    pub max_assets: Option<u64>,
    /// Joins captions and views of different ids: a JSON object of G-Objaverse's indices and Objaverse's
    /// paths, {"0/10002": "000-001/<uid>.glb", ...}, also .gz. Views that it does not name are left out;
    /// every caption stays
    #[arg(long, env = "HYPERSLAB_ID_MAP", value_name = "FILE")]
    pub id_map: Option<PathBuf>,
    /// With --id-map, which id is stored: index or uid, whichever an input has [default: index]
    #[arg(long, env = "HYPERSLAB_IDS", value_name = "WHICH")]
    pub ids: Option<Ids>,
    /// Rows of a block, the unit of batches, digests and restart [default: 1024, fewer for small inputs]
    #[arg(long, env = "HYPERSLAB_BLOCK_ROWS", value_name = "N")]
    pub block_rows: Option<NonZeroU64>,
}

layered!(
    "input",
    InputArgs {
        captions,
        captions_zh,
        renders,
        renders_list,
        layout,
        view_glob,
        views,
        max_assets,
        id_map,
        ids,
        block_rows
    }
);

/// The input as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSettings {
    pub captions: Option<PathBuf>,
    pub captions_zh: Option<PathBuf>,
    pub renders: Option<PathBuf>,
    pub renders_list: Option<PathBuf>,
    pub layout: Layout,
    /// None: views are named by numbers.
    pub view_glob: Vec<String>,
    /// `None`: as the family has it.
    pub views: Option<Views>,
    pub max_assets: Option<u64>,
    pub id_map: Option<PathBuf>,
    pub ids: Ids,
    /// `None`: from the number of rows.
    pub block_rows: Option<u64>,
}

impl InputArgs {
    /// # Errors
    /// A setting that means nothing without another one.
    pub fn resolve(self) -> Result<InputSettings> {
        if self.ids.is_some() && self.id_map.is_none() {
            return Err(Error::new("--ids chooses between the two ids of an id map, and none is given")
                .hint("--id-map FILE names it")
                .exit(Exit::Usage));
        }
        Ok(InputSettings {
            captions: self.captions,
            captions_zh: self.captions_zh,
            renders: self.renders,
            renders_list: self.renders_list,
            layout: self.layout.unwrap_or_default(),
            view_glob: self.view_glob.unwrap_or_default(),
            views: self.views,
            max_assets: self.max_assets,
            id_map: self.id_map,
            ids: self.ids.unwrap_or_default(),
            block_rows: self.block_rows.map(NonZeroU64::get),
        })
    }
}
