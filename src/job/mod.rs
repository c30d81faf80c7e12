//! The job: joins input, plan, model, ranks and store.
//!
//! [`embed`] plans and locks every output first, then makes one after the other: compute and commit
//! round after round, then seal. Every function that takes a [`World`] is collective.

mod batches;
mod cores;
mod devices;
mod doctor;
mod model_folder;
mod output;
mod pipeline;
mod prepare;
mod progress;
mod report;
mod request;
mod rounds;
mod seal;
mod shared_file;
mod signals;
mod spans;
mod spool;
mod start;

use std::time::Instant;

use crate::comm::World;
use crate::error::{Context, Result};
use crate::store::{Committed, Compression, Header, OutputPaths, read_journal, remove};

use start::Start;

pub use doctor::{DoctorRequest, Ended, Report, Watchdog, doctor};
pub use signals::StopFlag;

pub use request::{CaptionFile, EmbedRequest, MaxFailures, OutputRequest};

/// Bytes of computed rows that may wait for their commit, and of a round at most, per rank.
const ROUND_BYTES_MAX: u64 = 128 << 20;

/// Runs an `embed` job that began, with the start of MPI, at `began`; `say` takes what rank 0 has to say
/// on standard output, output by output.
///
/// # Errors
/// A failure of any rank, the same on all.
pub fn embed(world: &World, request: &EmbedRequest, began: Instant, say: &mut dyn FnMut(&str)) -> Result<()> {
    let stop = world.agree(StopFlag::install())?;
    let model = model_folder::find_model(world, &request.model)?;
    let device = devices::choose(world, request)?;
    let prepared = prepare::prepare_all(world, request, &model, &device)?;
    let plans: Vec<_> = prepared.iter().map(|output| output.paths.plan_new.clone()).collect();
    let mut output_began = began;
    for prepared in prepared {
        let job = output::OutputJob { world, request, model: &model.path, device: &device, stop: &stop };
        let said = job.run(prepared, output_began);
        if said.is_err() && world.is_root() {
            // Of outputs that were not begun: the next start plans them anew.
            for plan in &plans {
                let _ = remove(plan);
            }
        }
        say(&said?);
        output_began = Instant::now();
    }
    Ok(())
}

/// Seals an output whose rows are all committed; returns what rank 0 has to say.
///
/// # Errors
/// Blocks that are missing or damaged, or a failure of any rank, the same on all.
pub fn seal_output(
    world: &World,
    paths: &OutputPaths,
    compression: Compression,
    stop: &StopFlag,
) -> Result<String> {
    let _lock = prepare::lock(world, paths)?;
    let read = || {
        let Some(header) = unsealed(paths)? else { return Ok(Vec::new()) };
        let opened = start::prepare(paths, Start::Resume, &header)?;
        let committed = opened.map(|(_, committed)| committed).unwrap_or_default();
        serde_json::to_vec(&(header, committed)).context(|| "cannot encode the journal")
    };
    let bytes = world.from_root(read)?;
    if bytes.is_empty() {
        return Ok(format!("{} is complete; nothing to do\n", paths.output.display()));
    }
    let (header, committed): (Header, Committed) =
        serde_json::from_slice(&bytes).context(|| "cannot decode the journal")?;
    let spool = spool::open(world, &paths.plan)?;
    world.agree(spool::check_belongs(&spool, &header))?;
    let tables = spool::broadcast_tables(world, &spool)?;
    let contents = output::contents(&header, spool.header().kind, &tables, &committed);
    seal::seal(world, paths, &contents, compression, stop)?;
    Ok(format!("sealed {}\n", paths.output.display()))
}

/// The header of a run that waits to be sealed; nothing where the output is complete already. On rank 0.
fn unsealed(paths: &OutputPaths) -> Result<Option<Header>> {
    // Left by an `embed` that was killed while it planned; not this run's.
    remove(&paths.plan_new)?;
    if !paths.journal.exists() && paths.output.exists() {
        paths.remove_leftovers()?;
        return Ok(None);
    }
    let (header, ..) = read_journal(&paths.journal).map_err(|error| {
        error.hint("`hyperslab embed --no-seal` leaves what is sealed here; is this that output's path?")
    })?;
    match start::decide(paths, &header, header.overwrites)? {
        Start::Done => {
            paths.remove_leftovers()?;
            Ok(None)
        }
        Start::Fresh | Start::Resume => Ok(Some(header)),
    }
}
