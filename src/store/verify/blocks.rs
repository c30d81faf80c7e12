//! Checks the vectors of a group, block by block: their digests, and what each row looks like.

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use half::f16;
use ndarray::{Array2, ArrayView1};
use sha2::{Digest as _, Sha256};

use super::Findings;
use crate::error::{Error, Exit, Result};
use crate::store::Digest;
use crate::store::reader::{RawRows, Reader};
use crate::store::schema::{NUM_IMAGES, StoredType};
use crate::store::table::{Assets, FailedItems, NumImages, Records};

/// Assets of a damaged block that are listed one by one; of more, the first and the last.
const ASSETS_LISTED_MAX: u64 = 8;
/// Threads that hash. Decompression is under HDF5's one lock, so a few keep up with it.
const HASH_THREADS_MAX: usize = 4;

/// One thread reads (HDF5 allows no more), others hash and look at rows.
pub(super) fn check_blocks(
    reader: &Reader,
    n_blocks: u64,
    progress: &mut impl FnMut(u64, u64),
) -> Result<Findings> {
    let check = BlockCheck {
        digests: reader.digests(),
        assets: reader.assets(),
        failures: reader.failures(),
        num_images: reader.num_images(),
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
    num_images: Option<&'a NumImages>,
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

    /// Good rows have norm 1, and the rows that are NaN are those in `/failures`; where rows are made from sets
    /// of views, those in `/failures` without a view.
    fn rows(&self, range: Range<u64>, rows: &[Row], findings: &mut Findings) -> Result<()> {
        let failures = self.failures.of_rows(range.clone())?;
        let failed: BTreeSet<u64> = failures.iter().map(|failure| failure.row).collect();
        let num_images = self.num_images.map(|num_images| num_images.of_rows(range.clone())).transpose()?;
        let tolerance = self.stored.norm_tolerance();
        for (index, (row, state)) in range.zip(rows).enumerate() {
            let images = num_images.as_ref().and_then(|all| all.get(index)).copied();
            let is_listed = failed.contains(&row);
            let wrong = match state {
                Row::Failed if !is_listed => "is NaN, but is not in /failures".to_owned(),
                Row::Failed if images.is_some_and(|n| n != 0) => {
                    format!("is NaN, but has {} in /{NUM_IMAGES}", images.unwrap_or_default())
                }
                Row::NotFinite => "has components that are not finite".to_owned(),
                Row::Vector { .. } if images == Some(0) => format!("is not NaN, but has 0 in /{NUM_IMAGES}"),
                Row::Vector { .. } if is_listed && images.is_none() => {
                    "is in /failures, but is not NaN".to_owned()
                }
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
}
