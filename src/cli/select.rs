//! Which assets of a file are meant: ids, views of them, lists of ids, prefixes.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;

use super::out::{count, note};
use crate::error::{Context, Error, Exit, Result};
use crate::input::IdMap;
use crate::store::{Reader, cores, in_order};

/// Ids proposed for one that is not there.
const PROPOSED_MAX: u64 = 3;
/// Ids that a thread looks up together.
const TOGETHER: usize = 64;

/// Assets as typed.
#[derive(Args, Debug)]
pub struct SelectArgs {
    /// Asset ids; ID#N is the view number N of an asset, from 0
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// A file of ids, one per line or a JSON array; - is standard input
    #[arg(long = "ids", value_name = "FILE")]
    pub ids_file: Option<PathBuf>,
    /// All assets whose ids begin with this
    #[arg(long)]
    pub prefix: Option<String>,
    /// A JSON object of indices and paths of Objaverse: an asset is then found by its index and by its uid,
    /// whichever is stored
    #[arg(long, env = "HYPERSLAB_ID_MAP", value_name = "FILE")]
    pub id_map: Option<PathBuf>,
}

/// Rows asked for, which are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub asset_id: String,
    /// Number, within its asset, of the first of `rows`.
    pub first_view: u64,
    pub rows: Range<u64>,
}

impl Wanted {
    pub fn n_rows(&self) -> u64 {
        self.rows.end - self.rows.start
    }
}

/// What was asked for: what is there, in the order it was asked for, and how many ids are not.
pub struct Selected {
    pub wanted: Vec<Wanted>,
    pub unknown: u64,
}

impl Selected {
    fn take(&mut self, found: std::result::Result<Wanted, String>) {
        match found {
            Ok(wanted) => self.wanted.push(wanted),
            Err(message) => {
                self.unknown += 1;
                note(message);
            }
        }
    }

    /// Says how many ids are not there, and gives the exit code for it.
    pub fn exit(&self, asked: usize) -> Exit {
        if self.unknown == 0 {
            return Exit::Success;
        }
        if asked > 1 {
            note(format_args!("{} of {} not found", self.unknown, count(asked as u64, "id")));
        }
        Exit::NotFound
    }
}

impl SelectArgs {
    /// Finds all that was asked for; names on standard error what is not there.
    ///
    /// # Errors
    /// Nothing was asked for; a list of ids or an id map that cannot be read; a failed read of the file.
    pub fn select(&self, reader: &Reader) -> Result<(Selected, usize)> {
        let mut ids = self.ids.clone();
        if let Some(file) = &self.ids_file {
            ids.extend(read_ids(file)?);
        }
        if ids.is_empty() && self.ids_file.is_none() && self.prefix.is_none() {
            return Err(Error::new("no asset is asked for")
                .hint("name ids, or give --ids FILE or --prefix TEXT; `hyperslab list` shows what there is")
                .exit(Exit::Usage));
        }
        let map = self.id_map.as_deref().map(IdMap::read).transpose()?;
        let mut selected = find_all(reader, map.as_ref(), &ids)?;
        let mut asked = ids.len();
        if let Some(prefix) = &self.prefix {
            let before = selected.wanted.len();
            for asset in reader.iter_prefix(prefix)? {
                let asset = asset?;
                selected.wanted.push(Wanted { asset_id: asset.id, first_view: 0, rows: asset.rows });
            }
            asked += 1;
            if selected.wanted.len() == before {
                note(format_args!("no asset id begins with '{prefix}'"));
                selected.unknown += 1;
            }
        }
        Ok((selected, asked))
    }
}

/// The ids of a file, or of standard input: one per line, or a JSON array of strings.
fn read_ids(file: &Path) -> Result<Vec<String>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text).context(|| "cannot read ids from standard input")
    } else {
        std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))
    }?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).context(|| format!("{} is no JSON array of ids", file.display()));
    }
    Ok(text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Finds what each of these ids means, on all cores; names on standard error what is not there.
///
/// # Errors
/// A failed read, an id that the map gives to two assets.
pub fn find_all(reader: &Reader, map: Option<&IdMap>, ids: &[String]) -> Result<Selected> {
    let finder = Finder { reader, map };
    let pieces: Vec<&[String]> = ids.chunks(TOGETHER).collect();
    let find =
        |piece: u64| -> Result<Vec<_>> { pieces[piece as usize].iter().map(|id| finder.find(id)).collect() };
    let mut selected = Selected { wanted: Vec::with_capacity(ids.len()), unknown: 0 };
    in_order(pieces.len() as u64, cores().min(pieces.len()), find, |found| {
        found?.into_iter().for_each(|found| selected.take(found));
        Ok(())
    })?;
    Ok(selected)
}

/// Finds what arguments mean.
pub struct Finder<'a> {
    pub reader: &'a Reader,
    pub map: Option<&'a IdMap>,
}

impl Finder<'_> {
    /// What an argument means: an id (which may contain `#`), or a view of one. The inner error says
    /// that there is no such thing.
    ///
    /// # Errors
    /// A failed read, an id that the map gives to two assets.
    pub fn find(&self, argument: &str) -> Result<std::result::Result<Wanted, String>> {
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
