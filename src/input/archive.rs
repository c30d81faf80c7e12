//! Archives read in place: tar and zip, indexed once, then read at known offsets.
//!
//! An [`Index`] names the members and says where each lies ([`Extent`]); [`Archives`] reads them, keeping
//! the archives it was asked for last open. What is wrong with an archive is data, as a broken picture is:
//! what could be indexed stays, and says itself why the rest could not.

mod read;
mod shared;
mod tar;
mod window;
mod zip;

use std::io;
use std::path::Path;

pub use read::{Archives, Trouble, open};

/// The formats that can be read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Tar,
    Zip,
}

/// Endings of archives that give no access to one member without reading all before it, or that are not
/// known here.
const UNSUPPORTED: [&str; 13] = [
    ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.lz4",
    ".7z", ".rar", ".tar.Z",
];

impl Format {
    /// The format of a file, and its name without the ending: by the name alone.
    pub fn of(name: &str) -> Option<(Self, &str)> {
        let (stem, ending) = name.rsplit_once('.')?;
        let format = [("tar", Self::Tar), ("zip", Self::Zip)]
            .into_iter()
            .find_map(|(known, format)| ending.eq_ignore_ascii_case(known).then_some(format))?;
        (!stem.is_empty()).then_some((format, stem))
    }

    /// The ending of an archive that cannot be read in place.
    pub fn unsupported(name: &str) -> Option<&'static str> {
        let ends = |ending: &&&str| {
            let start = name.len().checked_sub(ending.len());
            start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(ending))
        };
        UNSUPPORTED.iter().find(ends).copied()
    }
}

/// What an archive holds.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Bytes of the whole archive.
    pub bytes: u64,
    /// Files, each name once; folders are left out.
    pub members: Vec<Entry>,
    /// Zip files inside a zip file.
    pub inner: Vec<InnerIndex>,
    /// Names of members that are not UTF-8, not relative, or lead out of the archive.
    pub bad_names: Vec<String>,
    /// Why some or all of the archive could not be indexed.
    pub broken: Option<String>,
    /// A tar that ends after a member and without the two blocks that end a tar: perhaps it was cut off.
    pub without_end: bool,
}

/// One member of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path inside, without a leading `./`.
    pub name: String,
    /// Bytes of its content.
    pub bytes: u64,
    /// Where it lies, or why it cannot be read.
    pub data: Result<Extent, String>,
}

/// A zip inside a zip.
#[derive(Clone, Debug)]
pub struct InnerIndex {
    /// Its path inside the outer one.
    pub name: String,
    /// Where its extents count from: `None` from the start of the outer file, as it is stored there.
    pub inflated: Option<Inflated>,
    pub index: Index,
}

/// Where the bytes of a member lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where the header before the data begins.
    pub at: u64,
    /// Bytes that the data take in the archive.
    pub stored: u64,
    pub form: Form,
    /// Tells whether it is still the same: of a tar the CRC-32 of its header, of a zip that of its content.
    pub check: u32,
}

/// How a member is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Tar,
    ZipStored,
    ZipDeflated,
}

/// A deflated zip inside a zip, which has to be inflated as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflated {
    pub extent: Extent,
    /// Bytes when inflated.
    pub bytes: u64,
}

/// Indexes the archive at `path`.
///
/// # Errors
/// The file system's trouble, which may pass; an archive that is broken or may not be read is none.
pub fn index(path: &Path, format: Format) -> io::Result<Index> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if is_files_own(&error) => {
            return Ok(Index { broken: Some(error.to_string()), ..Index::default() });
        }
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    // Headers lie far apart: reading ahead would fetch all the data between them.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
    let indexed = match format {
        Format::Tar => tar::index(&file, bytes)?,
        Format::Zip => zip::index(&file, bytes)?,
    };
    Ok(Index { bytes, ..indexed })
}

/// Whether an error comes from the one file, wherever it is read.
pub fn is_files_own(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
    };
    matches!(
        error.kind(),
        NotFound | PermissionDenied | IsADirectory | NotADirectory | InvalidFilename | InvalidInput
    )
}

/// A member's path in the one way of writing it that makes equal paths equal; `None` for one that is not a
/// path inside the archive.
fn member_path(name: &[u8]) -> Option<&str> {
    let mut name = std::str::from_utf8(name).ok()?;
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    let is_plain = |step: &str| !matches!(step, "" | "." | "..") && !step.contains('\0');
    name.split('/').all(is_plain).then_some(name)
}

/// Leaves of members with one name the last, which is what unpacking leaves.
fn keep_last(members: &mut Vec<Entry>) {
    // Stable: equal names stay in the order of the archive.
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members.reverse();
    members.dedup_by(|later, kept| later.name == kept.name);
    members.reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_the_ending() {
        assert_eq!(Format::of("10002.tar"), Some((Format::Tar, "10002")));
        assert_eq!(Format::of("a.b.ZIP"), Some((Format::Zip, "a.b")));
        for name in ["tar", ".tar", "a.tar.gz", "zip.png", "a"] {
            assert_eq!(Format::of(name), None, "{name}");
        }
        assert_eq!(Format::unsupported("x.TGZ"), Some(".tgz"));
        assert_eq!(Format::unsupported("x.tar.gz"), Some(".tar.gz"));
        assert_eq!(Format::unsupported("é.gz"), None);
        assert_eq!(Format::unsupported("x.tar"), None);
    }

    #[test]
    fn paths_of_members_stay_inside() {
        assert_eq!(member_path(b"./././a/b.png"), Some("a/b.png"));
        assert_eq!(member_path("ü/1.png".as_bytes()), Some("ü/1.png"));
        for bad in [&b"/a"[..], b"../a", b"a/../b", b"a//b", b"a/./b", b"", b"\xff.png", b"a\0b"] {
            assert_eq!(member_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn of_one_name_the_last_member_stays() {
        let entry = |name: &str, bytes| Entry { name: name.to_owned(), bytes, data: Err(String::new()) };
        let mut members = vec![entry("b", 1), entry("a", 2), entry("b", 3), entry("a", 4), entry("c", 5)];
        keep_last(&mut members);
        let kept: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.bytes)).collect();
        assert_eq!(kept, [("a", 4), ("b", 3), ("c", 5)]);
    }
}
