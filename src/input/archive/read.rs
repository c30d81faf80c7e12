//! Reading members of archives at known places.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use rustix::fs::OFlags;

use super::shared::Shared;
use super::tar::{BLOCK_BYTES, header_check};
use super::window::ReadAt;
use super::{Extent, Form, Inflated};

/// Archives that are kept open. Rows come in order of id, so that few are in use at a time.
const OPEN_MAX: usize = 64;
/// Inflated zips inside zips that are kept in memory.
const INFLATED_MAX: usize = 8;
/// Deflated data become at most so many times as long. A directory can say any size, and is not believed beyond it.
const INFLATION_MAX: u64 = 1032;
/// Before the data of a member of a zip: signature, sizes, the lengths of name and extra field.
const LOCAL_HEADER_BYTES: usize = 30;
const LOCAL_HEADER_SIGNATURE: &[u8; 4] = b"PK\x03\x04";
/// What is read for name and extra field together with the data; if they are longer, the rest is read after.
const NAME_AND_EXTRA_BYTES: u64 = 256;

/// Why a member could not be read.
#[derive(Debug)]
pub enum Trouble {
    /// It is not, or no longer, what the index says.
    Changed(String),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed("the archive ends before it".to_owned()),
            _ => Self::Io(error),
        }
    }
}

/// Opens a plain file; anything else is an error of kind `InvalidInput`.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe would wait for its writer forever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    Ok(file)
}

/// Reads members of the archives below one root, which stay open for a while. Threads share it.
#[derive(Debug)]
pub struct Archives {
    files: Shared<String, Opened>,
    inflated: Shared<(String, u64), Vec<u8>>,
}

/// An open archive and its size when it was opened.
#[derive(Debug)]
struct Opened {
    file: File,
    bytes: u64,
}

impl Default for Archives {
    fn default() -> Self {
        Self { files: Shared::new(OPEN_MAX), inflated: Shared::new(INFLATED_MAX) }
    }
}

impl Archives {
    /// The `bytes` bytes of a member of `root/archive`, which had `archive_bytes` bytes when it was indexed.
    ///
    /// # Errors
    /// The archive has changed since, or cannot be read.
    pub fn read(
        &self,
        root: &Path,
        (archive, archive_bytes): (&str, u64),
        inside: Option<&Inflated>,
        extent: &Extent,
        bytes: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let key = archive.to_owned();
        let opened = self.files.get(key.clone(), || {
            let file = open(&root.join(archive))?;
            let bytes = file.metadata()?.len();
            Ok::<_, io::Error>(Opened { file, bytes })
        });
        let opened = opened.map_err(Trouble::Io)?;
        let read = if opened.bytes == archive_bytes {
            self.read_open(&opened, archive, inside, extent, bytes)
        } else {
            let (found, planned) = (opened.bytes, archive_bytes);
            Err(Trouble::Changed(format!("an archive of {found} bytes, {planned} when the plan was made")))
        };
        if read.is_err() {
            // The next one who asks opens it anew: a network's file handle may have become stale.
            self.files.forget(&key);
        }
        read
    }

    fn read_open(
        &self,
        opened: &Opened,
        archive: &str,
        inside: Option<&Inflated>,
        extent: &Extent,
        bytes: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let Some(inner) = inside else { return read_member(&opened.file, extent, bytes) };
        let inflated = self.inflated.get((archive.to_owned(), inner.extent.at), || {
            read_member(&opened.file, &inner.extent, inner.bytes)
        })?;
        read_member(&*Arc::clone(&inflated), extent, bytes)
    }
}

/// Inflates a member as a whole while its archive is indexed; `Err` inside says what is wrong with it.
///
/// # Errors
/// The file cannot be read.
pub fn inflate(source: &dyn ReadAt, extent: Extent, bytes: u64) -> io::Result<Result<Vec<u8>, String>> {
    match read_member(source, &extent, bytes) {
        Ok(content) => Ok(Ok(content)),
        Err(Trouble::Changed(why)) => Ok(Err(why)),
        Err(Trouble::Io(error)) => Err(error),
    }
}

/// Where the data of a member of a zip begin, whose local header is at `at`; `Err` inside says what is wrong.
///
/// # Errors
/// The file cannot be read.
pub fn locate(source: &dyn ReadAt, at: u64) -> io::Result<Result<u64, String>> {
    let mut header = [0; LOCAL_HEADER_BYTES];
    match source.read_exact_at(&mut header, at).map_err(Trouble::from).and_then(|()| data_offset(&header)) {
        Ok(offset) => Ok(Ok(at + offset)),
        Err(Trouble::Changed(why)) => Ok(Err(why)),
        Err(Trouble::Io(error)) => Err(error),
    }
}

fn read_member(source: &dyn ReadAt, extent: &Extent, bytes: u64) -> Result<Vec<u8>, Trouble> {
    match extent.form {
        Form::Tar => read_tar(source, extent),
        Form::ZipStored => checked(read_zip(source, extent)?, extent, bytes),
        Form::ZipDeflated => {
            let stored = read_zip(source, extent)?;
            let most = (stored.len() as u64).saturating_mul(INFLATION_MAX);
            let mut content = Vec::with_capacity(bytes.min(most) as usize);
            // One byte more than there should be, to notice it.
            let inflated = DeflateDecoder::new(&stored[..]).take(bytes + 1).read_to_end(&mut content);
            inflated.map_err(|error| Trouble::Changed(format!("cannot be inflated: {error}")))?;
            checked(content, extent, bytes)
        }
    }
}

/// Header and data in one read, the header compared with what it was.
fn read_tar(source: &dyn ReadAt, extent: &Extent) -> Result<Vec<u8>, Trouble> {
    let mut all = vec![0; (BLOCK_BYTES + extent.stored) as usize];
    source.read_exact_at(&mut all, extent.at)?;
    if all.first_chunk().map(header_check) != Some(extent.check) {
        return Err(changed());
    }
    all.drain(..BLOCK_BYTES as usize);
    Ok(all)
}

/// The data as they are stored, the local header before them checked.
fn read_zip(source: &dyn ReadAt, extent: &Extent) -> Result<Vec<u8>, Trouble> {
    let guess = LOCAL_HEADER_BYTES as u64 + NAME_AND_EXTRA_BYTES + extent.stored;
    let mut all = vec![0; guess as usize];
    let mut found = 0;
    // The archive may end before what was guessed.
    while let Some(rest) = all.get_mut(found..).filter(|rest| !rest.is_empty()) {
        match source.read_at(rest, extent.at.saturating_add(found as u64)) {
            Ok(0) => break,
            Ok(read) => found += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    all.truncate(found);
    let offset = data_offset(all.first_chunk().ok_or_else(changed)?)?;
    let wanted = offset + extent.stored;
    let missing_at = all.len();
    all.resize(wanted as usize, 0);
    if let Some(missing) = all.get_mut(missing_at..) {
        source.read_exact_at(missing, extent.at + missing_at as u64)?;
    }
    all.drain(..offset as usize);
    Ok(all)
}

/// Bytes from a local header to the data behind it.
fn data_offset(header: &[u8; LOCAL_HEADER_BYTES]) -> Result<u64, Trouble> {
    let [.., n0, n1, e0, e1] = *header;
    if !header.starts_with(LOCAL_HEADER_SIGNATURE) {
        return Err(changed());
    }
    let (name, extra) = (u16::from_le_bytes([n0, n1]), u16::from_le_bytes([e0, e1]));
    Ok(LOCAL_HEADER_BYTES as u64 + u64::from(name) + u64::from(extra))
}

/// The content of a member of a zip, if it has the size and the checksum that the directory gives.
fn checked(content: Vec<u8>, extent: &Extent, bytes: u64) -> Result<Vec<u8>, Trouble> {
    if content.len() as u64 != bytes {
        return Err(Trouble::Changed(format!("not the {bytes} bytes that its archive says")));
    }
    if crc32fast::hash(&content) != extent.check {
        return Err(Trouble::Changed("its content differs from the archive's checksum".to_owned()));
    }
    Ok(content)
}

fn changed() -> Trouble {
    Trouble::Changed(
        "the archive holds something else at its place: it was changed after planning".to_owned(),
    )
}
