//! Rows in their stored form: vectors to bytes, once for stage, seal and digests.

use half::f16;
use ndarray::ArrayView2;

use super::Digest;
use super::schema::{self, StoredType};

/// Rows in their stored form, consecutive ones by the numbers that go through all groups: what is written,
/// digested and read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRows {
    /// The first row.
    pub start: u64,
    /// Whole rows, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl StoredRows {
    /// Encodes vectors `[rows, dim]` that begin at row `start`; `failed` lists the rows within them that
    /// have no vector and become NaN.
    pub fn encode(start: u64, rows: &ArrayView2<'_, f32>, failed: &[usize], stored: StoredType) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * stored.size_bytes());
        for (index, row) in rows.outer_iter().enumerate() {
            let is_failed = failed.contains(&index);
            for &value in row {
                match stored {
                    StoredType::F32 if is_failed => bytes.extend(schema::FAILED_F32.to_le_bytes()),
                    StoredType::F32 => bytes.extend(value.to_le_bytes()),
                    StoredType::F16 if is_failed => bytes.extend(schema::FAILED_F16.to_le_bytes()),
                    StoredType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                }
            }
        }
        Self { start, bytes }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_stored_little_endian_and_failed_ones_as_the_one_nan() {
        let rows = ndarray::array![[1.0_f32, -0.5], [7.0, 8.0]];
        let stored = StoredRows::encode(5, &rows.view(), &[1], StoredType::F32);
        assert_eq!(stored.bytes[..8], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
        assert_eq!(stored.bytes[8..], [0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f]);
        let half = StoredRows::encode(5, &rows.view(), &[0], StoredType::F16);
        assert_eq!(half.bytes, [0, 0x7e, 0, 0x7e, 0, 0x47, 0, 0x48]);
    }
}
