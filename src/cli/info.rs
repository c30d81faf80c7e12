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
    let summary = Reader::open(&args.file)?.summary()?;
    let path = args.file.display().to_string();
    to_stdout(|out| {
        if args.json {
            writeln!(out, "{:#}", to_json(&path, &summary))?;
        } else {
            writeln!(out, "{path}")?;
            write_text(out, &summary)?;
        }
        Ok(Exit::Success)
    })
}

fn to_json(path: &str, summary: &Summary) -> Value {
    let provenance: Map<String, Value> =
        summary.provenance.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
    json!({
        "file": path,
        "kind": summary.kind,
        "assets": summary.n_assets,
        "rows": summary.n_rows,
        "row_per_view": summary.has_views,
        "dim": summary.dim,
        "stored": summary.stored.to_string(),
        "compression": summary.compression,
        "chunk_rows": summary.chunk_rows,
        "block_rows": summary.block_rows,
        "file_bytes": summary.file_bytes,
        "vector_bytes": summary.vector_bytes,
        "vector_bytes_stored": summary.vector_bytes_stored,
        "failed": summary.failures.values().sum::<u64>(),
        "failures": summary.failures,
        "provenance": provenance,
    })
}

fn write_text(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let mut lines = content(summary);
    lines.push(Vec::new());
    lines.extend(summary.provenance.iter().map(|(name, text)| {
        let name = name.strip_suffix("_sha256").map_or(name.clone(), |name| format!("{name} SHA-256"));
        vec![name.replace('_', " "), text.clone()]
    }));
    let width = lines.iter().filter_map(|line| Some(line.first()?.chars().count())).max().unwrap_or(0);
    for line in &lines {
        match &line[..] {
            [name, value] => writeln!(out, "  {name:width$}  {value}")?,
            _ => writeln!(out)?,
        }
    }
    Ok(())
}

/// `[name, value]` lines about the vectors.
fn content(summary: &Summary) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(vec![name.to_owned(), value]);
    line("kind", summary.kind.clone());
    line("assets", thousands(summary.n_assets));
    if summary.has_views {
        let per_asset = summary.n_rows as f64 / summary.n_assets.max(1) as f64;
        line("views", format!("{} ({per_asset:.1} per asset)", thousands(summary.n_rows)));
    }
    line("dimension", summary.dim.to_string());
    line("stored as", summary.stored.to_string());
    line("compression", compression(summary));
    if let Some(rows) = summary.chunk_rows {
        let row_bytes = summary.dim * summary.stored.size_bytes();
        line("chunk", format!("{} ({})", out::count(rows as u64, "row"), bytes((rows * row_bytes) as u64)));
    }
    line("block", out::count(summary.block_rows, "row"));
    line("file size", bytes(summary.file_bytes));
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
