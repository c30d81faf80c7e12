//! Checks the vectors of a group, block by block: their digests, and what each row looks like.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Findings;
use crate::error::{Error, Result};
use crate::store::Digest;
use crate::store::parallel::{cores, in_order};
use crate::store::reader::{Reader, values};
use crate::store::schema::{NUM_IMAGES, StoredType};
use crate::store::table::Assets;

/// Assets of a damaged block that are listed one by one; of more, the first and the last.
const ASSETS_LISTED_MAX: u64 = 8;
/// Threads read, inflate and hash blocks, each its own.
pub(super) fn check_blocks(
    reader: &Reader,
    n_blocks: u64,
    progress: &mut impl FnMut(u64),
) -> Result<Findings> {
    let check = BlockCheck { reader, block_rows: reader.block_rows(), stored: reader.stored() };
    let mut findings = Findings::default();
    let mut next = 0;
    in_order(
        n_blocks,
        cores(),
        |index| check.block(index),
        |of_block: Result<Findings>| {
            findings.extend(of_block?);
            progress(check.rows_of(next).end);
            next += 1;
            Ok(())
        },
    )?;
    Ok(findings)
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

/// What is checked of every block.
struct BlockCheck<'a> {
    reader: &'a Reader,
    block_rows: u64,
    stored: StoredType,
}

impl BlockCheck<'_> {
    fn rows_of(&self, block: u64) -> Range<u64> {
        let start = block * self.block_rows;
        start..start.saturating_add(self.block_rows).min(self.reader.n_rows())
    }

    fn block(&self, index: u64) -> Result<Findings> {
        let (reader, rows) = (self.reader, self.rows_of(index));
        let bytes = match reader.stored_rows(rows.clone()) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(unreadable(reader, index, rows, &error)),
        };
        let mut findings = Findings::default();
        let found = Digest::of(&bytes);
        let expected = reader.digests().read(index..index + 1)?;
        let expected = expected.try_into().map(Digest).unwrap_or_default();
        findings.add_if(expected != found, || {
            let Range { start, end } = rows;
            format!(
                "block {index} (rows {start} to {}): SHA-256 is {found}, /digests says {expected}; {}",
                end - 1,
                name_assets(reader.assets(), start..end)
            )
        });
        let values = values(&bytes, self.stored);
        let states: Vec<Row> = values.chunks_exact(reader.dim()).map(classify).collect();
        self.rows(rows, &states, &mut findings)?;
        Ok(findings)
    }

    /// Good rows have norm 1, and the rows that are NaN are those in `/failures`; where rows are made from sets
    /// of views, those in `/failures` without a view.
    fn rows(&self, range: Range<u64>, rows: &[Row], findings: &mut Findings) -> Result<()> {
        let failures = self.reader.failures_of(range.clone())?;
        let failed: BTreeSet<u64> = failures.iter().map(|failure| failure.row).collect();
        let num_images = self.reader.num_images().map(|all| all.of_rows(range.clone())).transpose()?;
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
            findings
                .add(|| format!("row {row} {wrong}; {}", name_assets(self.reader.assets(), row..row + 1)));
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

fn classify(row: &[f32]) -> Row {
    let square: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
    if square.is_finite() {
        Row::Vector { norm: square.sqrt() }
    } else if row.iter().all(|value| value.is_nan()) {
        Row::Failed
    } else {
        Row::NotFinite
    }
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

    #[test]
    fn a_row_is_failed_only_if_all_of_it_is_nan() {
        assert!(matches!(classify(&[f32::NAN, f32::NAN]), Row::Failed));
        assert!(matches!(classify(&[f32::NAN, 1.0]), Row::NotFinite));
        assert!(matches!(classify(&[f32::INFINITY, 0.0]), Row::NotFinite));
        assert!(matches!(classify(&[0.6, 0.8]), Row::Vector { norm } if (norm - 1.0).abs() < 1e-6));
    }
}
