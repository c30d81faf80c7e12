//! A ready list of views, so that tens of millions need no walk.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::{Listing, decode_views, encode_view, is_picture};
use crate::error::{Context, Error, Result};
use crate::input::Keep;
use crate::plan::check_id;

const HOW_TO_LIST: &str = "make the list with: find ROOT -type f -printf '%P\\t%s\\n'";

/// Reads a list as `find ROOT -type f -printf '%P\t%s\n'` prints it: a path relative to the root, a tab,
/// the size in bytes; tab and size may be missing. Lines of one asset need not come together, but then
/// the list takes longer and, with everything kept, more memory.
///
/// # Errors
/// The list cannot be read, or a line is no relative path, not UTF-8, or comes twice in a run of lines of
/// one asset; names the line.
pub fn read_list(path: &Path, keep: Keep) -> Result<Listing> {
    let about = || format!("reading the list of views '{}'", path.display());
    let file = File::open(path).context(about)?;
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let in_list = |place: &str, error: Error| {
        let message = format!("the list of views '{}'{place}: {}", path.display(), error.message);
        Error { message, ..error }
    };
    let mut run = Run::new(keep);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).context(about)? == 0 {
            break;
        }
        let at_line = |error| in_list(&format!(", line {number}"), error);
        let view = parse(&line).map_err(at_line)?;
        if view.folder != run.id {
            run.end().map_err(|error| in_list("", error))?;
            check_folder(view.folder).map_err(at_line)?;
            run.begin(view.folder);
        }
        run.add(&view);
    }
    run.end().map_err(|error| in_list("", error))?;
    Ok(run.listing)
}

/// One line of the list.
struct Line<'a> {
    /// Empty for a file directly in the root.
    folder: &'a str,
    name: &'a str,
    /// 0 where the list does not say.
    bytes: u64,
}

/// A run of lines of one asset.
struct Run {
    listing: Listing,
    id: String,
    is_hidden: bool,
    views: u32,
    data: Vec<u8>,
    last_name: String,
    /// Whether every name came after the one before.
    in_order: bool,
}

impl Run {
    fn new(keep: Keep) -> Self {
        let (id, last_name, data) = (String::new(), String::new(), Vec::new());
        Self { listing: Listing::new(keep), id, is_hidden: false, views: 0, data, last_name, in_order: true }
    }

    fn begin(&mut self, id: &str) {
        self.id.push_str(id);
        self.is_hidden = id.starts_with('.') || id.contains("/.");
        self.in_order = true;
    }

    fn add(&mut self, line: &Line<'_>) {
        let odd = &mut self.listing.odd;
        if line.name.starts_with('.') || self.is_hidden {
            odd.hidden += 1;
        } else if line.name.is_empty() {
            // An empty line says nothing.
        } else if !is_picture(line.name) {
            odd.ignored.add(&format!("{}/{}", self.id, line.name));
        } else if self.id.is_empty() {
            odd.outside_assets.add(line.name);
        } else {
            self.in_order &= self.views == 0 || self.last_name.as_str() < line.name;
            self.last_name.clear();
            self.last_name.push_str(line.name);
            self.views += 1;
            encode_view(line.name, line.bytes, &mut self.data);
        }
    }

    /// Hands the run to the catalog.
    fn end(&mut self) -> Result<()> {
        if self.views > 0 {
            if !self.in_order {
                self.check_names()?;
            }
            self.listing.catalog.push(&self.id, self.views, &self.data)?;
        }
        self.id.clear();
        self.is_hidden = false;
        self.views = 0;
        self.data.clear();
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let mut views = Vec::with_capacity(self.views as usize);
        decode_views(&self.data, &mut views)?;
        views.sort_unstable();
        match views.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Error::new(format!("the view '{}/{}' comes twice", self.id, pair[0].0))),
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
