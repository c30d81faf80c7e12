//! Captions as JSON lines: on each line an object with an id and a caption among its keys, or a pair
//! `["asset id", "caption"]`.

use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::Value;

use super::{Captions, WHAT, at_line};
use crate::error::{Context, Error, Result};
use crate::input::text_file::{self, PIECE_BYTES_MAX};

/// Keys of an id and of a caption, the first found is taken.
const ID_KEYS: [&str; 3] = ["asset_id", "uid", "id"];
const CAPTION_KEYS: [&str; 2] = ["caption", "text"];

const FORM: &str = "a line must be {\"asset_id\": \"...\", \"caption\": \"...\"}: the id may also be called uid or id, \
                    the caption text, other keys may stand beside them; or [\"asset id\", \"caption\"]";

/// Adds the captions at `path` to `captions`. The first line says which keys are the id and the caption of
/// every line; empty lines say nothing.
///
/// # Errors
/// The file cannot be read, or a line is not of this form; names the line.
pub fn read(path: &Path, mut captions: Captions) -> Result<Captions> {
    let mut file = text_file::open(path, WHAT)?;
    let mut form = None;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = file.by_ref().take(PIECE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.context(|| format!("reading {WHAT} from '{}'", path.display()))? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            add(&line, &mut form, &mut captions).map_err(|error| at_line(path, number, error))?;
        }
    }
    Ok(captions)
}

/// Whether a line is of a form that is known.
pub fn is_line(line: &[u8]) -> bool {
    serde_json::from_slice(line).is_ok_and(|value| Form::of(&value).is_ok())
}

fn add(line: &[u8], form: &mut Option<Form>, captions: &mut Captions) -> Result<()> {
    if line.len() as u64 == PIECE_BYTES_MAX {
        return Err(Error::new(format!("it is longer than {PIECE_BYTES_MAX} bytes")).hint(FORM));
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let told = error.to_string();
        let what = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what);
        Error::new(format!("column {}: {what}", error.column())).hint(FORM)
    })?;
    let form = match form {
        Some(form) => form,
        None => form.insert(Form::of(&value)?),
    };
    let (id, caption) = form.take(&value)?;
    captions.add(id, caption)
}

/// How a line says an id and a caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pair,
    Keys { id: &'static str, caption: &'static str },
}

impl Form {
    fn of(value: &Value) -> Result<Self> {
        let first = |keys: &[&'static str]| keys.iter().copied().find(|key| value.get(key).is_some());
        match (value, first(&ID_KEYS), first(&CAPTION_KEYS)) {
            (Value::Array(pair), ..) if matches!(&pair[..], [Value::String(_), Value::String(_)]) => {
                Ok(Self::Pair)
            }
            (Value::Object(_), Some(id), Some(caption)) => Ok(Self::Keys { id, caption }),
            _ => Err(unknown(value)),
        }
    }

    fn take(self, value: &Value) -> Result<(&str, &str)> {
        match (self, value) {
            (Self::Pair, Value::Array(pair)) => match &pair[..] {
                [Value::String(id), Value::String(caption)] => Ok((id, caption)),
                _ => Err(unknown(value)),
            },
            (Self::Keys { id, caption }, Value::Object(_)) => {
                let id = string(value, id, "")?;
                Ok((id, string(value, caption, &format!(" of '{id}'"))?))
            }
            _ => Err(unknown(value)),
        }
    }
}

fn string<'a>(value: &'a Value, key: &str, of: &str) -> Result<&'a str> {
    match value.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Error::new(format!("'{key}'{of} is {}, not a string", kind(other))).hint(FORM)),
        None => {
            Err(Error::new(format!("no '{key}'{of}, which the first line has: found {}", kind(value)))
                .hint(FORM))
        }
    }
}

fn unknown(value: &Value) -> Error {
    Error::new(format!("neither an id and a caption nor a pair of strings: found {}", kind(value))).hint(FORM)
}

/// What a value is, an object by its keys.
fn kind(value: &Value) -> String {
    const SHOWN: usize = 8;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(map) => {
            let keys: Vec<&str> = map.keys().take(SHOWN).map(String::as_str).collect();
            let more = if map.len() > SHOWN { ", …" } else { "" };
            format!("the keys {}{more}", keys.join(", "))
        }
    }
}
