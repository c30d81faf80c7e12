//! What cannot be read in place: unpacked once, into a file that has no name.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A file in the folder of the output that loses its name as soon as it is made: however this process ends,
/// nothing stays of it.
pub struct Scratch {
    path: PathBuf,
    /// None before something is written.
    file: Option<File>,
    buffer: Vec<u8>,
    /// Written and buffered.
    bytes: u64,
    /// There may not be more.
    limit: u64,
}

impl Scratch {
    pub fn beside(output: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(format!(".scratch-{}", std::process::id()));
        Self { path: output.with_file_name(name), file: None, buffer: Vec::new(), bytes: 0, limit: u64::MAX }
    }

    /// Where what comes next will begin.
    pub fn end(&self) -> u64 {
        self.bytes
    }

    /// Lets at most so many more bytes be added.
    pub fn limit(&mut self, more: u64) {
        self.limit = self.bytes.saturating_add(more);
    }

    /// Refuses what the disk cannot hold, before half of it is written.
    ///
    /// # Errors
    /// Says how much is missing; the file cannot be made.
    pub fn refuse_short(&mut self, bytes: u64) -> Result<()> {
        let stat = rustix::fs::fstatvfs(self.file()?).context(|| self.about())?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if bytes <= free {
            return Ok(());
        }
        Err(Error::new(format!("{}: {bytes} bytes are needed for a while, {free} are free", self.about()))
            .hint("make room, or write the output to another disk"))
    }

    /// Adds bytes behind the others.
    ///
    /// # Errors
    /// The file cannot be made or written; it would become longer than it may.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.limit.saturating_sub(self.bytes) < bytes.len() as u64 {
            return Err(Error::new("it unpacks to more than its own bytes can mean"));
        }
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// The file, written; none where nothing was added.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<Option<File>> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        Ok(self.file)
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.file()?.write_all(&buffer).context(|| self.about())?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn file(&mut self) -> Result<&mut File> {
        if self.file.is_none() {
            let made = File::options().read(true).write(true).create_new(true).open(&self.path);
            let file = made.context(|| self.about())?;
            fs::remove_file(&self.path).context(|| self.about())?;
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| Error::new("no scratch file"))
    }

    fn about(&self) -> String {
        let folder = self.path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        format!("a scratch file in '{}'", folder.display())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn nothing_is_left_and_all_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::beside(&folder.path().join("o.h5"));
        let other = Scratch::beside(&folder.path().join("o.h5"));
        let pieces = [vec![1; 10], vec![2; BUFFER_BYTES], vec![3; 5]];
        for piece in &pieces {
            scratch.append(piece).unwrap();
        }
        assert_eq!(scratch.end(), BUFFER_BYTES as u64 + 15);
        assert!(scratch.refuse_short(1).is_ok() && scratch.refuse_short(u64::MAX).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        scratch.limit(1);
        assert!(scratch.append(&[4, 5]).is_err());
        let file = scratch.finish().unwrap().unwrap();
        let mut all = vec![0; BUFFER_BYTES + 15];
        file.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(all, pieces.concat());
        assert!(other.finish().unwrap().is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let mut scratch = Scratch::beside(Path::new("/nowhere/o.h5"));
        assert!(scratch.refuse_short(1).unwrap_err().message.contains("'/nowhere'"));
    }
}
