//! Captions as one JSON object `{asset id: caption}`.

use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::{Captions, WHAT};
use crate::error::{Error, Result};
use crate::input::json_id::Id;
use crate::input::text_file::{self, Left, Limited, json_error};

/// Adds the captions at `path` to `captions`.
///
/// # Errors
/// The file cannot be read, or is not JSON of this form; names line and column.
pub fn read(path: &Path, captions: Captions) -> Result<Captions> {
    let text = Limited::new(text_file::open(path, WHAT)?, "an id or a caption");
    let mut reading = Reading { captions, id: String::new(), in_caption: false, left: text.left() };
    // It takes byte after byte, which a buffer alone makes quick.
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(text));
    match json.deserialize_map(&mut reading).and_then(|()| json.end()) {
        Ok(()) => Ok(reading.captions),
        Err(error) => Err(explain(path, &error, &reading)),
    }
}

fn explain(path: &Path, error: &serde_json::Error, reading: &Reading) -> Error {
    let within =
        if reading.in_caption { format!("the caption of '{}': ", reading.id) } else { String::new() };
    let explained = json_error(path, WHAT, error, &within);
    if error.is_io() {
        return explained;
    }
    explained.hint(
        "the file must be one JSON object: {\"asset id\": \"caption\", ...}; one with a JSON value on each line \
         is read where its name ends in .jsonl",
    )
}

/// The state of reading one file.
struct Reading {
    captions: Captions,
    id: String,
    /// Whether the caption of `id` is being read.
    in_caption: bool,
    /// A few bytes of gzip can be a caption without end.
    left: Left,
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
            self.left.renew();
        }
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
        captions.add(id, caption).map_err(E::custom)
    }
}
