//! The index of a tar: a walk from header to header.

use std::io::{self, Read};

use ::tar::{Archive, Entry as TarEntry, Header};

use super::window::{ReadAt, Window};
use super::{Entry, Extent, Form, Index, keep_last, member_path};

/// Length of a header, and what data are padded to.
pub const BLOCK_BYTES: u64 = 512;
/// Read at a time: a header, and one that it may be preceded by with its own data.
const AHEAD: usize = 4096;

/// Indexes the tar of `bytes` bytes.
///
/// # Errors
/// The file cannot be read.
pub fn index(source: &dyn ReadAt, bytes: u64) -> io::Result<Index> {
    let mut window = Window::new(source, 0, bytes, AHEAD);
    let mut index = Index::default();
    let walked = walk(&mut Archive::new(&mut window), bytes, &mut index);
    let what = if window.is_at_end() { "it is cut off" } else { "its index cannot be read" };
    window.trouble()?;
    match walked {
        Ok(end) => index.without_end = index.broken.is_none() && end >= bytes && bytes > 0,
        Err(error) => {
            let why = format!("{what}: {error}{}", looks_like(source));
            index.broken.get_or_insert(why);
        }
    }
    if bytes == 0 {
        index.broken = Some("it is empty".to_owned());
    }
    keep_last(&mut index.members);
    Ok(index)
}

/// CRC-32 of what a header says, without owner and checksum (bytes 108 to 123 and 148 to 155), which a
/// record before it may override.
pub fn header_check(header: &[u8; BLOCK_BYTES as usize]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [&header[..108], &header[124..148], &header[156..]] {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Adds all members; returns where the last one ends.
fn walk<R: Read + io::Seek>(archive: &mut Archive<R>, bytes: u64, index: &mut Index) -> io::Result<u64> {
    let mut end = 0;
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let (start, size) = (entry.raw_file_position(), entry.size());
        let data_end = start.checked_add(size).ok_or(io::ErrorKind::InvalidData)?;
        end = end.max(data_end.checked_next_multiple_of(BLOCK_BYTES).ok_or(io::ErrorKind::InvalidData)?);
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        if kind.is_dir() || kind.is_pax_global_extensions() || name.ends_with(b"/") {
            continue;
        }
        let Some(name) = member_path(&name) else {
            index.bad_names.push(String::from_utf8_lossy(&name).into_owned());
            continue;
        };
        let name = name.to_owned();
        let is_sparse = kind.is_gnu_sparse();
        let is_whole = is_sparse || data_end <= bytes;
        if !is_whole {
            index.broken = Some(format!("it is cut off within '{name}'"));
        }
        let data = extent(&mut entry, is_whole)?;
        index.members.push(Entry { name, bytes: size, data });
    }
    Ok(end)
}

/// Where a member's data lie, or why they cannot be read.
fn extent<R: Read>(entry: &mut TarEntry<'_, R>, is_whole: bool) -> io::Result<Result<Extent, String>> {
    let kind = entry.header().entry_type();
    if kind.is_symlink() || kind.is_hard_link() {
        return Ok(Err("a link inside an archive, which is not followed".to_owned()));
    }
    if kind.is_gnu_sparse() || has_sparse_map(entry)? {
        return Ok(Err("a sparse member of a tar, which is not supported".to_owned()));
    }
    if !kind.is_file() && !kind.is_contiguous() {
        return Ok(Err("neither a file nor a folder".to_owned()));
    }
    if !is_whole {
        return Ok(Err("the archive is cut off within it".to_owned()));
    }
    let (at, stored) = (entry.raw_header_position(), entry.size());
    let check = header_check(Header::as_bytes(entry.header()));
    Ok(Ok(Extent { at, stored, form: Form::Tar, check }))
}

fn has_sparse_map<R: Read>(entry: &mut TarEntry<'_, R>) -> io::Result<bool> {
    let Some(records) = entry.pax_extensions()? else { return Ok(false) };
    Ok(records.flatten().any(|record| record.key_bytes().starts_with(b"GNU.sparse.")))
}

/// What a file that is no tar seems to be.
fn looks_like(source: &dyn ReadAt) -> &'static str {
    let mut head = [0; 4];
    match source.read_exact_at(&mut head, 0).map(|()| head) {
        Ok([0x1f, 0x8b, ..]) => " (it is compressed with gzip: unpack it)",
        Ok([0x28, 0xb5, 0x2f, 0xfd]) => " (it is compressed with zstd: unpack it)",
        Ok([b'P', b'K', ..]) => " (it is a zip: rename it)",
        _ => "",
    }
}
