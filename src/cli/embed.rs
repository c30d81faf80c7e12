//! `hyperslab embed`: the main job.

use clap::{Args, Subcommand, ValueEnum};

use super::{InputArgs, ModelArgs, OutputArgs, RunArgs};

/// Embed captions and views into HDF5 files; start it with mpirun or srun to use several GPUs
#[derive(Args, Clone, Debug)]
#[command(disable_help_subcommand = true)]
pub struct EmbedArgs {
    #[command(subcommand)]
    pub family: Family,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Family {
    Siglip(Box<EmbedSiglipArgs>),
}

/// Embed with SigLIP or SigLIP 2, of fixed resolution or NaFlex: one vector per caption, one per view
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct EmbedSiglipArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub input: InputArgs,
    /// Make one of the two files alone [default: those whose input is given]
    #[arg(long, value_name = "KIND", help_heading = "Input")]
    pub only: Option<Only>,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Start again: discard an unfinished run, and replace the output once the new one is complete
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,
    /// Leave compressing and verifying to `hyperslab seal`, e.g. as a job on CPU nodes
    #[arg(long, help_heading = "Output")]
    pub no_seal: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    Text,
    Image,
}

const EXAMPLES: &str = "\
Examples:
  One process:
    hyperslab embed siglip --model siglip-so400m --captions captions.json --renders renders --output-dir out
  Eight GPUs of one node:
    mpirun -n 8 --bind-to none hyperslab embed siglip --model siglip-so400m --renders renders --output-dir out
  Slurm:
    srun --mpi=pmix --ntasks-per-node=4 --gpus-per-task=1 --cpus-per-task=6 hyperslab embed siglip ...

Interrupted or killed, the same command goes on from the last committed round, on any number of ranks. Exit
code 75 asks for that.";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::path::Path;
    use std::time::Instant;

    use super::{EmbedArgs, EmbedSiglipArgs, Family, Only};
    use crate::cli::compute::PrecisionArg;
    use crate::cli::{ConfigFile, InputSettings, OutputSettings, layer};
    use crate::comm::World;
    use crate::error::{Error, Exit, Result};
    use crate::input::views::{Layout, Rule};
    use crate::job::{self, CaptionFile, EmbedRequest, MaxFailures, OutputRequest};
    use crate::model::PictureSettings;
    use crate::model::device::Precision;
    use crate::plan::{Kind, Views};

    /// Runs the job, which began at `began`; `say` takes what rank 0 prints. Collective.
    ///
    /// # Errors
    /// Settings that are wrong, or the job's failure.
    pub fn run(
        world: &World,
        args: &EmbedArgs,
        config: Option<&Path>,
        began: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let Family::Siglip(args) = &args.family;
        let request = world.agree(resolve(args, config))?;
        job::embed(world, &request, began, say)
    }

    /// What was typed, as what it means.
    fn resolve(args: &EmbedSiglipArgs, config: Option<&Path>) -> Result<EmbedRequest> {
        let file = ConfigFile::load(config)?;
        let model = layer(&args.model, &file)?;
        let run = layer(&args.run, &file)?;
        let output = layer(&args.output, &file)?.resolve();
        let input = layer(&args.input, &file)?.resolve()?;
        bounded("block-rows", input.block_rows.map(|rows| rows as usize), 1 << 30)?;
        let usage = |error: Error| error.exit(Exit::Usage);
        let missing = || {
            usage(
                Error::new("no model is given")
                    .hint("--model takes its folder, or the name of one that `hyperslab fetch` has fetched"),
            )
        };
        let max_failures = run.max_failures.as_deref().unwrap_or("10%");
        Ok(EmbedRequest {
            model: model.model.ok_or_else(missing)?,
            outputs: outputs(args.only, &input, &output).map_err(usage)?,
            device: run.device.map_or_else(Default::default, Into::into),
            share_gpu: run.share_gpu.unwrap_or(false),
            precision: model.precision.map(|precision| match precision {
                PrecisionArg::F32 => Precision::F32,
                PrecisionArg::Bf16 => Precision::Bf16,
                PrecisionArg::F16 => Precision::F16,
            }),
            pictures: PictureSettings {
                background: model.background.as_deref().unwrap_or("drop").parse().map_err(usage)?,
                max_num_patches: model.max_num_patches,
            },
            stored: output.dtype,
            compression: output.compression,
            batch_size: bounded("batch-size", model.batch_size, 1 << 16)?,
            decode_threads: bounded("decode-threads", run.decode_threads, 1 << 12)?,
            threads: bounded("threads", run.threads, 1 << 12)?.unwrap_or(1),
            max_failures: max_failures
                .parse::<MaxFailures>()
                .map_err(|why| usage(Error::new(format!("--max-failures: {why}"))))?,
            round_blocks: run.round_blocks,
            overwrite: args.overwrite,
            seal: !args.no_seal,
        })
    }

    /// A number that flag, variable or file has set, if it is one that can be meant.
    fn bounded(name: &str, number: Option<usize>, most: usize) -> Result<Option<usize>> {
        match number {
            Some(number) if !(1..=most).contains(&number) => {
                Err(Error::new(format!("{name} is {number}; possible are 1 to {most}")).exit(Exit::Usage))
            }
            number => Ok(number),
        }
    }

    /// The files to make: those whose input is there, or the one that `--only` names.
    fn outputs(
        only: Option<Only>,
        input: &InputSettings,
        output: &OutputSettings,
    ) -> Result<Vec<OutputRequest>> {
        let views_given = input.renders.is_some();
        // Refused here, before anything begins.
        Rule::new(input.layout, &input.view_glob)?;
        if input.renders_list.is_some() && !views_given {
            return Err(Error::new("--renders-list names views, but not where they are")
                .hint("add --renders ROOT: the list's paths are relative to it"));
        }
        let wanted = |kind, given: bool, needs: &str| match only {
            Some(only) if only != kind => Ok(false),
            Some(_) if !given => Err(Error::new(format!("--only asks for a file that needs {needs}"))),
            _ => Ok(given),
        };
        let files = [&output.siglip_text, &output.siglip_image];
        let is_taken = |name: &str| {
            let beside = [".partial", ".plan", ".new", ".journal", ".lock", ".tmp"];
            name == "run.json" || beside.iter().any(|suffix| name.ends_with(suffix))
        };
        let is_no_name = |name: &str| matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
        if let Some(name) = files.iter().find(|name| is_no_name(name) || is_taken(name)) {
            return Err(Error::new(format!("an output cannot have the name '{name}'")).hint(
                "--output-dir names the folder, --siglip-text and --siglip-image the files in it; names of what \
                 stands beside an output (.partial, .plan, .journal, .lock, .tmp, run.json) are taken",
            ));
        }
        if files[0] == files[1] {
            return Err(Error::new(format!("both outputs would be '{}'", files[0])));
        }
        let mut requests = Vec::new();
        if wanted(Only::Text, input.captions.is_some(), "--captions FILE")? {
            requests.push(request(Kind::Text, input, output));
        }
        if wanted(Only::Image, views_given, "--renders ROOT")? {
            requests.push(request(Kind::Image, input, output));
        }
        if requests.is_empty() {
            return Err(
                Error::new("there is nothing to embed").hint("give --captions FILE, --renders ROOT, or both")
            );
        }
        Ok(requests)
    }

    fn request(kind: Kind, input: &InputSettings, output: &OutputSettings) -> OutputRequest {
        let image = kind == Kind::Image;
        let captions = input.captions.iter().filter(|_| !image);
        OutputRequest {
            family: "siglip",
            kind,
            output: output.siglip(kind),
            captions: captions.map(|path| CaptionFile { group: String::new(), path: path.clone() }).collect(),
            renders: input.renders.clone().filter(|_| image),
            renders_list: input.renders_list.clone().filter(|_| image),
            layout: if image { input.layout } else { Layout::default() },
            view_glob: if image { input.view_glob.clone() } else { Vec::new() },
            views: if image { input.views } else { Views::default() },
            max_assets: input.max_assets,
            id_map: input.id_map.clone(),
            ids: input.ids,
            block_rows: input.block_rows,
        }
    }
}
