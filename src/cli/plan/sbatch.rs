//! `plan --sbatch`: the Slurm job script that fits the plan.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::fit::DAY_S;
use super::report::Report;
use super::text::duration;
use crate::cli::compute::DeviceArg;
use crate::cli::out::count;
use crate::cli::{Family, InputArgs, ModelArgs, OutputArgs, RunArgs, flags};
use crate::error::{Context, Error, Exit, Result};

/// What a job takes beside computing: start, model, commits and the seal; and how much more than planned.
const BESIDE_S: f64 = 1200.0;
const MARGIN: f64 = 1.5;

/// The job script of any data set; what a plan tells is filled in. Above the first of Slurm's options it tells how
/// to use it as it is.
const TEMPLATE: &str = include_str!("../../../slurm/job.sh");
const FIRST: &str = "#SBATCH --job-name=";
const GPUS: &str = "#SBATCH --gpus-per-task=1";

/// The job script as typed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Job script")]
pub struct ScriptArgs {
    /// Write the Slurm job script that fits the plan
    #[arg(long, value_name = "FILE")]
    pub sbatch: Option<PathBuf>,
    /// GPUs of a node, each of which gets a rank
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub gpus_per_node: u64,
    /// Cores of a rank, for decoding; `hyperslab bench decode` says how many keep a GPU busy
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub cpus_per_task: u64,
    /// Replace a script that is there
    #[arg(long, requires = "sbatch")]
    pub force: bool,
}

/// The settings of the job, flags and file together.
pub struct Settings<'a> {
    pub input: InputArgs,
    pub output: OutputArgs,
    pub family: Family,
    pub model: ModelArgs,
    pub run: RunArgs,
    /// The file that some of them come from.
    pub config: Option<&'a Path>,
}

impl ScriptArgs {
    /// Where the script goes, if one is asked for.
    ///
    /// # Errors
    /// Something is there already, before any time is spent on the plan.
    pub fn file(&self) -> Result<Option<&Path>> {
        match &self.sbatch {
            Some(path) if path.symlink_metadata().is_ok() && !self.force => Err(there_already(path)),
            path => Ok(path.as_deref()),
        }
    }

    /// Ranks where none are named: a node full.
    pub fn default_ranks(&self) -> u64 {
        if self.sbatch.is_some() { self.gpus_per_node } else { 1 }
    }

    /// Writes the script.
    ///
    /// # Errors
    /// Settings that `embed` would refuse, or a file that cannot be written.
    pub fn write(&self, path: &Path, settings: &Settings<'_>, report: &Report) -> Result<()> {
        let text = self.text(path, settings, report)?;
        let what = || format!("cannot write the job script {}", path.display());
        let mut options = OpenOptions::new();
        options.write(true).mode(0o755);
        let options = if self.force { options.create(true).truncate(true) } else { options.create_new(true) };
        let mut file = options.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => there_already(path),
            _ => Error::new(format!("{}: {error}", what())),
        })?;
        file.write_all(text.as_bytes()).context(what).inspect_err(|_| {
            // Half a script is of no use.
            let _ = fs::remove_file(path);
        })
    }

    fn text(&self, path: &Path, settings: &Settings<'_>, report: &Report) -> Result<String> {
        let ranks = report.ranks;
        let nodes = ranks.div_ceil(self.gpus_per_node);
        let per_node = self.gpus_per_node.min(ranks);
        let on_gpus = settings.run.device != Some(DeviceArg::Cpu);
        let (time, why) = time_limit(report);
        Ok(filled(&[
            (FIRST, head(path, report)?),
            ("#SBATCH --nodes=", format!("#SBATCH --nodes={nodes}")),
            (
                "#SBATCH --ntasks-per-node=",
                format!("#SBATCH --ntasks={ranks}\n#SBATCH --ntasks-per-node={per_node}"),
            ),
            (GPUS, if on_gpus { GPUS } else { "" }.to_owned()),
            ("#SBATCH --cpus-per-task=", format!("#SBATCH --cpus-per-task={}", self.cpus_per_task)),
            ("#SBATCH --time=", format!("# {why}\n#SBATCH --time={time}")),
            ("#SBATCH --output=", format!("#SBATCH --output={}", log_file(path)?)),
            ("mpi=", format!("mpi={}", mpi_plugin())),
            ("command=", Command::of(settings)?.lines(settings.config)?),
        ]))
    }
}

/// What begins a line of the template, and what stands there instead.
type Filling = (&'static str, String);

/// The template with its lines filled in; those filled with nothing are left out.
fn filled(fillings: &[Filling]) -> String {
    let options = TEMPLATE.lines().skip_while(|line| !line.starts_with(FIRST));
    let mut text = String::new();
    for line in options {
        let filling = fillings.iter().find(|(start, _)| line.starts_with(start));
        let line = filling.map_or(line, |(_, filled)| filled);
        if !line.is_empty() || filling.is_none() {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// What tells a reader of the script, and the first of what Slurm reads.
fn head(path: &Path, report: &Report) -> Result<String> {
    let rows = report.files.iter().map(|file| file.rows).sum();
    let script = quoted(&path.to_string_lossy())?;
    Ok(format!(
        "#!/bin/bash\n\
         # {} on {}. Written by `hyperslab plan --sbatch`.\n\
         #\n\
         # Adapt the lines marked ADAPT. See first what the job will meet:\n\
         #     sbatch --time=5 {script} doctor\n\
         # Then: sbatch {script}\n\
         #\n\
         {FIRST}hyperslab",
        count(rows, "row"),
        count(report.ranks, "rank"),
    ))
}

/// The two commands of the script, as words of the shell.
struct Command {
    embed: String,
    doctor: String,
}

impl Command {
    fn of(settings: &Settings<'_>) -> Result<Self> {
        let usage = |message: &str| Err(Error::new(message).exit(Exit::Usage));
        if settings.model.model.is_none() {
            return usage("a job script needs a model: --model DIR names its folder");
        }
        if settings.input.renders_list.is_some() && settings.input.renders.is_none() {
            return usage(
                "a job script with --renders-list needs --renders ROOT, to which its paths are relative",
            );
        }
        let program = std::env::current_exe().context(|| "cannot tell where this program lies")?;
        let program = program.to_string_lossy().into_owned();
        // Where nothing is named, the working folder: this one, not that of the job.
        let dir = settings.output.output_dir.clone().unwrap_or_else(|| ".".into());
        let output = OutputArgs { output_dir: Some(dir.clone()), ..settings.output.clone() };
        let (mut model, mut input) = (settings.model.clone(), settings.input.clone());
        // Of a file that serves both families; and without a model at hand --dim is what was planned with.
        settings.family.drop_of_others(&mut input, &mut model);
        let groups = [flags(&model)?, flags(&input)?, flags(&output)?, flags(&settings.run)?];
        let embed = [program.clone(), "embed".to_owned(), settings.family.name().to_owned()];

        let input = InputArgs {
            captions: settings.input.captions.clone(),
            renders: settings.input.renders.clone(),
            ..InputArgs::default()
        };
        let model = ModelArgs { model: settings.model.model.clone(), ..ModelArgs::default() };
        let output = OutputArgs { output_dir: Some(dir), ..OutputArgs::default() };
        let run =
            RunArgs { device: settings.run.device, share_gpu: settings.run.share_gpu, ..RunArgs::default() };
        let looked_at = [flags(&model)?, flags(&input)?, flags(&output)?, flags(&run)?];
        let doctor = [program, "doctor".to_owned()];
        Ok(Self {
            embed: words(embed.into_iter().chain(groups.concat()))?,
            doctor: words(doctor.into_iter().chain(looked_at.concat()))?,
        })
    }

    /// The lines that choose between them.
    fn lines(&self, config: Option<&Path>) -> Result<String> {
        let mut text = String::new();
        if let Some(config) = config {
            let config = std::path::absolute(config).context(|| config.display())?;
            // What the file says stands in the command as flags; without this, a file of the folder that the script
            // is submitted from would be read.
            let _ = writeln!(text, "export HYPERSLAB_CONFIG={}", quoted(&config.to_string_lossy())?);
        }
        let Self { embed, doctor } = self;
        let _ = write!(text, "command=({embed})\n[ \"${{1:-}}\" != doctor ] || command=({doctor})");
        Ok(text)
    }
}

/// Words for the shell, each option on a line of its own.
fn words(arguments: impl Iterator<Item = String>) -> Result<String> {
    let mut text = String::new();
    for argument in arguments {
        let break_line = argument.starts_with("--");
        text.push_str(if text.is_empty() {
            ""
        } else if break_line {
            "\n    "
        } else {
            " "
        });
        text.push_str(&quoted(&argument)?);
    }
    Ok(text)
}

fn quoted(text: &str) -> Result<String> {
    shlex::try_quote(text).map(std::borrow::Cow::into_owned).context(|| format!("'{text}' in a job script"))
}

/// The log beside the script, for Slurm: `%` is its own mark, and quotes are its own too.
fn log_file(script: &Path) -> Result<String> {
    let script = std::path::absolute(script).context(|| script.display())?;
    let folder = script.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let misread = |letter: char| letter == '"' || letter == '\\';
    if folder.contains(misread) || script.to_string_lossy().contains(char::is_control) {
        return Err(Error::new(format!(
            "Slurm would misread the path of the job script, '{}'",
            script.display()
        ))
        .hint("give it a path without double quotes, backslashes and line breaks"));
    }
    Ok(format!("\"{}/%x-%j.log\"", folder.replace('%', "%%")))
}

/// Slurm's time limit, and why it is that.
fn time_limit(report: &Report) -> (String, String) {
    let Some(seconds) = report.seconds() else {
        let why = "ADAPT: no rate was planned with (`plan --rate`), so a day; a job that needs longer goes on by itself";
        return (clock(DAY_S), why.to_owned());
    };
    let wanted = seconds * MARGIN + BESIDE_S;
    let about = duration(seconds);
    if wanted > DAY_S {
        let why =
            format!("{about} at the planned rate: in days, after each of which it queues again and goes on");
        return (clock(DAY_S), why);
    }
    (clock(wanted), format!("{about} at the planned rate, half as much again, and 20 minutes"))
}

/// Seconds as Slurm's `hours:minutes:seconds`, in whole minutes.
fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    format!("{:02}:{:02}:00", minutes / 60, minutes % 60)
}

/// How srun has to start the MPI that the program was built with.
fn mpi_plugin() -> &'static str {
    match option_env!("HYPERSLAB_BUILD_MPI") {
        Some(mpi) if ["MPICH", "Intel MPI", "MVAPICH"].iter().any(|name| mpi.starts_with(name)) => "pmi2",
        _ => "pmix",
    }
}

fn there_already(path: &Path) -> Error {
    Error::new(format!("{} is there already", path.display()))
        .hint("--force replaces it; or name another file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let arguments = ["/a b/hyperslab", "embed", "--captions", "it's \"x\" $HOME.json", "--views", "2"];
        let text = words(arguments.iter().map(ToString::to_string)).unwrap();
        assert_eq!(shlex::split(&text).unwrap(), arguments);
        assert!(text.contains("\n    --views 2"), "{text}");
        assert!(quoted("nul\0").is_err());
    }

    #[test]
    fn every_filling_has_its_line_in_the_template() {
        let starts =
            [FIRST, GPUS, "#SBATCH --nodes=", "#SBATCH --ntasks-per-node=", "#SBATCH --cpus-per-task="];
        for start in starts.into_iter().chain(["#SBATCH --time=", "#SBATCH --output=", "mpi=", "command="]) {
            assert_eq!(TEMPLATE.lines().filter(|line| line.starts_with(start)).count(), 1, "{start}");
        }
    }

    #[test]
    fn clocks_are_whole_minutes() {
        assert_eq!([1.0, 3600.0, 86_400.0].map(clock), ["00:01:00", "01:00:00", "24:00:00"]);
    }

    #[test]
    fn slurms_own_marks_in_a_path_are_escaped_or_refused() {
        assert_eq!(log_file(Path::new("/a b/100%/job.sh")).unwrap(), "\"/a b/100%%/%x-%j.log\"");
        assert!(log_file(Path::new("/a\"b/job.sh")).is_err());
    }
}
