//! `hyperslab seal`: the end of a job that ran with `--no-seal` or as an array, or whose seal was interrupted.

use std::path::PathBuf;

use clap::Args;

use crate::store::Compression;

/// Compress, verify and name outputs whose rows are all committed, by one job or by the tasks of an array;
/// needs no GPU and no model
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SealArgs {
    /// Outputs by their final names, e.g. out/siglip_image_embeddings.h5
    #[arg(required = true, value_name = "FILE")]
    pub outputs: Vec<PathBuf>,
    /// gzip:1 to gzip:9 (after shuffle), or none; `embed --no-seal` leaves this choice to here
    /// [default: gzip:4]
    #[arg(long, env = "HYPERSLAB_COMPRESSION", value_name = "HOW")]
    pub compression: Option<Compression>,
}

const EXAMPLES: &str = "\
Example, with a rank per core:
  mpirun -n 16 hyperslab seal out/siglip_text_embeddings.h5 out/siglip_image_embeddings.h5";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::path::Path;

    use super::SealArgs;
    use crate::cli::{ConfigFile, OutputArgs, layer};
    use crate::comm::World;
    use crate::error::Result;
    use crate::job::{Stop, seal_output};
    use crate::store::{Compression, OutputPaths};

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
        let compression = world.agree(compression(args, config))?;
        for output in &args.outputs {
            say(&seal_output(world, &OutputPaths::new(output), compression, &stop)?);
        }
        Ok(())
    }

    fn compression(args: &SealArgs, config: Option<&Path>) -> Result<Compression> {
        let typed = OutputArgs { compression: args.compression, ..OutputArgs::default() };
        Ok(layer(&typed, &ConfigFile::load(config)?)?.resolve().compression)
    }
}
