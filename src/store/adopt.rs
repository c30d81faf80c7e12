//! Sealing without compression turns the stage itself into the output. Adding tables changes the
//! file's metadata, which a crash would leave torn; so everything but the rows is saved beside first.
//!
//! ```text
//! backup := magic, begin u64 LE, end u64 LE, head (the stage's bytes 0..begin), tail (its bytes end..), CRC-32 u32 LE
//! ```

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::paths::rename_durably;
use crate::error::{Context, Error, Result};

const MAGIC: &[u8; 8] = b"HSLABBK1";

/// Saves the bytes of `stage` outside its rows (`rows`, in bytes) to `backup`, durably.
///
/// # Errors
/// What the file system reports.
pub fn save_metadata(stage: &Path, rows: std::ops::Range<u64>, backup: &Path) -> Result<()> {
    let what = || format!("cannot save the metadata of {} to {}", stage.display(), backup.display());
    let file = File::open(stage).context(what)?;
    let size = file.metadata().context(what)?.len();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(rows.start.to_le_bytes());
    bytes.extend(rows.end.to_le_bytes());
    for part in [0..rows.start, rows.end.min(size)..size] {
        let begin = bytes.len();
        bytes.resize(begin + (part.end - part.start) as usize, 0);
        file.read_exact_at(&mut bytes[begin..], part.start).context(what)?;
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
    let (head, tail, end) = parse(&bytes).ok_or_else(|| Error::new(format!("{}: it is damaged", what())))?;
    let file = File::options().write(true).open(stage).context(what)?;
    file.write_all_at(head, 0).context(what)?;
    file.set_len(end + tail.len() as u64).context(what)?;
    file.write_all_at(tail, end).context(what)?;
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

/// Head, tail and the end of the rows of a whole backup.
fn parse(bytes: &[u8]) -> Option<(&[u8], &[u8], u64)> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (begin, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (head, tail) = rest.split_at_checked(u64::from_le_bytes(*begin) as usize)?;
    Some((head, tail, u64::from_le_bytes(*end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_around_the_rows_is_undone_and_the_rows_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, backup) = (folder.path().join("o.partial"), folder.path().join("o.tmp"));
        std::fs::write(&stage, b"headROWStail").unwrap();
        save_metadata(&stage, 4..8, &backup).unwrap();
        std::fs::write(&stage, b"HEA?rowsTAILandmore").unwrap();
        assert!(restore_metadata(&stage, &backup).unwrap());
        assert_eq!(std::fs::read(&stage).unwrap(), b"headrowstail");
    }

    #[test]
    fn only_a_whole_save_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, backup) = (folder.path().join("o.partial"), folder.path().join("o.tmp"));
        std::fs::write(&stage, b"headROWStail").unwrap();
        assert!(!restore_metadata(&stage, &backup).unwrap());
        std::fs::write(&backup, b"\x89HDF, a file being sealed").unwrap();
        assert!(!restore_metadata(&stage, &backup).unwrap());
        save_metadata(&stage, 4..8, &backup).unwrap();
        let mut bytes = std::fs::read(&backup).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&backup, bytes).unwrap();
        assert!(restore_metadata(&stage, &backup).is_err());
        assert_eq!(std::fs::read(&stage).unwrap(), b"headROWStail");
    }
}
