//! What is searched for or encoded, as it is written on a line of JSON.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};

/// A longer line is no query.
const LINE_BYTES_MAX: usize = 16 << 20;

/// One item, and what its sender calls it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Query {
    /// Any JSON value, given back as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    #[serde(flatten)]
    pub asked: Asked,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Text(String),
    /// A picture file.
    Image(PathBuf),
    /// The vectors of an asset, or `ID#N`, the view number N of one.
    AssetId(String),
}

impl From<Asked> for Query {
    fn from(asked: Asked) -> Self {
        Self { id: None, asked }
    }
}

/// A line that is no query.
#[derive(Clone, Debug, PartialEq)]
pub struct BadLine {
    /// As far as it could be read.
    pub id: Option<Value>,
    pub why: String,
}

impl BadLine {
    fn new(id: Option<Value>, why: impl Into<String>) -> Self {
        Self { id, why: why.into() }
    }
}

impl Query {
    /// The query on a line, if it is not too long.
    ///
    /// # Errors
    /// It is none.
    pub fn of_line(line: Line) -> Result<Self, BadLine> {
        match line {
            Line::Whole(line) => Self::parse(&line),
            Line::TooLong => Err(BadLine::new(None, format!("it is longer than {LINE_BYTES_MAX} bytes"))),
        }
    }

    /// The query on a line: an object with one of `text`, `image` and `asset_id`, and perhaps `id`, other keys
    /// standing beside them; or a string, which is a text.
    ///
    /// # Errors
    /// It is none.
    fn parse(line: &[u8]) -> Result<Self, BadLine> {
        match serde_json::from_slice(line) {
            Ok(Value::String(text)) => Ok(Asked::Text(text).into()),
            Ok(Value::Object(object)) => Self::of_object(object),
            Ok(_) => Err(BadLine::new(None, "neither an object nor a string")),
            Err(error) => {
                let told = error.to_string();
                let what = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what);
                Err(BadLine::new(None, format!("column {}: {what}", error.column())))
            }
        }
    }

    fn of_object(mut object: Map<String, Value>) -> Result<Self, BadLine> {
        let id = object.remove("id");
        let keys = ["text", "image", "asset_id"];
        let mut found = keys.into_iter().filter_map(|key| Some((key, object.get(key)?)));
        let asked = match (found.next(), found.next()) {
            (Some((key, Value::String(text))), None) => match key {
                "text" => Asked::Text(text.clone()),
                "image" => Asked::Image(text.into()),
                _ => Asked::AssetId(text.clone()),
            },
            (Some((key, _)), None) => return Err(BadLine::new(id, format!("`{key}` is not a string"))),
            (Some((one, _)), Some((other, _))) => {
                return Err(BadLine::new(id, format!("it has both `{one}` and `{other}`")));
            }
            (None, _) => return Err(BadLine::new(id, "neither `text` nor `image` is in it")),
        };
        Ok(Self { id, asked })
    }
}

/// A line that there is something in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// It was skipped.
    TooLong,
}

/// The next line, empty ones left out; none at the end of the input. `number` becomes its number from that of the
/// line before.
///
/// # Errors
/// The input does not read.
pub fn next_line(input: &mut impl BufRead, number: &mut u64) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        *number += 1;
        if input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Whole(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why(line: &str) -> (Option<Value>, String) {
        let bad = Query::parse(line.as_bytes()).expect_err(line);
        (bad.id, bad.why)
    }

    #[test]
    fn a_line_is_a_text_a_picture_or_an_asset() {
        let parsed = |line: &str| Query::parse(line.as_bytes()).expect(line);
        assert_eq!(parsed(r#""a lamp""#), Asked::Text("a lamp".into()).into());
        assert_eq!(parsed(r#"{"text": "椅子", "more": 1}"#), Asked::Text("椅子".into()).into());
        let picture = Query { id: Some(json!([1, {"a": null}])), asked: Asked::Image("a/b.png".into()) };
        assert_eq!(parsed(r#"{"id": [1, {"a": null}], "image": "a/b.png"}"#), picture);
        let asset = Query { id: Some(json!("q")), asked: Asked::AssetId("0/1#3".into()) };
        assert_eq!(parsed(r#"{"id": "q", "asset_id": "0/1#3"}"#), asset);
        assert_eq!(serde_json::to_string(&asset).expect("JSON"), r#"{"id":"q","asset_id":"0/1#3"}"#);
    }

    #[test]
    fn what_is_none_is_told_with_its_id() {
        assert!(why("{").1.starts_with("column 1: EOF"));
        assert_eq!(why("17"), (None, "neither an object nor a string".into()));
        assert_eq!(why("[]").0, None);
        assert_eq!(why(r#"{"id": 7, "text": 1}"#), (Some(json!(7)), "`text` is not a string".into()));
        let both = r#"{"id": "x", "image": "a", "text": "b"}"#;
        assert_eq!(why(both), (Some(json!("x")), "it has both `text` and `image`".into()));
        assert_eq!(why(r#"{"id": "x"}"#).1, "neither `text` nor `image` is in it");
        assert!(Query::parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn lines_end_where_they_end_and_empty_ones_say_nothing() {
        let mut input = io::Cursor::new(b"one\n\n  \r\ntwo\r\nthree".to_vec());
        let (mut number, mut lines) = (0, Vec::new());
        while let Some(line) = next_line(&mut input, &mut number).expect("read") {
            let Line::Whole(line) = line else { panic!("it is short") };
            lines.push((number, String::from_utf8(line).expect("UTF-8")));
        }
        assert_eq!(lines, [(1, "one\n".into()), (4, "two\r\n".into()), (5, "three".into())]);
        let long = vec![b'x'; LINE_BYTES_MAX + 5];
        let mut input = io::Cursor::new([&long[..], b"\nnext"].concat());
        let mut number = 0;
        assert_eq!(next_line(&mut input, &mut number).expect("read"), Some(Line::TooLong));
        assert_eq!(next_line(&mut input, &mut number).expect("read"), Some(Line::Whole(b"next".to_vec())));
        assert_eq!(number, 2);
        let exact = vec![b'x'; LINE_BYTES_MAX];
        let mut input = io::Cursor::new([&exact[..], b"\n"].concat());
        assert!(matches!(next_line(&mut input, &mut number), Ok(Some(Line::Whole(_)))));
    }
}
