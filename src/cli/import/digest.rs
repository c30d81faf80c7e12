//! One digest of ids and vectors, whatever file they are in.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::store::schema::FAILED_F32;
use crate::store::{Digest, Reader, cores, in_order};

/// Rows that are read together.
const ROWS: u64 = 512;

/// SHA-256 of each id, a NUL, and its rows as little-endian float32; a row without vector is all the one NaN.
#[derive(Default)]
pub struct Contents {
    sha256: Sha256,
    /// A row's bytes.
    row: Vec<u8>,
}

impl Contents {
    /// The next asset, whose rows are next.
    pub fn asset(&mut self, id: &str) {
        self.sha256.update(id);
        self.sha256.update([0]);
    }

    /// The next row.
    pub fn row(&mut self, values: impl Iterator<Item = f32>) {
        self.row.clear();
        for value in values {
            let bits = if value.is_nan() { FAILED_F32 } else { value.to_bits() };
            self.row.extend(bits.to_le_bytes());
        }
        self.sha256.update(&self.row);
    }

    pub fn finish(self) -> Digest {
        Digest(self.sha256.finalize().into())
    }
}

/// The digest of a group of a file, read from the file. `progress` is told of more rows.
///
/// # Errors
/// The file does not open or read.
pub fn of_group(path: &Path, group: &str, progress: &dyn Fn(u64)) -> Result<Digest> {
    let reader = Reader::open(path, Some(group).filter(|group| !group.is_empty()))?;
    let mut assets = reader.iter_prefix("")?;
    let mut contents = Contents::default();
    let rows = reader.n_rows();
    // Rows of the asset in hand that are still to come.
    let mut left = 0;
    let read = |piece: u64| reader.rows(piece * ROWS..rows.min((piece + 1) * ROWS));
    in_order(rows.div_ceil(ROWS), cores(), read, |vectors| {
        let vectors = vectors?;
        for row in vectors.rows() {
            while left == 0 {
                let Some(asset) = assets.next().transpose()? else { break };
                contents.asset(&asset.id);
                left = asset.rows.end - asset.rows.start;
            }
            contents.row(row.iter().copied());
            left = left.saturating_sub(1);
        }
        progress(vectors.nrows() as u64);
        Ok(())
    })?;
    // Assets behind the last row would be others than those of the source.
    for asset in assets {
        contents.asset(&asset?.id);
    }
    Ok(contents.finish())
}
