//! `hyperslab doctor`: what a job would meet on these machines.

use std::path::PathBuf;

use clap::Args;

use super::compute::DeviceArg;

/// Tell what a job would meet: GPUs, libraries, cores, memory, model, and a trial of writing together;
/// start it as the job will be started
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The model, to be read by every rank
    #[arg(long, env = "HYPERSLAB_MODEL", value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Captions, to be read by rank 0
    #[arg(long, env = "HYPERSLAB_CAPTIONS", value_name = "FILE")]
    pub captions: Option<PathBuf>,
    /// Views, to be read by every rank
    #[arg(long, env = "HYPERSLAB_RENDERS", value_name = "ROOT")]
    pub renders: Option<PathBuf>,
    /// Folder of the outputs, where up to 64 MiB are written for the trial and removed again [default: the
    /// working folder]
    #[arg(long, env = "HYPERSLAB_OUTPUT_DIR", value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Where the job is to compute; auto takes the GPU, and the CPU only where no GPU should be [default: auto]
    #[arg(long, env = "HYPERSLAB_DEVICE", value_name = "WHERE")]
    pub device: Option<DeviceArg>,
    /// Allow more ranks than GPUs on a node
    #[arg(long, env = "HYPERSLAB_SHARE_GPU", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub share_gpu: Option<bool>,
    /// Seconds after which whatever hangs is named and ended
    #[arg(long, value_name = "S", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(5..=3600))]
    pub time_limit: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab doctor
  mpirun -n 8 hyperslab doctor --model siglip-so400m --output-dir /scratch/out
  srun --mpi=pmix --nodes=4 --ntasks-per-node=4 --gpus-per-task=1 --cpus-per-task=6 \\
      hyperslab doctor --model siglip-so400m --renders renders --output-dir /scratch/out

Exit code 0: a job would run, maybe with warnings; 1: it would not.";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::exit;
    use std::time::Duration;

    use super::DoctorArgs;
    use crate::cli::{Cli, ConfigFile, InputArgs, ModelArgs, OutputArgs, RunArgs, layer, logging, out};
    use crate::comm::{Launcher, World};
    use crate::error::{Error, Exit, Result};
    use crate::job::{DoctorRequest, Report, Watchdog, doctor};

    /// Runs the examination on every rank; rank 0 prints. Whatever happens, it ends within the time limit.
    ///
    /// # Errors
    /// Wrong settings, the same on all ranks.
    pub fn run(cli: &Cli, args: &DoctorArgs) -> Result<Exit> {
        let limit = Duration::from_secs(args.time_limit.into());
        let watchdog = Watchdog::start(limit, move |step| {
            out::note(format_args!("error: {step} did not end within {} s", limit.as_secs()));
            out::note(
                "  hint: start it as `srun --mpi=pmix` or with the mpirun of the MPI it was built with",
            );
        });
        let world = World::start()?;
        watchdog.mpi_has_started("reading the settings");
        is_alone_by_mistake(&world);
        world.agree(if world.is_root() { logging::start(&cli.log, None) } else { Ok(()) })?;
        let request = world.agree(resolve(args, cli.config.as_deref()));
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                if world.is_root() {
                    out::note(format_args!("error: {error}"));
                }
                world.meet();
                exit(error.exit.code());
            }
        };
        let ended = doctor(&world, &request, &watchdog, if args.json { print_json } else { print_text });
        if !ended.in_order {
            // Parallel files may still be open, and closing them would wait for ranks that have failed.
            world.meet();
            exit(ended.exit.code());
        }
        world.finish();
        Ok(ended.exit)
    }

    /// Where processes do not find each other, each of them is rank 0: only one of them is to speak.
    fn is_alone_by_mistake(world: &World) {
        if world.check_launch().is_err() && Launcher::found().is_some_and(|launcher| launcher.place > 0) {
            exit(Exit::Failure.code());
        }
    }

    fn resolve(args: &DoctorArgs, config: Option<&Path>) -> Result<DoctorRequest> {
        let file = ConfigFile::load(config)?;
        let typed = InputArgs {
            captions: args.captions.clone(),
            renders: args.renders.clone(),
            ..InputArgs::default()
        };
        let input = layer(&typed, &file)?;
        let model = layer(&ModelArgs { model: args.model.clone(), ..ModelArgs::default() }, &file)?;
        let output =
            layer(&OutputArgs { output_dir: args.output_dir.clone(), ..OutputArgs::default() }, &file)?;
        let typed = RunArgs { device: args.device, share_gpu: args.share_gpu, ..RunArgs::default() };
        let run = layer(&typed, &file)?;
        Ok(DoctorRequest {
            model: model.model,
            captions: input.captions,
            renders: input.renders,
            output_dir: output.resolve().dir,
            device: run.device.map_or_else(Default::default, Into::into),
            share_gpu: run.share_gpu.unwrap_or(false),
        })
    }

    fn print_text(report: &Report) {
        print(&report.to_string());
    }

    fn print_json(report: &Report) {
        let json = serde_json::to_string_pretty(report)
            .unwrap_or_else(|error| Error::new(format!("the report as JSON: {error}")).to_string());
        print(&(json + "\n"));
    }

    /// A reader of standard output that has gone changes nothing about the verdict.
    fn print(text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}
