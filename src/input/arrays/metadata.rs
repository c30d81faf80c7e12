//! Which assets the rows of an array belong to: a JSON list of ids, or an object of ranges of rows.

use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::input::json_id::Id;
use crate::input::text_file::{self, Left, Limited, json_error};
use crate::plan::check_id;

/// What the file is called in errors.
const WHAT: &str = "metadata";
const HINT: &str = "the file must be one JSON list of ids in the order of the rows: [\"id\", ...], or one object of \
                    ranges of rows: {\"id\": {\"start_idx\": 0, \"count\": 12}, ...}";

/// The assets of one array, in the order of the file.
#[derive(Debug, Default)]
pub struct Owners {
    ids: String,
    ranges: Vec<Range>,
    /// Each has the row of its place.
    is_list: bool,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    id_start: u64,
    start: u64,
    count: u32,
    id_len: u8,
}

/// One value of the object.
#[derive(Clone, Copy, Deserialize)]
struct Stated {
    start_idx: u64,
    count: u32,
}

impl Owners {
    /// Rows that belong to an asset.
    pub fn rows(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.count)).sum()
    }

    /// Every id, with the number of its first row and how many it has.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn for_each(&self, mut each: impl FnMut(&str, u64, u32) -> Result<()>) -> Result<()> {
        self.ranges.iter().try_for_each(|range| each(self.id(range), range.start, range.count))
    }

    /// Refuses ranges that are not those of an array of so many rows.
    ///
    /// # Errors
    /// Names the asset whose rows are not there, or two that share one.
    pub fn check(&self, rows: u64, path: &Path) -> Result<()> {
        let path = path.display();
        if self.is_list && self.ranges.len() as u64 != rows {
            let ids = self.ranges.len();
            return Err(Error::new(format!("{rows} rows, where the metadata '{path}' name {ids} ids")));
        }
        let mut by_start: Vec<&Range> = self.ranges.iter().filter(|range| range.count > 0).collect();
        by_start.sort_unstable_by_key(|range| range.start);
        let mut before: Option<(&Range, u64)> = None;
        for range in by_start {
            let (id, start, count) = (self.id(range), range.start, range.count);
            let end = start.checked_add(count.into()).filter(|&end| end <= rows);
            let Some(end) = end else {
                return Err(Error::new(format!(
                    "metadata '{path}': asset '{id}' has {count} rows from row {start} on, and the array has {rows}"
                )));
            };
            if let Some((other, _)) = before.filter(|(_, end)| *end > start) {
                return Err(Error::new(format!(
                    "metadata '{path}': assets '{}' and '{id}' both have row {start}",
                    self.id(other)
                )));
            }
            before = Some((range, end));
        }
        Ok(())
    }

    fn id(&self, range: &Range) -> &str {
        let start = range.id_start as usize;
        &self.ids[start..start + usize::from(range.id_len)]
    }

    fn push(&mut self, id: &str, start: u64, count: u32) -> Result<()> {
        check_id(id)?;
        let (id_start, id_len) = (self.ids.len() as u64, id.len() as u8);
        self.ranges.push(Range { id_start, start, count, id_len });
        self.ids.push_str(id);
        Ok(())
    }
}

/// Reads the metadata of an array whose assets have a row for each view, or one.
///
/// # Errors
/// The file cannot be read, or is not JSON of a form that fits; names line and column.
pub fn read(path: &Path, per_view: bool) -> Result<Owners> {
    let text = Limited::new(text_file::open(path, WHAT)?, "an id");
    let mut reading =
        Reading { owners: Owners::default(), left: text.left(), per_view, within: String::new() };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(text));
    match json.deserialize_any(&mut reading).and_then(|()| json.end()) {
        Ok(()) => Ok(reading.owners),
        Err(error) if error.is_io() => Err(json_error(path, WHAT, &error, "")),
        Err(error) => Err(json_error(path, WHAT, &error, &reading.within).hint(HINT)),
    }
}

/// The state of reading one file.
struct Reading {
    owners: Owners,
    /// A few bytes of gzip can be an id without end.
    left: Left,
    per_view: bool,
    /// Whose value is being read, for errors.
    within: String,
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of asset ids, or an object of ranges of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        use serde::de::Error as _;
        if self.per_view {
            return Err(A::Error::custom("a list of ids says nothing of the views that each has"));
        }
        self.owners.is_list = true;
        let mut row = 0;
        let mut id = String::new();
        while list.next_element_seed(Id(&mut id))?.is_some() {
            self.owners.push(&id, row, 1).map_err(A::Error::custom)?;
            row += 1;
            self.left.renew();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        use serde::de::Error as _;
        let mut id = String::new();
        while map.next_key_seed(Id(&mut id))?.is_some() {
            self.within = format!("asset '{}': ", id.escape_debug());
            let Stated { start_idx, count } = map.next_value()?;
            if count > 1 && !self.per_view {
                return Err(A::Error::custom(format!("{count} rows, where assets have one vector each")));
            }
            self.within.clear();
            self.owners.push(&id, start_idx, count).map_err(A::Error::custom)?;
            self.left.renew();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, per_view: bool, rows: u64) -> Result<Vec<(String, u64, u32)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        std::fs::write(&path, text).unwrap();
        let owners = read(&path, per_view)?;
        owners.check(rows, &path)?;
        let mut all = Vec::new();
        owners.for_each(|id, start, count| {
            all.push((id.to_owned(), start, count));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn lists_and_ranges_are_read() {
        let own = |id: &str, start, count| (id.to_owned(), start, count);
        assert_eq!(check("[\"b\", \"é/1\"]", false, 2).unwrap(), [own("b", 0, 1), own("é/1", 1, 1)]);
        let ranges = "{\"b\": {\"start_idx\": 3, \"count\": 2}, \"a\": {\"count\": 3, \"start_idx\": 0, \"x\": []}, \
                      \"c\": {\"start_idx\": 1, \"count\": 0}}";
        assert_eq!(check(ranges, true, 5).unwrap(), [own("b", 3, 2), own("a", 0, 3), own("c", 1, 0)]);
        assert_eq!(check("{\"b\": {\"start_idx\": 3, \"count\": 1}}", false, 5).unwrap(), [own("b", 3, 1)]);
        assert_eq!(check("[]", false, 0).unwrap(), []);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let range = |id: &str, start: i64, count: i64| {
            format!("\"{id}\": {{\"start_idx\": {start}, \"count\": {count}}}")
        };
        let object = |ranges: &[String]| format!("{{{}}}", ranges.join(", "));
        for (text, per_view, says) in [
            ("[\"a\"]".to_owned(), false, "5 rows, where the metadata"),
            ("[\"a\"]".to_owned(), true, "says nothing of the views"),
            (object(&[range("a", 0, 2)]), false, "asset 'a': 2 rows"),
            (object(&[range("a", 4, 2)]), true, "asset 'a' has 2 rows from row 4 on"),
            (object(&[range("a", 6, 1)]), true, "asset 'a' has 1 rows from row 6 on"),
            (object(&[range("a", i64::MAX, 2)]), true, "asset 'a' has 2 rows"),
            (object(&[range("a", 0, 3), range("b", 2, 1)]), true, "assets 'a' and 'b' both have row 2"),
            (object(&[range("a", -1, 3)]), true, "asset 'a': invalid value"),
            (object(&[range("a", 1, -3)]), true, "asset 'a': invalid value"),
            (object(&[range("", 1, 3)]), true, "an asset id is empty"),
            ("{\"a\": 3}".to_owned(), true, "asset 'a': invalid type"),
            ("{\"a\": {\"count\": 3}}".to_owned(), true, "missing field"),
            ("[1]".to_owned(), false, "expected an asset id"),
            ("3".to_owned(), false, "expected a list of asset ids"),
            ("[\"a\"] []".to_owned(), false, "trailing"),
            ("[\"a\"".to_owned(), false, "EOF"),
        ] {
            let error = check(&text, per_view, 5).unwrap_err();
            assert!(error.message.contains(says), "{text}: {error}");
        }
    }
}
