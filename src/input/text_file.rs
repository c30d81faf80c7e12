//! A text file of the input, plain or gzipped, streamed.

use std::cell::Cell;
use std::fs::{File, metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Context, Error, Result};

/// Nothing in a text file (a line, a caption) may be longer: what is, is no such file, and would fill the
/// memory before that came out.
pub const PIECE_BYTES_MAX: u64 = 1 << 28;

const BUFFER_BYTES: usize = 1 << 18;
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text file as it is read: without gzip and without byte order mark.
pub type TextFile = BufReader<Box<dyn Read>>;

/// Opens the text file at `path`. Whether it is gzipped its first bytes say, whatever its name; several
/// gzip members make one text. `what` names the file in errors, e.g. `captions`.
///
/// # Errors
/// There is no such file, it cannot be read, or is no plain file: a pipe could not be read again by a
/// job that goes on. Later, reading fails where gzip data are damaged or end too early.
pub fn open(path: &Path, what: &str) -> Result<TextFile> {
    let about = || format!("reading {what} from '{}'", path.display());
    // Asked before it is opened: to open a pipe would wait for its writer.
    let kind = metadata(path).context(about)?.file_type();
    if !kind.is_file() {
        let found = match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () => "a device",
        };
        return Err(Error::new(format!("{}: it is {found}, not a plain file", about()))
            .hint("write it to a file first: a job that goes on after an interruption may read it again"));
    }
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).context(about)?);
    let is_gzipped = file.fill_buf().context(about)?.starts_with(GZIP_MAGIC);
    let bytes: Box<dyn Read> =
        if is_gzipped { Box::new(Gunzip(MultiGzDecoder::new(file))) } else { Box::new(file) };
    let mut text = BufReader::with_capacity(BUFFER_BYTES, bytes);
    if text.fill_buf().context(about)?.starts_with(BYTE_ORDER_MARK) {
        text.consume(BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

/// What is wrong with the JSON of a text file, with its place; `within` says what was being read there.
pub fn json_error(path: &Path, what: &str, error: &serde_json::Error, within: &str) -> Error {
    let (file, line, column) = (path.display(), error.line(), error.column());
    let text = error.to_string();
    if error.is_io() {
        return Error::new(format!("reading {what} from '{file}': {text}"));
    }
    let wrong = text.rsplit_once(" at line ").map_or(text.as_str(), |(wrong, _)| wrong);
    Error::new(format!("{what} '{file}', line {line}, column {column}: {within}{wrong}"))
}

/// Gunzips, with errors that say what to do.
struct Gunzip<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                io::Error::other("its gzip data end too early: copy or download it again")
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                io::Error::other(format!("its gzip data are damaged ({error}): copy or download it again"))
            }
            _ => error,
        })
    }
}

/// A text of which each piece may be only so long. Who knows where pieces begin renews what may be read.
pub struct Limited<R> {
    text: R,
    /// What a piece is, e.g. `a row`.
    piece: &'static str,
    left: Left,
}

/// How many bytes may still be read of the piece in hand.
#[derive(Clone, Debug, Default)]
pub struct Left(Rc<Cell<u64>>);

impl Left {
    /// Another piece begins.
    pub fn renew(&self) {
        self.0.set(PIECE_BYTES_MAX);
    }
}

impl<R> Limited<R> {
    pub fn new(text: R, piece: &'static str) -> Self {
        let left = Left::default();
        left.renew();
        Self { text, piece, left }
    }

    /// What is left, for who knows where pieces begin.
    pub fn left(&self) -> Left {
        self.left.clone()
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.0.get();
        if left == 0 {
            return Err(io::Error::other(format!(
                "{} is longer than {PIECE_BYTES_MAX} bytes: a double quote may be missing",
                self.piece
            )));
        }
        let read = self.text.read(buffer)?;
        self.left.0.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_may_be_long_and_many_pieces_longer_and_one_without_end_may_not() {
        let mut text = Limited::new(io::repeat(b'x'), "a caption");
        let left = text.left();
        let mut buffer = vec![0; (PIECE_BYTES_MAX / 4) as usize];
        for _ in 0..3 {
            left.renew();
            assert!((0..4).all(|_| text.read(&mut buffer).is_ok()));
        }
        let error = text.read(&mut buffer).unwrap_err().to_string();
        assert!(error.starts_with("a caption is longer than"), "{error}");
    }
}
