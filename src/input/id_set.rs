//! Sets of asset ids in JSON.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::id_map::uid_of;
use super::text_file::{self, json_error};
use crate::error::Result;

/// Reads the ids of a JSON array `["id", ...]`, or of an id map `{"0/10002": "000-001/<uid>.glb", ...}`: both of the
/// ids that it gives each asset. Plain or gzipped; `what` names the file in errors.
///
/// # Errors
/// The file cannot be read, or is of neither form; names line and column.
pub fn read_ids(path: &Path, what: &str) -> Result<HashSet<String>> {
    let mut json = serde_json::Deserializer::from_reader(text_file::open(path, what)?);
    let read = json.deserialize_any(Ids).and_then(|ids| json.end().map(|()| ids));
    read.map_err(|error| {
        json_error(path, what, &error, "").hint(
            "the file must be one JSON array of ids, [\"0/10002\", ...], or an id map, \
             {\"0/10002\": \"000-001/<uid>.glb\", ...}",
        )
    })
}

struct Ids;

impl<'de> Visitor<'de> for Ids {
    type Value = HashSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ids, or an object whose keys are ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> std::result::Result<Self::Value, A::Error> {
        let mut set = HashSet::new();
        while let Some(id) = ids.next_element()? {
            set.insert(id);
        }
        Ok(set)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut set = HashSet::new();
        while let Some((index, path)) = map.next_entry::<String, String>()? {
            set.insert(index);
            set.insert(uid_of(&path).to_owned());
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_are_sets_and_all_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("ids.json");
            std::fs::write(&path, text).unwrap();
            read_ids(&path, "the list of ids")
        };
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>();
        assert_eq!(file(r#"["a", "b", "a"]"#).unwrap(), set(&["a", "b"]));
        assert_eq!(
            file(r#"{"0/1": "000-001/u1.glb", "0/2": "u2"}"#).unwrap(),
            set(&["0/1", "u1", "0/2", "u2"])
        );
        assert!(file("[]").unwrap().is_empty());
        for bad in ["", "7", "[1]", r#"{"a": 1}"#, r#"["a"] x"#, r#"["a""#] {
            let error = file(bad).unwrap_err().to_string();
            assert!(error.contains("the list of ids"), "{bad}: {error}");
        }
    }
}
