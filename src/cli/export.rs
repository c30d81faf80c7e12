//! `hyperslab export`: a whole file in another form.

use std::path::PathBuf;

use clap::Args;

use super::out::{count, note};
use super::rows_out::{RowFiles, ids_beside, refuse_own, write_all};
use super::select::Wanted;
use super::tally::Tally;
use crate::error::{Error, Exit, Result};
use crate::store::{Compression, CopySettings, Picks, Reader, StoredType, copy, refuse_old};

/// A whole file in another form
///
/// The end of the name says which: .npy (float32 [rows, dim], with OUT.ids.json beside it: what each row belongs
/// to), .jsonl (one object per row), or .h5 (the same format again, all groups, stored otherwise or without failed
/// rows). Views keep their order; where failed ones are left out, those after them get other numbers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab export siglip_text_embeddings.h5 text.npy
  hyperslab export qwen_text_embeddings.h5 --group english english.jsonl --drop-failed
  hyperslab export siglip_image_embeddings.h5 good.h5 --drop-failed
  hyperslab export siglip_image_embeddings.h5 half.h5 --dtype f16 --compression none")]
pub struct ExportArgs {
    /// The file
    pub file: PathBuf,
    /// The file to write: .npy, .jsonl or .h5
    pub out: PathBuf,
    /// In a file with several groups, which one [default: all, into .h5]
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Leave out the rows without a vector, and assets of which none is left
    #[arg(long)]
    pub drop_failed: bool,
    /// How vectors are stored in .h5: f32 or f16 [default: as they are]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<StoredType>,
    /// Of .h5: gzip:1 to gzip:9, or none [default: gzip:4]
    #[arg(long, value_name = "HOW")]
    pub compression: Option<Compression>,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
}

/// Writes the file.
///
/// # Errors
/// The file does not open or read, the other cannot be written.
pub fn run(args: &ExportArgs) -> Result<Exit> {
    let target = RowFiles::of(&args.out)?;
    if args.out.exists() && !args.overwrite {
        return Err(
            Error::new(format!("{} is there already", args.out.display())).hint("--overwrite replaces it")
        );
    }
    if let RowFiles::H5(_) = target { export_h5(args) } else { export_rows(args, target) }
}

fn export_h5(args: &ExportArgs) -> Result<Exit> {
    let readers = match &args.group {
        Some(group) => vec![Reader::open(&args.file, Some(group))?],
        None => Reader::open_all(&args.file)?,
    };
    let mut groups = Vec::new();
    for reader in &readers {
        refuse_own(reader, &args.out)?;
        groups.push((reader.group().to_owned(), vec![reader], Picks::all_of(&[reader])?));
    }
    let settings = CopySettings {
        path: &args.out,
        overwrite: args.overwrite,
        stored: args.dtype,
        compression: args.compression.unwrap_or(Compression::Gzip(4)),
        drop_failed: args.drop_failed,
    };
    let tally = Tally::new();
    let copied = copy(groups, &settings, |done, all| tally.set(done, all))?;
    tally.finish();
    let failed =
        if copied.failed > 0 { format!(", {} of them failed", copied.failed) } else { String::new() };
    let left_out =
        if args.drop_failed { format!(", {} left out", count(copied.dropped, "row")) } else { String::new() };
    note(format_args!(
        "{}: {}, {}{failed}{left_out}",
        args.out.display(),
        count(copied.assets, "asset"),
        count(copied.rows, "row")
    ));
    Ok(Exit::Success)
}

fn export_rows(args: &ExportArgs, target: RowFiles<'_>) -> Result<Exit> {
    if args.dtype.is_some() || args.compression.is_some() {
        let what = "--dtype and --compression are for .h5: arrays and JSON lines are plain float32";
        return Err(Error::new(what).exit(Exit::Usage));
    }
    if matches!(target, RowFiles::Npy(_)) && ids_beside(&args.out).exists() && !args.overwrite {
        let ids = ids_beside(&args.out);
        return Err(Error::new(format!("{} is there already", ids.display())).hint("--overwrite replaces it"));
    }
    let reader = Reader::open(&args.file, args.group.as_deref())?;
    if args.drop_failed {
        refuse_old(&reader)?;
    }
    let mut wanted = Vec::with_capacity(reader.assets().n() as usize);
    for asset in reader.iter_prefix("")? {
        let asset = asset?;
        let whole = Wanted { asset_id: asset.id, first_view: 0, rows: asset.rows };
        if args.drop_failed { push_good(&reader, whole, &mut wanted)? } else { wanted.push(whole) }
    }
    write_all(&reader, &wanted, target, args.overwrite)?;
    Ok(Exit::Success)
}

/// Appends an asset without its rows that have no vector.
fn push_good(reader: &Reader, whole: Wanted, wanted: &mut Vec<Wanted>) -> Result<()> {
    if reader.without_vector(whole.rows.clone())? == 0 {
        wanted.push(whole);
        return Ok(());
    }
    for row in whole.rows.clone() {
        if reader.without_vector(row..row + 1)? == 0 {
            let first_view = whole.first_view + (row - whole.rows.start);
            wanted.push(Wanted { asset_id: whole.asset_id.clone(), first_view, rows: row..row + 1 });
        }
    }
    Ok(())
}
