//! `hyperslab search`: the assets of a file nearest to a text, a picture or another asset.

mod database;
mod html;
#[cfg(feature = "engine")]
mod model;
#[cfg(feature = "engine")]
mod page;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::compute::{DeviceArg, PrecisionArg, TextFormArg, at_least_one};
use super::out::{count, note};
use super::query::{self, Asked, Query};
use super::select::Finder;
use crate::db::Server;
use crate::error::{Context, Error, Exit, Result};
use crate::input::{Keep, Sorted, captions};
use crate::store::{self, QueryVectors, Reader};
use database::SearchDatabaseArgs;
use html::HtmlArgs;

#[cfg(feature = "engine")]
pub use model::run_with_model;

/// A file with fewer bytes of vectors is searched before a bar of progress could be seen.
const SHOWN_BYTES: u64 = 64 << 20;

/// The assets of a file nearest to a text, a picture or another asset
///
/// Every vector of the file is compared, by the cosine, on all cores; an asset with several views is as near as
/// the nearest of them. Texts and pictures are embedded with the file's own model: the one that the file names,
/// from the Hugging Face cache, or --model. Another model is refused. Of an asset that is asked for by its id, the
/// vectors are read from the file, or from another of the same model (--of), and no model is loaded.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("asked").args(["text", "image", "id", "queries"]).required(true).multiple(true)
)]
pub struct SearchArgs {
    /// The file that is searched
    pub file: PathBuf,
    /// In a file with several groups, which one
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Search for a text; may come several times, as the others may
    #[arg(long, value_name = "TEXT", help_heading = "Query")]
    pub text: Vec<String>,
    /// Search for a picture file; to Qwen it is an asset of one view
    #[arg(long, value_name = "FILE", help_heading = "Query")]
    pub image: Vec<PathBuf>,
    /// Search for an asset's own vectors; ID#N is its view number N, from 0
    #[arg(long, value_name = "ID", help_heading = "Query")]
    pub id: Vec<String>,
    /// Search for what stands on the lines of a file: {"text": "..."}, {"image": "path"} or {"asset_id": "..."},
    /// with an "id" that is given back
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Query")]
    pub queries: Option<PathBuf>,
    /// Take the vectors of --id from this file of the same model, e.g. captions' where views are searched
    #[arg(long, value_name = "FILE.h5", help_heading = "Query")]
    pub of: Option<PathBuf>,
    /// Of that file, which group
    #[arg(long, value_name = "NAME", help_heading = "Query")]
    pub of_group: Option<String>,
    /// How many assets are found
    #[arg(short, value_name = "N", default_value = "10", value_parser = at_least_one, help_heading = "Result")]
    pub k: usize,
    /// Show what was found with its captions: a file as `embed` takes it
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub captions: Option<PathBuf>,
    /// Print one JSON object per query
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    #[command(flatten)]
    pub page: HtmlArgs,
    #[command(flatten)]
    pub with: WithArgs,
    #[command(flatten)]
    pub place: SearchDatabaseArgs,
}

/// How queries are embedded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct WithArgs {
    /// The file's model: its folder, or the name of one in the cache [default: the file's name for it]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// What the model computes in [default: as the file was made; on a CPU f32]
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<PrecisionArg>,
    /// What becomes of a picture's transparency, as `embed` takes it [default: as the file was made; where that was
    /// made from captions, as the model's reference has it]
    #[arg(long, value_name = "COLOUR")]
    pub background: Option<String>,
    /// The most patches that a picture becomes [default: as --background]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_num_patches: Option<usize>,
    /// The most pixels that are kept of a picture [default: as --background]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_pixels: Option<usize>,
    /// What the model is told that a query is for [default: what it was told of the file's items]
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// What a text is to Qwen3-Embedding [default: as the file was made]
    #[arg(long, value_name = "FORM")]
    pub text_form: Option<TextFormArg>,
    /// Where to compute; auto takes the GPU, and the CPU only where no GPU should be [default: auto]
    #[arg(long, env = "HYPERSLAB_DEVICE", value_name = "WHERE", help_heading = "Run")]
    pub device: Option<DeviceArg>,
    /// Threads that search, and that libtorch computes with on a CPU [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Run")]
    pub threads: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  hyperslab search siglip_image_embeddings.h5 --text 'a red toy car' --captions captions.json
  hyperslab search qwen_image_embeddings.h5 --text 会发光的蓝色机器人 --model Qwen3-VL-Embedding-2B
  hyperslab search siglip_text_embeddings.h5 --image photo.jpg -k 3 --json | jq -r '.hits[].asset_id'
  Assets like another one, without a model:
    hyperslab search siglip_image_embeddings.h5 --id 0/10002
  Views near to an asset's caption, and captions near to one of its views:
    hyperslab search siglip_image_embeddings.h5 --id 0/10002 --of siglip_text_embeddings.h5
    hyperslab search siglip_text_embeddings.h5 --id 0/10002#3 --of siglip_image_embeddings.h5
  A page of what was found, with its pictures:
    hyperslab search siglip_image_embeddings.h5 --text 'a red toy car' --html found.html --renders renders
  Many searches in one pass over the file:
    hyperslab search siglip_image_embeddings.h5 --queries queries.jsonl --json
  The same in the database, and how much of it the index finds:
    hyperslab search siglip_image_embeddings.h5 --text 'a red toy car' --database-url --recall-check

Exit code 3: an asset that was asked for is not there, or has no vector; 1: a text or picture could not be embedded.
The other queries are answered all the same.";

/// One query and what was found.
#[derive(Debug, Serialize)]
pub struct Found<'a> {
    #[serde(flatten)]
    pub query: &'a Query,
    /// The nearest first, or why there are none.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How much of what the file finds the database has found, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
}

/// What became of a query.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Hits(Vec<Hit>),
    Error(String),
}

/// An asset that was found.
#[derive(Debug, Serialize)]
pub struct Hit {
    /// From 1.
    pub rank: usize,
    /// The cosine.
    pub score: f32,
    pub asset_id: String,
    /// Its row in the file; the database may have assets of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Which of the asset's views is the nearest, where each has a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
}

/// A query's vectors, or why there are none, with the exit code that this makes.
type Vectors = std::result::Result<QueryVectors, (String, Exit)>;

/// Searches; `compute` starts what has the models, where texts or pictures are asked for.
///
/// # Errors
/// A file that does not open or read, a query file that is broken, models that differ.
pub fn run(args: &SearchArgs, config: Option<&Path>, compute: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
    let server = args.place.server(config)?;
    let queries = queries(args)?;
    args.page.check()?;
    let has_pictures = args.page.html.is_some();
    if has_pictures || queries.iter().any(|query| !matches!(query.asked, Asked::AssetId(_))) {
        // Before anything is loaded.
        Reader::open(&args.file, args.group.as_deref())?;
        return compute();
    }
    search(args, server.as_ref(), &queries, |_, _| {
        Err(Error::new("a search by ids needs no model").exit(Exit::Bug))
    })
}

/// All that is searched for, in the order in which it is answered.
fn queries(args: &SearchArgs) -> Result<Vec<Query>> {
    let texts = args.text.iter().cloned().map(Asked::Text);
    let images = args.image.iter().cloned().map(Asked::Image);
    let ids = args.id.iter().cloned().map(Asked::AssetId);
    let mut queries: Vec<Query> = texts.chain(images).chain(ids).map(Query::from).collect();
    let Some(path) = &args.queries else { return Ok(queries) };
    let about = || format!("queries '{}'", path.display());
    if path.metadata().context(about)?.is_dir() {
        return Err(Error::new(format!("{}: it is a folder", about())));
    }
    let mut file = BufReader::new(File::open(path).context(about)?);
    let mut number = 0;
    while let Some(line) = query::next_line(&mut file, &mut number).context(about)? {
        queries.push(Query::of_line(line).map_err(|bad| {
            Error::new(format!("{}, line {number}: {}", about(), bad.why))
                .hint("a line is {\"text\": \"...\"}, {\"image\": \"path\"} or {\"asset_id\": \"...\"}")
        })?);
    }
    Ok(queries)
}

/// Makes vectors of queries, searches for them in one pass, and prints what was found. `embed` makes those of texts
/// and pictures.
fn search<'a>(
    args: &SearchArgs,
    server: Option<&Server>,
    queries: &'a [Query],
    embed: impl FnOnce(&Reader, &[&'a Query]) -> Result<Vec<Vectors>>,
) -> Result<Exit> {
    let reader = Reader::open(&args.file, args.group.as_deref())?;
    let is_id = |query: &&Query| matches!(query.asked, Asked::AssetId(_));
    let mut by_id = if queries.iter().any(|query| is_id(&query)) {
        of_ids(args, &reader, queries.iter().filter(is_id))?.into_iter()
    } else {
        Vec::new().into_iter()
    };
    let others: Vec<&Query> = queries.iter().filter(|query| !is_id(query)).collect();
    let mut embedded =
        if others.is_empty() { Vec::new().into_iter() } else { embed(&reader, &others)?.into_iter() };
    let vectors: Vec<Vectors> = queries
        .iter()
        .filter_map(|query| if is_id(&query) { by_id.next() } else { embedded.next() })
        .collect();
    let asked: Vec<QueryVectors> =
        vectors.iter().filter_map(|vectors| vectors.as_ref().ok().cloned()).collect();
    let mut hits = find(&reader, args, server, &asked)?.into_iter();
    let mut exit = Exit::Success;
    let mut found = Vec::new();
    for (query, vectors) in queries.iter().zip(vectors) {
        let (outcome, recall) = match vectors {
            Ok(_) => {
                let (hits, recall) = hits.next().unwrap_or_default();
                (Outcome::Hits(hits), recall)
            }
            Err((why, code)) => {
                note(format_args!("error: {why}"));
                exit = if exit == Exit::Failure { exit } else { code };
                (Outcome::Error(why), None)
            }
        };
        found.push(Found { query, outcome, recall });
    }
    if let Some(path) = &args.captions {
        add_captions(&mut found, path)?;
    }
    print::print(&found, args.json)?;
    #[cfg(feature = "engine")]
    html::write(args, &reader, &found)?;
    Ok(exit)
}

/// What is nearest to each query, in the file or in the database; of the latter, how much it has found.
fn find(
    reader: &Reader,
    args: &SearchArgs,
    server: Option<&Server>,
    asked: &[QueryVectors],
) -> Result<Vec<(Vec<Hit>, Option<f64>)>> {
    let in_file = || -> Result<Vec<Vec<Hit>>> {
        Ok(with_progress(reader, args, asked)?.into_iter().map(numbered).collect())
    };
    let Some(server) = server else {
        return Ok(in_file()?.into_iter().map(|hits| (hits, None)).collect());
    };
    let found = database::search(server, args.place.database.as_deref(), reader, asked, args.k)?;
    if !args.place.recall_check {
        return Ok(found.into_iter().map(|hits| (hits, None)).collect());
    }
    let expected = in_file()?;
    let recalls: Vec<f64> =
        found.iter().zip(&expected).map(|(found, expected)| database::recall(found, expected)).collect();
    if recalls.is_empty() {
        return Ok(Vec::new());
    }
    let mean = recalls.iter().sum::<f64>() / recalls.len().max(1) as f64;
    note(format_args!("recall of the file's nearest {}: {mean:.4}, {}", args.k, over(recalls.len())));
    Ok(found.into_iter().zip(recalls.into_iter().map(Some)).collect())
}

fn over(n: usize) -> String {
    if n == 1 { "one query".to_owned() } else { format!("mean of {n} queries") }
}

fn numbered(hits: Vec<store::Hit>) -> Vec<Hit> {
    let hit = |(rank, hit): (usize, store::Hit)| {
        let store::Hit { asset_id, score, row, view } = hit;
        Hit { rank, score, asset_id, row: Some(row), view, caption: None }
    };
    (1..).zip(hits).map(hit).collect()
}

fn with_progress(reader: &Reader, args: &SearchArgs, asked: &[QueryVectors]) -> Result<Vec<Vec<store::Hit>>> {
    let threads = args.with.threads.unwrap_or_else(store::cores);
    let bytes = reader.n_rows() * (reader.dim() * reader.stored().size_bytes()) as u64;
    // Shown on a terminal alone.
    let bar = if bytes < SHOWN_BYTES { ProgressBar::hidden() } else { ProgressBar::new(reader.n_rows()) };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} rows, {eta} left")
    {
        bar.set_style(style);
    }
    let found = store::search(reader, asked, args.k, threads, |rows| bar.inc(rows));
    bar.finish_and_clear();
    found
}

/// The vectors of assets, by their ids.
fn of_ids<'a>(
    args: &SearchArgs,
    reader: &Reader,
    queries: impl Iterator<Item = &'a Query>,
) -> Result<Vec<Vectors>> {
    let other = if args.of.is_some() || args.of_group.is_some() {
        let path = args.of.as_deref().unwrap_or(&args.file);
        let group = args.of_group.as_deref();
        let other = Reader::open(path, group).map_err(|error| Error {
            hint: error.hint.map(|hint| hint.replace("--group", "--of-group")),
            ..error
        })?;
        check_one_model(reader, &other)?;
        Some(other)
    } else {
        None
    };
    let reader = other.as_ref().unwrap_or(reader);
    let finder = Finder { reader, map: None };
    queries.map(|query| of_id(&finder, query)).collect()
}

fn of_id(finder: &Finder<'_>, query: &Query) -> Result<Vectors> {
    let Asked::AssetId(id) = &query.asked else {
        return Err(Error::new("a query that is no id").exit(Exit::Bug));
    };
    let rows = match finder.find(id)? {
        Ok(wanted) => wanted.rows,
        Err(why) => return Ok(Err((why, Exit::NotFound))),
    };
    if let Ok(vectors) = QueryVectors::new(&finder.reader.rows(rows.clone())?.view()) {
        return Ok(Ok(vectors));
    }
    let failed = finder.reader.failures_of(rows)?;
    let why = failed.first().map(|item| format!(": {}", item.reason)).unwrap_or_default();
    Ok(Err((format!("{id}: it has no vector{why}"), Exit::NotFound)))
}

/// Refuses files of two models, whose vectors lie in two spaces.
fn check_one_model(one: &Reader, other: &Reader) -> Result<()> {
    let model =
        |reader: &Reader| (reader.path().display().to_string(), reader.provenance_of("weights_sha256"));
    let ((one_path, one_sha256), (other_path, other_sha256)) = (model(one), model(other));
    let (Some(one_sha256), Some(other_sha256)) = (&one_sha256, &other_sha256) else {
        note(format_args!(
            "note: not both of {one_path} and {other_path} say which model they were made with"
        ));
        return Ok(());
    };
    if one_sha256 == other_sha256 {
        return Ok(());
    }
    let name = |reader: &Reader| reader.provenance_of("model_name").unwrap_or_else(|| "unnamed".to_owned());
    Err(Error::new(format!(
        "{one_path} and {other_path} were made with two models: weights of SHA-256 {one_sha256} ({}) and \
         {other_sha256} ({})",
        name(one),
        name(other)
    ))
    .hint("vectors of two models cannot be compared: --of takes a file of the same model"))
}

/// Gives hits their captions.
fn add_captions(found: &mut [Found<'_>], path: &Path) -> Result<()> {
    let mut hits: Vec<&mut Hit> = Vec::new();
    for one in found {
        if let Outcome::Hits(own) = &mut one.outcome {
            hits.extend(own);
        }
    }
    let ids: BTreeSet<String> = hits.iter().map(|hit| hit.asset_id.clone()).collect();
    let all = Sorted::new(captions::read(path, Keep::Everything)?.catalog);
    let wanted = all.assets().filter(|asset| ids.contains(asset.id()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let captions: BTreeMap<&str, String> =
        wanted.filter_map(|asset| Some((asset.id(), text(asset.data().next()?)))).collect();
    if captions.is_empty() && !ids.is_empty() {
        note(format_args!(
            "note: {} has a caption of none of {}",
            path.display(),
            count(ids.len() as u64, "asset")
        ));
    }
    for hit in hits {
        hit.caption = captions.get(hit.asset_id.as_str()).cloned();
    }
    Ok(())
}
