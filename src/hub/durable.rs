//! Writing into the cache so that a file under its own name is whole.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// The error of a write, with what to do about it.
pub fn unwritable(path: &Path, error: &io::Error) -> Error {
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    Error::new(format!("cannot write {}: {error}", path.display())).hint(if is_full {
        "the disk or your quota is full: make room, or let HF_HOME name a folder elsewhere; the same command \
         goes on from what is there"
    } else {
        "HF_HOME names the folder of the cache, which must be writable for this user"
    })
}

/// Makes the folders above a file.
///
/// # Errors
/// What the file system reports.
pub fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))
}

/// Renames a complete file, durably.
///
/// # Errors
/// What the file system reports.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()
}
