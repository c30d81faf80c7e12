//! Reading a view's bytes, wherever they lie.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::view::{Member, Place, View};
use crate::error::{ItemError, ItemErrorKind};
use crate::input::archive::{Archives, Trouble, is_files_own, open};

/// A picture larger than this is not read into memory.
const VIEW_BYTES_MAX: u64 = 1 << 30;

/// Reads views below one root, and keeps the archives that were read last open. Threads share it.
#[derive(Debug)]
pub struct ViewReader {
    root: PathBuf,
    archives: Archives,
}

/// Why a view could not be read, and whose fault that is.
#[derive(Debug)]
pub enum ReadError {
    /// The view's own, wherever it is read: its row is marked.
    Item(ItemError),
    /// The file system's or the machine's: it may pass.
    Machine(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(error) => error.fmt(f),
            Self::Machine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl ViewReader {
    /// For views whose paths begin at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), archives: Archives::default() }
    }

    /// Where the views' paths begin.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes of a view, as many as when it was planned.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not what it was when the input was planned.
    pub fn read(&self, view: &View) -> Result<Vec<u8>, ReadError> {
        let bytes = match &view.place {
            Place::File => {
                read_file(&self.root.join(&view.path), view.bytes).map_err(|error| self.blame(error))?
            }
            Place::Member(member) => self.read_member(view, member)?,
            Place::Broken(why) => return Err(unreadable(why.clone())),
        };
        let found = bytes.len() as u64;
        if found > VIEW_BYTES_MAX {
            return Err(too_large());
        }
        // The plan's digest stands for the input: another file under the same name is not that input.
        if view.bytes != 0 && found != view.bytes {
            return Err(unreadable(format!("{found} bytes, {} when the plan was made", view.bytes)));
        }
        Ok(bytes)
    }

    fn read_member(&self, view: &View, member: &Member) -> Result<Vec<u8>, ReadError> {
        if view.bytes.max(member.extent.stored) > VIEW_BYTES_MAX {
            return Err(too_large());
        }
        let archive = view.path.get(..member.archive_len).unwrap_or(&view.path);
        let archive = (archive, member.archive_bytes);
        let read =
            self.archives.read(&self.root, archive, member.inflated.as_ref(), &member.extent, view.bytes);
        read.map_err(|trouble| match trouble {
            Trouble::Changed(why) => unreadable(why),
            Trouble::Io(error) => self.blame(error),
        })
    }

    /// Whose fault an error is: without the root, no view is to blame.
    fn blame(&self, error: io::Error) -> ReadError {
        if is_files_own(&error) && self.root.is_dir() {
            return unreadable(error.to_string());
        }
        ReadError::Machine(error)
    }
}

fn unreadable(why: String) -> ReadError {
    ReadError::Item(ItemError::new(ItemErrorKind::Unreadable, why))
}

fn too_large() -> ReadError {
    ReadError::Item(ItemError::new(ItemErrorKind::TooLarge, format!("over {VIEW_BYTES_MAX} bytes")))
}

fn read_file(path: &Path, planned: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(planned.min(VIEW_BYTES_MAX) as usize);
    open(path)?.take(VIEW_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
