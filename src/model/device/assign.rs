//! The device of each rank of a node, from what the ranks see.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// The index, among the devices this rank sees, of the one it takes. `node` holds for every rank of the
/// node, by local rank, the identities of the devices it sees, in CUDA's order.
///
/// Launchers do one of two things: they show every rank all devices, and rank r takes the r-th; or they
/// show each rank its own, and it takes the first. With `share`, ranks beyond the devices begin again
/// from the first.
///
/// # Errors
/// A rank that sees no device; more ranks than devices without `share`; lists that overlap in part.
pub fn assign(local_rank: usize, node: &[Vec<String>], share: bool) -> Result<usize> {
    let own = node.get(local_rank).ok_or_else(|| {
        Error::new(format!("local rank {local_rank} is not among the {} ranks of its node", node.len()))
    })?;
    if let Some(blind) = node.iter().position(Vec::is_empty) {
        return Err(Error::new(format!("local rank {blind} sees no GPU, others of its node do"))
            .hint("give every rank a GPU (Slurm: --gpus-per-task=1), or start fewer ranks"));
    }
    let distinct: BTreeSet<&str> = own.iter().map(String::as_str).collect();
    let mut sharers = 0;
    let mut before = 0;
    for (rank, list) in node.iter().enumerate() {
        let list: BTreeSet<&str> = list.iter().map(String::as_str).collect();
        if list == distinct {
            sharers += 1;
            before += usize::from(rank < local_rank);
        } else if !list.is_disjoint(&distinct) {
            return Err(Error::new(format!(
                "local ranks {local_rank} and {rank} see GPUs that overlap in part: {} and {}",
                words(&distinct),
                words(&list)
            ))
            .hint("show every rank all GPUs of the node, or each rank its own (CUDA_VISIBLE_DEVICES)"));
        }
    }
    if sharers > own.len() && !share {
        return Err(Error::new(format!("{sharers} ranks of this node see {} GPU(s)", own.len()))
            .hint("start one rank per GPU, or let ranks share with `--share-gpu`"));
    }
    Ok(before % own.len())
}

fn words(list: &BTreeSet<&str>) -> String {
    list.iter().copied().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(lists: &[&[&str]]) -> Vec<Vec<String>> {
        lists.iter().map(|list| list.iter().map(ToString::to_string).collect()).collect()
    }

    fn all(node: &[Vec<String>], share: bool) -> Vec<Result<usize>> {
        (0..node.len()).map(|rank| assign(rank, node, share)).collect()
    }

    #[test]
    fn every_rank_sees_all() {
        let node = node(&[&["a", "b", "c"][..]; 3]);
        assert_eq!(all(&node, false), [Ok(0), Ok(1), Ok(2)]);
    }

    #[test]
    fn every_rank_sees_its_own() {
        assert_eq!(all(&node(&[&["a"], &["b"], &["c"]]), false), [Ok(0), Ok(0), Ok(0)]);
        assert_eq!(all(&node(&[&["a", "b"], &["c", "d"]]), false), [Ok(0), Ok(0)]);
    }

    #[test]
    fn one_rank_takes_the_first() {
        assert_eq!(all(&node(&[&["a", "b"]]), false), [Ok(0)]);
    }

    #[test]
    fn pairs_of_ranks_bound_to_pairs_of_devices() {
        // As with ranks bound to sockets: each half of the node sees its half of the devices.
        let node = node(&[&["a", "b"], &["a", "b"], &["c", "d"], &["c", "d"]]);
        assert_eq!(all(&node, false), [Ok(0), Ok(1), Ok(0), Ok(1)]);
    }

    #[test]
    fn more_ranks_than_devices_only_when_asked_for() {
        let node = node(&[&["a"], &["a"], &["a"]]);
        assert!(all(&node, false).iter().all(Result::is_err));
        assert_eq!(all(&node, true), [Ok(0), Ok(0), Ok(0)]);
        let error = assign(0, &node, false).expect_err("three on one");
        assert!(error.to_string().contains("--share-gpu"), "{error}");
    }

    #[test]
    fn overlap_in_part_and_blind_ranks_are_errors() {
        assert!(assign(0, &node(&[&["a", "b"], &["b", "c"]]), true).is_err());
        assert!(assign(0, &node(&[&["a"], &[]]), true).is_err());
        assert!(assign(2, &node(&[&["a"], &["b"]]), true).is_err());
    }
}
