//! Captions as Cap3D distributes them: CSV of two columns, id and caption, without header; quoted as
//! RFC 4180 has it.

use std::io::{BufRead, Chain, Read};
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{Captions, WHAT, at_line};
use crate::error::{Context, Error, Result};
use crate::input::text_file::{self, Limited, TextFile};

const FORM: &str = "one row for each asset, id and caption, without header, as in Cap3D's files; a caption with commas, \
                    quotes or line breaks stands in double quotes, and a quote in it is doubled";

/// What a first row says that names the columns, in small letters.
const ID_NAMES: [&str; 6] = ["asset_id", "uid", "id", "asset", "object_id", "index"];
const CAPTION_NAMES: [&str; 4] = ["caption", "text", "captions", "description"];

/// Stands behind the file: where a quote is never closed, it comes back as part of the last caption. A NUL
/// is in no id, so no row of the file can be equal to it.
const END: &[u8] = b"\n\0,\0\n";

/// Adds the captions at `path` to `captions`.
///
/// # Errors
/// The file cannot be read, a row has another number of columns, or a quote is never closed; names the
/// line.
pub fn read(path: &Path, mut captions: Captions) -> Result<Captions> {
    let about = || format!("reading {WHAT} from '{}'", path.display());
    let mut rows = reader(path)?;
    let left = rows.get_ref().left();
    let mut row = ByteRecord::new();
    let mut is_first = true;
    loop {
        left.renew();
        if !rows.read_byte_record(&mut row).context(about)? {
            break;
        }
        let place = row.position().map_or(0, csv::Position::byte);
        let fail = |error| match line_of(path, place) {
            Ok(line) => at_line(path, line, error),
            Err(unreadable) => unreadable,
        };
        // A row of the file itself that looks like the end has others behind it, and a NUL for an id.
        if is_end(&row) && !rows.read_byte_record(&mut ByteRecord::new()).context(about)? {
            break;
        }
        let (id, caption) = columns(&row).map_err(fail)?;
        if std::mem::take(&mut is_first) && is_header(id, caption).map_err(fail)? {
            tracing::info!(
                "{WHAT} '{}': the first line, '{id},{caption}', is a header: skipped",
                path.display()
            );
            continue;
        }
        captions.add(id, caption).map_err(fail)?;
    }
    Ok(captions)
}

/// The file and [`END`].
type Rows = Limited<Chain<TextFile, &'static [u8]>>;

fn reader(path: &Path) -> Result<Reader<Rows>> {
    let file = text_file::open(path, WHAT)?.chain(END);
    // Rows of any length come through, so that the error about them is ours.
    Ok(ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Limited::new(file, "a row")))
}

/// Whether the row is the one that stands behind the file.
fn is_end(row: &ByteRecord) -> bool {
    row.iter().eq([&b"\0"[..], b"\0"])
}

fn columns(row: &ByteRecord) -> Result<(&str, &str)> {
    let wrong = |what: String| Err(Error::new(what).hint(FORM));
    if row.iter().next_back().is_some_and(|last| last.ends_with(END)) {
        return wrong("a double quote that is opened here is never closed".to_owned());
    }
    let [id, caption] = (match (row.len(), row.get(0), row.get(1)) {
        (2, Some(id), Some(caption)) => [id, caption],
        (n, first, _) => {
            let first = String::from_utf8_lossy(first.unwrap_or_default());
            let first: String = first.chars().take(40).collect();
            let columns = if n == 1 { "1 column".to_owned() } else { format!("{n} columns") };
            return wrong(format!("{columns} instead of 2, beginning with '{first}'"));
        }
    })
    .map(std::str::from_utf8);
    match (id, caption) {
        (Ok(id), Ok(caption)) => Ok((id, caption)),
        (Ok(id), Err(_)) => wrong(format!("the caption of '{id}' is not UTF-8")),
        (Err(_), _) => wrong("an id that is not UTF-8".to_owned()),
    }
}

/// Whether a first row names the columns instead of being one.
fn is_header(first: &str, second: &str) -> Result<bool> {
    let is_one = |names: &[&str], name: &str| names.contains(&name.trim().to_ascii_lowercase().as_str());
    if is_one(&CAPTION_NAMES, first) && is_one(&ID_NAMES, second) {
        return Err(
            Error::new(format!("the columns '{first},{second}' stand the wrong way round")).hint(FORM)
        );
    }
    let (names_id, names_caption) = (is_one(&ID_NAMES, first), is_one(&CAPTION_NAMES, second));
    // As an asset, it would be one that nobody has. But a caption may be a single word.
    if names_id != names_caption && (names_id || !is_number_like(first)) || is_one(&CAPTION_NAMES, first) {
        return Err(half_known(first, second));
    }
    Ok(names_id && names_caption)
}

/// Whether an id is one of digits (`0/10002`, the hexadecimal ones of Objaverse), which no column is called.
fn is_number_like(id: &str) -> bool {
    let id = id.trim();
    id.bytes().any(|byte| byte.is_ascii_digit())
        && id.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'/' | b'-' | b'_'))
}

/// A first row of which one column alone has a name that is known.
fn half_known(first: &str, second: &str) -> Error {
    Error::new(format!(
        "the first row, '{first},{second}', looks like a header, and one of its names is not known"
    ))
    .hint(format!(
        "delete it, or name the columns {}, then {}; if it is an asset, put another row before it",
        ID_NAMES.join(" or "),
        CAPTION_NAMES.join(" or ")
    ))
}

/// The number of the line, from 1, of the row at the byte `place` of the text, or after the line breaks
/// there: the csv reader's own count is one short after `\r\n`.
fn line_of(path: &Path, place: u64) -> Result<u64> {
    let mut text = text_file::open(path, WHAT)?;
    let (mut line, mut at) = (1, 0);
    loop {
        let piece = text.fill_buf().context(|| format!("reading {WHAT} from '{}'", path.display()))?;
        for &byte in piece {
            if at >= place && !matches!(byte, b'\r' | b'\n') {
                return Ok(line);
            }
            line += u64::from(byte == b'\n');
            at += 1;
        }
        if piece.is_empty() {
            return Ok(line);
        }
        let len = piece.len();
        text.consume(len);
    }
}
