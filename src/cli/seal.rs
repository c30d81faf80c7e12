//! `hyperslab seal`: the end of a job that ran with `--no-seal` or as an array, or whose seal was interrupted.

use std::path::PathBuf;

use clap::Args;

use super::{Family, OutputArgs};

/// Compress, verify and name outputs whose rows are all committed, by one job or by the tasks of an array;
/// needs no GPU and no model
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, mut_arg("dtype", |dtype| dtype.hide(true)))]
pub struct SealArgs {
    /// Outputs by their final names, e.g. out/siglip_image_embeddings.h5
    #[arg(required_unless_present = "family", value_name = "FILE")]
    pub outputs: Vec<PathBuf>,
    /// The outputs of a family that have been begun, where the settings put them
    #[arg(long, value_name = "FAMILY", conflicts_with = "outputs")]
    pub family: Option<Family>,
    #[command(flatten)]
    pub output: OutputArgs,
    /// End when a rank has shown no sign of life for so long, e.g. 10m; off never does [default: 30m]
    #[arg(long, env = "HYPERSLAB_WATCHDOG", value_name = "TIME|off")]
    pub watchdog: Option<String>,
}

const EXAMPLES: &str = "\
Examples, with a rank per core:
  mpirun -n 16 hyperslab seal out/siglip_text_embeddings.h5 out/siglip_image_embeddings.h5
  mpirun -n 16 hyperslab seal --family siglip --config hyperslab.toml

`embed --no-seal` leaves the choice of --compression to here; --dtype stays what it was.";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::SealArgs;
    use crate::cli::{ConfigFile, Family, OutputSettings, RunArgs, layer};
    use crate::comm::World;
    use crate::error::{Context, Error, Exit, Result};
    use crate::job::{Stop, seal_output};
    use crate::store::OutputPaths;

    /// Runs the seal; `say` takes what rank 0 prints. Collective.
    ///
    /// # Errors
    /// Blocks that are missing or damaged, a full disk.
    pub fn run(
        world: &World,
        args: &SealArgs,
        config: Option<&Path>,
        say: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let stop = world.agree(Stop::listen(None))?;
        let (settings, watchdog) = world.agree(settings(args, config))?;
        if let Some(limit) = watchdog {
            world.watch(limit);
        }
        let outputs = match args.family {
            Some(family) => begun(world, family, &settings)?,
            None => args.outputs.clone(),
        };
        for output in &outputs {
            say(&seal_output(world, &OutputPaths::new(output), settings.compression, &stop)?);
        }
        Ok(())
    }

    /// What is sealed and how, and how long a rank may be silent.
    fn settings(args: &SealArgs, config: Option<&Path>) -> Result<(OutputSettings, Option<Duration>)> {
        let file = ConfigFile::load(config)?;
        let run = RunArgs { watchdog: args.watchdog.clone(), ..RunArgs::default() };
        let watchdog = layer(&run, &file)?.watchdog().map_err(|error| error.exit(Exit::Usage))?;
        Ok((layer(&args.output, &file)?.resolve(), watchdog))
    }

    /// The family's outputs that are there, unfinished or complete, as rank 0 sees them.
    fn begun(world: &World, family: Family, settings: &OutputSettings) -> Result<Vec<PathBuf>> {
        let look = || {
            let outputs = settings.names(family).map(|name| settings.dir.join(name));
            let mut begun: Vec<PathBuf> = Vec::new();
            for output in outputs {
                let paths = OutputPaths::new(&output);
                let is_there = output.exists() || paths.plan.exists() || paths.journal.exists();
                if is_there || !paths.shards()?.is_empty() {
                    begun.push(output);
                }
            }
            if begun.is_empty() {
                let names = settings.names(family).join(" nor ");
                let error =
                    Error::new(format!("neither {names} has been begun in {}", settings.dir.display()));
                return Err(error.hint("--output-dir names the folder, or --config the settings of `embed`"));
            }
            serde_json::to_vec(&begun).context(|| "cannot encode the outputs")
        };
        serde_json::from_slice(&world.from_root(look)?).context(|| "cannot decode the outputs")
    }
}
