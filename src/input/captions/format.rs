//! Which format a file of captions has.

use std::io::Read;
use std::path::Path;

use super::{WHAT, lines};
use crate::error::{Context, Result};
use crate::input::text_file;

/// So many bytes of a file are looked at where its name says nothing.
const HEAD_BYTES: u64 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object of ids and captions.
    Object,
    /// A JSON value on each line.
    Lines,
    /// Two columns, id and caption, without header.
    Csv,
}

impl Format {
    /// The format that the name of the file says, else the one that its first bytes look like.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        if let Some(format) = Self::of_name(path) {
            return Ok(format);
        }
        let mut head = Vec::new();
        let read = text_file::open(path, WHAT)?.take(HEAD_BYTES).read_to_end(&mut head);
        read.context(|| format!("reading {WHAT} from '{}'", path.display()))?;
        Ok(Self::of_head(&head))
    }

    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "json" => Some(Self::Object),
            "jsonl" | "ndjson" => Some(Self::Lines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    fn of_head(head: &[u8]) -> Self {
        let head = head.trim_ascii_start();
        let first_line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match head.first() {
            Some(b'{' | b'[') if lines::is_line(first_line) => Self::Lines,
            Some(b'{' | b'[') | None => Self::Object,
            Some(_) => Self::Csv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_and_else_the_beginning() {
        let of_name = |name: &str| Format::of_name(Path::new(name));
        assert_eq!(of_name("a.b/x.json"), Some(Format::Object));
        assert_eq!(of_name("x.JSON.GZ"), Some(Format::Object));
        assert_eq!([of_name("x.jsonl.gz"), of_name("x.ndjson")], [Some(Format::Lines); 2]);
        assert_eq!([of_name("x.csv"), of_name("x.y.csv.gz")], [Some(Format::Csv); 2]);
        assert_eq!([of_name("x"), of_name("x.gz"), of_name("x.txt"), of_name("json")], [None; 4]);

        for (head, expected) in [
            ("", Format::Object),
            (" \n{\"a\": \"x\", \"b\": \"y\"}", Format::Object),
            ("{\n \"id\": \"x\",", Format::Object),
            ("{\"id\": \"x\", \"caption\": \"y", Format::Object),
            ("{\"id\": \"x\", \"caption\": \"y\"}\n{\"id\":", Format::Lines),
            ("{\"uid\": \"x\", \"n\": 3, \"text\": \"y\"}", Format::Lines),
            ("[\"x\", \"y\"]\r\n", Format::Lines),
            ("[{\"id\": \"x\"}]", Format::Object),
            ("x,\"y", Format::Csv),
        ] {
            assert_eq!(Format::of_head(head.as_bytes()), expected, "{head}");
        }
    }
}
