//! `hyperslab plan`: what a job would do, and whether it can, without GPU or model.

mod fit;
mod look;
mod odd;
mod report;
mod sbatch;
mod target;
mod text;

use std::path::Path;
use std::slice::from_ref;

use clap::Args;

use super::out::to_stdout;
use super::{
    ConfigFile, Family, InputArgs, InputSettings, ModelArgs, OutputArgs, OutputSettings, RunArgs, layer,
};
use crate::error::{Context, Error, Exit, Result};
use crate::input::{Input, Keep, Naming, captions, views};
use crate::plan::{Blocks, Kind, chunk_rows, default_block_rows, share};
use crate::store::{DiskNeed, FileShape, GroupShape, OutputPaths, Space};
use odd::{OddInput, compare_ids};
use report::{FilePlan, GroupRows, Report};
use target::Target;

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
    /// The family of models, where no model is at hand [default: as of --model, without one siglip]
    #[arg(long, value_name = "FAMILY", help_heading = "Plan")]
    pub family: Option<Family>,
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

It takes every option of `embed siglip` and `embed qwen`, and --sbatch writes them into a job script for Slurm.";

/// Prints the plan.
///
/// # Errors
/// The input cannot be read, or is not what it should be.
pub fn run(args: &PlanArgs, config: Option<&Path>) -> Result<Exit> {
    let file = ConfigFile::load(config)?;
    let input = layer(&args.input, &file)?.resolve()?;
    let output = layer(&args.output, &file)?.resolve();
    let model = layer(&args.model, &file)?;
    let target = Target::of(&model, args.family)?;
    let script = args.script.file()?;
    let mut report = make(args, &input, &output, &target)?;
    let warnings = target.warnings(&input, report.pictures.as_ref());
    report.warnings.extend(warnings);
    report.advise(model.background.as_deref().unwrap_or(target.background()));
    if let Some(path) = script {
        let settings = sbatch::Settings {
            input: layer(&args.input, &file)?,
            output: layer(&args.output, &file)?,
            family: target.family,
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

fn make(args: &PlanArgs, input: &InputSettings, output: &OutputSettings, target: &Target) -> Result<Report> {
    let (inputs, odd) = read(input, target, if args.look > 0 { Keep::Sample } else { Keep::Counts })?;
    let planner = Planner { args, input, output, target };
    let files: Vec<_> = inputs.iter().map(|groups| planner.file(groups)).collect();
    let kind = |groups: &Vec<Input>| groups.first().map_or(Kind::Text, Input::kind);
    let paths = |groups| OutputPaths::new(&output.file(target.family, kind(groups)));
    let outputs: Vec<_> = inputs.iter().map(paths).collect();
    let space = Space::of(&output.dir, &outputs)?;
    let ranks = args.ranks();
    let image = inputs.iter().flatten().find(|input| input.kind().has_views()).filter(|_| args.look > 0);
    let pictures = image.map(|image| look::at(image, input.renders.as_deref(), args.look)).transpose()?;
    let needed = DiskNeed::most_in_turn(&files.iter().map(|file| file.bytes).collect::<Vec<_>>());
    let mut report = Report {
        output_dir: output.dir.clone(),
        dim_is_assumed: target.assumed,
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

/// Reads the input as far as counts go, the groups of each file; of the views, keeps as much as `keep` says.
fn read(settings: &InputSettings, target: &Target, keep: Keep) -> Result<(Vec<Vec<Input>>, Vec<OddInput>)> {
    let naming = Naming::read(settings.id_map.as_deref(), settings.ids)?;
    let mut files = Vec::new();
    let mut odd = Vec::new();
    let mut texts = Vec::new();
    for (group, path) in target.family.captions(settings) {
        let read = captions::read(path, Keep::Counts)?;
        let (named, unnamed) = naming.captions(read.catalog)?;
        let input = Input::text(named, settings.max_assets)?.named(group);
        odd.extend(odd::of_captions(read.empty, input.duplicates(), unnamed).into_iter().map(odd::of(group)));
        texts.push(input);
    }
    let listing = if target.sees_pictures { list_views(settings, keep)? } else { None };
    if let Some(listing) = listing {
        let named = naming.views(listing.catalog)?;
        odd.extend(odd::of_views(listing.odd, named.left_out().clone()));
        let views = target.family.views(settings);
        let make =
            if target.family.image_kind().has_row_per_view() { Input::image } else { Input::view_sets };
        let image = make(named, views, settings.max_assets)?;
        for text in &texts {
            odd.extend(compare_ids(text.all(), image.all()).into_iter().map(odd::of(text.name())));
        }
        files.push(vec![image]);
    }
    if !texts.is_empty() {
        files.insert(0, texts);
    }
    if files.is_empty() {
        return Err(Error::new("nothing to plan: neither captions nor views were named")
            .hint("give --captions FILE, --renders ROOT or --renders-list FILE")
            .exit(Exit::Usage));
    }
    Ok((files, odd))
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
    target: &'a Target,
}

impl Planner<'_> {
    /// What becomes of the groups of one file.
    fn file(&self, groups: &[Input]) -> FilePlan {
        let (family, ranks) = (self.target.family, self.args.ranks());
        let kind = groups.first().map_or(Kind::Text, Input::kind);
        let rows = groups.iter().map(Input::rows).sum();
        let block_rows = self.input.block_rows.unwrap_or_else(|| default_block_rows(rows));
        let blocks = Blocks::of_groups(groups.iter().map(Input::rows), block_rows);
        let dim = self.target.dim(kind);
        let shape = FileShape {
            kind,
            groups: groups.iter().map(|input| GroupShape::of(kind, input.table())).collect(),
            dim,
            block_rows,
            spool_bytes: groups.iter().map(Input::spool_bytes).sum(),
        };
        let path = self.output.file(family, kind);
        let (rows_per_rank_min, rows_per_rank_max) = rows_per_rank(&blocks, ranks);
        let named = groups.iter().filter(|input| !input.name().is_empty());
        FilePlan {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            exists: path.exists(),
            kind,
            groups: named
                .map(|input| GroupRows { name: input.name().to_owned(), rows: input.rows() })
                .collect(),
            assets: groups.iter().map(|input| input.table().len() as u64).sum(),
            views_found: report::histogram(groups),
            rows,
            dim,
            longest_id: groups.iter().map(|input| input.table().longest_id() as u64).max().unwrap_or(0),
            block_rows,
            blocks: blocks.count(),
            chunk_rows: chunk_rows(block_rows, dim * self.output.dtype.size_bytes() as u64),
            rows_per_rank_min,
            rows_per_rank_max,
            bytes: DiskNeed::of(&shape, self.output.dtype, self.output.compression),
            memory: self.target.memory(kind),
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
