//! What all ranks found: equal findings of a host's ranks are one line, equal hosts one paragraph.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Verdict, ranges};
use crate::error::Exit;
use crate::model::device::Gpu;

/// What one rank found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RankFindings {
    pub rank: usize,
    pub host: String,
    pub local_rank: usize,
    pub pid: u32,
    /// What it would compute on; empty where there is no device for it.
    pub device: String,
    pub gpu: Option<Gpu>,
    pub cores: usize,
    /// What its host may use of memory.
    pub memory_bytes: u64,
    /// See [`crate::model::checkpoint::sampled_digest`].
    pub model_digest: Option<String>,
    /// When rank 0's word arrived, in milliseconds since 1970.
    pub clock_ms: u64,
    /// Room on the target's disk, where this rank looked.
    pub free_bytes: u64,
    pub findings: Vec<Finding>,
    /// What rank 0 looked at for the whole job.
    #[serde(skip)]
    pub job: Vec<Finding>,
}

/// What a job would meet.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub program: &'static str,
    pub verdict: Verdict,
    /// World size.
    pub world_size: usize,
    /// About all ranks together.
    pub job: Vec<Finding>,
    /// By rank; one that did not answer is missing.
    pub ranks: Vec<RankFindings>,
}

/// A line of a host: a finding, and the ranks that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    finding: &'a Finding,
    ranks: BTreeSet<usize>,
}

/// Hosts on which the same was found.
struct Paragraph<'a> {
    hosts: Vec<&'a str>,
    ranks: BTreeSet<usize>,
    lines: Vec<Line<'a>>,
}

impl Report {
    pub fn new(world_size: usize) -> Self {
        Self { program: crate::PROGRAM, verdict: Verdict::Ok, world_size, job: Vec::new(), ranks: Vec::new() }
    }

    /// Adds a finding about all ranks.
    pub fn add(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(finding.verdict);
        self.job.push(finding);
    }

    /// Adds what the ranks found.
    pub fn add_ranks(&mut self, ranks: Vec<RankFindings>) {
        let worst = ranks.iter().flat_map(|rank| &rank.findings).map(|finding| finding.verdict).max();
        self.verdict = self.verdict.max(worst.unwrap_or(Verdict::Ok));
        self.ranks = ranks;
    }

    /// How the program ends: a job would run, or not.
    pub fn exit(&self) -> Exit {
        if self.verdict == Verdict::Error { Exit::Failure } else { Exit::Success }
    }

    fn paragraphs(&self) -> Vec<Paragraph<'_>> {
        let mut hosts: Vec<&str> = Vec::new();
        for rank in &self.ranks {
            if !hosts.contains(&rank.host.as_str()) {
                hosts.push(&rank.host);
            }
        }
        let mut paragraphs: Vec<Paragraph<'_>> = Vec::new();
        for host in hosts {
            let next = self.of_host(host);
            match paragraphs.iter_mut().find(|paragraph| paragraph.says_the_same_as(&next)) {
                Some(same) => {
                    same.hosts.push(host);
                    same.ranks.extend(&next.ranks);
                }
                None => paragraphs.push(next),
            }
        }
        paragraphs
    }

    fn of_host<'a>(&'a self, host: &'a str) -> Paragraph<'a> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        let here = || self.ranks.iter().filter(|rank| rank.host == host);
        for rank in here() {
            for finding in &rank.findings {
                match lines.iter_mut().find(|line| line.finding == finding) {
                    Some(line) => drop(line.ranks.insert(rank.rank)),
                    None => lines.push(Line { finding, ranks: [rank.rank].into() }),
                }
            }
        }
        // In the order in which topics were first met, whichever rank met them.
        let topics: Vec<&str> = lines.iter().map(|line| line.finding.topic.as_str()).collect();
        let order = |line: &Line<'_>| topics.iter().position(|topic| *topic == line.finding.topic);
        lines.sort_by_key(order);
        Paragraph { hosts: vec![host], ranks: here().map(|rank| rank.rank).collect(), lines }
    }

    /// Errors and warnings, each counted once per line.
    fn counts(&self) -> (usize, usize) {
        let paragraphs = self.paragraphs();
        let of_hosts =
            paragraphs.iter().flat_map(|paragraph| &paragraph.lines).map(|line| line.finding.verdict);
        let all: Vec<Verdict> = self.job.iter().map(|finding| finding.verdict).chain(of_hosts).collect();
        let count = |verdict| all.iter().filter(|one| **one == verdict).count();
        (count(Verdict::Error), count(Verdict::Warning))
    }
}

impl Paragraph<'_> {
    /// The same findings, on all ranks of each: other numbers of ranks say nothing.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let all =
            |paragraph: &Self| paragraph.lines.iter().all(|line| line.ranks.len() == paragraph.lines_of());
        let findings =
            |paragraph: &Self| paragraph.lines.iter().map(|line| line.finding.clone()).collect::<Vec<_>>();
        all(self) && all(other) && findings(self) == findings(other)
    }

    /// Ranks of one of its hosts.
    fn lines_of(&self) -> usize {
        self.ranks.len() / self.hosts.len()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for finding in &self.job {
            write_line(f, finding, "")?;
        }
        for paragraph in self.paragraphs() {
            let (host, rank) = (plural("host", paragraph.hosts.len()), plural("rank", paragraph.ranks.len()));
            writeln!(f, "\n{host} {}, {rank} {}", paragraph.hosts.join(", "), ranges(&paragraph.ranks))?;
            for line in &paragraph.lines {
                let is_all = line.ranks.len() == paragraph.lines_of();
                // What one rank of a host looked at for all of them needs no rank, as long as it is well.
                let of_host = line.finding.verdict == Verdict::Ok && line.ranks.len() == 1;
                let who = if is_all || of_host {
                    String::new()
                } else {
                    format!("{} {}: ", plural("rank", line.ranks.len()), ranges(&line.ranks))
                };
                write_line(f, line.finding, &who)?;
            }
        }
        let (errors, warnings) = self.counts();
        let count = |n: usize, noun: &str| format!("{n} {}", plural(noun, n));
        match (errors, warnings) {
            (0, 0) => writeln!(f, "\na job would run here"),
            (0, _) => writeln!(f, "\na job would run here; {}", count(warnings, "warning")),
            _ => writeln!(
                f,
                "\na job would NOT run here, or not be right: {}, {}",
                count(errors, "error"),
                count(warnings, "warning")
            ),
        }
    }
}

fn plural(noun: &str, count: usize) -> String {
    format!("{noun}{}", if count == 1 { "" } else { "s" })
}

fn write_line(f: &mut Formatter<'_>, finding: &Finding, who: &str) -> fmt::Result {
    writeln!(f, "  {:<7}  {:<8}  {who}{}", finding.verdict.name(), finding.topic, finding.what)?;
    // An error of a job may explain itself over several lines.
    let next = finding.next.iter().flat_map(|next| next.lines());
    next.into_iter().try_for_each(|line| writeln!(f, "{:>21}-> {line}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(rank: usize, host: &str, findings: Vec<Finding>) -> RankFindings {
        RankFindings { rank, host: host.to_owned(), findings, ..RankFindings::default() }
    }

    fn report() -> Report {
        let well = || Finding::ok("gpu", "H200");
        let bad = || Finding::error("model", "no config.json", "copy it to every node");
        let mut report = Report::new(6);
        report.add(Finding::ok("launch", "6 ranks"));
        report.add_ranks(vec![
            rank(0, "n1", vec![well()]),
            rank(1, "n1", vec![well()]),
            rank(2, "n2", vec![well(), bad()]),
            rank(3, "n2", vec![well()]),
            rank(4, "n3", vec![well()]),
            rank(5, "n3", vec![well()]),
        ]);
        report
    }

    #[test]
    fn equal_findings_are_one_line_and_equal_hosts_one_paragraph() {
        let text = report().to_string();
        for line in
            ["hosts n1, n3, ranks 0-1, 4-5", "host n2, ranks 2-3", "rank 2: no config.json", "-> copy it"]
        {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert_eq!(text.matches("H200").count(), 2, "{text}");
        assert!(text.ends_with("a job would NOT run here, or not be right: 1 error, 0 warnings\n"), "{text}");
    }

    #[test]
    fn errors_alone_decide_the_exit() {
        assert_eq!(report().exit(), Exit::Failure);
        let mut report = Report::new(1);
        assert_eq!(report.exit(), Exit::Success);
        report.add(Finding::warning("mpi", "old", "use a newer one"));
        assert_eq!((report.exit(), report.verdict), (Exit::Success, Verdict::Warning));
        assert!(report.to_string().contains("a job would run here; 1 warning"));
    }

    #[test]
    fn json_has_every_finding() {
        let json: serde_json::Value = serde_json::to_value(report()).unwrap();
        assert_eq!(json["verdict"], "error");
        assert_eq!(json["ranks"][2]["findings"][1]["next"], "copy it to every node");
    }
}
