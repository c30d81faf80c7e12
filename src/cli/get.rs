//! `hyperslab get`: vectors by asset id.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::ArrayView1;
use serde::Serialize;

use super::npy::NpyWriter;
use super::out::{Stop, count, note, to_stdout};
use crate::error::{Error, Exit, Result};
use crate::input::IdMap;
use crate::store::Reader;

/// Components shown of a vector.
const HEAD: usize = 6;
/// Ids proposed for one that is not there.
const PROPOSED_MAX: u64 = 3;

/// Vectors by asset id
///
/// Shows each vector's norm and first components, `--json` all of it. An item that failed has no
/// vector but a reason; where an asset's vector is made from several views, their number is shown, and
/// which views were left out. Ids that are not in the file are named on standard error; the exit code is
/// then 3, and the others are printed all the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab get siglip_text_embeddings.h5 chair_0001 chair_0002
  hyperslab get siglip_image_embeddings.h5 0/10002        all views of an asset
  hyperslab get siglip_image_embeddings.h5 0/10002#3      the view number 3, from 0
  hyperslab get qwen_text_embeddings.h5 --group english chair_0001
  hyperslab get siglip_text_embeddings.h5 chair_0001 --json | jq -c .vector
  hyperslab get siglip_text_embeddings.h5 0/10002 --id-map index_to_objaverse.json
  hyperslab get siglip_image_embeddings.h5 0/10002 --npy views.npy")]
pub struct GetArgs {
    /// The file
    pub file: PathBuf,
    /// Asset ids; ID#N is the view number N of an asset, from 0
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// In a file with several groups, which one
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// A JSON object of indices and paths of Objaverse: an asset is then found by its index and by its uid,
    /// whichever is stored
    #[arg(long, env = "HYPERSLAB_ID_MAP", value_name = "FILE")]
    pub id_map: Option<PathBuf>,
    /// Print one JSON object per row
    #[arg(long)]
    pub json: bool,
    /// Write the rows, in the order of the ids, as a float32 array [rows, dim]; failed ones are NaN
    #[arg(long, value_name = "OUT.npy", conflicts_with = "json")]
    pub npy: Option<PathBuf>,
}

/// Prints or writes the rows of the assets asked for.
///
/// # Errors
/// The file does not open, rows do not read, the array cannot be written.
pub fn run(args: &GetArgs) -> Result<Exit> {
    let reader = Reader::open(&args.file, args.group.as_deref())?;
    let map = args.id_map.as_deref().map(IdMap::read).transpose()?;
    let finder = Finder { reader: &reader, map: map.as_ref() };
    let mut wanted = Vec::new();
    for id in &args.ids {
        match finder.find(id)? {
            Ok(found) => wanted.push(found),
            Err(message) => note(message),
        }
    }
    match &args.npy {
        Some(_) if wanted.is_empty() => {}
        Some(path) => write_npy(&reader, &wanted, path)?,
        None => print(&reader, &wanted, args.json)?,
    }
    let unknown = args.ids.len() - wanted.len();
    if unknown == 0 {
        return Ok(Exit::Success);
    }
    if args.ids.len() > 1 {
        note(format_args!("{unknown} of {} not found", count(args.ids.len() as u64, "id")));
    }
    Ok(Exit::NotFound)
}

/// Rows asked for, which are there.
#[derive(Debug, PartialEq)]
struct Wanted {
    asset_id: String,
    /// Number, within its asset, of the first of `rows`.
    first_view: u64,
    rows: Range<u64>,
}

/// Finds what arguments mean.
struct Finder<'a> {
    reader: &'a Reader,
    map: Option<&'a IdMap>,
}

impl Finder<'_> {
    /// What an argument means: an id (which may contain `#`), or a view of one. The inner error says
    /// that there is no such thing.
    fn find(&self, argument: &str) -> Result<std::result::Result<Wanted, String>> {
        if let Some((asset_id, rows)) = self.asset(argument)? {
            return Ok(Ok(Wanted { asset_id, first_view: 0, rows }));
        }
        let (id, view) = split_view(argument).map_or((argument, None), |(id, view)| (id, Some(view)));
        if let Some(view) = view
            && let Some((asset_id, rows)) = self.asset(id)?
        {
            let n_views = rows.end - rows.start;
            if view >= n_views {
                return Ok(Err(format!("{argument}: the asset has {}, from 0", count(n_views, "view"))));
            }
            let row = rows.start + view;
            return Ok(Ok(Wanted { asset_id, first_view: view, rows: row..row + 1 }));
        }
        self.unknown(argument, id).map(Err)
    }

    /// The asset called `id`, or else the one that the map says is also called so: its stored id, and its
    /// rows.
    fn asset(&self, id: &str) -> Result<Option<(String, Range<u64>)>> {
        if let Some(rows) = self.reader.find(id)? {
            return Ok(Some((id.to_owned(), rows)));
        }
        let mut found = Vec::new();
        for name in self.map.map(|map| map.names(id)).unwrap_or_default() {
            found.extend(self.reader.find(name)?.map(|rows| (name.to_owned(), rows)));
        }
        if let [(one, _), (other, _), ..] = &found[..] {
            return Err(Error::new(format!("{id}: the id map says that it is '{one}' and '{other}'"))
                .hint("ask for one of the two"));
        }
        Ok(found.pop())
    }

    /// Says that there is no such asset, what else was tried, and what is near.
    fn unknown(&self, argument: &str, id: &str) -> Result<String> {
        let names = self.map.map(|map| map.names(id)).unwrap_or_default();
        let tried: Vec<&str> = names.into_iter().filter(|name| *name != id).collect();
        let tried = match (self.map, &tried[..]) {
            (None, _) => String::new(),
            (Some(_), []) => ", and the id map does not name it".to_owned(),
            (Some(_), tried) => format!(", nor by its other id in the map, {}", tried.join(", ")),
        };
        let near = self.reader.assets().near(id, PROPOSED_MAX)?;
        let near = if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(", ")) };
        Ok(format!("{argument}: no such asset{tried}{near}"))
    }
}

fn split_view(argument: &str) -> Option<(&str, u64)> {
    let (id, view) = argument.rsplit_once('#')?;
    Some((id, view.parse().ok()?))
}

/// One row to show.
struct Shown<'a> {
    /// What `get` would find this row by.
    label: &'a str,
    group: &'a str,
    asset_id: &'a str,
    row: u64,
    /// Where an asset has several.
    view: Option<u64>,
    /// How many views the vector is made from, where that is several.
    num_images: Option<i32>,
    vector: ArrayView1<'a, f32>,
    failure: Option<&'a str>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonRow<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    asset_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<u64>,
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_images: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    /// Of a vector that is made without some views.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
}

fn print(reader: &Reader, wanted: &[Wanted], as_json: bool) -> Result<()> {
    let has_views = reader.assets().has_views();
    let label = |wanted: &Wanted, view| {
        if has_views { format!("{}#{view}", wanted.asset_id) } else { wanted.asset_id.clone() }
    };
    let last_view =
        |wanted: &Wanted| wanted.first_view + (wanted.rows.end - wanted.rows.start).saturating_sub(1);
    let width = wanted.iter().map(|wanted| label(wanted, last_view(wanted)).chars().count()).max();
    to_stdout(|out| {
        for wanted in wanted {
            let vectors = reader.rows(wanted.rows.clone())?;
            let failures = reader.failures_of(wanted.rows.clone())?;
            let num_images = reader.num_images().map(|all| all.of_rows(wanted.rows.clone())).transpose()?;
            let rows = (wanted.first_view..).zip(wanted.rows.clone()).zip(vectors.rows());
            for (index, ((view, row), vector)) in rows.enumerate() {
                let failure = failures.iter().find(|failure| failure.row == row);
                let shown = Shown {
                    label: &label(wanted, view),
                    group: reader.group(),
                    asset_id: &wanted.asset_id,
                    row,
                    view: has_views.then_some(view),
                    num_images: num_images.as_ref().and_then(|all| all.get(index)).copied(),
                    vector,
                    failure: failure.map(|failure| failure.reason.as_str()),
                };
                if as_json { shown.write_json(out)? } else { shown.write_text(out, width.unwrap_or(0))? }
            }
        }
        Ok::<_, Stop>(Exit::Success)
    })?;
    Ok(())
}

impl Shown<'_> {
    /// Why there is no vector, and else what it was made without.
    fn failed_or_left_out(&self) -> (Option<&str>, Option<&str>) {
        if self.num_images.is_some_and(|n| n > 0) { (None, self.failure) } else { (self.failure, None) }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let (failed, left_out) = self.failed_or_left_out();
        let vector = failed.is_none().then(|| self.vector.to_vec());
        let Self { group, asset_id, row, view, num_images, .. } = *self;
        let row = JsonRow { group, asset_id, view, row, num_images, failed, left_out, vector };
        writeln!(out, "{}", serde_json::to_string(&row)?)
    }

    fn write_text(&self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        write!(out, "{:width$}  row {}", self.label, self.row)?;
        let (failed, left_out) = self.failed_or_left_out();
        if let Some(reason) = failed {
            return writeln!(out, "  failed: {reason}");
        }
        if let Some(n) = self.num_images {
            write!(out, "  {}", count(n.unsigned_abs().into(), "view"))?;
        }
        let norm = self.vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        write!(out, "  norm {norm:.4}  [")?;
        for value in self.vector.iter().take(HEAD) {
            write!(out, " {value:7.4}")?;
        }
        let more = if self.vector.len() > HEAD { " …" } else { "" };
        writeln!(out, "{more} ]{}", left_out.map(|reason| format!("  {reason}")).unwrap_or_default())
    }
}

fn write_npy(reader: &Reader, wanted: &[Wanted], path: &Path) -> Result<()> {
    let n_rows: u64 = wanted.iter().map(|wanted| wanted.rows.end - wanted.rows.start).sum();
    if path.canonicalize().is_ok_and(|path| reader.path().canonicalize().is_ok_and(|own| own == path)) {
        return Err(Error::new(format!("--npy {} would replace the file that is read", path.display())));
    }
    let mut npy = NpyWriter::create(path, n_rows, reader.dim())?;
    let mut n_failed = 0;
    for wanted in wanted {
        let rows = reader.rows(wanted.rows.clone())?;
        n_failed += rows.rows().into_iter().filter(|row| row.iter().all(|value| value.is_nan())).count();
        npy.write(&rows)?;
    }
    npy.finish()?;
    let failed = if n_failed == 0 { String::new() } else { format!(", {n_failed} of them failed (NaN)") };
    note(format_args!("{}: {}{failed}", path.display(), count(n_rows, "row")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_what_stands_after_the_last_hash() {
        assert_eq!(split_view("0/1#3"), Some(("0/1", 3)));
        assert_eq!(split_view("a#1#2"), Some(("a#1", 2)));
        for none in ["a", "a#", "a#b", "a#-1", "a#1.5"] {
            assert_eq!(split_view(none), None, "{none}");
        }
    }
}
