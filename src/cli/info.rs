//! `hyperslab info`: what a file holds, and what it was made with.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::out::{self, bytes, thousands, to_stdout};
use crate::error::{Exit, Result};
use crate::store::{Reader, Summary};

/// What a file holds: counts, storage, failures, and the model it was made with
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab info siglip_text_embeddings.h5
  hyperslab info siglip_image_embeddings.h5 --json | jq .rows")]
pub struct InfoArgs {
    /// The file
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints the summary of a file.
///
/// # Errors
/// The file does not open.
pub fn run(args: &InfoArgs) -> Result<Exit> {
    let readers = Reader::open_all(&args.file)?;
    let summaries: Vec<Summary> = readers.iter().map(Reader::summary).collect::<Result<_>>()?;
    let path = args.file.display().to_string();
    to_stdout(|out| {
        if args.json {
            writeln!(out, "{:#}", to_json(&path, &summaries))?;
        } else {
            writeln!(out, "{path}")?;
            write_text(out, &summaries)?;
        }
        Ok(Exit::Success)
    })
}

/// One object: of a file with its vectors at the root all in one, else with an object for each group.
fn to_json(path: &str, summaries: &[Summary]) -> Value {
    let mut all = Map::new();
    let Some(first) = summaries.first() else { return all.into() };
    if let ([only], "") = (summaries, first.group.as_str()) {
        all = vectors_to_json(only);
    } else {
        let groups = summaries.iter().map(|group| {
            let mut object = vectors_to_json(group);
            object.insert("group".to_owned(), group.group.clone().into());
            Value::from(object)
        });
        all.insert("groups".to_owned(), groups.collect::<Vec<_>>().into());
    }
    let provenance: Map<String, Value> =
        first.provenance.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
    all.insert("file".to_owned(), path.into());
    all.insert("kind".to_owned(), first.kind.clone().into());
    all.insert("file_bytes".to_owned(), first.file_bytes.into());
    all.insert("provenance".to_owned(), provenance.into());
    all.into()
}

fn vectors_to_json(summary: &Summary) -> Map<String, Value> {
    let vectors = json!({
        "assets": summary.n_assets,
        "rows": summary.n_rows,
        "row_per_view": summary.has_views,
        "dim": summary.dim,
        "stored": summary.stored.to_string(),
        "compression": summary.compression,
        "chunk_rows": summary.chunk_rows,
        "block_rows": summary.block_rows,
        "vector_bytes": summary.vector_bytes,
        "vector_bytes_stored": summary.vector_bytes_stored,
        "failed": summary.failures.values().sum::<u64>(),
        "failures": summary.failures,
    });
    let mut vectors = if let Value::Object(vectors) = vectors { vectors } else { Map::new() };
    if let Some(images) = summary.n_images {
        vectors.insert("images".to_owned(), images.into());
    }
    vectors
}

fn write_text(out: &mut dyn Write, summaries: &[Summary]) -> io::Result<()> {
    let Some(first) = summaries.first() else { return Ok(()) };
    let mut lines = Vec::new();
    if !first.group.is_empty() {
        lines.push(vec!["kind".to_owned(), first.kind.clone()]);
        lines.push(vec!["file size".to_owned(), bytes(first.file_bytes)]);
    }
    for summary in summaries {
        if !summary.group.is_empty() {
            lines.extend([Vec::new(), vec![format!("/{}", summary.group), String::new()]]);
        }
        lines.extend(content(summary));
    }
    lines.push(Vec::new());
    lines.extend(first.provenance.iter().map(|(name, text)| {
        let name = name.strip_suffix("_sha256").map_or(name.clone(), |name| format!("{name} SHA-256"));
        vec![name.replace('_', " "), text.clone()]
    }));
    let width = lines.iter().filter_map(|line| Some(line.first()?.chars().count())).max().unwrap_or(0);
    for line in &lines {
        match &line[..] {
            [name, value] => writeln!(out, "{}", format!("  {name:width$}  {value}").trim_end())?,
            _ => writeln!(out)?,
        }
    }
    Ok(())
}

/// `[name, value]` lines about the vectors of a file, or of one of its groups.
fn content(summary: &Summary) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(vec![name.to_owned(), value]);
    let is_file = summary.group.is_empty();
    if is_file {
        line("kind", summary.kind.clone());
    }
    line("assets", thousands(summary.n_assets));
    if summary.has_views {
        let per_asset = summary.n_rows as f64 / summary.n_assets.max(1) as f64;
        line("views", format!("{} ({per_asset:.1} per asset)", thousands(summary.n_rows)));
    }
    if let Some(images) = summary.n_images {
        let per_asset = images as f64 / summary.n_assets.max(1) as f64;
        line("made from", format!("{} views ({per_asset:.1} per asset)", thousands(images)));
    }
    line("dimension", summary.dim.to_string());
    line("stored as", summary.stored.to_string());
    line("compression", compression(summary));
    if let Some(rows) = summary.chunk_rows {
        let row_bytes = summary.dim * summary.stored.size_bytes();
        line("chunk", format!("{} ({})", out::count(rows as u64, "row"), bytes((rows * row_bytes) as u64)));
    }
    line("block", out::count(summary.block_rows, "row"));
    if is_file {
        line("file size", bytes(summary.file_bytes));
    }
    line("failed items", thousands(summary.failures.values().sum()));
    for (class, n) in &summary.failures {
        line("", format!("{} {class}", thousands(*n)));
    }
    lines
}

fn compression(summary: &Summary) -> String {
    if summary.chunk_rows.is_none() || summary.vector_bytes_stored == 0 {
        return summary.compression.clone();
    }
    let ratio = summary.vector_bytes as f64 / summary.vector_bytes_stored as f64;
    format!("{} (ratio {ratio:.2})", summary.compression)
}
