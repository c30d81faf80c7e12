//! How much disk a file of embeddings needs, and how much there is.

use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use serde::Serialize;

use super::paths::OutputPaths;
use super::schema::{Compression, StoredType};
use crate::error::{Context, Error, Result};
use crate::plan::{Blocks, Kind, Table, chunk_rows};

/// What shuffle and gzip make of L2-normalised vectors, measured: 1.16 for float32 and for float16,
/// at any level.
const GZIP_RATIO: f64 = 1.15;
/// HDF5's own structures of one file.
const HDF5_BYTES: u64 = 64 << 10;
/// One entry of the index of chunks (a B-tree two thirds full).
const CHUNK_ENTRY_BYTES: u64 = 64;
/// A block's digest in the file.
const DIGEST_BYTES: u64 = 32;
/// A block's share of the journal, at most: a record of its own.
const JOURNAL_BLOCK_BYTES: u64 = 160;
/// `start_idx` and `count` beside an id.
const VIEWS_METADATA_BYTES: u64 = 12;
/// An asset's number of views, of which its one vector is made.
const NUM_IMAGES_BYTES: u64 = 4;

/// What decides about the size of a file.
#[derive(Clone, Debug)]
pub struct FileShape {
    pub kind: Kind,
    pub groups: Vec<GroupShape>,
    /// Length of a vector.
    pub dim: u64,
    pub block_rows: u64,
    /// See [`crate::input::Input::spool_bytes`].
    pub spool_bytes: u64,
}

/// What decides about the size of one group.
#[derive(Clone, Copy, Debug)]
pub struct GroupShape {
    pub assets: u64,
    pub rows: u64,
    /// Bytes of the longest id.
    pub longest_id: u64,
}

impl GroupShape {
    /// That of a group of these assets.
    pub fn of(kind: Kind, table: &Table) -> Self {
        let (assets, longest_id) = (table.len() as u64, table.longest_id() as u64);
        Self { assets, rows: kind.rows(table), longest_id }
    }
}

/// Bytes of one output and of what stands beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskNeed {
    pub partial: u64,
    pub plan: u64,
    pub journal: u64,
    /// Beside the others while sealing; 0 where the stage itself is renamed.
    pub tmp: u64,
    pub sealed: u64,
}

impl DiskNeed {
    /// The need of a file, a little above what it will be.
    pub fn of(shape: &FileShape, stored: StoredType, compression: Compression) -> Self {
        let row_bytes = shape.dim * stored.size_bytes() as u64;
        let blocks = Blocks::of_groups(shape.groups.iter().map(|group| group.rows), shape.block_rows);
        let (vectors, blocks) = (blocks.rows() * row_bytes, blocks.count());
        let beside_id = match shape.kind {
            Kind::Text => 0,
            Kind::Image => VIEWS_METADATA_BYTES,
            Kind::ViewSet => NUM_IMAGES_BYTES,
        };
        let tables = shape.groups.iter().map(|group| group.assets * (group.longest_id + beside_id));
        let beside = HDF5_BYTES + tables.sum::<u64>() + blocks * DIGEST_BYTES;
        let partial = vectors + beside;
        let sealed = match compression {
            Compression::None => partial,
            Compression::Gzip(_) => {
                let chunk_rows = chunk_rows(shape.block_rows, row_bytes);
                let chunks = shape.groups.iter().map(|group| group.rows / chunk_rows).sum::<u64>() + blocks;
                (vectors as f64 / GZIP_RATIO) as u64 + beside + chunks * CHUNK_ENTRY_BYTES
            }
        };
        let tmp = if compression == Compression::None { 0 } else { sealed };
        Self { partial, plan: shape.spool_bytes, journal: 4096 + blocks * JOURNAL_BLOCK_BYTES, tmp, sealed }
    }

    /// Before sealing.
    pub fn running(&self) -> u64 {
        self.partial + self.plan + self.journal
    }

    /// The most at any time: while sealing.
    pub fn most(&self) -> u64 {
        self.running() + self.tmp
    }

    /// The most that files made one after the other need at any time, each sealed before the next begins.
    pub fn most_in_turn(files: &[Self]) -> u64 {
        let mut sealed_before = 0;
        let mut most = 0;
        for file in files {
            most = most.max(sealed_before + file.most());
            sealed_before += file.sealed;
        }
        most
    }
}

/// The disk behind a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The folder, or the nearest one above it that is there.
    pub folder: PathBuf,
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes that a job to be resumed has already taken, and does not take again.
    pub taken: u64,
}

impl Space {
    /// Examines the disk on which these files are, or will be, in `folder`.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn of(folder: &Path, outputs: &[OutputPaths]) -> Result<Self> {
        let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let about = || format!("asking for the free space of '{}'", there.display());
        let stat = rustix::fs::statvfs(there).context(about)?;
        let taken = outputs.iter().map(taken_beside).sum();
        Ok(Self { folder: there.to_path_buf(), free: stat.f_bavail.saturating_mul(stat.f_frsize), taken })
    }

    /// How many bytes are missing for a need of so many; 0 where there is enough.
    pub fn short_by(&self, need: u64) -> u64 {
        need.saturating_sub(self.free.saturating_add(self.taken))
    }

    /// Refuses a need that the disk cannot hold.
    ///
    /// # Errors
    /// Says by how much it is short.
    pub fn refuse_short(&self, need: u64) -> Result<()> {
        let short = self.short_by(need);
        if short == 0 {
            return Ok(());
        }
        Err(Error::new(format!(
            "the disk of '{}' is {} short: {} are needed while running and sealing, {} are free",
            self.folder.display(),
            HumanBytes(short),
            HumanBytes(need),
            HumanBytes(self.free + self.taken),
        ))
        .hint("make room, choose another --output-dir, or need less: --dtype f16, --views N"))
    }
}

/// Bytes on disk of what an unfinished job left beside `output`.
fn taken_beside(paths: &OutputPaths) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let beside = [&paths.partial, &paths.plan, &paths.journal, &paths.tmp];
    beside.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views() -> FileShape {
        FileShape {
            kind: Kind::Image,
            groups: vec![GroupShape { assets: 2_000_000, rows: 24_000_000, longest_id: 12 }],
            dim: 1152,
            block_rows: 1024,
            spool_bytes: 300_000_000,
        }
    }

    #[test]
    fn a_file_needs_its_rows_and_little_more() {
        let vectors = 24_000_000 * 1152 * 4;
        let need = DiskNeed::of(&views(), StoredType::F32, Compression::Gzip(4));
        assert!(need.partial > vectors && need.partial < vectors + vectors / 100);
        let ratio = vectors as f64 / need.sealed as f64;
        assert!((1.1..1.16).contains(&ratio), "{ratio}");
        assert_eq!(need.tmp, need.sealed);
        let half = DiskNeed::of(&views(), StoredType::F16, Compression::None);
        assert!(half.partial < need.partial * 51 / 100);
        assert_eq!((half.tmp, half.sealed), (0, half.partial));
        let group = views().groups[0];
        let halves = vec![GroupShape { rows: group.rows / 2, assets: group.assets / 2, ..group }; 2];
        let two = FileShape { groups: halves, ..views() };
        assert_eq!(DiskNeed::of(&two, StoredType::F32, Compression::Gzip(4)), need);
        let nothing = FileShape { groups: Vec::new(), spool_bytes: 0, ..views() };
        assert!(DiskNeed::of(&nothing, StoredType::F32, Compression::Gzip(4)).most() < 1 << 20);
    }

    #[test]
    fn files_in_turn_need_less_than_their_sum() {
        let file = |partial, tmp| DiskNeed { partial, tmp, sealed: tmp, ..DiskNeed::default() };
        assert_eq!(DiskNeed::most_in_turn(&[]), 0);
        assert_eq!(DiskNeed::most_in_turn(&[file(10, 8), file(100, 80)]), 8 + 180);
        assert_eq!(DiskNeed::most_in_turn(&[file(100, 80), file(10, 8)]), 180);
    }

    #[test]
    fn a_short_disk_is_refused_by_how_much() {
        let space = Space { folder: "/out".into(), free: 3 << 30, taken: 1 << 30 };
        assert_eq!(space.refuse_short(4 << 30), Ok(()));
        let error = space.refuse_short((4 << 30) + (1 << 29)).unwrap_err();
        assert!(error.message.contains("'/out' is 512.00 MiB short"), "{error}");
    }
}
