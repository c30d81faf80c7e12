//! Several arrays in one zip, as `numpy.savez` and `numpy.savez_compressed` write them.

use std::fs::File;
use std::io::{BufReader, Read};

use zip::CompressionMethod;
use zip::read::{ZipArchive, ZipFile};

use super::elements::{Order, Run, SCRATCH};
use super::index::Index;
use super::npy::Header;
use super::scratch::Scratch;
use super::source::Source;
use crate::error::{Error, Result};

const IDS: &str = "asset_ids.npy";
const VECTORS: &str = "embeddings.npy";
const COUNTS: &str = "counts.npy";

/// Deflated data become at most so many times as long.
const INFLATION_MAX: u64 = 1032;
/// Unpacked at once.
const BUFFER_BYTES: u64 = 1 << 18;
/// An array of strings is as wide as its longest; one this wide holds no ids.
const ID_BYTES_MAX: u64 = 1 << 16;
/// Names shown of an archive that holds other arrays.
const SHOWN: usize = 8;

type Archive<'a> = ZipArchive<BufReader<&'a File>>;

/// Adds the assets of a `.npz` file: `asset_ids`, `embeddings`, and `counts` where assets have a row for each view.
///
/// # Errors
/// It is damaged, lacks one of these, or they do not fit each other; the scratch file cannot be written.
pub fn index(
    source: &Source,
    number: u16,
    per_view: bool,
    index: &mut Index,
    scratch: &mut Scratch,
) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(&source.file))
        .map_err(|error| damaged(format!("its directory, at its end, cannot be read: {error}")))?;
    let names = Names::of(&archive, per_view)?;
    let n_ids = in_member(&mut archive, names.ids, IDS, |member, header| {
        let &[n] = &header.shape[..] else { return Err(one_axis(header)) };
        // An empty array has lost what it was to hold: its type says nothing.
        if n > 0 {
            Strings::of(header)?;
        }
        drain(member).map(|()| n)
    })?;
    if n_ids == 0 {
        return Ok(());
    }
    let vectors = Vectors::locate(&mut archive, names.vectors, number, scratch)?;
    let counts = names.counts.map(|at| read_counts(&mut archive, at, n_ids)).transpose()?;
    let named = counts.as_ref().map_or(n_ids, |counts| counts.iter().map(|&count| u64::from(count)).sum());
    if named != vectors.rows {
        let (rows, of) = (vectors.rows, if counts.is_some() { "counts add up to" } else { "ids are" });
        return Err(Error::new(format!("embeddings of {rows} rows, where its {of} {named}")));
    }
    in_member(&mut archive, names.ids, IDS, |member, header| {
        let mut strings = Strings::of(header)?;
        let (mut from, mut start) = (BufReader::new(member), 0);
        for place in 0..n_ids {
            let id = strings.next(&mut from, place)?;
            let count = counts.as_ref().map_or(1, |counts| counts.get(place as usize).copied().unwrap_or(0));
            index.push(number, &id, vectors.dim, &[vectors.run(start, count)])?;
            start += u64::from(count);
        }
        drain(&mut from)
    })
}

fn damaged(why: String) -> Error {
    Error::new(why).hint("copy it again; if the program that wrote it was killed, it is not complete")
}

/// The places of the arrays in the archive.
struct Names {
    ids: usize,
    vectors: usize,
    counts: Option<usize>,
}

impl Names {
    fn of(archive: &Archive<'_>, per_view: bool) -> Result<Self> {
        if archive.has_duplicate_names() {
            return Err(damaged("two arrays have one name".to_owned()));
        }
        let counts = archive.index_for_name(COUNTS);
        let found = archive.index_for_name(IDS).zip(archive.index_for_name(VECTORS));
        let Some((ids, vectors)) = found else {
            let names: Vec<_> = archive
                .file_names_raw()
                .take(SHOWN)
                .map(|name| format!("'{}'", String::from_utf8_lossy(name).escape_debug()))
                .collect();
            return Err(Error::new(format!(
                "it has no '{IDS}' and '{VECTORS}', but {}",
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            )));
        };
        match (per_view, counts) {
            (true, None) => {
                Err(Error::new(format!("it has no '{COUNTS}', which says how many views each has"))
                    .hint("where assets have one vector each, it is no file of SigLIP's views"))
            }
            (false, Some(_)) => Err(Error::new(format!("it has '{COUNTS}': vectors of each asset's views"))
                .hint("import it as siglip-image")),
            _ => Ok(Self { ids, vectors, counts }),
        }
    }
}

/// Opens a member and reads its header; what goes wrong is told with its name.
fn in_member<T>(
    archive: &mut Archive<'_>,
    at: usize,
    name: &str,
    read: impl FnOnce(&mut ZipFile<'_, BufReader<&File>>, &Header) -> Result<T>,
) -> Result<T> {
    let about = |error: Error| Error { message: format!("{name}: {}", error.message), ..error };
    let mut member = archive.by_index(at).map_err(|error| about(damaged(error.to_string())))?;
    let header = Header::read(&mut member).map_err(about)?;
    check_size(&member, &header).map_err(about)?;
    read(&mut member, &header).map_err(about)
}

/// Whether the directory, the header and what deflating can do agree about the size.
fn check_size(member: &ZipFile<'_, BufReader<&File>>, header: &Header) -> Result<()> {
    let (size, stored) = (member.size(), member.compressed_size());
    let item = header.type_of().and_then(|(_, name)| name.get(1..)?.parse::<u64>().ok());
    let item = match header.type_of() {
        Some((_, name)) if name.starts_with('U') => item.and_then(|n| n.checked_mul(4)),
        _ => item,
    };
    // Of another type, which is refused for that.
    let Some(item) = item else { return Ok(()) };
    let expected = header.elements()?.checked_mul(item).and_then(|n| n.checked_add(header.bytes));
    if expected != Some(size) {
        let (shape, descr) = (header.shape(), &header.descr);
        return Err(damaged(format!(
            "{size} bytes, which an array of shape {shape} and '{descr}' does not have"
        )));
    }
    if size > stored.saturating_mul(INFLATION_MAX).saturating_add(INFLATION_MAX) {
        return Err(damaged(format!("{stored} bytes cannot become {size}")));
    }
    Ok(())
}

/// Reads a member to its end, where its checksum is compared.
fn drain(member: &mut dyn Read) -> Result<()> {
    std::io::copy(member, &mut std::io::sink()).map_err(|error| damaged(error.to_string()))?;
    Ok(())
}

fn one_axis(header: &Header) -> Error {
    Error::new(format!("an array of shape {}, not (assets,)", header.shape()))
}

/// Where the vectors lie: in the archive, or unpacked.
struct Vectors {
    rows: u64,
    dim: u64,
    first: Run,
}

impl Vectors {
    fn locate(archive: &mut Archive<'_>, at: usize, number: u16, scratch: &mut Scratch) -> Result<Self> {
        in_member(archive, at, VECTORS, |member, header| {
            let (rows, dim, elements) = header.vectors()?;
            let in_place = match member.compression() {
                CompressionMethod::Stored if member.compressed_size() == member.size() => member.data_start(),
                _ => None,
            };
            let (file, offset) = match in_place {
                Some(start) => {
                    drain(member)?;
                    (number, start.saturating_add(header.bytes))
                }
                None => (SCRATCH, unpack(member, member_bytes(rows, dim, elements.bytes()), scratch)?),
            };
            Ok(Self { rows, dim, first: Run { offset, rows: 0, file, elements } })
        })
    }

    /// The rows from `start` on. There are as many: the counts were added up.
    fn run(&self, start: u64, count: u32) -> Run {
        let offset = self.first.offset + start * self.first.row_bytes(self.dim as usize);
        Run { offset, rows: count, ..self.first }
    }
}

/// What [`Header::vectors`] has checked that it can be counted.
fn member_bytes(rows: u64, dim: u64, element: u64) -> u64 {
    rows * dim * element
}

/// Writes the data of a member behind its header to the scratch file; returns where.
fn unpack(member: &mut dyn Read, bytes: u64, scratch: &mut Scratch) -> Result<u64> {
    scratch.refuse_short(bytes)?;
    let start = scratch.end();
    let mut buffer = vec![0; bytes.min(BUFFER_BYTES) as usize];
    let mut left = bytes;
    while left > 0 {
        let wanted = left.min(buffer.len() as u64) as usize;
        let place = buffer.get_mut(..wanted).unwrap_or_default();
        match member.read(place) {
            Ok(0) => return Err(damaged(format!("its data end {left} bytes too early"))),
            Ok(read) => {
                scratch.append(place.get(..read).unwrap_or_default())?;
                left -= read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(error.to_string())),
        }
    }
    drain(member).map(|()| start)
}

/// How many rows each asset has.
fn read_counts(archive: &mut Archive<'_>, at: usize, n_ids: u64) -> Result<Vec<u32>> {
    in_member(archive, at, COUNTS, |member, header| {
        if header.shape[..] != [n_ids] {
            return Err(Error::new(format!("an array of shape {}, beside {n_ids} ids", header.shape())));
        }
        let Some((order, width, is_signed)) = integer(header) else {
            return Err(Error::new(format!("elements of type '{}', not integers", header.descr)));
        };
        let mut counts = Vec::new();
        let mut element = vec![0; width];
        let mut from = BufReader::new(member);
        for place in 0..n_ids {
            from.read_exact(&mut element).map_err(|error| damaged(error.to_string()))?;
            if order == Order::Little {
                element.reverse();
            }
            let value = element.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
            let is_negative = is_signed && element.first().is_some_and(|&byte| byte >= 0x80);
            let count = u32::try_from(value).ok().filter(|_| !is_negative);
            counts.push(
                count.ok_or_else(|| Error::new(format!("the count number {place} is no number of rows")))?,
            );
        }
        drain(&mut from).map(|()| counts)
    })
}

/// The order of the bytes of an array's integers, how many an integer has, and whether it may be negative.
fn integer(header: &Header) -> Option<(Order, usize, bool)> {
    let (order, name) = header.type_of()?;
    let (kind, width) = name.split_at_checked(1)?;
    let width = width.parse().ok().filter(|width| matches!(width, 1 | 2 | 4 | 8))?;
    matches!(kind, "i" | "u").then_some((order, width, kind == "i"))
}

/// Strings of one width: of bytes, or of characters of 4 bytes.
struct Strings {
    /// Room for one.
    buffer: Vec<u8>,
    wide: Option<Order>,
}

impl Strings {
    fn of(header: &Header) -> Result<Self> {
        let parsed = header.type_of().and_then(|(order, name)| {
            let (kind, width) = name.split_at_checked(1)?;
            let width: u64 = width.parse().ok()?;
            match kind {
                "U" => Some((width.checked_mul(4)?, Some(order))),
                "S" => Some((width, None)),
                _ => None,
            }
        });
        match parsed {
            Some((bytes, wide)) if bytes <= ID_BYTES_MAX => {
                Ok(Self { buffer: vec![0; bytes as usize], wide })
            }
            Some((bytes, _)) => Err(Error::new(format!("ids of {bytes} bytes"))),
            None if header.descr.contains('O') => {
                Err(Error::new("ids as Python objects, which are not executed")
                    .hint("save them as text: numpy.array(ids, dtype=str)"))
            }
            None => Err(Error::new(format!("ids of type '{}', not text", header.descr.escape_debug()))),
        }
    }

    /// The next string; `place` is its number in errors.
    fn next(&mut self, from: &mut dyn Read, place: u64) -> Result<String> {
        from.read_exact(&mut self.buffer)
            .map_err(|error| damaged(format!("reading the id number {place}: {error}")))?;
        decode_text(&self.buffer, self.wide)
            .ok_or_else(|| Error::new(format!("the id number {place} is not text")))
    }
}

/// A string as NumPy stores it: padded with NUL; as UTF-8, or in characters of 4 bytes.
pub fn decode_text(bytes: &[u8], wide: Option<Order>) -> Option<String> {
    let text = match wide {
        None => String::from_utf8(bytes.to_vec()).ok()?,
        Some(order) => {
            let number = |&bytes: &[u8; 4]| match order {
                Order::Little => u32::from_le_bytes(bytes),
                Order::Big => u32::from_be_bytes(bytes),
            };
            let (characters, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return None;
            }
            characters.iter().map(number).map(char::from_u32).collect::<Option<_>>()?
        }
    };
    Some(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unpadded_and_must_be_text() {
        assert_eq!(decode_text("é/1\0\0".as_bytes(), None).as_deref(), Some("é/1"));
        assert_eq!(decode_text(&[0xff], None), None);
        let wide: Vec<u8> = "é椅😀\0".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        assert_eq!(decode_text(&wide, Some(Order::Little)).as_deref(), Some("é椅😀"));
        assert_eq!(decode_text(&[0, 0, 0, 0x61], Some(Order::Big)).as_deref(), Some("a"));
        // A surrogate, and what is past the last character.
        assert_eq!(decode_text(&[0, 0xd8, 0, 0], Some(Order::Little)), None);
        assert_eq!(decode_text(&[0, 0, 0x11, 0], Some(Order::Little)), None);
        assert_eq!(decode_text(&[0, 0, 0], Some(Order::Little)), None);
    }
}
