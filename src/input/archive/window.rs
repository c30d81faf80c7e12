//! A file, or a part of one, read by position through one small buffer, as the parsers of archives want it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes that can be read by position, by several threads at once.
pub trait ReadAt {
    /// Reads what is at `at`, as much as comes at once; 0 at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Reads exactly as much as `buffer` holds.
    ///
    /// # Errors
    /// It ends before that (`UnexpectedEof`), or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, at.saturating_add(done as u64)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let found = self.get(start..).unwrap_or_default();
        let len = found.len().min(buffer.len());
        buffer.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
        Ok(len)
    }
}

/// A part of a file, as a file of its own.
pub struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    bytes: u64,
    at: u64,
    /// Read at once, and where it lies in the part.
    buffer: Vec<u8>,
    buffer_at: u64,
    buffer_len: usize,
    /// The file system's trouble, told apart from what a parser finds wrong.
    trouble: Option<io::Error>,
}

impl<'a> Window<'a> {
    /// The `bytes` bytes at `start` of `source`, read `ahead` bytes at a time.
    pub fn new(source: &'a dyn ReadAt, start: u64, bytes: u64, ahead: usize) -> Self {
        let buffer = vec![0; ahead.max(1)];
        Self { source, start, bytes, at: 0, buffer, buffer_at: 0, buffer_len: 0, trouble: None }
    }

    /// The first trouble that reading met, which is no fault of what was read.
    pub fn trouble(self) -> io::Result<()> {
        self.trouble.map_or(Ok(()), Err)
    }

    /// Whether all was read up to the end, or the place is behind it.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes
    }

    fn buffered(&self) -> &[u8] {
        let from = self.at.checked_sub(self.buffer_at).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.buffer.get(from..self.buffer_len)).unwrap_or_default()
    }

    /// Fills the buffer from a multiple of its length, so that reading backwards is served as well.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer_at = self.at - self.at % self.buffer.len() as u64;
        self.buffer_len = 0;
        let wanted = self.buffer.len().min((self.bytes - self.buffer_at) as usize);
        while let Some(rest) = self.buffer.get_mut(self.buffer_len..wanted).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(rest, self.start + self.buffer_at + self.buffer_len as u64) {
                Ok(0) => break,
                Ok(read) => self.buffer_len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.bytes {
            return Ok(0);
        }
        if self.buffered().is_empty()
            && let Err(error) = self.fill()
        {
            let again = io::Error::new(error.kind(), error.to_string());
            self.trouble.get_or_insert(error);
            return Err(again);
        }
        let found = self.buffered();
        let len = found.len().min(out.len());
        out.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at =
            at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the start"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_reads_as_a_file_does() {
        let source: Vec<u8> = (0..200).collect();
        for ahead in [1, 3, 16, 1000] {
            let mut window = Window::new(&source, 10, 100, ahead);
            for (from, len) in [(0, 5), (97, 10), (3, 40), (99, 1), (100, 1), (500, 2), (50, 50)] {
                assert_eq!(window.seek(SeekFrom::Start(from)).unwrap(), from);
                let mut read = Vec::new();
                (&mut window).take(len).read_to_end(&mut read).unwrap();
                let end = (from + len).min(100).max(from.min(100));
                let expected: Vec<u8> = (from.min(100)..end).map(|at| at as u8 + 10).collect();
                assert_eq!(read, expected, "{from} {len} {ahead}");
            }
            assert_eq!(window.seek(SeekFrom::End(-1)).unwrap(), 99);
            assert_eq!(window.seek(SeekFrom::Current(-9)).unwrap(), 90);
            assert!(window.seek(SeekFrom::Current(-91)).is_err());
            assert!(window.trouble().is_ok());
        }
    }

    #[test]
    fn a_part_that_ends_early_is_told() {
        let source = vec![7; 10];
        assert!(source.read_exact_at(&mut [0; 5], 5).is_ok());
        let error = source.read_exact_at(&mut [0; 5], 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(source.read_exact_at(&mut [0; 1], u64::MAX).is_err());
    }
}
