//! What shows only when ranks are compared.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, ranges};
use super::report::RankFindings;

/// Hosts' clocks may differ by this much.
const SKEW_MAX_MS: u64 = 2000;

/// Compares the ranks that answered.
pub fn compare(ranks: &[RankFindings], world_size: usize) -> Vec<Finding> {
    let found = [missing(ranks, world_size), devices(ranks), models(ranks), clocks(ranks)];
    found.into_iter().flatten().collect()
}

fn missing(ranks: &[RankFindings], world_size: usize) -> Option<Finding> {
    let here: BTreeSet<usize> = ranks.iter().map(|rank| rank.rank).collect();
    let missing: BTreeSet<usize> = (0..world_size).filter(|rank| !here.contains(rank)).collect();
    (!missing.is_empty()).then(|| {
        Finding::error(
            "launch",
            format!("no word came in time from {}", of_ranks(&missing)),
            "they hang, or their host does: see which host is missing below; where it is only slow, --time-limit",
        )
    })
}

/// Groups of ranks with the same value, those without one left out.
fn groups<'a>(
    ranks: &'a [RankFindings],
    value: impl Fn(&'a RankFindings) -> &'a str,
) -> BTreeMap<&'a str, BTreeSet<usize>> {
    let mut groups: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for rank in ranks {
        groups.entry(value(rank)).or_default().insert(rank.rank);
    }
    groups.remove("");
    groups
}

fn of_ranks(ranks: &BTreeSet<usize>) -> String {
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, ranges(ranks))
}

fn words<T: std::fmt::Display>(groups: impl Iterator<Item = (T, BTreeSet<usize>)>) -> String {
    let each = groups.map(|(what, ranks)| format!("{}: {what}", of_ranks(&ranks)));
    each.collect::<Vec<_>>().join("; ")
}

fn devices(ranks: &[RankFindings]) -> Option<Finding> {
    let groups = groups(ranks, |rank| &rank.device);
    (groups.len() > 1).then(|| {
        Finding::error(
            "device",
            format!("vectors would depend on who computed them: {}", words(groups.into_iter())),
            "ask the batch system for one kind of device (Slurm: --gres=gpu:TYPE:N or --constraint)",
        )
    })
}

fn models(ranks: &[RankFindings]) -> Option<Finding> {
    let groups = groups(ranks, |rank| rank.model_digest.as_deref().unwrap_or_default());
    match groups.len() {
        0 => None,
        1 if ranks.len() == 1 => None,
        1 => Some(Finding::ok(
            "model",
            "the same on every rank that reads it (small files whole, weights sampled)",
        )),
        _ => {
            let short = groups.into_iter().map(|(digest, ranks)| (digest.get(..12).unwrap_or(digest), ranks));
            Some(Finding::error(
                "model",
                format!("its files differ between ranks: {}", words(short)),
                "copy one of them to every node, or put it where all nodes see it",
            ))
        }
    }
}

fn clocks(ranks: &[RankFindings]) -> Option<Finding> {
    let known = || ranks.iter().filter(|rank| rank.clock_ms > 0);
    let first = known().min_by_key(|rank| rank.clock_ms)?;
    let last = known().max_by_key(|rank| rank.clock_ms)?;
    let skew = last.clock_ms - first.clock_ms;
    (skew > SKEW_MAX_MS && first.host != last.host).then(|| {
        Finding::warning(
            "clock",
            format!("the clocks of {} and {} differ by {:.1} s", first.host, last.host, skew as f64 / 1000.0),
            "a job runs; times in logs and of files mislead: have the site mend NTP",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn rank(rank: usize, device: &str, digest: Option<&str>, clock_ms: u64) -> RankFindings {
        RankFindings {
            rank,
            host: format!("n{}", rank / 2),
            device: device.to_owned(),
            model_digest: digest.map(str::to_owned),
            clock_ms,
            ..RankFindings::default()
        }
    }

    #[test]
    fn ranks_that_agree_are_well() {
        let ranks = [rank(0, "A", Some("x"), 1000), rank(1, "A", Some("x"), 1001), rank(2, "A", None, 1500)];
        let found = compare(&ranks, 3);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Ok), "{found:?}");
    }

    #[test]
    fn ranks_that_differ_are_named() {
        let ranks =
            [rank(0, "A", Some("x"), 1000), rank(1, "B", Some("y"), 1000), rank(2, "", Some("x"), 9000)];
        let said: Vec<String> = compare(&ranks, 5).into_iter().map(|finding| finding.what).collect();
        for (what, index) in
            [("from ranks 3-4", 0), ("rank 0: A; rank 1: B", 1), ("ranks 0, 2: x", 2), ("8.0 s", 3)]
        {
            assert!(said[index].contains(what), "{what}: {said:?}");
        }
    }
}
