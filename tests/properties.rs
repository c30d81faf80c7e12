//! What holds for every plan, whatever the rows, groups, blocks, ranks and failures: inputs are drawn at random, and
//! one that fails is made small before it is shown.

#[cfg(feature = "engine")]
mod resume;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hyperslab::plan::{self, Batching, Blocks, Kind, Runs, Table, TableBuilder, Views};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// No files of failed cases: one that was found becomes a test of its own.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn flat(ranges: &[Range<u64>]) -> Vec<u64> {
    ranges.iter().cloned().flatten().collect()
}

/// Ranges in any order, empty, overlapping, or past the end.
fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    vec((0..220_u64, 0..30_u64).prop_map(|(start, len)| start..start + len), 0..12)
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_block_that_is_not_committed_is_computed_once(
        all in (0..40_u64, 0..200_u64).prop_map(|(start, len)| start..start + len),
        committed in ranges(),
        size in 1..70_u64,
        rounds in vec(0..9_u64, 1..5),
    ) {
        let done: BTreeSet<u64> = flat(&committed).into_iter().collect();
        let expected: Vec<u64> = all.clone().filter(|block| !done.contains(block)).collect();
        let pending = plan::pending(all, &committed);
        prop_assert_eq!(flat(&pending), expected.clone());
        prop_assert!(pending.windows(2).all(|pair| pair[0].end < pair[1].start));
        let mut computed = Vec::new();
        for rank in 0..size {
            let share = plan::share(&pending, rank, size);
            let blocks = flat(&share).len() as u64;
            prop_assert!(blocks.abs_diff(expected.len() as u64 / size) <= 1);
            let mut runs = Runs::new(share.clone());
            for max_blocks in rounds.iter().cycle() {
                let Some(run) = runs.next_run(*max_blocks) else { break };
                prop_assert!(!run.is_empty() && run.end - run.start <= (*max_blocks).max(1));
                prop_assert!(share.iter().any(|range| range.start <= run.start && run.end <= range.end));
                computed.extend(run);
            }
        }
        prop_assert_eq!(computed, expected);
    }

    #[test]
    fn every_item_is_in_one_batch_within_the_budget(
        tokens in vec(prop_oneof![1 => Just(None), 9 => (0..300_usize).prop_map(Some)], 0..200),
        tokens_max in 0..2000_usize,
        window_rows in prop_oneof![0..90_usize, Just(usize::MAX)],
    ) {
        let of_rows = Batching::Rows(window_rows);
        let of_tokens = Batching::Tokens { tokens_max, window_rows };
        for batching in [of_rows, of_tokens] {
            let windows: Vec<_> = batching.windows(tokens.len()).collect();
            let rows: Vec<usize> = windows.iter().cloned().flatten().collect();
            prop_assert_eq!(rows, (0..tokens.len()).collect::<Vec<_>>());
            for window in windows {
                prop_assert!(!window.is_empty() && window.len() <= batching.window_rows());
                let items = &tokens[window];
                let batches = batching.batches(items);
                let mut places = batches.concat();
                places.sort_unstable();
                // Rows keep the slots of items that failed; among tokens those have none.
                let has_slot = |place: &usize| batching == of_rows || items[*place].is_some();
                prop_assert_eq!(places, (0..items.len()).filter(has_slot).collect::<Vec<_>>());
                for batch in batches.iter().filter(|_| batching == of_tokens) {
                    let longest = batch.iter().filter_map(|&place| items[place]).max();
                    prop_assert!(batch.len() == 1 || batch.len() * longest.unwrap_or(0) <= tokens_max);
                }
            }
        }
    }

    #[test]
    fn blocks_of_groups_hold_every_row_once_and_span_no_two_groups(
        groups in vec(0..200_u64, 0..5),
        block_rows in 0..70_u64,
    ) {
        let blocks = Blocks::of_groups(groups.iter().copied(), block_rows);
        prop_assert_eq!(blocks.rows(), groups.iter().sum::<u64>());
        let mut next = 0;
        for (group, &rows_of_group) in groups.iter().enumerate() {
            let rows = blocks.rows_of_group(group);
            prop_assert_eq!(rows.end - rows.start, rows_of_group);
            let of_group = blocks.blocks_of_group(group);
            prop_assert_eq!(blocks.rows_of(of_group.clone()), rows.clone());
            for block in of_group.clone() {
                let range = blocks.range(block);
                prop_assert_eq!(range.start, next);
                prop_assert!(range.start < range.end && range.end <= rows.end);
                let is_last = block + 1 == of_group.end;
                prop_assert!(is_last || range.end - range.start == blocks.block_rows());
                next = range.end;
            }
        }
        prop_assert_eq!(next, blocks.rows());
        prop_assert_eq!(blocks.blocks_of_group(groups.len()), blocks.count()..blocks.count());
    }

    #[test]
    fn no_number_of_rows_or_blocks_is_too_large(
        groups in vec(any::<u64>(), 0..4),
        block_rows in any::<u64>(),
        some in any::<[u64; 2]>().prop_map(|[a, b]| a.min(b)..a.max(b)),
    ) {
        let blocks = Blocks::of_groups(groups, block_rows);
        let (count, near) = (blocks.count(), 20);
        for block in (0..near).chain(count.saturating_sub(near)..count).chain(some.clone().take(1)) {
            let rows = blocks.range(block);
            prop_assert!(rows.start <= rows.end && rows.end <= blocks.rows(), "block {}: {:?}", block, rows);
        }
        prop_assert!(plan::chunk_rows(block_rows, some.end) <= block_rows.max(1));
        let pending = plan::pending(0..count, &vec![some; 2]);
        let last = plan::share(&pending, u64::from(u32::MAX) - 1, u32::MAX.into());
        prop_assert_eq!(last.last().map(|range| range.end), pending.last().map(|range| range.end));
    }

    #[test]
    fn a_table_comes_back_and_owns_every_row(
        assets in btree_map("[a-c/é]{1,6}", 0..9_u32, 0..40),
        views in prop_oneof![Just(Views::All), (1..9_u32).prop_map(Views::Evenly), (1..9_u32).prop_map(Views::Every)],
    ) {
        let table = table(&assets);
        prop_assert_eq!(Table::from_bytes(&table.to_bytes()), Ok(table.clone()));
        for kind in [Kind::Text, Kind::Image, Kind::ViewSet] {
            let owners = (0..kind.rows(&table)).map(|row| kind.asset_of_row(&table, row).unwrap());
            let times = |count: u32| if kind == Kind::Image { count as usize } else { 1 };
            let expected = table.iter().enumerate().flat_map(|(i, (_, count))| vec![i; times(count)]);
            prop_assert!(owners.eq(expected));
        }
        for (_, count) in table.iter() {
            let picked: Vec<usize> = views.pick(count as usize).collect();
            prop_assert_eq!(picked.len(), views.count(count as usize));
            prop_assert!(picked.is_sorted_by(|a, b| a < b) && picked.iter().all(|&view| view < count as usize));
        }
    }
}

fn table(assets: &BTreeMap<String, u32>) -> Table {
    let mut builder = TableBuilder::default();
    for (id, count) in assets {
        builder.push(id, *count).unwrap();
    }
    builder.finish()
}
