//! `hyperslab plan`: what a job would do, and whether it can, without GPU or model.

mod odd;
mod report;
mod text;

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use clap::Args;

use super::out::to_stdout;
use super::{ConfigFile, InputArgs, InputSettings, ModelArgs, OutputArgs, OutputSettings, layer};
use crate::error::{Context, Error, Exit, Result};
use crate::input::{Input, Keep, Kind, captions, views};
use crate::plan::{Blocks, chunk_rows, default_block_rows, share};
use crate::store::{DiskNeed, FileShape, Space};
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
    /// The model's folder, for the length of vectors
    #[arg(long, env = "HYPERSLAB_MODEL", value_name = "DIR", help_heading = "Plan")]
    pub model: Option<PathBuf>,
    /// The length of vectors, where there is no --model [default: 1152, as of so400m]
    #[arg(long, value_name = "N", conflicts_with = "model", help_heading = "Plan")]
    pub dim: Option<u64>,
    /// Ranks that share the rows
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Plan",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub ranks: u64,
    /// Rows a second that one rank computes, for the time
    #[arg(long, value_name = "ROWS_PER_S", help_heading = "Plan", value_parser = positive)]
    pub rate: Option<f64>,
    /// Print one JSON object
    #[arg(long, help_heading = "Plan")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab plan --captions captions.json --renders renders
  hyperslab plan --renders renders --views 4 --model MODEL --ranks 32 --rate 900
  hyperslab plan --captions captions.json --output-dir /scratch/out --dtype f16 --json
  find renders -type f -printf '%P\\t%s\\n' > views.tsv
  hyperslab plan --renders-list views.tsv";

/// Prints the plan.
///
/// # Errors
/// The input cannot be read, or is not what it should be.
pub fn run(args: &PlanArgs, config: Option<&Path>) -> Result<Exit> {
    let file = ConfigFile::load(config)?;
    let input = layer(&args.input, &file)?.resolve();
    let output = layer(&args.output, &file)?.resolve();
    let model = args.model.clone().or(file.section::<ModelArgs>()?.model);
    let width = Width::of(model.as_deref(), args.dim)?;
    let report = make(args, &input, &output, width)?;
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
    let (inputs, odd) = read(input)?;
    let planner = Planner { args, input, output, width };
    let files: Vec<_> = inputs.iter().map(|input| planner.file(input)).collect();
    let outputs: Vec<_> = inputs.iter().map(|input| output.siglip(input.kind())).collect();
    let space = Space::of(&output.dir, &outputs)?;
    let needed = DiskNeed::most_in_turn(&files.iter().map(|file| file.bytes).collect::<Vec<_>>());
    Ok(Report {
        output_dir: output.dir.clone(),
        dim_is_assumed: width.assumed,
        dtype: output.dtype.to_string(),
        compression: output.compression.to_string(),
        ranks: args.ranks,
        rate: args.rate,
        needed_bytes: needed,
        free_bytes: space.free,
        taken_bytes: space.taken,
        short_bytes: space.short_by(needed),
        files,
        odd,
    })
}

/// Reads the input as far as counts go.
fn read(settings: &InputSettings) -> Result<(Vec<Input>, Vec<OddInput>)> {
    let mut inputs = Vec::new();
    let mut odd = Vec::new();
    if let Some(path) = &settings.captions {
        let read = captions::read(path, Keep::Counts)?;
        let input = Input::text(read.catalog, settings.max_assets)?;
        odd.extend(odd::of_captions(read.empty, input.duplicates()));
        inputs.push(input);
    }
    let listing = match (&settings.renders_list, &settings.renders) {
        (Some(list), _) => Some(views::read_list(list, Keep::Counts)?),
        (None, Some(root)) => Some(walk(root)?),
        (None, None) => None,
    };
    if let Some(listing) = listing {
        inputs.push(Input::image(listing.catalog, settings.views, settings.max_assets)?);
        odd.extend(odd::of_views(listing.odd));
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

fn walk(root: &Path) -> Result<views::Listing> {
    let (parts, mut listing) = views::split(root, 1, Keep::Counts)?;
    for part in parts {
        listing.merge(views::walk(root, &part, Keep::Counts)?);
    }
    Ok(listing)
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
        let (kind, rows, ranks) = (input.kind(), table.rows(), self.args.ranks);
        let block_rows = self.input.block_rows.unwrap_or_else(|| default_block_rows(rows));
        let blocks = Blocks::new(rows, block_rows);
        let dim = self.width.of_kind(kind);
        let shape = FileShape {
            row_per_view: kind == Kind::Image,
            assets: table.len() as u64,
            rows,
            longest_id: table.longest_id() as u64,
            dim,
            block_rows,
            spool_bytes: input.spool_bytes(),
        };
        let path = self.output.siglip(kind);
        let (rows_per_rank_min, rows_per_rank_max) = rows_per_rank(blocks, ranks);
        FilePlan {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            exists: path.exists(),
            kind,
            assets: shape.assets,
            views_found: report::histogram(input),
            rows,
            dim,
            longest_id: shape.longest_id,
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
fn rows_per_rank(blocks: Blocks, ranks: u64) -> (u64, u64) {
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
