//! `hyperslab embed`: the main job.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::{Family, InputArgs, ModelArgs, OutputArgs, RunArgs};
use crate::plan::Shard;

/// Embed captions and views into HDF5 files; start it with mpirun or srun to use several GPUs
#[derive(Args, Clone, Debug)]
#[command(disable_help_subcommand = true)]
pub struct EmbedArgs {
    #[command(subcommand)]
    pub family: FamilyArgs,
}

/// One line per family.
#[derive(Clone, Debug, Subcommand)]
pub enum FamilyArgs {
    /// Embed with SigLIP or SigLIP 2, of fixed resolution or NaFlex: one vector per caption, one per view
    #[command(after_help = SIGLIP_EXAMPLES)]
    Siglip(Box<JobArgs>),
    /// Embed with Qwen3-VL-Embedding or Qwen3-Embedding: one vector per caption in either language, one per
    /// asset from several of its views
    #[command(after_help = QWEN_EXAMPLES)]
    Qwen(Box<JobArgs>),
}

impl FamilyArgs {
    /// The family, and what was typed for it.
    pub fn parts(&self) -> (Family, &JobArgs) {
        match self {
            Self::Siglip(args) => (Family::Siglip, args),
            Self::Qwen(args) => (Family::Qwen, args),
        }
    }
}

/// A job as typed.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
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
    /// Embed again what failed in a complete output (see its /failures), e.g. when broken pictures are mended,
    /// and replace it: all other rows are taken over
    #[arg(long, help_heading = "Output", conflicts_with = "overwrite")]
    pub retry_failed: bool,
    /// Embed the K-th of N shares of the blocks alone, as one task of an array, into a stage of its own;
    /// `hyperslab seal` joins them. `array` takes K and N from Slurm's array
    #[arg(long, help_heading = "Output", value_name = "K/N|array", conflicts_with = "retry_failed")]
    pub shard: Option<ShardArg>,
    /// Leave compressing and verifying to `hyperslab seal`, e.g. as a job on CPU nodes
    #[arg(long, help_heading = "Output")]
    pub no_seal: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

/// A shard, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardArg {
    /// The place of this task in its Slurm array.
    Array,
    Of(Shard),
}

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "array" { Ok(Self::Array) } else { text.parse().map(Self::Of) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    Text,
    Image,
}

const SIGLIP_EXAMPLES: &str = "\
Examples:
  One process:
    hyperslab embed siglip --model siglip-so400m --captions captions.json --renders renders --output-dir out
  Eight GPUs of one node:
    mpirun -n 8 --bind-to none hyperslab embed siglip --model siglip-so400m --renders renders --output-dir out
  Slurm:
    srun --mpi=pmix --ntasks-per-node=4 --gpus-per-task=1 --cpus-per-task=6 hyperslab embed siglip ...
  An array of eight tasks, with sbatch --array=1-8, and what makes one file of their shards:
    hyperslab embed siglip --shard $SLURM_ARRAY_TASK_ID/8 ...
    mpirun -n 16 hyperslab seal out/siglip_text_embeddings.h5 out/siglip_image_embeddings.h5

Interrupted or killed, the same command goes on from the last committed round, on any number of ranks. Exit
code 75 asks for that.";

const QWEN_EXAMPLES: &str = "\
Examples:
  One process:
    hyperslab embed qwen --model Qwen/Qwen3-VL-Embedding-2B --captions captions.json \\
        --captions-zh captions_zh.json --renders renders --output-dir out
  Eight GPUs of one node, 1024 of 2048 components, four views of each asset:
    mpirun -n 8 --bind-to none hyperslab embed qwen --model Qwen/Qwen3-VL-Embedding-2B --dim 1024 \\
        --renders renders --views 4 --output-dir out
  Texts alone, as queries:
    hyperslab embed qwen --model Qwen/Qwen3-Embedding-0.6B --captions queries.json --text-form query

An asset whose views partly fail is embedded from the others, and is listed in /failures all the same.
Interrupted or killed, the same command goes on from the last committed round, on any number of ranks. Exit
code 75 asks for that.";

#[cfg(feature = "engine")]
pub use engine::{request, run};

#[cfg(feature = "engine")]
mod engine {
    use std::path::Path;
    use std::time::Instant;

    use super::{EmbedArgs, JobArgs, Only, ShardArg};
    use crate::cli::array;
    use crate::cli::compute::VerifyResumeArg;
    use crate::cli::{ConfigFile, Family, InputSettings, OutputSettings, layer};
    use crate::comm::World;
    use crate::error::{Error, Exit, Result};
    use crate::input::views::{Layout, Rule};
    use crate::job::{self, CaptionFile, EmbedRequest, MaxFailures, Mode, OutputRequest, VerifyResume};
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
        let (family, args) = args.family.parts();
        let request = world.agree(resolve(family, args, config))?;
        job::embed(world, &request, began, say)
    }

    /// What was typed, as what it means.
    fn resolve(family: Family, args: &JobArgs, config: Option<&Path>) -> Result<EmbedRequest> {
        refuse_of_others(family, args)?;
        let file = ConfigFile::load(config)?;
        let (mut model, mut input) = (layer(&args.model, &file)?, layer(&args.input, &file)?);
        family.drop_of_others(&mut input, &mut model);
        let run = layer(&args.run, &file)?;
        let output = layer(&args.output, &file)?.resolve();
        let input = input.resolve()?;
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
            model: model.model.clone().ok_or_else(missing)?,
            outputs: outputs(family, args.only, &input, &output).map_err(usage)?,
            device: run.device.map_or_else(Default::default, Into::into),
            share_gpu: run.share_gpu.unwrap_or(false),
            precision: model.precision.map(Into::into),
            options: model.options(family).map_err(usage)?,
            stored: output.dtype,
            compression: output.compression,
            batch_size: bounded("batch-size", model.batch_size, 1 << 16)?,
            max_tokens_per_batch: bounded("max-tokens-per-batch", model.max_tokens_per_batch, 1 << 24)?,
            decode_threads: bounded("decode-threads", run.decode_threads, 1 << 12)?,
            threads: bounded("threads", run.threads, 1 << 12)?.unwrap_or(1),
            max_failures: max_failures
                .parse::<MaxFailures>()
                .map_err(|why| usage(Error::new(format!("--max-failures: {why}"))))?,
            round_blocks: run.round_blocks,
            mode: mode(args).map_err(usage)?,
            verify_resume: match run.verify_resume.unwrap_or(VerifyResumeArg::All) {
                VerifyResumeArg::All => VerifyResume::All,
                VerifyResumeArg::Sample => VerifyResume::Sample,
                VerifyResumeArg::None => VerifyResume::None,
            },
            time_limit: run.time_limit().map_err(usage)?,
            watchdog: run.watchdog().map_err(usage)?,
            seal: !args.no_seal,
        })
    }

    fn mode(args: &JobArgs) -> Result<Mode> {
        let overwrite = args.overwrite;
        Ok(match args.shard {
            Some(ShardArg::Of(shard)) => Mode::Shard { shard, overwrite },
            Some(ShardArg::Array) => {
                Mode::Shard { shard: array::shard(|name| std::env::var(name).ok())?, overwrite }
            }
            None if overwrite => Mode::Overwrite,
            None if args.retry_failed => Mode::RetryFailed,
            None => Mode::GoOn,
        })
    }

    /// Refuses options of the other family where they were typed. What a file holds may serve both.
    fn refuse_of_others(family: Family, args: &JobArgs) -> Result<()> {
        let (mut input, mut model) = (args.input.clone(), args.model.clone());
        match family.drop_of_others(&mut input, &mut model).first() {
            None => Ok(()),
            Some(option) => {
                let variable = option.trim_start_matches("--").replace('-', "_").to_uppercase();
                let error = Error::new(format!("{option} is no option of `embed {}`", family.name()));
                Err(error.hint(format!("leave it out, or unset HYPERSLAB_{variable}")).exit(Exit::Usage))
            }
        }
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
        family: Family,
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
        check_names(family, output)?;
        let wanted = |kind, given: bool, needs: &str| match only {
            Some(only) if only != kind => Ok(false),
            Some(_) if !given => Err(Error::new(format!("--only asks for a file that needs {needs}"))),
            _ => Ok(given),
        };
        let mut requests = Vec::new();
        if wanted(Only::Text, !family.captions(input).is_empty(), "--captions FILE")? {
            requests.push(request(family, Kind::Text, input, output));
        }
        if wanted(Only::Image, views_given, "--renders ROOT")? {
            requests.push(request(family, family.image_kind(), input, output));
        }
        if requests.is_empty() {
            return Err(
                Error::new("there is nothing to embed").hint("give --captions FILE, --renders ROOT, or both")
            );
        }
        Ok(requests)
    }

    /// Refuses names that a file cannot have, or that stand for something else.
    fn check_names(family: Family, output: &OutputSettings) -> Result<()> {
        let files = output.names(family);
        let is_taken = |name: &str| {
            let beside = [".partial", ".plan", ".new", ".journal", ".lock", ".tmp"];
            name == "run.json" || beside.iter().any(|suffix| name.ends_with(suffix))
        };
        let is_no_name = |name: &str| matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
        if let Some(name) = files.iter().find(|name| is_no_name(name) || is_taken(name)) {
            return Err(Error::new(format!("an output cannot have the name '{name}'")).hint(
                "--output-dir names the folder, --siglip-text, --siglip-image, --qwen-text and --qwen-image the \
                 files in it; names of what stands beside an output (.partial, .plan, .journal, .lock, .tmp, run.json) are taken",
            ));
        }
        if files[0] == files[1] {
            return Err(Error::new(format!("both outputs would be '{}'", files[0])));
        }
        Ok(())
    }

    /// What is asked of the output of this kind.
    pub fn request(
        family: Family,
        kind: Kind,
        input: &InputSettings,
        output: &OutputSettings,
    ) -> OutputRequest {
        let image = kind.has_views();
        let captions = if image { Vec::new() } else { family.captions(input) };
        let file =
            |(group, path): (&str, &Path)| CaptionFile { group: group.to_owned(), path: path.to_owned() };
        OutputRequest {
            family: family.name(),
            kind,
            output: output.file(family, kind),
            captions: captions.into_iter().map(file).collect(),
            renders: input.renders.clone().filter(|_| image),
            renders_list: input.renders_list.clone().filter(|_| image),
            layout: if image { input.layout } else { Layout::default() },
            view_glob: if image { input.view_glob.clone() } else { Vec::new() },
            views: if image { family.views(input) } else { Views::default() },
            max_assets: input.max_assets,
            id_map: input.id_map.clone(),
            ids: input.ids,
            block_rows: input.block_rows,
        }
    }
}
