//! A command on all ranks: who logs, who prints, and how every rank ends with the same exit code.

use std::io::Write as _;
use std::time::Instant;

use super::bench::{self, BenchArgs};
use super::{Cli, Command, against, doctor, embed, encode, logging, out, seal, search};
use crate::comm::{self, World};
use crate::error::{Error, Exit, Result};

/// Starts MPI, runs the command on every rank, and ends MPI. Rank 0 prints results and the error.
///
/// # Errors
/// Never with ranks in disagreement: an error that all ranks share ends them all here, with its exit
/// code, and one that they do not share aborts the job.
pub fn run_on_ranks(cli: &Cli) -> Result<Exit> {
    let began = Instant::now();
    if let Command::Doctor(args) = &cli.command {
        // It must tell of ranks that fail, and go on without them.
        return doctor::run(cli, args);
    }
    match &cli.command {
        // Each is one process, and starts without MPI.
        Command::Search(args) => return search::run_with_model(args, cli.config.as_deref()),
        Command::Encode(args) => return encode::run(args, cli.config.as_deref()),
        _ => {}
    }
    let world = World::init()?;
    match run(&world, cli, began) {
        Ok(()) => {
            world.finish();
            Ok(Exit::Success)
        }
        Err(error) if error.agreed => {
            if world.is_root() {
                out::note(format_args!("error: {error}"));
            }
            // Parallel files may still be open, and closing them would wait for ranks that have failed:
            // no clean-up of our own, on any rank, once rank 0 has spoken.
            world.end(error.exit)
        }
        Err(error) => {
            out::note(format_args!("error on rank {} alone: {error}", world.rank()));
            comm::abort(error.exit)
        }
    }
}

fn run(world: &World, cli: &Cli, began: Instant) -> Result<()> {
    let speaks = world.is_root() || cli.log_all_ranks;
    let rank = cli.log_all_ranks.then_some(world.rank());
    world.agree(if speaks { logging::start(&cli.log, rank) } else { Ok(()) })?;
    let mut printed = Ok(());
    let mut say = |text: &str| {
        if world.is_root() && printed.is_ok() {
            printed = print(text);
        }
    };
    match &cli.command {
        Command::Embed(args) => embed::run(world, args, cli.config.as_deref(), began, &mut say)?,
        Command::Seal(args) => seal::run(world, args, cli.config.as_deref(), &mut say)?,
        Command::Verify(args) => against::run(world, args, cli.config.as_deref(), &mut say)?,
        Command::Bench(BenchArgs { what: bench::What::Decode(args) }) => {
            say(&world.agree(bench::decode::run(args))?);
        }
        _ => return Err(Error::new("this command needs no ranks").exit(Exit::Bug)),
    }
    world.agree(printed)
}

fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
