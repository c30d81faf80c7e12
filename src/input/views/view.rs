//! One view: what it is called, how large it is, and where its bytes lie.

use crate::input::archive::{Extent, Inflated};

/// A picture of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Relative to the renders' root, for people; for a plain file also where it is. A member of an archive
    /// is the archive's path, a slash, and the member's path inside, as if the archive were a folder.
    pub path: String,
    /// Size when the input was planned; 0 where a list did not say.
    pub bytes: u64,
    pub place: Place,
}

/// Where the bytes of a view lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of its own, at the view's path.
    File,
    Member(Member),
    /// Nowhere: why nothing can be read.
    Broken(String),
}

/// A place in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes of the view's path that are the path of the archive.
    pub archive_len: usize,
    /// Size of the archive when the input was planned.
    pub archive_bytes: u64,
    /// The zip inside the archive that the extent counts from, where that has to be inflated.
    pub inflated: Option<Inflated>,
    pub extent: Extent,
}

impl View {
    /// A view in a file of its own.
    pub fn file(path: impl Into<String>, bytes: u64) -> Self {
        Self { path: path.into(), bytes, place: Place::File }
    }
}
