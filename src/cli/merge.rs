//! `hyperslab merge`: files of different assets, joined.

use std::path::PathBuf;

use clap::Args;

use super::out::{count, note};
use super::rows_out::refuse_own;
use super::tally::Tally;
use crate::error::{Exit, Result};
use crate::store::schema::attr;
use crate::store::{Compression, CopySettings, Picks, Reader, check_alike, copy, refuse_old};

/// Files of different assets, joined
///
/// For assets that were embedded later: the rows of all files in one, sorted by id, failed ones included. They must
/// be of one kind and made with the same model, preprocessing and precision, and must not have an asset in common.
/// The order of the files does not matter.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab merge all.h5 siglip_text_embeddings.h5 later/siglip_text_embeddings.h5
  hyperslab merge all.h5 part-*.h5 --compression none")]
pub struct MergeArgs {
    /// The file to write
    #[arg(value_name = "OUT.h5")]
    pub out: PathBuf,
    /// The files to join
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    pub files: Vec<PathBuf>,
    /// gzip:1 to gzip:9 (after shuffle), or none
    #[arg(long, value_name = "HOW", default_value = "gzip:4")]
    pub compression: Compression,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
}

/// Joins the files.
///
/// # Errors
/// A file that does not open, files that do not belong together, or what is wrong with the new one.
pub fn run(args: &MergeArgs) -> Result<Exit> {
    let mut readers = Vec::new();
    for file in &args.files {
        readers.extend(Reader::open_all(file)?);
    }
    let all: Vec<&Reader> = readers.iter().collect();
    all.iter().try_for_each(|reader| refuse_old(reader))?;
    check_alike(&all)?;
    let says_model = |reader: &&Reader| {
        reader.provenance().iter().any(|(name, _)| name == "weights_sha256" || name == attr::MODEL_NAME)
    };
    if !all.iter().any(says_model) {
        note("the files do not say which model made them: that it is the same one is yours to know");
    }
    all.iter().try_for_each(|reader| refuse_own(reader, &args.out))?;
    let mut names: Vec<&str> = all.iter().map(|reader| reader.group()).collect();
    names.sort_unstable();
    names.dedup();
    let mut groups = Vec::new();
    for name in names {
        let of_group: Vec<&Reader> = all.iter().filter(|reader| reader.group() == name).copied().collect();
        let picks = Picks::all_of(&of_group)?;
        groups.push((name.to_owned(), of_group, picks));
    }
    let settings = CopySettings {
        path: &args.out,
        overwrite: args.overwrite,
        stored: None,
        compression: args.compression,
        drop_failed: false,
    };
    let tally = Tally::new();
    let copied = copy(groups, &settings, |done, all| tally.set(done, all))?;
    tally.finish();
    note(format_args!(
        "{}: {}, {}, {} failed",
        args.out.display(),
        count(copied.assets, "asset"),
        count(copied.rows, "row"),
        copied.failed
    ));
    Ok(Exit::Success)
}
