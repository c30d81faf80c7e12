//! A ready list of views, so that tens of millions need no walk.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::gather::{Gatherer, Mount, Picture};
use super::rule::{Rule, is_picture};
use super::view::Place;
use super::{Listing, Part};
use crate::error::{Context, Error, Result};
use crate::input::Keep;
use crate::input::archive::Format;
use crate::plan::check_id;

const HOW_TO_LIST: &str = "make the list with: find ROOT -type f -printf '%P\\t%s\\n'";
/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a list as `find ROOT -type f -printf '%P\t%s\n'` prints it: a path relative to the root, a tab,
/// the size in bytes; tab and size may be missing. Lines of one asset need not come together, but then
/// the list takes longer and, with everything kept, more memory; those of a folder that is one view must.
///
/// Returns what is listed, and the archives among it, to be indexed in `parts` parts by [`super::walk`].
///
/// # Errors
/// The list cannot be read, or a line is no relative path, not UTF-8, or comes twice in a run of lines of
/// one folder; names the line.
pub fn read_list(path: &Path, parts: usize, keep: Keep, rule: &Rule) -> Result<(Vec<Part>, Listing)> {
    let about = || format!("reading the list of views '{}'", path.display());
    let file = File::open(path).context(about)?;
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let in_list = |place: &str, error: Error| {
        let message = format!("the list of views '{}'{place}: {}", path.display(), error.message);
        Error { message, ..error }
    };
    let mut run = Run::new(rule, keep);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).context(about)? == 0 {
            break;
        }
        let at_line = |error| in_list(&format!(", line {number}"), error);
        let text = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK) } else { None };
        let view = parse(text.unwrap_or(&line)).map_err(at_line)?;
        if view.folder != run.folder {
            run.end().map_err(|error| in_list("", error))?;
            check_folder(view.folder).map_err(at_line)?;
            run.begin(view.folder);
        }
        run.add(&view);
    }
    run.end().map_err(|error| in_list("", error))?;
    let parts = Part::cut(Vec::new(), run.archives, parts.max(1));
    Ok((parts, run.gatherer.finish()?))
}

/// One line of the list.
struct Line<'a> {
    /// Empty for a file directly in the root.
    folder: &'a str,
    name: &'a str,
    /// 0 where the list does not say.
    bytes: u64,
}

/// A run of lines of one folder.
struct Run<'a> {
    gatherer: Gatherer<'a>,
    archives: Vec<String>,
    folder: String,
    is_hidden: bool,
    pictures: Vec<Picture>,
    /// Whether every name came after the one before.
    in_order: bool,
}

impl<'a> Run<'a> {
    fn new(rule: &'a Rule, keep: Keep) -> Self {
        let gatherer = Gatherer::new(rule, keep);
        let (folder, archives, pictures) = (String::new(), Vec::new(), Vec::new());
        Self { gatherer, archives, folder, is_hidden: false, pictures, in_order: true }
    }

    fn begin(&mut self, folder: &str) {
        self.folder.push_str(folder);
        self.is_hidden = folder.starts_with('.') || folder.contains("/.");
        self.in_order = true;
    }

    fn add(&mut self, line: &Line<'_>) {
        if line.name.starts_with('.') || self.is_hidden {
            self.gatherer.odd().hidden += 1;
        } else if line.name.is_empty() {
            // An empty line says nothing.
        } else if is_picture(line.name) {
            self.in_order &= self.pictures.last().is_none_or(|last| last.name.as_str() < line.name);
            let (name, bytes) = (line.name.to_owned(), line.bytes);
            self.pictures.push(Picture { name, bytes, place: Place::File });
        } else if Format::of(line.name).is_some() {
            self.archives.push(super::gather::child(&self.folder, line.name));
        } else {
            self.gatherer.odd().no_picture(&self.folder, line.name);
        }
    }

    /// Hands the run over.
    fn end(&mut self) -> Result<()> {
        if !self.in_order {
            self.check_names()?;
        }
        if !self.pictures.is_empty() {
            self.gatherer.folder(Mount::ROOT, &self.folder, &mut self.pictures)?;
        }
        self.folder.clear();
        self.is_hidden = false;
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let mut names: Vec<&str> = self.pictures.iter().map(|picture| picture.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[&str]>::first) {
            Some(name) => Err(Error::new(format!("the view '{}/{name}' comes twice", self.folder))),
            None => Ok(()),
        }
    }
}

/// Takes a line of the list apart.
fn parse(line: &[u8]) -> Result<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| {
        Error::new(format!("'{}' is not UTF-8", String::from_utf8_lossy(line)))
            .hint("rename the file: ids in the output are UTF-8")
    })?;
    let (path, bytes) = match line.rsplit_once('\t') {
        None => (line, 0),
        Some((path, size)) => {
            let bytes = size.parse().map_err(|_| {
                Error::new(format!("'{size}' after the last tab is no size in bytes")).hint(HOW_TO_LIST)
            })?;
            (path, bytes)
        }
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok(Line { folder, name, bytes })
}

/// Refuses what is not a path below the root written in the one way that makes equal ids equal.
fn check_folder(folder: &str) -> Result<()> {
    let odd = |step: &str| step.is_empty() || step == "." || step == "..";
    if folder.is_empty() {
        return Ok(());
    }
    if !folder.split('/').any(odd) {
        return check_id(folder);
    }
    Err(Error::new(format!("'{folder}' is not a plain path relative to the renders' root")).hint(HOW_TO_LIST))
}
