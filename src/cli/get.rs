//! `hyperslab get`: vectors by asset id.

use std::path::PathBuf;

use clap::Args;

use super::out::{Stop, note, to_stdout};
use super::rows_out::{RowFiles, write_all};
use super::select::{SelectArgs, Wanted};
use super::shown::{Shown, each_row, label};
use crate::error::{Exit, Result};
use crate::store::Reader;

/// Vectors by asset id
///
/// Shows each vector's norm and first components, `--json` all of it. An item that failed has no
/// vector but a reason; where an asset's vector is made from several views, their number is shown, and
/// which views were left out. Ids that are not in the file are named on standard error; the exit code is
/// then 3, and the others are printed all the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab get siglip_text_embeddings.h5 chair_0001 chair_0002
  hyperslab get siglip_image_embeddings.h5 0/10002        all views of an asset
  hyperslab get siglip_image_embeddings.h5 0/10002#3      the view number 3, from 0
  hyperslab get qwen_text_embeddings.h5 --group english chair_0001
  hyperslab get siglip_text_embeddings.h5 chair_0001 --json | jq -c .vector
  hyperslab get siglip_text_embeddings.h5 0/10002 --id-map index_to_objaverse.json
  hyperslab get siglip_image_embeddings.h5 0/10002 --npy views.npy
  hyperslab get siglip_text_embeddings.h5 --ids wanted.txt --h5 wanted.h5
  cut -f1 hits.tsv | hyperslab get siglip_text_embeddings.h5 --ids - --json")]
pub struct GetArgs {
    /// The file
    pub file: PathBuf,
    #[command(flatten)]
    pub select: SelectArgs,
    /// In a file with several groups, which one
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Print one JSON object per row
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub files: GetFiles,
    /// Replace the file to be written, if it is there
    #[arg(long)]
    pub overwrite: bool,
}

/// Files to write instead of printing.
#[derive(Args, Debug)]
#[group(multiple = false, conflicts_with = "json")]
pub struct GetFiles {
    /// Write the rows, in the order of the ids, as a float32 array [rows, dim], and what they belong to into
    /// OUT.ids.json; failed ones are NaN
    #[arg(long, value_name = "OUT.npy")]
    pub npy: Option<PathBuf>,
    /// Write one JSON object per row
    #[arg(long, value_name = "OUT.jsonl")]
    pub jsonl: Option<PathBuf>,
    /// Write the assets, sorted, as a file of the same format
    #[arg(long, value_name = "OUT.h5")]
    pub h5: Option<PathBuf>,
}

/// Prints or writes the rows of the assets asked for.
///
/// # Errors
/// The file does not open, rows do not read, a file cannot be written.
pub fn run(args: &GetArgs) -> Result<Exit> {
    let reader = Reader::open(&args.file, args.group.as_deref())?;
    let (selected, asked) = args.select.select(&reader)?;
    let GetFiles { npy, jsonl, h5 } = &args.files;
    let target = match (npy, jsonl, h5) {
        (Some(path), ..) => Some(RowFiles::Npy(path)),
        (_, Some(path), _) => Some(RowFiles::Jsonl(path)),
        (.., Some(path)) => Some(RowFiles::H5(path)),
        _ => None,
    };
    match target {
        Some(target) if selected.wanted.is_empty() => {
            note(format_args!("{}: nothing was found, and nothing written", target.path().display()));
            return Ok(Exit::NotFound);
        }
        Some(target) => write_all(&reader, &selected.wanted, target, args.overwrite)?,
        None => print(&reader, &selected.wanted, args.json)?,
    }
    Ok(selected.exit(asked))
}

fn print(reader: &Reader, wanted: &[Wanted], as_json: bool) -> Result<()> {
    let has_views = reader.assets().has_views();
    let label =
        |wanted: &Wanted| label(wanted, wanted.first_view + wanted.n_rows().saturating_sub(1), has_views);
    let width = wanted.iter().map(|wanted| label(wanted).chars().count()).max().unwrap_or(0);
    to_stdout(|out| {
        each_row(reader, wanted, &mut |shown: &Shown<'_>| {
            if as_json { shown.write_json(out) } else { shown.write_text(out, width) }
        })?;
        Ok::<_, Stop>(Exit::Success)
    })?;
    Ok(())
}
