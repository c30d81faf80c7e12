//! Captions, streamed: a JSON object `{asset id: caption}`, JSON lines, or a two-column CSV without header
//! as Cap3D has it; each also gzipped.

mod csv;
mod format;
mod json;
mod lines;

use std::path::Path;

use super::{Catalog, Keep, Odd};
use crate::error::{Error, Result};
use format::Format;

/// What a file of captions is called in errors.
const WHAT: &str = "captions";

/// What a file of captions holds.
#[derive(Clone, Debug)]
pub struct Captions {
    pub catalog: Catalog,
    /// Captions of nothing but white space: their items will fail.
    pub empty: Odd,
}

/// Reads the captions at `path`, keeping ids and, if asked, captions; never a second copy of the file. The
/// format follows from the file's name (`.json`, `.jsonl` or `.ndjson`, `.csv`, each also with `.gz`
/// behind it), and where that says nothing from how the file begins.
///
/// # Errors
/// The file cannot be read, is not of its format (named by line and column), or an id cannot stand in a
/// file. An id that comes several times is no error here.
pub fn read(path: &Path, keep: Keep) -> Result<Captions> {
    let captions = Captions { catalog: Catalog::new(keep), empty: Odd::default() };
    match Format::of(path)? {
        Format::Object => json::read(path, captions),
        Format::Lines => lines::read(path, captions),
        Format::Csv => csv::read(path, captions),
    }
}

impl Captions {
    fn add(&mut self, id: &str, caption: &str) -> Result<()> {
        if caption.trim().is_empty() {
            self.empty.add(id);
        }
        self.catalog.push(id, 1, caption.as_bytes())
    }
}

/// An error of one line, by its place.
fn at_line(path: &Path, line: u64, error: Error) -> Error {
    let message = format!("{WHAT} '{}', line {line}: {}", path.display(), error.message);
    Error { message, ..error }
}
