//! `hyperslab verify`: whether files hold what their digests and counts say.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::out::{Stop, count, note, to_stdout};
use super::tally::Tally;
use crate::error::{Exit, Result};
use crate::store::{self, Report};

/// Whether files hold what their digests and counts say
///
/// Checks every vector against the digest of its block, ids (sorted, unique) and rows (no gap, no
/// overlap), the list of failures against the rows that are NaN, norms, and counts. Lists all that is
/// wrong, with the assets it concerns; the exit code is then 4.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab verify siglip_text_embeddings.h5
  hyperslab verify *.h5 && echo all sound")]
pub struct VerifyArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Verifies each file, whatever the others are like.
///
/// # Errors
/// Only that of printing: a file that does not open is a failure of that file.
pub fn run(args: &VerifyArgs) -> Result<Exit> {
    to_stdout(|out| {
        let mut worst = Exit::Success;
        for file in &args.files {
            let exit = verify(file, out)?;
            out.flush()?;
            if exit == Exit::Damaged || worst == Exit::Success {
                worst = exit;
            }
        }
        Ok(worst)
    })
}

fn verify(file: &Path, out: &mut dyn Write) -> std::result::Result<Exit, Stop> {
    let tally = Tally::new();
    let verified = store::verify(file, |done, all| tally.set(done, all));
    tally.finish();
    match verified {
        Ok(report) => {
            write_report(out, file, &report)?;
            Ok(if report.is_sound() { Exit::Success } else { Exit::Damaged })
        }
        Err(error) => {
            note(format_args!("error: {error}"));
            Ok(error.exit)
        }
    }
}

fn write_report(out: &mut dyn Write, file: &Path, report: &Report) -> io::Result<()> {
    let file = file.display();
    if !report.is_sound() {
        writeln!(out, "{file}: damaged, {}", count(report.n_findings, "finding"))?;
        return report.findings.iter().try_for_each(|finding| writeln!(out, "  {finding}"));
    }
    writeln!(
        out,
        "{file}: sound ({}, {}, {}, {} in /failures)",
        count(report.n_assets, "asset"),
        count(report.n_rows, "row"),
        count(report.n_blocks, "block"),
        count(report.n_failed, "line")
    )
}
