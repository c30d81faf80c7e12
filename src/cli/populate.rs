//! `hyperslab populate`: sealed files into PostgreSQL with pgvector.

mod index;
mod progress;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use super::out::note;
use super::settings::{ConfigFile, layer};
use super::{DatabaseArgs, Family, OutputArgs};
use crate::db::{
    self, Database, Existing, Expected, Index, Plan, Request, Resources, Selection, Source, VectorType,
    layout_of,
};
use crate::error::{Error, Exit, Result};
use crate::input::read_ids;
use crate::store::{self, Reader};
use index::IndexArgs;
use progress::Steps;

/// Connections that fill a table, where the machine has the cores: more of them wait for each other.
const CONNECTIONS_MAX: usize = 4;

/// Fill the databases of a search service: PostgreSQL with pgvector
///
/// Makes the database (siglip_embeddings or qwen_embeddings), the extension and the tables text_embeddings and
/// image_embeddings where they are missing, and fills them from the sealed files, over several connections and in
/// bounded memory. Whoever reads the tables sees the old rows until all new ones are there, with their indexes. Killed
/// at any moment, the same command does what is left; done again, it changes nothing. Items that failed have no row,
/// or NULL.
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    mut_arg("dtype", |dtype| dtype.hide(true)),
    mut_arg("compression", |compression| compression.hide(true))
)]
pub struct PopulateArgs {
    /// Whose database
    #[arg(value_name = "FAMILY")]
    pub family: Family,
    /// The files [default: those of the family that the output folder has]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Take these assets alone: a JSON object of G-Objaverse's indices and paths of Objaverse, or an array of ids
    #[arg(long, env = "HYPERSLAB_VALID_IDS", value_name = "FILE", help_heading = "Rows")]
    pub valid_ids: Option<PathBuf>,
    /// Assets whose rows get is_high_quality: a JSON array of ids
    #[arg(long, env = "HYPERSLAB_HIGH_QUALITY", value_name = "FILE", help_heading = "Rows")]
    pub high_quality: Option<PathBuf>,
    /// Keep the first N components of each vector, and normalise again; for models trained for it, as Qwen's are
    #[arg(long, value_name = "N", help_heading = "Rows")]
    pub dim: Option<usize>,
    /// How vectors are stored: vector is float32, halfvec float16 [default: vector up to 2,000 components, which is
    /// what its indexes take, else halfvec]
    #[arg(long, value_name = "TYPE", help_heading = "Rows")]
    pub column: Option<Column>,
    #[command(flatten)]
    pub existing: ExistingArgs,
    #[command(flatten)]
    pub server: DatabaseArgs,
    /// Name of the database [default: siglip_embeddings or qwen_embeddings]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Database")]
    pub database: Option<String>,
    /// Connections that fill a table [default: as many as cores, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Database")]
    pub connections: Option<u16>,
    #[command(flatten)]
    pub index: IndexArgs,
    /// Compare the tables with the files: numbers of rows and vectors, and a sample of 1,000 assets to the last bit
    #[arg(long)]
    pub verify: bool,
    /// Say what would be done and what it takes, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// What becomes of rows that are there and are not the files'.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rows")]
pub struct ExistingArgs {
    /// Where a table has other rows: put a new table in its place once that is complete
    #[arg(long, conflicts_with = "upsert")]
    pub replace: bool,
    /// Where a table has other rows: keep them, and change those whose ids come again
    #[arg(long)]
    pub upsert: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    Vector,
    Halfvec,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab populate siglip --output-dir out --verify
  hyperslab populate siglip --output-dir out --valid-ids gobjaverse_index_to_objaverse.json --high-quality good.json
  PGHOST=db PGUSER=me PGPASSWORD=... hyperslab populate qwen --output-dir out --replace
  Assets that were embedded later:
    hyperslab populate siglip later/siglip_image_embeddings.h5 --upsert
  What it would take:
    hyperslab populate qwen --output-dir out --dry-run

In SQL, with a vector of `hyperslab encode`:
  SELECT * FROM nearest_assets('[0.1, ...]', 10);

The role must be allowed to create databases, or own this one; without a superuser, let one CREATE EXTENSION vector.";

/// Fills the tables.
///
/// # Errors
/// No file, or one of another kind; what the server says; and with `--verify`, what differs.
pub fn run(args: &PopulateArgs, config: Option<&Path>) -> Result<Exit> {
    let server = args.server.server(config)?;
    let default = format!("{}_embeddings", args.family.name());
    let name = args.database.as_deref().unwrap_or(&default);
    let request = request(args)?;
    let sources = sources(args, config)?;
    let mut session = if args.dry_run { db::look(&server, name) } else { db::prepare(&server, name) }?;
    let resources = Resources::of(&mut session)?;
    let mut database = Database { server: &server, name, session, resources };
    let mut plans = Vec::new();
    for source in &sources {
        plans.push(Plan::new(&mut database, source, &request)?);
    }
    for plan in &plans {
        report::announce(plan, name);
    }
    if args.dry_run {
        return Ok(Exit::Success);
    }
    let mut done = Vec::new();
    for plan in &plans {
        let steps = Steps::new(plan.target.layout.name);
        let filled =
            plan.carry_out(&mut database, request.connections, &|step, n, all| steps.hear(step, n, all))?;
        steps.finish();
        let checked = args.verify.then(|| {
            let (target, source, mark) = (&plan.target, plan.source, &filled.mark);
            let is_whole = filled.upserted.is_none();
            db::check(&mut database.session, &Expected { target, source, mark, is_whole })
        });
        let checked = checked.transpose()?;
        done.push((plan, filled, checked));
    }
    set_defaults(&mut database, &plans);
    report::print(name, &done, args.json)
}

/// What was typed, as it is meant.
fn request(args: &PopulateArgs) -> Result<Request> {
    args.index.check()?;
    let index = args.index.clone();
    Ok(Request {
        existing: match (args.existing.replace, args.existing.upsert) {
            (true, _) => Existing::Replaced,
            (_, true) => Existing::Kept,
            _ => Existing::Refused,
        },
        stored: args.column.map(|column| match column {
            Column::Vector => VectorType::Vector,
            Column::Halfvec => VectorType::HalfVector,
        }),
        memory: index.memory(),
        workers: index.index_workers.map(usize::from),
        connections: args.connections.map_or_else(|| store::cores().min(CONNECTIONS_MAX), usize::from),
        is_index_exact: index.has_parameters(),
        index: Box::new(move |rows| index.of(rows)),
    })
}

/// The files, opened, with the tables they go to.
fn sources(args: &PopulateArgs, config: Option<&Path>) -> Result<Vec<Source>> {
    let family = args.family.name();
    let selection = Arc::new(selection(args)?);
    let mut sources: Vec<Source> = Vec::new();
    for path in files(args, config)? {
        let reader = Reader::open_all(&path)?;
        let kind = reader.first().map(Reader::kind).unwrap_or_default();
        drop(reader);
        let Some(layout) = layout_of(family, &kind) else {
            let kind = if kind.is_empty() {
                "of an unknown kind".to_owned()
            } else {
                format!("of the kind '{kind}'")
            };
            return Err(Error::new(format!("{} is {kind}: no table of {family}'s database takes it", path.display()))
                .hint("populate siglip takes siglip_text and siglip_image, populate qwen qwen_text and qwen_image; files of \
                       the old pipeline `hyperslab import` first")
                .exit(Exit::Usage));
        };
        if let Some(other) = sources.iter().find(|other| other.layout == layout) {
            return Err(Error::new(format!(
                "{} and {} both go into {}",
                other.path.display(),
                path.display(),
                layout.name
            ))
            .hint("one after the other, the second with --upsert; or `hyperslab merge` them")
            .exit(Exit::Usage));
        }
        sources.push(Source::open(&path, layout, Arc::clone(&selection), args.dim)?);
    }
    Ok(sources)
}

/// Which files: those that are named, else those of the output folder.
fn files(args: &PopulateArgs, config: Option<&Path>) -> Result<Vec<PathBuf>> {
    if !args.files.is_empty() {
        return Ok(args.files.clone());
    }
    let output = layer(&args.output, &ConfigFile::load(config)?)?.resolve();
    let all = output.names(args.family).map(|name| output.dir.join(name));
    let there: Vec<PathBuf> = all.iter().filter(|path| path.exists()).cloned().collect();
    for missing in all.iter().filter(|path| !path.exists() && !there.is_empty()) {
        note(format_args!("{} is not there: its table stays as it is", missing.display()));
    }
    if there.is_empty() {
        let names: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::new(format!("there is neither {}", names.join(" nor ")))
            .hint("--output-dir names their folder; or name the files")
            .exit(Exit::NotFound));
    }
    Ok(there)
}

fn selection(args: &PopulateArgs) -> Result<Selection> {
    let valid = args.valid_ids.as_deref().map(|path| read_ids(path, "valid ids")).transpose()?;
    let high_quality = args.high_quality.as_deref().map(|path| read_ids(path, "high-quality ids"));
    Ok(Selection { valid, high_quality: high_quality.transpose()?.unwrap_or_default() })
}

/// Only the owner may, and searches work without.
fn set_defaults(database: &mut Database<'_>, plans: &[Plan<'_>]) {
    let indexes: Vec<Index> = plans.iter().map(|plan| plan.estimate.index).collect();
    let pgvector = database.resources.pgvector;
    let set = db::set_defaults(&mut database.session, database.name, &indexes, pgvector);
    if let Err(error) = set {
        note(format_args!("note: {error}"));
    }
}
