//! Whether rows that were read are those that were committed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Digest;
use super::stored_rows::StoredRows;
use crate::plan::Blocks;

/// Whether `rows`, those of the run `run` of blocks, have the digests that the journal holds for them; the
/// first block that has not, otherwise.
///
/// # Errors
/// The number of the block whose bytes differ.
pub fn check_digests(
    rows: &StoredRows,
    run: Range<u64>,
    (blocks, row_bytes): (&Blocks, usize),
    digests: &BTreeMap<u64, Digest>,
) -> std::result::Result<(), u64> {
    let mut rest = &rows.bytes[..];
    for block in run {
        let range = blocks.range(block);
        let bytes = (range.end - range.start) as usize * row_bytes;
        let (bytes, after) = rest.split_at_checked(bytes).ok_or(block)?;
        if digests.get(&block) != Some(&Digest::of(bytes)) {
            return Err(block);
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_each_block_whatever_its_length() {
        const ROW_BYTES: usize = 3;
        let blocks = Blocks::of_groups([5, 1, 4], 2);
        let bytes: Vec<u8> = (0..10 * ROW_BYTES as u8).collect();
        let of =
            |rows: Range<u64>| bytes[rows.start as usize * ROW_BYTES..rows.end as usize * ROW_BYTES].to_vec();
        let digests = (0..blocks.count()).map(|block| (block, Digest::of(&of(blocks.range(block)))));
        let digests = digests.collect();
        let check = |run: Range<u64>, change: &dyn Fn(&mut Vec<u8>)| {
            let rows = blocks.rows_of(run.clone());
            let mut rows = StoredRows { start: rows.start, bytes: of(rows) };
            change(&mut rows.bytes);
            check_digests(&rows, run, (&blocks, ROW_BYTES), &digests)
        };
        for run in [0..0, 0..6, 1..4, 2..3, 5..6] {
            assert_eq!(check(run.clone(), &|_| {}), Ok(()), "{run:?}");
        }
        // Row 5 is the one of the second group, block 3.
        assert_eq!(check(1..6, &|bytes| bytes[3 * ROW_BYTES] ^= 1), Err(3));
        assert_eq!(check(0..6, &|bytes| bytes.truncate(9 * ROW_BYTES)), Err(5));
        assert_eq!(check(6..7, &|_| {}), Err(6), "there is no such block");
    }
}
