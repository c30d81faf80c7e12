//! Asset ids in JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Visitor};

use crate::plan::check_id;

/// Reads a key into a buffer that is used again.
pub(super) struct Id<'a>(pub &'a mut String);

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
