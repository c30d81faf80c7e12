//! The command line: one file per command, from what was typed to what it means.

#[cfg(feature = "engine")]
mod against;
#[cfg(feature = "engine")]
mod array;
mod bench;
mod compute;
mod database;
mod doctor;
mod embed;
mod encode;
mod engine;
mod export;
mod family;
mod fetch;
mod get;
mod import;
mod info;
mod input;
mod list;
mod logging;
mod merge;
mod npy;
mod out;
mod output;
mod plan;
mod populate;
mod query;
#[cfg(feature = "engine")]
mod ranks;
mod rows_out;
mod seal;
mod search;
mod select;
mod settings;
mod shown;
mod tally;
mod verify;
mod version;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Exit, Result};

pub use compute::{ModelArgs, RunArgs};
pub use database::DatabaseArgs;
pub use engine::exec_engine;
pub use family::Family;
pub use input::{InputArgs, InputSettings};
pub use output::{OutputArgs, OutputSettings};
#[cfg(feature = "engine")]
pub use ranks::run_on_ranks;
pub use settings::{ConfigFile, Layered, flags, layer};

/// Embeddings of millions of 3D assets: captions and rendered views in, HDF5 files out
#[derive(Debug, Parser)]
#[command(
    name = "hyperslab",
    version = version::short(),
    long_version = version::long(),
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Settings for what flags and HYPERSLAB_* variables leave open [default: hyperslab.toml, if there]
    #[arg(long, global = true, help_heading = "General", env = "HYPERSLAB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is told on standard error: error, warn, info, debug, or a filter of tracing's
    #[arg(
        long,
        global = true,
        help_heading = "General",
        env = "HYPERSLAB_LOG",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log: String,
    /// Let every rank log, not rank 0 alone
    #[arg(long, global = true, help_heading = "General", env = "HYPERSLAB_LOG_ALL_RANKS")]
    pub log_all_ranks: bool,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab plan --captions captions.json --renders renders --ranks 8
  mpirun -n 8 hyperslab embed siglip --model MODEL --captions captions.json --output-dir out
  hyperslab get out/siglip_text_embeddings.h5 0/10002

Settings come from flags, then HYPERSLAB_* variables, then hyperslab.toml, then defaults.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 damaged file,
70 a defect of the program, 75 ended early: run the same command again to go on.";

/// One line per command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Plan(Box<plan::PlanArgs>),
    Fetch(fetch::FetchArgs),
    Embed(Box<embed::EmbedArgs>),
    Seal(Box<seal::SealArgs>),
    Info(info::InfoArgs),
    List(list::ListArgs),
    Get(get::GetArgs),
    Verify(Box<verify::VerifyArgs>),
    Import(Box<import::ImportArgs>),
    Export(export::ExportArgs),
    Merge(merge::MergeArgs),
    Search(Box<search::SearchArgs>),
    Encode(Box<encode::EncodeArgs>),
    Populate(Box<populate::PopulateArgs>),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
}

/// Runs what was typed: commands that need neither MPI nor a model here, the others by `compute`. Says
/// on standard error why a command failed.
pub fn main(compute: impl FnOnce(&Cli) -> Result<Exit>) -> ExitCode {
    let cli = Cli::parse();
    match catch_unwind(AssertUnwindSafe(|| run(&cli, compute))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            out::note(format_args!("error: {error}"));
            error.exit.into()
        }
        Err(_) => Exit::Bug.into(),
    }
}

fn run(cli: &Cli, compute: impl FnOnce(&Cli) -> Result<Exit>) -> Result<Exit> {
    // A command that computes starts logging itself, once it knows its rank.
    let computes = match &cli.command {
        Command::Embed(_) | Command::Seal(_) | Command::Bench(_) | Command::Doctor(_) => true,
        Command::Verify(args) => args.against.is_some(),
        _ => false,
    };
    if !computes {
        logging::start(&cli.log, None)?;
    }
    match &cli.command {
        Command::Plan(args) => plan::run(args, cli.config.as_deref()),
        Command::Fetch(args) => fetch::run(args),
        Command::Info(args) => info::run(args),
        Command::List(args) => list::run(args),
        Command::Get(args) => get::run(args),
        Command::Verify(args) => verify::run(args, || compute(cli)),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Bench(args) => bench::run(args, || compute(cli)),
        Command::Search(args) => search::run(args, cli.config.as_deref(), || compute(cli)),
        Command::Populate(args) => populate::run(args, cli.config.as_deref()),
        Command::Embed(_) | Command::Seal(_) | Command::Doctor(_) | Command::Encode(_) => compute(cli),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
