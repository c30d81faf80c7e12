//! The items of a block put into batches: a function of the block alone, never of who computes it.

use std::fmt;
use std::ops::Range;

/// How the items of a block are put into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// So many consecutive rows each. An item that fails keeps its slot, so that shape and slots of the others
    /// do not depend on it: for models whose items are all alike.
    Rows(usize),
    /// Items of about one length together, so many that their tokens, padding included, are at most
    /// `tokens_max`; an item that alone has more is a batch of its own. An item that fails has no length, and
    /// no slot.
    Tokens {
        tokens_max: usize,
        /// Rows among which items are chosen: all of them are in memory at once.
        window_rows: usize,
    },
}

impl Batching {
    /// The rows of a block that are prepared together, as ranges; numbers of 0 count as 1.
    pub fn windows(self, rows_in_block: usize) -> impl Iterator<Item = Range<usize>> {
        let step = self.window_rows();
        (0..rows_in_block)
            .step_by(step)
            .map(move |start| start..rows_in_block.min(start.saturating_add(step)))
    }

    /// The rows of a window that are prepared where those of `failed` (sorted) alone are embedded again, into the
    /// places that they have in a run in which nothing fails: where these depend on the lengths of all, all of them.
    pub fn again(self, window: Range<usize>, failed: &[usize]) -> Vec<usize> {
        let own: Vec<usize> = failed.iter().copied().filter(|row| window.contains(row)).collect();
        match self {
            Self::Tokens { .. } if !own.is_empty() => window.collect(),
            _ => own,
        }
    }

    /// At most so many rows has a window.
    pub fn window_rows(self) -> usize {
        match self {
            Self::Rows(rows) | Self::Tokens { window_rows: rows, .. } => rows.max(1),
        }
    }

    /// The batches of a window, as places in it; of each place the item's tokens, none where it failed.
    pub fn batches(self, tokens: &[Option<usize>]) -> Vec<Vec<usize>> {
        match self {
            Self::Rows(_) if tokens.is_empty() => Vec::new(),
            Self::Rows(_) => vec![(0..tokens.len()).collect()],
            Self::Tokens { tokens_max, .. } => by_length(tokens, tokens_max),
        }
    }
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "batch size {rows}"),
            Self::Tokens { tokens_max, .. } => write!(f, "at most {tokens_max} tokens per batch"),
        }
    }
}

/// From the shortest to the longest, items of one length in their order.
fn by_length(tokens: &[Option<usize>], tokens_max: usize) -> Vec<Vec<usize>> {
    let mut sorted: Vec<(usize, usize)> =
        tokens.iter().enumerate().filter_map(|(place, tokens)| Some(((*tokens)?, place))).collect();
    sorted.sort_unstable();
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (length, place) in sorted {
        match batches.last_mut() {
            // The newest is the longest, to which the others are padded.
            Some(batch) if (batch.len() + 1).saturating_mul(length) <= tokens_max => batch.push(place),
            _ => batches.push(vec![place]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_block_once() {
        for rows in 0..70 {
            for size in [1, 2, 3, 16, 64, 1000, usize::MAX] {
                for batching in [Batching::Rows(size), Batching::Tokens { tokens_max: 9, window_rows: size }]
                {
                    let all: Vec<_> = batching.windows(rows).collect();
                    let flat: Vec<_> = all.iter().cloned().flatten().collect();
                    assert_eq!(flat, (0..rows).collect::<Vec<_>>());
                    assert!(all.iter().rev().skip(1).all(|window| window.len() == size));
                }
            }
        }
        assert_eq!(Batching::Rows(0).windows(3).count(), 3);
    }

    #[test]
    fn what_failed_is_prepared_again_with_what_decides_its_place() {
        let failed = [1, 9, 11];
        let rows = Batching::Rows(8);
        assert_eq!(rows.again(8..16, &failed), [9, 11]);
        let tokens = Batching::Tokens { tokens_max: 64, window_rows: 4 };
        assert_eq!(tokens.again(8..12, &failed), [8, 9, 10, 11]);
        assert!(tokens.again(4..8, &failed).is_empty());
    }

    #[test]
    fn rows_keep_their_slots_whatever_fails() {
        let batching = Batching::Rows(4);
        assert_eq!(batching.batches(&[Some(0), None, Some(0)]), [[0, 1, 2]]);
        assert_eq!(batching.batches(&[None, None]), [[0, 1]]);
        assert!(batching.batches(&[]).is_empty());
    }

    #[test]
    fn lengths_stand_together_under_the_budget() {
        let batching = Batching::Tokens { tokens_max: 12, window_rows: 100 };
        let tokens = [Some(5), Some(2), None, Some(6), Some(3), Some(2), Some(40)];
        assert_eq!(batching.batches(&tokens), [vec![1, 5, 4], vec![0, 3], vec![6]]);
        assert!(batching.batches(&[None]).is_empty());
    }

    #[test]
    fn every_item_is_in_one_batch_and_none_is_too_large() {
        for seed in 0..200_u64 {
            let random =
                |i: u64| seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i * i * 2_654_435_761);
            let tokens: Vec<_> = (0..seed % 50)
                .map(|i| (!random(i).is_multiple_of(7)).then(|| 1 + (random(i) >> 20) as usize % 90))
                .collect();
            let tokens_max = 1 + random(77) as usize % 400;
            let batches = Batching::Tokens { tokens_max, window_rows: 64 }.batches(&tokens);
            let length = |&place: &usize| tokens[place].expect("has a length");
            for batch in &batches {
                let longest = batch.iter().map(length).max().expect("not empty");
                assert!(batch.len() == 1 || batch.len() * longest <= tokens_max);
            }
            let mut places: Vec<_> = batches.concat();
            places.sort_unstable();
            let expected: Vec<_> = (0..tokens.len()).filter(|&place| tokens[place].is_some()).collect();
            assert_eq!(places, expected);
        }
    }
}
