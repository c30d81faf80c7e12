//! `hyperslab bench`: how fast parts of the program are on this machine.

pub(super) mod decode;
mod plan;
mod read;

use clap::{Args, Subcommand};

use crate::error::{Exit, Result};

/// Measure how fast a part of the program is on this machine
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Clone, Debug, Subcommand)]
pub enum What {
    Plan(plan::BenchPlanArgs),
    Decode(decode::BenchDecodeArgs),
    Read(read::BenchReadArgs),
}

/// Runs a measurement; `compute` runs those that need a model.
///
/// # Errors
/// What the measured part reports.
pub fn run(args: &BenchArgs, compute: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
    match &args.what {
        What::Plan(args) => plan::run(args),
        What::Read(args) => read::run(args),
        What::Decode(_) => compute(),
    }
}
