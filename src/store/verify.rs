//! Checks a sealed file against itself: every digest, the table, the list of failures, the counts.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use half::f16;
use ndarray::{Array2, ArrayView1};
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::reader::{RawRows, Reader};
use super::schema::{StoredType, attr};
use super::table::{Assets, FailedItems, Records};
use crate::error::{Error, Exit, Result};

/// Findings of one kind that are listed; the others are counted.
const LISTED_MAX: usize = 20;
/// Assets of a damaged block that are listed one by one; of more, the first and the last.
const ASSETS_LISTED_MAX: u64 = 8;
/// Threads that hash. Decompression is under HDF5's one lock, so a few keep up with it.
const HASH_THREADS_MAX: usize = 4;

/// What [`verify`] saw and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub n_assets: u64,
    pub n_rows: u64,
    pub n_blocks: u64,
    pub n_failed: u64,
    /// One line each, in the order of the file's parts; the number of some may stand for them.
    pub findings: Vec<String>,
    /// How many there are, those not listed included.
    pub n_findings: u64,
}

impl Report {
    /// Nothing wrong.
    pub fn is_sound(&self) -> bool {
        self.n_findings == 0
    }

    fn take(&mut self, part: &str, findings: Findings) {
        self.n_findings += findings.n;
        let more = findings.n - findings.listed.len() as u64;
        self.findings.extend(findings.listed);
        if more > 0 {
            self.findings.push(format!("{part}: {more} more like these"));
        }
    }
}

/// Reads the whole file, in memory bounded by a few blocks. `progress` is told rows done, and rows in all.
///
/// Damage inside an open file is a finding; the error is that of [`Reader::open`].
///
/// # Errors
/// The file does not open, or its tables cannot be read.
pub fn verify(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Report> {
    let reader = Reader::open(path)?;
    let n_blocks = reader.n_rows().div_ceil(reader.block_rows());
    let mut report = Report {
        n_assets: reader.assets().n(),
        n_rows: reader.n_rows(),
        n_blocks,
        n_failed: reader.failures().n(),
        ..Report::default()
    };
    report.take("attributes", check_counts(&reader, n_blocks));
    report.take("table", check_table(&reader)?);
    report.take("/failures", check_failures(&reader)?);
    report.take("/embeddings", check_blocks(&reader, n_blocks, &mut progress)?);
    Ok(report)
}

/// Checks all but the vectors of a file that is about to get its name: counts, table, failures, and that its
/// digests are those of `committed`, block by block.
///
/// # Errors
/// The first thing that is wrong.
#[cfg(feature = "engine")]
pub fn verify_tables(path: &Path, committed: &super::Committed) -> Result<()> {
    let damaged = |error: Error| error.exit(Exit::Damaged);
    let reader = Reader::open_unnamed(path).map_err(damaged)?;
    let mut findings = check_counts(&reader, committed.digests.len() as u64);
    findings.extend(check_table(&reader)?);
    findings.extend(check_failures(&reader)?);
    let digests = reader.digests();
    let mut expected = committed.digests.values();
    for window in digests.windows(0..digests.n) {
        for found in window?.1.chunks_exact(digests.record_bytes) {
            let differs = expected.next().is_none_or(|digest| found != digest.0);
            findings.add_if(differs, || "/digests differs from the journal".to_owned());
        }
    }
    match findings.listed.into_iter().next() {
        None => Ok(()),
        Some(finding) => Err(damaged(Error::new(format!("{}: {finding}", path.display())))),
    }
}

/// Findings of one kind: the first few in words, all of them counted.
#[derive(Default)]
struct Findings {
    listed: Vec<String>,
    n: u64,
}

impl Findings {
    fn add(&mut self, finding: impl FnOnce() -> String) {
        self.n += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding());
        }
    }

    fn add_if(&mut self, wrong: bool, finding: impl FnOnce() -> String) {
        if wrong {
            self.add(finding);
        }
    }

    fn extend(&mut self, other: Self) {
        self.n += other.n;
        let room = LISTED_MAX - self.listed.len();
        self.listed.extend(other.listed.into_iter().take(room));
    }
}

fn check_counts(reader: &Reader, n_blocks: u64) -> Findings {
    let mut expected = vec![
        (attr::TOTAL_ITEMS, reader.n_rows()),
        (attr::EMBEDDING_DIM, reader.dim() as u64),
        (attr::TOTAL_ASSETS, reader.assets().n()),
        (attr::FAILED_ITEMS, reader.failures().n()),
    ];
    if reader.assets().has_views() {
        expected.push((attr::TOTAL_VIEWPOINTS, reader.n_rows()));
    }
    let mut findings = Findings::default();
    for (name, expected) in expected {
        match reader.integer(name) {
            Err(error) => findings.add(|| error.to_string()),
            Ok(value) => findings.add_if(u64::try_from(value) != Ok(expected), || {
                format!("attribute {name} is {value}, the datasets have {expected}")
            }),
        }
    }
    let digests = reader.digests().n;
    findings.add_if(digests != n_blocks, || {
        format!(
            "/digests has {digests} rows, but {} rows in blocks of {} need {n_blocks}",
            reader.n_rows(),
            reader.block_rows()
        )
    });
    findings
}

/// Ids sorted and unique, rows without gap or overlap, and the bytes those that were written.
fn check_table(reader: &Reader) -> Result<Findings> {
    let Assets { records, layout, n_rows } = reader.assets();
    let name = layout.dataset();
    let mut findings = Findings::default();
    let (mut digest, mut before, mut next_row) = (Sha256::new(), None::<Vec<u8>>, 0_i64);
    for window in records.windows(0..records.n) {
        let (first, bytes) = window?;
        digest.update(&bytes);
        for (index, bytes) in (first..).zip(bytes.chunks_exact(records.record_bytes)) {
            let record = layout.decode(index, bytes);
            let id = record.id;
            let entry = || format!("/{name}: entry {index} ('{}')", String::from_utf8_lossy(id));
            let is_text = std::str::from_utf8(id).is_ok() && !id.is_empty() && !id.contains(&0);
            findings.add_if(!is_text, || format!("{} is no id", entry()));
            findings.add_if(before.as_deref().is_some_and(|before| before >= id), || {
                format!("{} is not after the entry before it", entry())
            });
            findings.add_if(record.count <= 0, || format!("{} has {} rows", entry(), record.count));
            findings.add_if(record.start_idx != next_row, || {
                format!("{} starts at row {}, expected {next_row}", entry(), record.start_idx)
            });
            next_row = record.start_idx.saturating_add(i64::from(record.count));
            before = Some(id.to_owned());
        }
    }
    findings.add_if(u64::try_from(next_row) != Ok(*n_rows), || {
        format!("/{name} ends at row {next_row}, but /embeddings has {n_rows}")
    });
    check_digest(reader, name, attr::TABLE_SHA256, digest, &mut findings);
    Ok(findings)
}

/// Sorted by row, each with the id that owns the row and a reason.
fn check_failures(reader: &Reader) -> Result<Findings> {
    let FailedItems { records, layout } = reader.failures();
    let mut findings = Findings::default();
    let (mut digest, mut before) = (Sha256::new(), -1);
    for window in records.windows(0..records.n) {
        let (first, bytes) = window?;
        digest.update(&bytes);
        for (index, bytes) in (first..).zip(bytes.chunks_exact(records.record_bytes)) {
            let record = layout.decode(bytes);
            let entry = || format!("/failures: entry {index} (row {})", record.row);
            findings.add_if(record.row <= before, || format!("{} is not after the entry before it", entry()));
            findings.add_if(record.reason.is_empty(), || format!("{} has no reason", entry()));
            before = record.row;
            let owner = u64::try_from(record.row).map_or(Ok(None), |row| owner(reader.assets(), row))?;
            findings.add_if(owner.as_deref() != Some(record.id), || {
                let owner = owner.as_deref().map_or("nobody".into(), String::from_utf8_lossy);
                let id = String::from_utf8_lossy(record.id);
                format!("{} names '{id}', but the row belongs to '{owner}'", entry())
            });
        }
    }
    check_digest(reader, "failures", attr::FAILURES_SHA256, digest, &mut findings);
    Ok(findings)
}

/// The id that owns a row, from the table as it is.
fn owner(assets: &Assets, row: u64) -> Result<Option<Vec<u8>>> {
    if row >= assets.n_rows {
        return Ok(None);
    }
    let index = assets.of_rows(row..row + 1)?.start;
    let bytes = assets.records.read(index..index + 1)?;
    Ok((!bytes.is_empty()).then(|| assets.layout.decode(index, &bytes).id.to_owned()))
}

fn check_digest(reader: &Reader, dataset: &str, attribute: &str, digest: Sha256, findings: &mut Findings) {
    let found = Digest(digest.finalize().into()).to_string();
    match reader.digest_attribute(attribute) {
        Err(error) => findings.add(|| error.to_string()),
        Ok(expected) => findings
            .add_if(expected != found, || format!("/{dataset} has SHA-256 {found}, expected {expected}")),
    }
}

/// One thread reads (HDF5 allows no more), others hash and look at rows.
fn check_blocks(reader: &Reader, n_blocks: u64, progress: &mut impl FnMut(u64, u64)) -> Result<Findings> {
    let check = BlockCheck {
        digests: reader.digests(),
        assets: reader.assets(),
        failures: reader.failures(),
        stored: reader.stored(),
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(HASH_THREADS_MAX);
    let (sender, receiver) = crossbeam_channel::bounded::<Block>(n_threads);
    let mut results = thread::scope(|scope| {
        let hash = |blocks: Receiver<Block>| -> Vec<_> {
            blocks.iter().map(|block| (block.index, check.block(&block))).collect()
        };
        let threads: Vec<_> = (0..n_threads)
            .map(|_| {
                let blocks = receiver.clone();
                scope.spawn(move || hash(blocks))
            })
            .collect();
        // Without this one, sending ends when the last thread does, instead of waiting for nobody.
        drop(receiver);
        let mut results = read_blocks(reader, n_blocks, &sender, progress);
        drop(sender);
        for thread in threads {
            let hashed =
                thread.join().map_err(|_| Error::new("a hashing thread panicked").exit(Exit::Bug))?;
            results.extend(hashed);
        }
        Ok::<_, Error>(results)
    })?;
    progress(reader.n_rows(), reader.n_rows());
    results.sort_by_key(|(index, _)| *index);
    let mut findings = Findings::default();
    for (_, of_block) in results {
        findings.extend(of_block?);
    }
    Ok(findings)
}

/// Sends every block to be hashed; the findings are those of blocks that do not read.
fn read_blocks(
    reader: &Reader,
    n_blocks: u64,
    hash: &Sender<Block>,
    progress: &mut impl FnMut(u64, u64),
) -> Vec<(u64, Result<Findings>)> {
    let mut unread = Vec::new();
    for index in 0..n_blocks {
        let start = index * reader.block_rows();
        let rows = start..start.saturating_add(reader.block_rows()).min(reader.n_rows());
        progress(rows.start, reader.n_rows());
        match reader.stored_rows(rows.clone()) {
            Err(error) => unread.push((index, Ok(unreadable(reader, index, rows, &error)))),
            Ok(vectors) => {
                if hash.send(Block { index, rows, vectors }).is_err() {
                    break;
                }
            }
        }
    }
    unread
}

/// A block that does not read: which of its chunks, and whose vectors are in them.
fn unreadable(reader: &Reader, index: u64, rows: Range<u64>, whole: &Error) -> Findings {
    let mut findings = Findings::default();
    let step = reader.chunk_rows();
    for start in rows.clone().step_by(step as usize) {
        let chunk = start..start.saturating_add(step).min(rows.end);
        if let Err(error) = reader.stored_rows(chunk.clone()) {
            let named = || name_assets(reader.assets(), chunk);
            findings.add(|| format!("block {index}: {}; {}", error.message, named()));
        }
    }
    // A disk may fail once and not again.
    findings.add_if(findings.n == 0, || format!("block {index}: {}", whole.message));
    findings
}

struct Block {
    index: u64,
    rows: Range<u64>,
    vectors: RawRows,
}

/// What a thread needs to check a block: nothing of HDF5's.
struct BlockCheck<'a> {
    digests: &'a Records,
    assets: &'a Assets,
    failures: &'a FailedItems,
    stored: StoredType,
}

impl BlockCheck<'_> {
    fn block(&self, block: &Block) -> Result<Findings> {
        let mut findings = Findings::default();
        let found = match &block.vectors {
            RawRows::F32(rows) => digest(rows.iter().map(|value| value.to_le_bytes())),
            RawRows::F16(rows) => digest(rows.iter().map(|value| value.to_le_bytes())),
        };
        let expected = self.digests.read(block.index..block.index + 1)?;
        let expected = expected.try_into().map(Digest).unwrap_or_default();
        findings.add_if(expected != found, || {
            let Range { start, end } = block.rows;
            format!(
                "block {} (rows {start} to {}): SHA-256 is {found}, /digests says {expected}; {}",
                block.index,
                end - 1,
                name_assets(self.assets, start..end)
            )
        });
        let rows = match &block.vectors {
            RawRows::F32(rows) => classify(rows, f64::from),
            RawRows::F16(rows) => classify(rows, f16::to_f64),
        };
        self.rows(block.rows.clone(), &rows, &mut findings)?;
        Ok(findings)
    }

    /// Good rows have norm 1, and the rows that are NaN are those in `/failures`.
    fn rows(&self, range: Range<u64>, rows: &[Row], findings: &mut Findings) -> Result<()> {
        let failures = self.failures.of_rows(range.clone())?;
        let failed: BTreeSet<u64> = failures.iter().map(|failure| failure.row).collect();
        let tolerance = self.stored.norm_tolerance();
        for (row, state) in range.zip(rows) {
            let wrong = match state {
                Row::Failed if !failed.contains(&row) => "is NaN, but is not in /failures".to_owned(),
                Row::NotFinite => "has components that are not finite".to_owned(),
                Row::Vector { .. } if failed.contains(&row) => "is in /failures, but is not NaN".to_owned(),
                Row::Vector { norm } if (norm - 1.0).abs() > tolerance => {
                    format!("has norm {norm:.6}, expected 1 within {tolerance}")
                }
                _ => continue,
            };
            findings.add(|| format!("row {row} {wrong}; {}", name_assets(self.assets, row..row + 1)));
        }
        Ok(())
    }
}

/// What a row is, judged by itself.
enum Row {
    Failed,
    NotFinite,
    Vector { norm: f64 },
}

fn classify<T: Copy>(rows: &Array2<T>, widen: impl Fn(T) -> f64) -> Vec<Row> {
    let classify = |row: ArrayView1<'_, T>| {
        let square: f64 = row.iter().map(|&value| widen(value).powi(2)).sum();
        if square.is_finite() {
            Row::Vector { norm: square.sqrt() }
        } else if row.iter().all(|&value| widen(value).is_nan()) {
            Row::Failed
        } else {
            Row::NotFinite
        }
    };
    rows.rows().into_iter().map(classify).collect()
}

/// SHA-256 of values as they lie in the file, fed in pieces because one by one is slow.
fn digest<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Digest {
    let mut digest = Sha256::new();
    let mut piece = Vec::with_capacity(1 << 16);
    for value in values {
        piece.extend_from_slice(&value);
        if piece.len() + N > piece.capacity() {
            digest.update(&piece);
            piece.clear();
        }
    }
    digest.update(&piece);
    Digest(digest.finalize().into())
}

/// The assets that own these rows, in words. A table too damaged to say is said so.
fn name_assets(assets: &Assets, rows: Range<u64>) -> String {
    let Ok(range) = assets.of_rows(rows) else { return "assets unknown".to_owned() };
    let id = |index: u64| {
        let asset = assets.iter(index..index + 1).next().and_then(Result::ok);
        asset.map_or("?".to_owned(), |asset| asset.id)
    };
    let n = range.end - range.start;
    if n == 1 {
        format!("asset {}", id(range.start))
    } else if n <= ASSETS_LISTED_MAX {
        format!("assets {}", range.map(id).collect::<Vec<_>>().join(", "))
    } else {
        format!("the {n} assets from {} to {}", id(range.start), id(range.end - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_row_is_failed_only_if_all_of_it_is_nan() {
        let rows = array![[f32::NAN, f32::NAN], [f32::NAN, 1.0], [f32::INFINITY, 0.0], [0.6, 0.8]];
        let rows = classify(&rows, f64::from);
        assert!(matches!(rows[0], Row::Failed));
        assert!(matches!(rows[1], Row::NotFinite));
        assert!(matches!(rows[2], Row::NotFinite));
        assert!(matches!(rows[3], Row::Vector { norm } if (norm - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_digest_fed_in_pieces_is_that_of_the_whole() {
        let values: Vec<[u8; 4]> = (0_u32..50_000).map(u32::to_le_bytes).collect();
        assert_eq!(digest(values.iter().copied()), Digest::of(&values.concat()));
    }

    #[test]
    fn findings_are_capped_and_counted() {
        let mut findings = Findings::default();
        (0..30).for_each(|i| findings.add(|| i.to_string()));
        let mut report = Report::default();
        report.take("part", findings);
        assert_eq!((report.findings.len(), report.n_findings), (LISTED_MAX + 1, 30));
        assert_eq!(report.findings.last().unwrap(), "part: 10 more like these");
    }
}
