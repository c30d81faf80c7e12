//! `<output>.journal`: which blocks are committed, with their digests and failed items.
//!
//! ```text
//! frame   := length u32 LE, CRC-32 of the payload u32 LE, payload (JSON)
//! journal := "HYPJRNL" version u8 frame(Header) frame(Entry)*
//! ```
//! Written by rank 0 alone, a record only after its rows are durable, and synced before the next
//! round counts on it. A torn tail is what a crash leaves of the last entry: it is cut off.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Digest;
use super::embeddings::RowsShape;
use super::fingerprint::Fingerprint;
use super::paths::rename_durably;
use super::schema::StoredType;
use crate::error::{Context, Error, Exit, ItemError, Result};
use crate::plan::{Blocks, RowGroup, Shard};

/// What a journal begins with; the last byte is the version of what follows.
const MAGIC: &[u8; 8] = b"HYPJRNL\x03";
/// A record is at most one round; anything larger is damage, not data.
const FRAME_BYTES_MAX: u32 = 1 << 30;

/// What the journal is about: whose blocks it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub fingerprint: Fingerprint,
    /// The output's groups, in order of their rows.
    pub groups: Vec<RowGroup>,
    /// Rows per block.
    pub block_rows: u64,
    /// Length of a vector.
    pub dim: u64,
    pub stored: StoredType,
    /// Which of the blocks are this run's; all of them where there is none.
    pub shard: Option<Shard>,
    pub replaces: Replaces,
}

/// What becomes of an output that stands there while the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replaces {
    /// There is none, or the run is over.
    Nothing,
    /// It is made anew.
    Output,
    /// Its items that failed are embedded again, its other rows are taken over.
    Failures {
        /// Texts among those other rows that had more tokens than the model takes.
        truncated: u64,
    },
}

impl Header {
    /// Whether both are of runs that commit the same blocks of the same file.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.shard == other.shard && self.is_same_output(other)
    }

    /// Whether both are of runs that give the same file, or parts of it.
    pub fn is_same_output(&self, other: &Self) -> bool {
        self.fingerprint.parts == other.fingerprint.parts
            && self.groups == other.groups
            && (self.block_rows, self.dim, self.stored) == (other.block_rows, other.dim, other.stored)
    }

    /// The rows of all groups, and how they are cut.
    pub fn blocks(&self) -> Blocks {
        Blocks::of_groups(self.groups.iter().map(|group| group.rows), self.block_rows)
    }

    /// The blocks that are this run's.
    pub fn own_blocks(&self) -> Range<u64> {
        let count = self.blocks().count();
        self.shard.map_or(0..count, |shard| shard.blocks(count))
    }

    /// Which rows the stage has, and of which form.
    pub fn shape(&self) -> RowsShape<'_> {
        let rows = self.blocks().rows_of(self.own_blocks());
        RowsShape { groups: &self.groups, rows, dim: self.dim, stored: self.stored }
    }
}

/// A committed run of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The first block of the run.
    pub first_block: u64,
    /// One digest per block of the run.
    pub digests: Vec<Digest>,
    /// Items of the run of which something failed, in order of their rows.
    pub failures: Vec<Failure>,
    /// Per block of the run, texts that had more tokens than the model takes.
    pub truncated: Vec<u64>,
}

/// What a journal says, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Committed(Record),
    /// Blocks that were found damaged after their commit: they count no longer.
    Withdrawn(Vec<u64>),
}

/// An item of which something failed, by its row in the numbering of all groups. It has no vector, unless
/// [`ItemError::has_vector`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub row: u64,
    #[serde(flatten)]
    pub error: ItemError,
}

/// Everything that the journal says is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    pub digests: BTreeMap<u64, Digest>,
    pub failures: BTreeMap<u64, ItemError>,
    /// By block, texts that had more tokens than the model takes; blocks without such texts are left out.
    pub truncated: BTreeMap<u64, u64>,
}

impl Committed {
    /// The number of rows in the committed ones of `blocks`.
    pub fn rows(&self, blocks: &Blocks) -> u64 {
        let rows = self.digests.keys().map(|&block| blocks.range(block));
        rows.map(|rows| rows.end - rows.start).sum()
    }

    /// The blocks of `own` that are not committed, as [`pending`](crate::plan::pending) has them.
    pub fn pending(&self, own: Range<u64>) -> Vec<Range<u64>> {
        let done: Vec<_> = self.digests.keys().map(|&block| block..block + 1).collect();
        crate::plan::pending(own, &done)
    }

    /// Adds a record.
    pub fn add(&mut self, record: Record) {
        let truncated = (record.first_block..=u64::MAX).zip(record.truncated).filter(|(_, texts)| *texts > 0);
        self.truncated.extend(truncated);
        self.digests.extend((record.first_block..=u64::MAX).zip(record.digests));
        self.failures.extend(record.failures.into_iter().map(|failure| (failure.row, failure.error)));
    }

    /// Texts of all blocks that had more tokens than the model takes.
    pub fn truncated_texts(&self) -> u64 {
        self.truncated.values().fold(0, |sum, texts| sum.saturating_add(*texts))
    }

    /// Takes a block out again, as if it had never been committed.
    pub fn withdraw(&mut self, block: u64, blocks: &Blocks) {
        self.digests.remove(&block);
        self.truncated.remove(&block);
        let rows = blocks.range(block);
        self.failures.retain(|row, _| !rows.contains(row));
    }

    /// Adds what another shard has committed.
    pub fn merge(&mut self, other: Self) {
        self.digests.extend(other.digests);
        self.failures.extend(other.failures);
        self.truncated.extend(other.truncated);
    }
}

/// The open journal of a running job.
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Makes a new journal; it exists under its name only once its header is durable.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn create(path: &Path, header: &Header) -> Result<Self> {
        let new = path.with_extension("journal.new");
        let what = || format!("cannot create {}", path.display());
        std::fs::write(&new, [&MAGIC[..], &frame(header)?].concat()).context(what)?;
        rename_durably(&new, path)?;
        Self::append_from(path, None)
    }

    /// Reads an existing journal and opens it for what comes next, without a torn tail.
    ///
    /// # Errors
    /// No journal, or one whose header is damaged.
    pub fn open(path: &Path) -> Result<(Self, Header, Committed)> {
        let (header, committed, good_bytes) = read_journal(path)?;
        Ok((Self::append_from(path, Some(good_bytes))?, header, committed))
    }

    fn append_from(path: &Path, good_bytes: Option<u64>) -> Result<Self> {
        let what = || format!("cannot open {}", path.display());
        let mut file = OpenOptions::new().write(true).open(path).context(what)?;
        if let Some(good_bytes) = good_bytes {
            file.set_len(good_bytes).context(what)?;
        }
        file.seek(SeekFrom::End(0)).context(what)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends entries, e.g. the records of one round, and makes them durable.
    ///
    /// # Errors
    /// What the file system reports, e.g. a full disk.
    pub fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let what = || format!("cannot append to {}", self.path.display());
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend(frame(entry)?);
        }
        self.file.write_all(&bytes).context(what)?;
        self.file.sync_data().context(what)
    }
}

/// Reads a journal: its header, what is committed, and how many bytes of it are whole.
///
/// # Errors
/// No journal, or one whose header is damaged.
pub fn read_journal(path: &Path) -> Result<(Header, Committed, u64)> {
    let bytes = std::fs::read(path).context(|| format!("cannot read {}", path.display()))?;
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::new(format!(
            "{} is damaged, or of another version of this program",
            path.display()
        ))
        .exit(Exit::Damaged)
        .hint("finish the run with the version that began it, or start it again with `embed --overwrite`"));
    };
    let header: Header = next_frame(&mut rest).ok_or_else(|| {
        Error::new(format!("the header of {} is damaged", path.display()))
            .exit(Exit::Damaged)
            .hint("nothing of this run can be trusted; start it again with `embed --overwrite`")
    })?;
    let (blocks, own) = (header.blocks(), header.own_blocks());
    let mut committed = Committed::default();
    let mut good = bytes.len() - rest.len();
    while let Some(entry) = next_frame::<Entry>(&mut rest) {
        match entry {
            Entry::Committed(record) => {
                let end = record.first_block.checked_add(record.digests.len() as u64);
                if record.first_block < own.start || end.is_none_or(|end| end > own.end) {
                    break;
                }
                committed.add(record);
            }
            Entry::Withdrawn(withdrawn) => {
                for block in withdrawn {
                    committed.withdraw(block, &blocks);
                }
            }
        }
        good = bytes.len() - rest.len();
    }
    if good < bytes.len() {
        tracing::warn!("{} ends in {} bytes of a torn record: cut off", path.display(), bytes.len() - good);
    }
    Ok((header, committed, good as u64))
}

fn frame<T: Serialize>(payload: &T) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(payload).context(|| "cannot encode a journal record")?;
    let length = u32::try_from(payload.len()).context(|| "a journal record is too long")?;
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(&payload).to_le_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// Takes one whole frame from the front of `rest`; nothing, if it is torn or damaged.
fn next_frame<T: for<'de> Deserialize<'de>>(rest: &mut &[u8]) -> Option<T> {
    let length = u32::from_le_bytes(rest.get(0..4)?.try_into().ok()?);
    let crc = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?);
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let payload = rest.get(8..8 + length as usize)?;
    if crc32fast::hash(payload) != crc {
        return None;
    }
    let value = serde_json::from_slice(payload).ok()?;
    *rest = &rest[8 + length as usize..];
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ItemErrorKind;

    fn header() -> Header {
        Header {
            fingerprint: Fingerprint::default(),
            groups: vec![RowGroup { name: String::new(), rows: 100 }],
            block_rows: 10,
            dim: 8,
            stored: StoredType::F32,
            shard: None,
            replaces: Replaces::Nothing,
        }
    }

    fn record(first_block: u64, count: u8) -> Entry {
        let error = ItemError::new(ItemErrorKind::BrokenPicture, "ends early");
        Entry::Committed(Record {
            first_block,
            digests: (0..count).map(|n| Digest([n; 32])).collect(),
            failures: vec![Failure { row: first_block * 10, error }],
            truncated: (0..count.into()).collect(),
        })
    }

    fn blocks(committed: &Committed) -> Vec<u64> {
        committed.digests.keys().copied().collect()
    }

    #[test]
    fn what_was_appended_is_read_and_the_rest_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        let mut journal = Journal::create(&path, &header()).unwrap();
        journal.append(&[record(2, 3), record(8, 1)]).unwrap();
        journal.append(&[record(0, 1)]).unwrap();
        let (_, read_header, committed) = Journal::open(&path).unwrap();
        assert_eq!(read_header, header());
        assert_eq!(blocks(&committed), [0, 2, 3, 4, 8]);
        assert_eq!(committed.digests[&3], Digest([1; 32]));
        assert_eq!(committed.failures.keys().copied().collect::<Vec<_>>(), [0, 20, 80]);
    }

    #[test]
    fn any_torn_or_flipped_tail_costs_only_its_own_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        let mut journal = Journal::create(&path, &header()).unwrap();
        journal.append(&[record(0, 2)]).unwrap();
        let whole = std::fs::metadata(&path).unwrap().len();
        journal.append(&[record(2, 2)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in whole as usize..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut journal, _, committed) = Journal::open(&path).unwrap();
            assert_eq!(blocks(&committed), [0, 1], "cut at {cut}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
            journal.append(&[record(4, 1)]).unwrap();
            assert_eq!(blocks(&read_journal(&path).unwrap().1), [0, 1, 4]);
        }
        for at in whole as usize..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(blocks(&read_journal(&path).unwrap().1), [0, 1], "flipped at {at}");
        }
    }

    #[test]
    fn a_set_of_views_that_is_embedded_without_some_comes_back() {
        let broken = ItemError::new(ItemErrorKind::BrokenPicture, "ends early");
        let failure =
            |row, planned| Failure { row, error: ItemError::of_views(planned, &[("3.png", broken.clone())]) };
        let failures = vec![failure(3, 8), failure(5, 1)];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        let mut journal = Journal::create(&path, &header()).unwrap();
        let record = Record { first_block: 0, digests: vec![Digest([1; 32])], failures, truncated: vec![2] };
        journal.append(&[Entry::Committed(record)]).unwrap();
        let committed = read_journal(&path).unwrap().1;
        let has_vector = |row| committed.failures.get(&row).map(ItemError::has_vector);
        assert_eq!([has_vector(3), has_vector(5), has_vector(4)], [Some(true), Some(false), None]);
        assert_eq!(committed.failures[&3].views_left_out(), 1);
    }

    #[test]
    fn a_withdrawn_block_counts_no_longer_until_it_is_committed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        let mut journal = Journal::create(&path, &header()).unwrap();
        journal.append(&[record(2, 3), Entry::Withdrawn(vec![2, 4])]).unwrap();
        let committed = read_journal(&path).unwrap().1;
        assert_eq!((blocks(&committed), committed.failures.len()), (vec![3], 0));
        assert_eq!(committed.truncated, [(3, 1)].into());
        journal.append(&[record(4, 1)]).unwrap();
        assert_eq!(blocks(&read_journal(&path).unwrap().1), [3, 4]);
    }

    #[test]
    fn a_shards_journal_speaks_of_its_own_blocks_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        let shard = Header { shard: Shard::new(2, 2).ok(), ..header() };
        assert_eq!((shard.own_blocks(), shard.shape().rows), (5..10, 50..100));
        let mut journal = Journal::create(&path, &shard).unwrap();
        journal.append(&[record(5, 2)]).unwrap();
        journal.append(&[record(4, 2)]).unwrap();
        assert_eq!(blocks(&read_journal(&path).unwrap().1), [5, 6]);
    }

    #[test]
    fn a_damaged_header_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.journal");
        Journal::create(&path, &header()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(read_journal(&path).unwrap_err().message.contains("header"));
    }
}
