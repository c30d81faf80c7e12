//! Sealing without compression turns the stage itself into the output. Adding tables changes the
//! file's metadata, which a crash would leave torn; so everything but the rows is saved beside first.
//!
//! ```text
//! backup := magic, n u64, n times (begin u64, end u64), the stage's size u64, gaps, CRC-32 u32
//! ```
//! Numbers are little-endian. Between begin and end lie a group's rows; the gaps are the stage's other bytes.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::paths::rename_durably;
use crate::error::{Context, Error, Result};
use crate::plan::bytes::Reader;
use crate::plan::pending;

const MAGIC: &[u8; 8] = b"HSLABBK2";

/// Saves the bytes of `stage` outside its rows (`rows`, in bytes, of each group) to `backup`, durably.
///
/// # Errors
/// What the file system reports.
pub fn save_metadata(stage: &Path, rows: &[Range<u64>], backup: &Path) -> Result<()> {
    let what = || format!("cannot save the metadata of {} to {}", stage.display(), backup.display());
    let file = File::open(stage).context(what)?;
    let size = file.metadata().context(what)?.len();
    let mut bytes = MAGIC.to_vec();
    bytes.extend((rows.len() as u64).to_le_bytes());
    bytes.extend(rows.iter().flat_map(|rows| [rows.start, rows.end]).flat_map(u64::to_le_bytes));
    bytes.extend(size.to_le_bytes());
    for gap in pending(0..size, rows) {
        let begin = bytes.len();
        bytes.resize(begin + (gap.end - gap.start) as usize, 0);
        file.read_exact_at(&mut bytes[begin..], gap.start).context(what)?;
    }
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    let new = backup.with_extension("backup.new");
    std::fs::write(&new, bytes).context(what)?;
    rename_durably(&new, backup)
}

/// Puts back what [`save_metadata`] saved, if `backup` is such a save; says whether it was.
///
/// # Errors
/// A save that is damaged, or what the file system reports.
pub fn restore_metadata(stage: &Path, backup: &Path) -> Result<bool> {
    let what = || format!("cannot restore the metadata of {} from {}", stage.display(), backup.display());
    let Some(bytes) = read_backup(backup).context(what)? else { return Ok(false) };
    let (size, gaps) = parse(&bytes).context(|| format!("{}: it is damaged", what()))?;
    let file = File::options().write(true).open(stage).context(what)?;
    file.set_len(size).context(what)?;
    for gap in gaps {
        file.write_all_at(gap.bytes, gap.at).context(what)?;
    }
    file.sync_all().context(what)?;
    Ok(true)
}

/// A backup's bytes; nothing where the file is missing or is another one (a file being sealed, which
/// may be as large as the output and is not read).
fn read_backup(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome?,
    };
    let mut bytes = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    if bytes != MAGIC {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Bytes of the stage that are no rows.
struct Gap<'a> {
    /// Where they begin.
    at: u64,
    bytes: &'a [u8],
}

/// The stage's size and its gaps, from a whole backup.
fn parse(bytes: &[u8]) -> Result<(u64, Vec<Gap<'_>>)> {
    let whole = bytes
        .split_last_chunk::<4>()
        .filter(|(body, crc)| crc32fast::hash(body) == u32::from_le_bytes(**crc));
    let (body, _) = whole.ok_or_else(|| Error::new("its checksum differs"))?;
    let mut reader = Reader::new(body);
    reader.take(MAGIC.len())?;
    let n = reader.u64()?;
    let rows = (0..n).map(|_| Ok(reader.u64()?..reader.u64()?)).collect::<Result<Vec<_>>>()?;
    let size = reader.u64()?;
    let gaps = pending(0..size, &rows).into_iter();
    let gaps = gaps.map(|gap| {
        let bytes = reader.take((gap.end - gap.start) as usize)?;
        Ok(Gap { at: gap.start, bytes })
    });
    let gaps = gaps.collect::<Result<_>>()?;
    reader.finish()?;
    Ok((size, gaps))
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one group's rows are meant")]
mod tests {
    use super::*;

    #[test]
    fn what_changed_around_the_rows_is_undone_and_the_rows_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, backup) = (folder.path().join("o.partial"), folder.path().join("o.tmp"));
        // Of one group, of two in any order, and of one without rows.
        let cases: [&[Range<u64>]; 4] = [&[4..8], &[9..12, 2..4], &[0..0, 4..8], &[]];
        for rows in cases {
            std::fs::write(&stage, b"headROWStail").unwrap();
            save_metadata(&stage, rows, &backup).unwrap();
            let changed = b"HE?Drows,???andmore";
            std::fs::write(&stage, changed).unwrap();
            assert!(restore_metadata(&stage, &backup).unwrap());
            let restored = std::fs::read(&stage).unwrap();
            for (at, byte) in b"headROWStail".iter().enumerate() {
                let is_row = rows.iter().any(|rows| rows.contains(&(at as u64)));
                assert_eq!(restored[at], if is_row { changed[at] } else { *byte }, "{rows:?}, byte {at}");
            }
            assert_eq!(restored.len(), 12);
        }
    }

    #[test]
    fn only_a_whole_save_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, backup) = (folder.path().join("o.partial"), folder.path().join("o.tmp"));
        std::fs::write(&stage, b"headROWStail").unwrap();
        assert!(!restore_metadata(&stage, &backup).unwrap());
        std::fs::write(&backup, b"\x89HDF, a file being sealed").unwrap();
        assert!(!restore_metadata(&stage, &backup).unwrap());
        save_metadata(&stage, &[4..8], &backup).unwrap();
        let mut bytes = std::fs::read(&backup).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&backup, bytes).unwrap();
        assert!(restore_metadata(&stage, &backup).is_err());
        assert_eq!(std::fs::read(&stage).unwrap(), b"headROWStail");
    }
}
