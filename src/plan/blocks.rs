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

/// Rows cut into blocks of a fixed number of consecutive rows. The rows of several groups are numbered
/// through, group after group, and so are the blocks; each group is cut by itself, so that a block lies
/// within one group, and the last block of each may hold fewer rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    block_rows: u64,
    /// Where each group ends.
    ends: Vec<End>,
}

/// The first row and the first block that are no longer a group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    row: u64,
    block: u64,
}

impl Blocks {
    /// `rows` of one group in blocks of `block_rows` (0 counts as 1).
    pub fn new(rows: u64, block_rows: u64) -> Self {
        Self::of_groups([rows], block_rows)
    }

    /// Each group's rows in blocks of `block_rows` (0 counts as 1).
    pub fn of_groups(rows: impl IntoIterator<Item = u64>, block_rows: u64) -> Self {
        let block_rows = block_rows.max(1);
        let ends = rows.into_iter().scan(End::default(), |end, rows| {
            end.row = end.row.saturating_add(rows);
            end.block = end.block.saturating_add(rows.div_ceil(block_rows));
            Some(*end)
        });
        Self { block_rows, ends: ends.collect() }
    }

    /// Rows of all groups.
    pub fn rows(&self) -> u64 {
        self.end().row
    }

    pub fn block_rows(&self) -> u64 {
        self.block_rows
    }

    /// Number of blocks of all groups.
    pub fn count(&self) -> u64 {
        self.end().block
    }

    /// The rows of one block; empty past the end.
    pub fn range(&self, block: u64) -> Range<u64> {
        self.rows_of(block..block.saturating_add(1))
    }

    /// The block that has this row; past the end, the number of blocks.
    pub fn block_of(&self, row: u64) -> u64 {
        let group = self.ends.partition_point(|end| end.row <= row);
        if group == self.ends.len() {
            return self.count();
        }
        let start = self.start_of(group);
        start.block + (row - start.row) / self.block_rows
    }

    /// The rows of consecutive blocks, which follow each other across groups too.
    pub fn rows_of(&self, blocks: Range<u64>) -> Range<u64> {
        self.first_row(blocks.start)..self.first_row(blocks.end)
    }

    /// The rows of one group; empty past the end.
    pub fn rows_of_group(&self, group: usize) -> Range<u64> {
        self.start_of(group).row..self.start_of(group.saturating_add(1)).row
    }

    /// The blocks of one group; empty past the end.
    pub fn blocks_of_group(&self, group: usize) -> Range<u64> {
        self.start_of(group).block..self.start_of(group.saturating_add(1)).block
    }

    fn first_row(&self, block: u64) -> u64 {
        let group = self.ends.partition_point(|end| end.block <= block);
        if group == self.ends.len() {
            return self.rows();
        }
        let start = self.start_of(group);
        // Where the rows of all groups are more than can be counted, so may these be.
        start.row.saturating_add((block - start.block).saturating_mul(self.block_rows))
    }

    /// Where a group begins: at the end of the one before it.
    fn start_of(&self, group: usize) -> End {
        match group.checked_sub(1) {
            None => End::default(),
            Some(before) => self.ends.get(before).copied().unwrap_or_else(|| self.end()),
        }
    }

    fn end(&self) -> End {
        self.ends.last().copied().unwrap_or_default()
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
    fn groups_are_cut_each_by_itself_and_numbered_through() {
        let sizes = [0, 1, 2, 3, 4, 5, 8, 9];
        for block_rows in [0, 1, 2, 4, 5, 100] {
            assert_eq!(Blocks::of_groups([], block_rows).count(), 0);
            for (one, two, three) in triples(&sizes) {
                let groups = [one, two, three];
                let blocks = Blocks::of_groups(groups, block_rows);
                let (mut row, mut block) = (0, 0);
                for (group, rows) in groups.into_iter().enumerate() {
                    assert_eq!(blocks.rows_of_group(group), row..row + rows, "{groups:?}");
                    // As the same rows alone.
                    let alone = Blocks::new(rows, block_rows);
                    assert_eq!(blocks.blocks_of_group(group), block..block + alone.count());
                    for local in 0..alone.count() {
                        let Range { start, end } = alone.range(local);
                        assert_eq!(blocks.range(block + local), row + start..row + end, "{groups:?}");
                        assert!((row + start..row + end).all(|row| blocks.block_of(row) == block + local));
                    }
                    (row, block) = (row + rows, block + alone.count());
                }
                assert_eq!((blocks.rows(), blocks.count()), (row, block));
                assert_eq!((blocks.rows_of_group(3), blocks.blocks_of_group(9)), (row..row, block..block));
                for (start, end) in (0..=block).flat_map(|start| (start..=block).map(move |end| (start, end)))
                {
                    let each: Vec<_> = (start..end).flat_map(|block| blocks.range(block)).collect();
                    assert_eq!(blocks.rows_of(start..end).collect::<Vec<_>>(), each);
                }
                assert_eq!((blocks.range(block), blocks.block_of(row)), (row..row, block));
                assert_eq!(blocks.range(u64::MAX), row..row);
            }
        }
    }

    fn triples(sizes: &[u64]) -> impl Iterator<Item = (u64, u64, u64)> {
        let pairs = sizes.iter().flat_map(|&one| sizes.iter().map(move |&two| (one, two)));
        pairs.flat_map(|(one, two)| sizes.iter().map(move |&three| (one, two, three)))
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
