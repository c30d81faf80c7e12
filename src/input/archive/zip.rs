//! The index of a zip: its central directory, and those of zips inside it.

use std::io;

use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};

use super::read::{inflate, locate};
use super::window::{ReadAt, Window};
use super::{Entry, Extent, Form, Format, Index, Inflated, InnerIndex, keep_last, member_path};

/// Read at a time: the central directory of a few hundred members.
const AHEAD: usize = 32 << 10;
/// A deflated zip inside a zip larger than this is not inflated into memory.
pub const INNER_BYTES_MAX: u64 = 128 << 20;
/// Bytes of a local header before name and extra field.
const LOCAL_HEADER_BYTES: u64 = 30;

/// Indexes the zip of `bytes` bytes, and zips directly inside it.
///
/// # Errors
/// The file cannot be read.
pub fn index(source: &dyn ReadAt, bytes: u64) -> io::Result<Index> {
    let mut index = index_one(source, 0, bytes)?;
    let (inner, members) = std::mem::take(&mut index.members).into_iter().partition(|member| {
        let name = member.name.rsplit_once('/').map_or(member.name.as_str(), |(_, name)| name);
        matches!(Format::of(name), Some((Format::Zip, _)))
    });
    index.members = members;
    let inner: Vec<Entry> = inner;
    index.inner = inner.into_iter().map(|member| index_inner(source, member)).collect::<io::Result<_>>()?;
    Ok(index)
}

/// A zip inside `outer`.
fn index_inner(outer: &dyn ReadAt, member: Entry) -> io::Result<InnerIndex> {
    let Entry { name, bytes, data } = member;
    let broken = |why: String| Index { broken: Some(why), ..Index::default() };
    let (inflated, index) = match data {
        Err(why) => (None, broken(why)),
        Ok(extent) if extent.form == Form::ZipStored => match locate(outer, extent.at)? {
            Ok(start) => (None, index_one(outer, start, bytes)?),
            Err(why) => (None, broken(why)),
        },
        Ok(extent) if bytes.max(extent.stored) > INNER_BYTES_MAX => {
            let limit = INNER_BYTES_MAX >> 20;
            (None, broken(format!("compressed and over {limit} MiB: unpack the archive around it")))
        }
        Ok(extent) => match inflate(outer, extent, bytes)? {
            Ok(content) => (Some(Inflated { extent, bytes }), index_one(&content, 0, bytes)?),
            Err(why) => (None, broken(why)),
        },
    };
    Ok(InnerIndex { name, inflated, index })
}

/// The zip at `start`, without those inside it; extents count from the start of `source`.
fn index_one(source: &dyn ReadAt, start: u64, bytes: u64) -> io::Result<Index> {
    let mut window = Window::new(source, start, bytes, AHEAD);
    let mut index = Index { bytes, ..Index::default() };
    match ZipArchive::new(&mut window).map(|archive| archive.metadata()) {
        Ok(directory) => {
            for place in 0..directory.len() {
                match directory.entry(place) {
                    Ok(entry) => add(&entry, start, bytes, &mut index),
                    Err(error) => index.broken = Some(why(&error)),
                }
            }
        }
        Err(error) if bytes == 0 => index.broken = Some(format!("it is empty ({})", why(&error))),
        Err(error) => index.broken = Some(why(&error)),
    }
    window.trouble()?;
    keep_last(&mut index.members);
    Ok(index)
}

fn why(error: &ZipError) -> String {
    format!("its central directory, at its end, cannot be read: {error}")
}

fn add(entry: &::zip::read::ZipFileEntry<'_>, start: u64, bytes: u64, index: &mut Index) {
    let raw = entry.name_raw();
    if raw.ends_with(b"/") {
        return;
    }
    let Some(name) = member_path(raw) else {
        index.bad_names.push(String::from_utf8_lossy(raw).into_owned());
        return;
    };
    let (at, stored) = (entry.header_start(), entry.compressed_size());
    let end = at.checked_add(LOCAL_HEADER_BYTES + raw.len() as u64).and_then(|at| at.checked_add(stored));
    let form = match entry.compression() {
        _ if entry.is_symlink() => Err("a link inside an archive, which is not followed".to_owned()),
        _ if entry.encrypted() => Err("it is encrypted: unpack the archive".to_owned()),
        _ if end.is_none_or(|end| end > bytes) => Err("it lies past the end of its archive".to_owned()),
        CompressionMethod::Stored if stored == entry.size() => Ok(Form::ZipStored),
        CompressionMethod::Stored => Err("two sizes are given for it".to_owned()),
        CompressionMethod::Deflated => Ok(Form::ZipDeflated),
        other => Err(format!("compressed as {other}, where only stored and deflated can be read: repack it")),
    };
    let check = entry.crc32();
    let data = form.map(|form| Extent { at: start + at, stored, form, check });
    index.members.push(Entry { name: name.to_owned(), bytes: entry.size(), data });
}
