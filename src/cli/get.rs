//! `hyperslab get`: vectors by asset id.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ndarray::ArrayView1;
use serde::Serialize;

use super::out::{Stop, count, to_stdout};
use super::rows_out::{RowFiles, write_all};
use super::select::{SelectArgs, Wanted};
use crate::error::{Exit, Result};
use crate::store::{Reader, lost};

/// Components shown of a vector.
const HEAD: usize = 6;
/// Values in memory at a time, about: 64 MiB of float32.
const WINDOW_VALUES: u64 = 16 << 20;

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
        Some(_) if selected.wanted.is_empty() => {}
        Some(target) => write_all(&reader, &selected.wanted, target)?,
        None => print(&reader, &selected.wanted, args.json)?,
    }
    Ok(selected.exit(asked))
}

/// One row to show.
pub struct Shown<'a> {
    /// What `get` would find this row by.
    pub label: &'a str,
    group: &'a str,
    asset_id: &'a str,
    row: u64,
    /// Where an asset has several.
    view: Option<u64>,
    /// How many views the vector is made from, where that is several.
    num_images: Option<i32>,
    pub vector: ArrayView1<'a, f32>,
    failure: Option<&'a str>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonRow<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    asset_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<u64>,
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_images: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    /// Of a vector that is made without some views.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
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

/// What `get` finds a row by: the asset's id, and in files with a row per view which of them.
pub fn label(wanted: &Wanted, view: u64, has_views: bool) -> String {
    if has_views { format!("{}#{view}", wanted.asset_id) } else { wanted.asset_id.clone() }
}

/// Shows every row to `show`, in the order of `wanted`, with few of them in memory.
pub fn each_row(
    reader: &Reader,
    wanted: &[Wanted],
    show: &mut dyn FnMut(&Shown<'_>) -> io::Result<()>,
) -> std::result::Result<(), Stop> {
    let mut rest = wanted;
    while !rest.is_empty() {
        let mut values = 0;
        let fits = rest.iter().take_while(|wanted| {
            values += wanted.n_rows() * reader.dim() as u64;
            values <= WINDOW_VALUES
        });
        let (window, after) = rest.split_at(fits.count().max(1));
        show_window(reader, window, show)?;
        rest = after;
    }
    Ok(())
}

fn show_window(
    reader: &Reader,
    window: &[Wanted],
    show: &mut dyn FnMut(&Shown<'_>) -> io::Result<()>,
) -> std::result::Result<(), Stop> {
    let has_views = reader.assets().has_views();
    let runs: Vec<_> = window.iter().map(|wanted| wanted.rows.clone()).collect();
    for (wanted, vectors) in window.iter().zip(reader.rows_of_each(&runs)?) {
        let failures = reader.failures_of(wanted.rows.clone())?;
        let num_images = reader.num_images().map(|all| all.of_rows(wanted.rows.clone())).transpose()?;
        let rows = (wanted.first_view..).zip(wanted.rows.clone()).zip(vectors.rows());
        for (index, ((view, row), vector)) in rows.enumerate() {
            let failure = failures.iter().find(|failure| failure.row == row).map(|failure| &*failure.reason);
            let lost = vector.to_slice().filter(|_| reader.is_old()).and_then(lost);
            show(&Shown {
                label: &label(wanted, view, has_views),
                group: reader.group(),
                asset_id: &wanted.asset_id,
                row,
                view: has_views.then_some(view),
                num_images: num_images.as_ref().and_then(|all| all.get(index)).copied(),
                vector,
                failure: failure.or(lost),
            })?;
        }
    }
    Ok(())
}

impl Shown<'_> {
    /// Why there is no vector, and else what it was made without.
    pub fn failed_or_left_out(&self) -> (Option<&str>, Option<&str>) {
        if self.num_images.is_some_and(|n| n > 0) { (None, self.failure) } else { (self.failure, None) }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// A failed write.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let (failed, left_out) = self.failed_or_left_out();
        let vector = failed.is_none().then(|| self.vector.to_vec());
        let Self { group, asset_id, row, view, num_images, .. } = *self;
        let row = JsonRow { group, asset_id, view, row, num_images, failed, left_out, vector };
        writeln!(out, "{}", serde_json::to_string(&row)?)
    }

    fn write_text(&self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        write!(out, "{:width$}  row {}", self.label, self.row)?;
        let (failed, left_out) = self.failed_or_left_out();
        if let Some(reason) = failed {
            return writeln!(out, "  failed: {reason}");
        }
        if let Some(n) = self.num_images {
            write!(out, "  {}", count(n.unsigned_abs().into(), "view"))?;
        }
        let norm = self.vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        write!(out, "  norm {norm:.4}  [")?;
        for value in self.vector.iter().take(HEAD) {
            write!(out, " {value:7.4}")?;
        }
        let more = if self.vector.len() > HEAD { " …" } else { "" };
        writeln!(out, "{more} ]{}", left_out.map(|reason| format!("  {reason}")).unwrap_or_default())
    }
}
