//! The source files: opened, told apart by their first bytes, digested.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::input::archive;

/// Read at once.
const BUFFER_BYTES: usize = 1 << 18;

/// What a source file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One array, its ids in a JSON file.
    Npy,
    /// Several named arrays.
    Npz,
    /// A pickled dictionary.
    Pickle,
}

impl Format {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npy => "NumPy array (.npy)",
            Self::Npz => "NumPy archive (.npz)",
            Self::Pickle => "pickle",
        }
    }

    /// By a file's first bytes, whatever its name.
    fn of(head: &[u8]) -> Result<Self> {
        let known: [(&[u8], Self); 4] = [
            (b"\x93NUMPY", Self::Npy),
            (b"PK\x03\x04", Self::Npz),
            // Without members.
            (b"PK\x05\x06", Self::Npz),
            (b"\x80", Self::Pickle),
        ];
        if let Some((_, format)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok(*format);
        }
        let what = match head {
            [] => "it is empty",
            [b'{' | b'[', ..] => "it looks like JSON, which --metadata takes",
            [b'(' | b'c' | b'}' | b']', ..] => "it may be a pickle of protocol 0 or 1, which is not read",
            [0x89, b'H', b'D', b'F', ..] => {
                "it is an HDF5 file; those come without --english and --chinese: import qwen-text OUT.h5 OLD.h5"
            }
            _ => "it is neither of NumPy (.npy, .npz) nor a pickle (protocol 2 to 5)",
        };
        Err(Error::new(what))
    }
}

/// One source file, open.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub file: File,
    pub bytes: u64,
    /// Of a `.npy`: where its ids are.
    pub metadata: Option<PathBuf>,
    /// When it was last changed, seconds and nanoseconds.
    changed: (i64, i64),
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let about = || format!("cannot read '{}'", path.display());
        let file = archive::open(path).context(about)?;
        let metadata = file.metadata().context(about)?;
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { path: path.to_owned(), file, bytes: metadata.len(), metadata: None, changed })
    }

    /// The same error, of this file.
    pub fn about(&self, error: Error) -> Error {
        Error { message: format!("'{}': {}", self.path.display(), error.message), ..error }
    }

    fn format(&self) -> Result<Format> {
        let mut head = [0; 6];
        let mut n = 0;
        while let Some(rest) = head.get_mut(n..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, n as u64).context(|| "reading its first bytes")? {
                0 => break,
                read => n += read,
            }
        }
        Format::of(head.get(..n).unwrap_or_default())
    }

    /// Refuses a file that is no longer what it was when it was opened.
    ///
    /// # Errors
    /// It was changed, or cannot be asked.
    pub fn refuse_changed(&self) -> Result<()> {
        let metadata = self.file.metadata().context(|| format!("cannot read '{}'", self.path.display()))?;
        if (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
            == (self.bytes, self.changed.0, self.changed.1)
        {
            return Ok(());
        }
        Err(Error::new(format!("'{}' was changed while it was read", self.path.display()))
            .hint("import it again, once nothing writes to it"))
    }
}

/// All source files.
#[derive(Debug)]
pub struct Sources {
    pub files: Vec<Source>,
    pub format: Format,
    /// SHA-256 of all bytes of all files, one after the other, each with its metadata behind it.
    pub sha256: [u8; 32],
}

impl Sources {
    /// Opens and digests them; `progress` is told of more bytes.
    ///
    /// # Errors
    /// A file cannot be read, or is of another format than the first or of none.
    pub fn open(files: &[PathBuf], metadata: &[PathBuf], progress: &mut dyn FnMut(u64)) -> Result<Self> {
        let mut opened: Vec<Source> = files.iter().map(|path| Source::open(path)).collect::<Result<_>>()?;
        let mut first = None;
        for source in &opened {
            let format = source.format().map_err(|error| source.about(error))?;
            let (path, expected) = first.get_or_insert((source.path.display(), format));
            if *expected != format {
                let (found, expected) = (format.name(), expected.name());
                let error = Error::new(format!("a {found} beside '{path}', a {expected}"));
                return Err(source.about(error.hint("import files of one kind together")));
            }
        }
        let Some((_, format)) = first else { return Err(Error::new("no source file is named")) };
        check_metadata(format, files.len(), metadata.len())?;
        for (source, path) in opened.iter_mut().zip(metadata) {
            source.metadata = Some(path.clone());
        }
        let mut sha256 = Sha256::new();
        for source in &opened {
            digest(&source.file, &source.path, &mut sha256, progress)?;
            if let Some(path) = &source.metadata {
                let file = archive::open(path).context(|| format!("cannot read '{}'", path.display()))?;
                digest(&file, path, &mut sha256, &mut |_| {})?;
            }
        }
        Ok(Self { files: opened, format, sha256: sha256.finalize().into() })
    }
}

fn check_metadata(format: Format, files: usize, metadata: usize) -> Result<()> {
    match format {
        Format::Npy if metadata != files => {
            Err(Error::new(format!("{files} .npy files with {metadata} files of metadata"))
                .hint("name the JSON file of each with --metadata, in the same order"))
        }
        Format::Npz | Format::Pickle if metadata > 0 => {
            let name = format.name();
            Err(Error::new(format!("a {name} has its ids in it, and takes no metadata"))
                .hint("leave out --metadata"))
        }
        _ => Ok(()),
    }
}

/// By position, so that whoever reads the file next begins at its start.
fn digest(file: &File, path: &Path, sha256: &mut Sha256, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let (mut buffer, mut at) = (vec![0; BUFFER_BYTES], 0);
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                sha256.update(buffer.get(..read).unwrap_or_default());
                at += read as u64;
                progress(read as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::new(format!("reading '{}': {error}", path.display()))),
        }
    }
}

/// Bytes of a file.
///
/// # Errors
/// There is none, or it cannot be asked.
pub fn bytes_of(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).context(|| format!("cannot read '{}'", path.display()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(Format::of(b"\x93NUMPY"), Ok(Format::Npy));
        assert_eq!(Format::of(b"PK\x03\x04.."), Ok(Format::Npz));
        assert_eq!(Format::of(b"\x80\x04"), Ok(Format::Pickle));
        for (head, says) in [
            (&b""[..], "empty"),
            (b"{\"a\"", "--metadata"),
            (b"(dp0", "protocol 0"),
            (b"\x89HDF\r\n", "HDF5"),
        ] {
            assert!(Format::of(head).unwrap_err().message.contains(says), "{head:?}");
        }
    }
}
