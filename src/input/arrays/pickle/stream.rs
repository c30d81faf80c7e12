//! The bytes of a pickle, front to back, with what is only noted passed over.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};

/// Read at once.
const BUFFER_BYTES: usize = 1 << 16;
/// A name of a module or a class has no more bytes.
const LINE_BYTES_MAX: u64 = 256;

/// Bytes of the file that are not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub bytes: u64,
}

/// A pickle being read.
pub struct Stream<'a> {
    file: &'a File,
    ahead: BufReader<FileAt<'a>>,
    at: u64,
    bytes: u64,
    number: u16,
}

/// Reads a file by position, so that nobody else who reads it is disturbed.
struct FileAt<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl std::io::Seek for FileAt<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            std::io::SeekFrom::Start(at) => Some(at),
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
            std::io::SeekFrom::End(_) => None,
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl<'a> Stream<'a> {
    /// The `bytes` bytes of a file, which has a number among the source files.
    pub fn new(file: &'a File, bytes: u64, number: u16) -> Self {
        let ahead = BufReader::with_capacity(BUFFER_BYTES, FileAt { file, at: 0 });
        Self { file, ahead, at: 0, bytes, number }
    }

    /// Where the next byte is.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file's number.
    pub fn file_number(&self) -> u16 {
        self.number
    }

    /// The next bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.expect(N as u64)?;
        self.ahead.read_exact(&mut bytes).map_err(|error| unreadable(&error))?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// Passes over the next bytes.
    pub fn span(&mut self, bytes: u64) -> Result<Span> {
        self.expect(bytes)?;
        let span = Span { offset: self.at, bytes };
        let by = i64::try_from(bytes).map_err(|_| ends())?;
        self.ahead.seek_relative(by).map_err(|error| unreadable(&error))?;
        self.at += bytes;
        Ok(span)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while line.len() as u64 <= LINE_BYTES_MAX {
            match self.take()? {
                [b'\n'] => {
                    return String::from_utf8(line).map_err(|_| Error::new("a name that is not UTF-8"));
                }
                [byte] => line.push(byte),
            }
        }
        Err(Error::new(format!("a name of over {LINE_BYTES_MAX} bytes")))
    }

    /// Bytes that were passed over, of which there may be at most `most`.
    pub fn read(&self, span: Span, most: u64) -> Result<Vec<u8>> {
        if span.bytes > most {
            return Err(Error::new(format!(
                "{} bytes at byte {}, where {most} are possible",
                span.bytes, span.offset
            )));
        }
        let mut bytes = vec![0; span.bytes as usize];
        self.file.read_exact_at(&mut bytes, span.offset).map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }

    fn expect(&self, bytes: u64) -> Result<()> {
        if self.bytes - self.at < bytes { Err(ends()) } else { Ok(()) }
    }
}

fn ends() -> Error {
    Error::new("it ends too early")
        .hint("copy it again; if the program that wrote it was killed, it is not complete")
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::new(format!("it cannot be read: {error}"))
}
