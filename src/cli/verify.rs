//! `hyperslab verify`: whether files hold what their digests and counts say.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::InputArgs;
use super::compute::DeviceArg;
use super::out::{Stop, count, note, to_stdout};
use super::tally::Tally;
use crate::error::{Exit, Result};
use crate::store::{self, Report};

/// Whether files hold what their digests and counts say
///
/// Checks every vector against the digest of its block, ids (sorted, unique) and rows (no gap, no
/// overlap), the list of failures against the rows that are NaN, norms, and counts. Lists all that is
/// wrong, with the assets it concerns; the exit code is then 4.
///
/// `--against` also embeds some of the items again, as the file was made, and compares the vectors: their
/// cosines are 1 but for rounding. Those below 0.999 (0.99 where the model computed in bf16 or f16) are
/// listed, and the exit code is 4. It takes the input that the file was made from, and tells whether that has
/// changed since: then the file is not to blame, and the exit code is 1.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab verify siglip_text_embeddings.h5
  hyperslab verify *.h5 && echo all sound
  hyperslab verify siglip_*.h5 --against siglip-so400m --captions captions.json --renders renders
  hyperslab verify qwen_text_embeddings.h5 --against Qwen/Qwen3-VL-Embedding-2B --sample 500 \\
      --captions captions.json --captions-zh captions_zh.json")]
pub struct VerifyArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Embed a sample again with this model, the files' own, and compare: its folder, or the name of one that
    /// `hyperslab fetch` has fetched
    #[arg(long, value_name = "DIR|NAME")]
    pub against: Option<PathBuf>,
    /// Items of each file that are embedded again, spread evenly over its rows
    #[arg(long, value_name = "N", default_value = "64", requires = "against",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: u64,
    /// Where to compute; auto takes the GPU, and the CPU only where no GPU should be [default: auto]
    #[arg(long, env = "HYPERSLAB_DEVICE", value_name = "WHERE", help_heading = "Run")]
    pub device: Option<DeviceArg>,
    #[command(flatten)]
    pub input: InputArgs,
}

/// Verifies each file, whatever the others are like; `compute` also compares them with their model.
///
/// # Errors
/// That of printing: a file that does not open is a failure of that file. Those of `compute`.
pub fn run(args: &VerifyArgs, compute: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
    if args.against.is_some() {
        return compute();
    }
    if args.input.captions.is_some() || args.input.captions_zh.is_some() || args.input.renders.is_some() {
        note("captions and renders are looked at with --against MODEL alone");
    }
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

/// Verifies one file, and says what came of it.
///
/// # Errors
/// That of printing.
pub fn verify(file: &Path, out: &mut dyn Write) -> std::result::Result<Exit, Stop> {
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
