//! `hyperslab list`: the asset ids of a file, in order.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::out::{note, to_stdout};
use crate::error::{Exit, Result};
use crate::store::Reader;

/// The asset ids of a file, in the order of their bytes
///
/// One id per line; where assets have a row per view, a tab and the number of views follow.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab list siglip_text_embeddings.h5 | wc -l
  hyperslab list siglip_image_embeddings.h5 --prefix 0/1000 --limit 5
  hyperslab list qwen_text_embeddings.h5 --group english
  hyperslab list siglip_image_embeddings.h5 --json | jq -r 'select(.rows < 12) | .asset_id'")]
pub struct ListArgs {
    /// The file
    pub file: PathBuf,
    /// In a file with several groups, which one
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Only ids that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Prints ids, in bounded memory.
///
/// # Errors
/// The file does not open, or its table does not read.
pub fn run(args: &ListArgs) -> Result<Exit> {
    let reader = Reader::open(&args.file, args.group.as_deref())?;
    let mut assets = reader.iter_prefix(&args.prefix)?.take(args.limit.unwrap_or(usize::MAX)).peekable();
    if assets.peek().is_none() && !args.prefix.is_empty() && args.limit != Some(0) {
        note(format_args!("no asset id begins with '{}'", args.prefix));
        return Ok(Exit::NotFound);
    }
    to_stdout(|out| {
        for asset in assets {
            let asset = asset?;
            let rows = asset.rows.end - asset.rows.start;
            if args.json {
                let (group, first_row) = (reader.group(), asset.rows.start);
                let line = JsonAsset { group, asset_id: &asset.id, first_row, rows };
                let line = serde_json::to_string(&line).map_err(io::Error::from)?;
                writeln!(out, "{line}")?;
            } else if reader.assets().has_views() {
                writeln!(out, "{}\t{rows}", asset.id)?;
            } else {
                writeln!(out, "{}", asset.id)?;
            }
        }
        Ok(Exit::Success)
    })
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonAsset<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    asset_id: &'a str,
    first_row: u64,
    rows: u64,
}
