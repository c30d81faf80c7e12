//! Rows cut into blocks, blocks into chunks.

use std::ops::Range;

/// Rows of a block where nothing else is asked and the input is not small.
const BLOCK_ROWS_MAX: u64 = 1024;
/// Rows of the smallest block that is chosen unasked.
const BLOCK_ROWS_MIN: u64 = 16;
/// A small input is cut into about this many blocks (up to twice as many).
const BLOCKS_OF_SMALL_INPUT: u64 = 64;
/// A chunk holds about 256 KiB, where "about" lets it exceed that by a quarter: 64 rows of 1,152
/// f32 (288 KiB) answer a look-up by id in 0.6 ms and lose 1 % of the compression.
const CHUNK_BYTES_MAX: u64 = 320 << 10;

/// Rows cut into blocks of a fixed number of consecutive rows; the last block may hold fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    rows: u64,
    block_rows: u64,
}

impl Blocks {
    /// `rows` in blocks of `block_rows` (0 counts as 1).
    pub fn new(rows: u64, block_rows: u64) -> Self {
        Self { rows, block_rows: block_rows.max(1) }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn block_rows(&self) -> u64 {
        self.block_rows
    }

    /// Number of blocks.
    pub fn count(&self) -> u64 {
        self.rows.div_ceil(self.block_rows)
    }

    /// The rows of one block; empty past the end.
    pub fn range(&self, block: u64) -> Range<u64> {
        self.rows_of(block..block.saturating_add(1))
    }

    /// The rows of consecutive blocks.
    pub fn rows_of(&self, blocks: Range<u64>) -> Range<u64> {
        let row = |block: u64| block.saturating_mul(self.block_rows).min(self.rows);
        row(blocks.start)..row(blocks.end)
    }
}

/// Rows of a block, from the number of rows alone: 1,024, and for a small input the power of two that
/// gives 64 to 127 blocks, but at least 16 rows.
pub fn default_block_rows(rows: u64) -> u64 {
    let wanted = (rows / BLOCKS_OF_SMALL_INPUT).max(1);
    (1 << wanted.ilog2()).clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX)
}

/// Rows of a chunk of the sealed file: the largest divisor of `block_rows` that makes about 256 KiB or
/// less out of rows of `row_bytes`, so that a chunk lies within one block and has one owner.
pub fn chunk_rows(block_rows: u64, row_bytes: u64) -> u64 {
    let block_rows = block_rows.max(1);
    let most = (CHUNK_BYTES_MAX / row_bytes.max(1)).clamp(1, block_rows);
    (1..=most).rev().find(|rows| block_rows.is_multiple_of(*rows)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_rows_once() {
        for rows in (0..200).chain([1023, 1024, 1025, 24_000_000]) {
            for block_rows in [1, 2, 3, 4, 7, 16, 100, 1024] {
                let blocks = Blocks::new(rows, block_rows);
                let step = 1 + blocks.count() / 1000;
                for block in (0..blocks.count()).step_by(step as usize) {
                    let range = blocks.range(block);
                    assert_eq!(range.start, block * block_rows);
                    assert!(!range.is_empty());
                    assert_eq!(range.end, blocks.range(block + 1).start);
                }
                assert_eq!(blocks.range(blocks.count()), rows..rows);
                assert_eq!(blocks.rows_of(0..blocks.count()), 0..rows);
            }
        }
        assert_eq!(Blocks::new(10, 0).count(), 10);
        assert_eq!(Blocks::new(10, 4).range(u64::MAX), 10..10);
    }

    #[test]
    fn default_block_rows_follows_the_row_count() {
        for (rows, expected) in
            [(0, 16), (1, 16), (1024, 16), (2047, 16), (2048, 32), (10_000, 128), (65_535, 512)]
        {
            assert_eq!(default_block_rows(rows), expected, "{rows} rows");
        }
        assert_eq!(default_block_rows(65_536), 1024);
        assert_eq!(default_block_rows(u64::MAX), 1024);
        for rows in (1024..65_536).step_by(37) {
            let count = Blocks::new(rows, default_block_rows(rows)).count();
            assert!((64..=128).contains(&count), "{rows} rows make {count} blocks");
        }
    }

    #[test]
    fn chunks_are_whole_fractions_of_a_block() {
        assert_eq!(chunk_rows(1024, 1152 * 4), 64);
        assert_eq!(chunk_rows(1024, 1152 * 2), 128);
        assert_eq!(chunk_rows(1024, 768 * 4), 64);
        assert_eq!(chunk_rows(4, 1152 * 4), 4);
        assert_eq!(chunk_rows(7, 1 << 20), 1);
        for block_rows in 1..300 {
            for row_bytes in [1, 128, 2304, 4608, 16_384, 1 << 20] {
                let rows = chunk_rows(block_rows, row_bytes);
                assert!(rows >= 1 && block_rows % rows == 0);
                assert!(rows == 1 || rows * row_bytes <= CHUNK_BYTES_MAX);
            }
        }
    }
}
