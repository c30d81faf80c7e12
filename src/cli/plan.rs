//! `hyperslab plan`: what a job would do, and whether it can, without GPU or model.

mod fit;
mod look;
mod odd;
mod report;
mod sbatch;
mod text;

use std::path::Path;
use std::slice::from_ref;

use clap::Args;

use super::out::to_stdout;
use super::{ConfigFile, InputArgs, InputSettings, ModelArgs, OutputArgs, OutputSettings, RunArgs, layer};
use crate::error::{Context, Error, Exit, Result};
use crate::input::{Input, Keep, Naming, captions, views};
use crate::plan::{Blocks, chunk_rows, default_block_rows, share};
use crate::store::{DiskNeed, FileShape, GroupShape, Space};
use odd::{OddInput, compare_ids};
use report::{FilePlan, Report, Width};

/// Show what a job would do: assets, rows, blocks, bytes, time, and what is odd
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// The length of vectors, where no model is at hand [default: as of --model, without one 1152, as of so400m]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    pub dim: Option<u64>,
    /// Ranks that share the rows [default: 1; with --sbatch as many as a node has GPUs]
    #[arg(long, value_name = "N", help_heading = "Plan",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub ranks: Option<u64>,
    /// Rows a second that one rank computes, for the time
    #[arg(long, value_name = "ROWS_PER_S", help_heading = "Plan", value_parser = positive)]
    pub rate: Option<f64>,
    /// Look at so many pictures, one of each of as many assets, for what a model would see amiss; 0 for none
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Plan")]
    pub look: usize,
    /// Print one JSON object
    #[arg(long, help_heading = "Plan")]
    pub json: bool,
    #[command(flatten)]
    pub script: sbatch::ScriptArgs,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab plan --captions captions.json --renders renders
  hyperslab plan --renders renders --views 4 --model MODEL --ranks 32 --rate 900
  hyperslab plan --captions captions.json --output-dir /scratch/out --dtype f16 --json
  hyperslab plan --renders renders --model MODEL --output-dir out --ranks 16 --rate 900 --sbatch job.sh
  find renders -type f -printf '%P\\t%s\\n' > views.tsv
  hyperslab plan --renders-list views.tsv

It takes every option of `embed siglip`, and --sbatch writes them into a job script for Slurm.";

/// Prints the plan.
///
/// # Errors
/// The input cannot be read, or is not what it should be.
pub fn run(args: &PlanArgs, config: Option<&Path>) -> Result<Exit> {
    let file = ConfigFile::load(config)?;
    let input = layer(&args.input, &file)?.resolve()?;
    let output = layer(&args.output, &file)?.resolve();
    let model = layer(&args.model, &file)?;
    let width = Width::of(model.model.as_deref().filter(|_| args.dim.is_none()), args.dim)?;
    let script = args.script.file()?;
    let mut report = make(args, &input, &output, width)?;
    report.advise(model.background.as_deref().unwrap_or("drop"));
    if let Some(path) = script {
        let settings = sbatch::Settings {
            input: layer(&args.input, &file)?,
            output: layer(&args.output, &file)?,
            model,
            run: layer(&args.run, &file)?,
            config: file.path(),
        };
        args.script.write(path, &settings, &report)?;
        report.sbatch = Some(path.to_owned());
    }
    to_stdout(|out| {
        if args.json {
            let json = serde_json::to_string_pretty(&report).context(|| "the plan as JSON")?;
            writeln!(out, "{json}")?;
        } else {
            write!(out, "{report}")?;
        }
        Ok(Exit::Success)
    })
}

fn make(args: &PlanArgs, input: &InputSettings, output: &OutputSettings, width: Width) -> Result<Report> {
    let (inputs, odd) = read(input, if args.look > 0 { Keep::Sample } else { Keep::Counts })?;
    let planner = Planner { args, input, output, width };
    let files: Vec<_> = inputs.iter().map(|input| planner.file(input)).collect();
    let outputs: Vec<_> = inputs.iter().map(|input| output.siglip(input.kind())).collect();
    let space = Space::of(&output.dir, &outputs)?;
    let ranks = args.ranks();
    let image = inputs.iter().find(|input| input.kind().has_views()).filter(|_| args.look > 0);
    let pictures = image.map(|image| look::at(image, input.renders.as_deref(), args.look)).transpose()?;
    let needed = DiskNeed::most_in_turn(&files.iter().map(|file| file.bytes).collect::<Vec<_>>());
    let mut report = Report {
        output_dir: output.dir.clone(),
        dim_is_assumed: width.assumed,
        dtype: output.dtype.to_string(),
        compression: output.compression.to_string(),
        ranks,
        rate: args.rate,
        needed_bytes: needed,
        free_bytes: space.free,
        taken_bytes: space.taken,
        short_bytes: space.short_by(needed),
        files,
        pictures,
        odd,
        warnings: Vec::new(),
        sbatch: None,
    };
    report.warnings = fit::warnings(&report);
    Ok(report)
}

impl PlanArgs {
    fn ranks(&self) -> u64 {
        self.ranks.unwrap_or_else(|| self.script.default_ranks())
    }
}

/// Reads the input as far as counts go; of the views, keeps as much as `keep` says.
fn read(settings: &InputSettings, keep: Keep) -> Result<(Vec<Input>, Vec<OddInput>)> {
    let naming = Naming::read(settings.id_map.as_deref(), settings.ids)?;
    let mut inputs = Vec::new();
    let mut odd = Vec::new();
    if let Some(path) = &settings.captions {
        let read = captions::read(path, Keep::Counts)?;
        let (named, unnamed) = naming.captions(read.catalog)?;
        let input = Input::text(named, settings.max_assets)?;
        odd.extend(odd::of_captions(read.empty, input.duplicates(), unnamed));
        inputs.push(input);
    }
    if let Some(listing) = list_views(settings, keep)? {
        let named = naming.views(listing.catalog)?;
        odd.extend(odd::of_views(listing.odd, named.left_out().clone()));
        inputs.push(Input::image(named, settings.views, settings.max_assets)?);
    }
    match &inputs[..] {
        [] => Err(Error::new("nothing to plan: neither captions nor views were named")
            .hint("give --captions FILE, --renders ROOT or --renders-list FILE")
            .exit(Exit::Usage)),
        [text, image] => {
            odd.extend(compare_ids(text.all(), image.all()));
            Ok((inputs, odd))
        }
        _ => Ok((inputs, odd)),
    }
}

/// The views, if any were named. Archives of a list are looked into where their root is
/// known.
fn list_views(settings: &InputSettings, keep: Keep) -> Result<Option<views::Listing>> {
    let rule = views::Rule::new(settings.layout, &settings.view_glob)?;
    let (parts, mut listing) = match (&settings.renders_list, &settings.renders) {
        (Some(list), _) => views::read_list(list, 1, keep, &rule)?,
        (None, Some(root)) => views::split(root, 1, keep, &rule)?,
        (None, None) => return Ok(None),
    };
    for part in parts {
        match &settings.renders {
            Some(root) => listing.merge(views::walk(root, &part, keep, &rule)?),
            None => part.archives().iter().for_each(|path| listing.odd.archives_without_root.add(path)),
        }
    }
    Ok(Some(listing))
}

struct Planner<'a> {
    args: &'a PlanArgs,
    input: &'a InputSettings,
    output: &'a OutputSettings,
    width: Width,
}

impl Planner<'_> {
    fn file(&self, input: &Input) -> FilePlan {
        let table = input.table();
        let (kind, rows, ranks) = (input.kind(), input.rows(), self.args.ranks());
        let block_rows = self.input.block_rows.unwrap_or_else(|| default_block_rows(rows));
        let blocks = Blocks::new(rows, block_rows);
        let dim = self.width.of_kind(kind);
        let group = GroupShape::of(kind, table);
        let shape =
            FileShape { kind, groups: vec![group], dim, block_rows, spool_bytes: input.spool_bytes() };
        let path = self.output.siglip(kind);
        let (rows_per_rank_min, rows_per_rank_max) = rows_per_rank(&blocks, ranks);
        FilePlan {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            exists: path.exists(),
            kind,
            assets: group.assets,
            views_found: report::histogram(input),
            rows,
            dim,
            longest_id: group.longest_id,
            block_rows,
            blocks: blocks.count(),
            chunk_rows: chunk_rows(block_rows, dim * self.output.dtype.size_bytes() as u64),
            rows_per_rank_min,
            rows_per_rank_max,
            bytes: DiskNeed::of(&shape, self.output.dtype, self.output.compression),
            seconds: self.args.rate.map(|rate| rows_per_rank_max as f64 / rate),
        }
    }
}

/// The fewest and the most rows that any of so many ranks computes.
fn rows_per_rank(blocks: &Blocks, ranks: u64) -> (u64, u64) {
    let all = 0..blocks.count();
    let rows = (0..ranks).map(|rank| {
        let mine = share(from_ref(&all), rank, ranks);
        mine.into_iter().map(|run| blocks.rows_of(run)).map(|rows| rows.end - rows.start).sum::<u64>()
    });
    rows.fold((blocks.rows(), 0), |(min, max), rows| (min.min(rows), max.max(rows)))
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| *rate > 0.0 && rate.is_finite()).ok_or_else(|| "a number above 0 is wanted".to_owned())
}
