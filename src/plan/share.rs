//! Who computes which blocks: pure functions that every rank evaluates for itself.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of several jobs that embed one plan together, each its own consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// From 1 to `of`.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

impl Shard {
    /// More of them than anybody has GPUs for.
    pub const OF_MAX: u64 = 100_000;

    /// The shard `number` of `of`, which may have no blocks where there are fewer blocks than shards.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn new(number: u64, of: u64) -> Result<Self, String> {
        match (number, of) {
            (1.., 1..=Self::OF_MAX) if number <= of => Ok(Self { number, of }),
            _ => Err(format!("there is no shard {number} of {of}: they are numbered from 1 to {of}")),
        }
    }

    /// Its blocks out of `count`.
    pub fn blocks(self, count: u64) -> Range<u64> {
        let all = pending(0..count, &[]);
        share(&all, self.number - 1, self.of).first().cloned().unwrap_or(0..0)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// As `K/N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        let (number, of) = parts.ok_or_else(|| format!("'{text}' is no shard: expected K/N, e.g. 3/8"))?;
        Self::new(number, of)
    }
}

/// The blocks of `all` that are not in `committed` (ranges in any order, overlapping or not): sorted,
/// disjoint, non-empty ranges with gaps between them.
pub fn pending(all: Range<u64>, committed: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut done: Vec<_> = committed.iter().filter(|range| !range.is_empty()).cloned().collect();
    done.sort_unstable_by_key(|range| range.start);
    let mut left = Vec::new();
    let mut next = all.start;
    for range in done {
        if next < range.start.min(all.end) {
            left.push(next..range.start.min(all.end));
        }
        next = next.max(range.end);
    }
    if next < all.end {
        left.push(next..all.end);
    }
    left
}

/// The blocks of `pending` (sorted, disjoint) that `rank` of `size` ranks computes. The shares follow
/// each other in block order, cover everything once, and differ by one block at most.
pub fn share(pending: &[Range<u64>], rank: u64, size: u64) -> Vec<Range<u64>> {
    let total: u64 = pending.iter().map(|range| range.end - range.start).sum();
    let bound = |rank: u64| (u128::from(total) * u128::from(rank) / u128::from(size.max(1))) as u64;
    let (from, to) = (bound(rank), bound(rank + 1));
    let mut before = 0;
    let mut mine = Vec::new();
    for range in pending {
        let len = range.end - range.start;
        let start = from.saturating_sub(before).min(len);
        let end = to.saturating_sub(before).min(len);
        if start < end {
            mine.push(range.start + start..range.start + end);
        }
        before += len;
    }
    mine
}

/// A rank's way through its share, one run of consecutive blocks a round.
#[derive(Clone, Debug)]
pub struct Runs {
    rest: VecDeque<Range<u64>>,
}

impl Runs {
    pub fn new(share: Vec<Range<u64>>) -> Self {
        Self { rest: share.into() }
    }

    /// The next run: at most `max_blocks` (0 counts as 1) consecutive blocks, never across a gap; `None`
    /// when nothing is left.
    pub fn next_run(&mut self, max_blocks: u64) -> Option<Range<u64>> {
        let first = self.rest.front_mut()?;
        let end = first.end.min(first.start.saturating_add(max_blocks.max(1)));
        let run = first.start..end;
        first.start = end;
        if first.is_empty() {
            self.rest.pop_front();
        }
        Some(run)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
mod tests {
    use super::*;

    /// Every third to fifth block missing, in a way that differs with `seed`.
    fn gappy(blocks: u64, seed: u64) -> Vec<Range<u64>> {
        let committed: Vec<_> = (0..blocks)
            .filter(|block| (block * 7 + seed).is_multiple_of(3 + seed % 3))
            .map(|b| b..b + 1)
            .collect();
        pending(0..blocks, &committed)
    }

    fn flat(ranges: &[Range<u64>]) -> Vec<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    #[test]
    fn shards_follow_each_other_and_cover_everything() {
        for count in [0, 1, 2, 7, 8, 100, 7813] {
            for of in [1, 2, 3, 8, 200] {
                let shards = (1..=of).map(|number| Shard::new(number, of).unwrap().blocks(count));
                assert_eq!(shards.flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
            }
        }
        assert_eq!("3/8".parse(), Ok(Shard { number: 3, of: 8 }));
        for bad in ["", "3", "0/8", "9/8", "1/0", "-1/3", "a/b", "1/100001", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pending_is_the_complement() {
        assert_eq!(pending(0..0, &[]), []);
        assert_eq!(pending(0..10, &[]), [0..10]);
        assert_eq!(pending(0..10, &[0..10]), []);
        assert_eq!(pending(0..10, &[4..6, 0..2, 5..8]), [2..4, 8..10]);
        assert_eq!(pending(2..6, &[0..3, 5..20, 4..4]), [3..5]);
        assert_eq!(pending(0..10, &[20..30]), [0..10]);
    }

    #[test]
    fn shares_cover_everything_once_in_order_and_evenly() {
        for blocks in [0, 1, 2, 3, 7, 16, 64, 100, 1001] {
            for seed in 0..6 {
                let pending = gappy(blocks, seed);
                let total = flat(&pending).len() as u64;
                for size in [1, 2, 3, 5, 8, 64, 1000] {
                    let shares: Vec<_> = (0..size).map(|rank| share(&pending, rank, size)).collect();
                    assert_eq!(flat(&shares.concat()), flat(&pending));
                    for mine in &shares {
                        let len = flat(mine).len() as u64;
                        assert!(len == total / size || len == total / size + 1);
                        assert!(mine.windows(2).all(|pair| pair[0].end <= pair[1].start));
                        assert!(mine.iter().all(|range| !range.is_empty()));
                    }
                }
            }
        }
    }

    #[test]
    fn shares_of_a_huge_plan_do_not_overflow() {
        let all = [0..u64::MAX];
        let last = share(&all, 999_999, 1_000_000);
        assert_eq!(last.last().map(|range| range.end), Some(u64::MAX));
        assert_eq!(share(&all, 0, 1), all);
    }

    #[test]
    fn runs_walk_a_share_and_never_span_a_gap() {
        for seed in 0..6 {
            let pending = gappy(100, seed);
            for max_blocks in [0, 1, 2, 3, 10, u64::MAX] {
                let mut runs = Runs::new(pending.clone());
                let mut seen = Vec::new();
                while let Some(run) = runs.next_run(max_blocks) {
                    assert!(run.end - run.start <= max_blocks.max(1));
                    assert!(pending.iter().any(|range| range.start <= run.start && run.end <= range.end));
                    seen.extend(run);
                }
                assert_eq!(seen, flat(&pending));
            }
        }
    }
}
