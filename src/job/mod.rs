//! The job: joins input, plan, model, ranks and store.
//!
//! [`embed`] plans and locks every output first, then makes one after the other: compute and commit
//! round after round, then seal. Every function that takes a [`World`] is collective.
//!
//! Outside of a job, [`OwnModel`] is the model that a sealed file was made with, and an [`Encoder`] embeds single
//! texts and pictures.

mod against;
mod batches;
mod cores;
mod devices;
mod doctor;
mod encoder;
mod model_folder;
mod output;
mod own_model;
mod pipeline;
mod prepare;
mod progress;
mod recheck;
mod report;
mod request;
mod retry;
mod rounds;
mod seal;
mod shared_file;
mod source;
mod spans;
mod spool;
mod start;
mod stop;
mod unsealed;

use std::time::Instant;

use crate::comm::World;
use crate::error::{Context, Result};
use crate::store::{Compression, OutputPaths, remove};

use unsealed::Unsealed;

pub use against::{AgainstRequest, Comparison, InputState, against};
pub use doctor::{DoctorRequest, Ended, Report, Watchdog, doctor};
pub use encoder::{Encoded, Encoder, Input, read_picture};
pub use own_model::OwnModel;
pub use request::{
    CaptionFile, EmbedRequest, EncoderRequest, MaxFailures, Mode, OutputRequest, VerifyResume,
};
pub use stop::Stop;

/// Bytes of computed rows that may wait for their commit, and of a round at most, per rank.
const ROUND_BYTES_MAX: u64 = 128 << 20;

/// Runs an `embed` job that began, with the start of MPI, at `began`; `say` takes what rank 0 has to say
/// on standard output, output by output.
///
/// # Errors
/// A failure of any rank, the same on all.
pub fn embed(world: &World, request: &EmbedRequest, began: Instant, say: &mut dyn FnMut(&str)) -> Result<()> {
    let stop = world.agree(Stop::listen(request.time_limit.map(|limit| began + limit)))?;
    if let Some(limit) = request.watchdog {
        world.watch(limit);
    }
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
    stop: &Stop,
) -> Result<String> {
    // In this order, so that a task that is at work is named.
    let _shards = prepare::lock_shards(world, paths)?;
    let _lock = prepare::lock(world, paths)?;
    let found = world.from_root(|| {
        let found = Unsealed::find(paths)?;
        serde_json::to_vec(&found).context(|| "cannot encode what waits to be sealed")
    })?;
    let found: Option<Unsealed> =
        serde_json::from_slice(&found).context(|| "cannot decode what waits to be sealed")?;
    let Some(all) = found else {
        return Ok(format!("{} is complete; nothing to do\n", paths.output.display()));
    };
    let spool = spool::open(world, &paths.plan)?;
    world.agree(spool::check_belongs(&spool, &all.header))?;
    let tables = spool::broadcast_tables(world, &spool)?;
    let contents = output::contents(world, &all, &spool, &tables)?;
    seal::seal(world, paths, (&contents, &all.stages), compression, stop)?;
    let shards = all.stages.iter().filter(|stage| stage.path != paths.partial).count();
    let of = if shards == 0 { String::new() } else { format!(" from {shards} shards") };
    Ok(format!("sealed {}{of}\n", paths.output.display()))
}
