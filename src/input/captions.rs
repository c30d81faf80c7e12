//! Captions: a JSON object `{asset id: caption}`, streamed.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::{Catalog, Keep, Odd};
use crate::error::{Context, Error, Result};
use crate::plan::check_id;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a file of captions holds.
#[derive(Clone, Debug)]
pub struct Captions {
    pub catalog: Catalog,
    /// Captions of nothing but white space: their items will fail.
    pub empty: Odd,
}

/// Reads the captions at `path`, keeping ids and, if asked, captions; never a second copy of the file.
///
/// # Errors
/// The file cannot be read, is not JSON of this form (named by line and column), or an id cannot stand
/// in a file. An id that comes several times is no error here.
pub fn read(path: &Path, keep: Keep) -> Result<Captions> {
    let about = || format!("reading captions from '{}'", path.display());
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).context(about)?);
    if file.fill_buf().context(about)?.starts_with(BYTE_ORDER_MARK) {
        file.consume(BYTE_ORDER_MARK.len());
    }
    let captions = Captions { catalog: Catalog::new(keep), empty: Odd::default() };
    let mut reading = Reading { captions, id: String::new(), in_caption: false };
    let mut json = serde_json::Deserializer::from_reader(file);
    match json.deserialize_map(&mut reading).and_then(|()| json.end()) {
        Ok(()) => Ok(reading.captions),
        Err(error) => Err(explain(path, &error, &reading)),
    }
}

fn explain(path: &Path, error: &serde_json::Error, reading: &Reading) -> Error {
    let (file, line, column) = (path.display(), error.line(), error.column());
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    if error.is_io() {
        return Error::new(format!("reading captions from '{file}': {text}"));
    }
    let caption =
        if reading.in_caption { format!("the caption of '{}': ", reading.id) } else { String::new() };
    Error::new(format!("captions '{file}', line {line}, column {column}: {caption}{what}"))
        .hint("the file must be one JSON object: {\"asset id\": \"caption\", ...}")
}

/// The state of reading one file.
struct Reading {
    captions: Captions,
    id: String,
    /// Whether the caption of `id` is being read.
    in_caption: bool,
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of asset ids and captions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while map.next_key_seed(Id(&mut self.id))?.is_some() {
            self.in_caption = true;
            map.next_value_seed(Caption(self))?;
            self.in_caption = false;
        }
        Ok(())
    }
}

/// Reads a key into a buffer that is used again.
struct Id<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Id<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> std::result::Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Id<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an asset id")
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> std::result::Result<(), E> {
        check_id(id).map_err(E::custom)?;
        self.0.clear();
        self.0.push_str(id);
        Ok(())
    }
}

/// Reads a value straight into the catalog.
struct Caption<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Caption<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> std::result::Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Caption<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, caption: &str) -> std::result::Result<(), E> {
        let Reading { captions, id, .. } = self.0;
        if caption.trim().is_empty() {
            captions.empty.add(id);
        }
        captions.catalog.push(id, 1, caption.as_bytes()).map_err(E::custom)
    }
}
