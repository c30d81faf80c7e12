//! Checks a sealed file against itself: every digest, the table, the list of failures, the counts.

mod blocks;

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Digest;
use super::reader::Reader;
use super::schema::{NUM_IMAGES, NUM_IMAGES_BYTES, attr, i32_le};
use super::table::{Assets, FailedItems, NumImages};
use crate::error::{Error, Exit, Result};
use blocks::check_blocks;

/// Findings of one kind that are listed; the others are counted.
const LISTED_MAX: usize = 20;
/// What [`verify`] saw and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub n_assets: u64,
    pub n_rows: u64,
    pub n_blocks: u64,
    pub n_failed: u64,
    /// One line each, in the order of the file's parts; the number of some may stand for them.
    pub findings: Vec<String>,
    /// How many there are, those not listed included.
    pub n_findings: u64,
}

impl Report {
    /// Nothing wrong.
    pub fn is_sound(&self) -> bool {
        self.n_findings == 0
    }

    /// Takes what was found of a part of a group; the empty name is the root.
    fn take(&mut self, group: &str, part: &str, findings: Findings) {
        self.n_findings += findings.n;
        let more = findings.n - findings.listed.len() as u64;
        let more = (more > 0).then(|| format!("{part}: {more} more like these"));
        let of_group = |finding| if group.is_empty() { finding } else { format!("{group}: {finding}") };
        self.findings.extend(findings.listed.into_iter().chain(more).map(of_group));
    }
}

/// Reads the whole file, all its groups, in memory bounded by a few blocks. `progress` is told rows done, and
/// rows in all.
///
/// Damage inside an open file is a finding; the error is that of [`Reader::open_all`].
///
/// # Errors
/// The file does not open, or its tables cannot be read.
pub fn verify(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Report> {
    let readers = Reader::open_all(path)?;
    if readers.iter().any(Reader::is_old) {
        return Err(Error::new(format!(
            "{} has no digests: it is of the old Python pipeline",
            path.display()
        ))
        .hint("`hyperslab import` makes a file of it that can be verified"));
    }
    let n_rows = readers.iter().map(Reader::n_rows).sum();
    let mut report = Report::default();
    report.take("", "attributes", check_sums(&readers));
    for reader in &readers {
        let (before, group) = (report.n_rows, reader.group());
        let n_blocks = reader.n_rows().div_ceil(reader.block_rows());
        report.n_assets += reader.assets().n();
        report.n_rows += reader.n_rows();
        report.n_blocks += n_blocks;
        report.n_failed += reader.failures().n();
        report.take(group, "attributes", check_counts(reader, n_blocks));
        report.take(group, "table", check_table(reader)?);
        report.take(group, "/num_images", check_num_images(reader)?);
        report.take(group, "/failures", check_failures(reader)?);
        let mut progress = |done| progress(before + done, n_rows);
        report.take(group, "/embeddings", check_blocks(reader, n_blocks, &mut progress)?);
    }
    Ok(report)
}

/// Checks all but the vectors of a file that is about to get its name: counts, tables, failures, and that its
/// digests are those that are committed, block by block.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_tables(path: &Path, expected: &super::Contents<'_>) -> Result<()> {
    let damaged = |error: Error| error.exit(Exit::Damaged);
    let mut report = Report::default();
    let mut readers = Vec::new();
    for (number, group) in expected.groups.iter().enumerate() {
        let reader = Reader::open_unnamed(path, &group.name).map_err(damaged)?;
        let blocks = expected.blocks.blocks_of_group(number);
        report.take(&group.name, "attributes", check_counts(&reader, blocks.end - blocks.start));
        report.take(&group.name, "table", check_table(&reader)?);
        report.take(&group.name, "/num_images", check_num_images(&reader)?);
        report.take(&group.name, "/failures", check_failures(&reader)?);
        let expected = expected.digests.range(blocks).map(|(_, digest)| digest);
        report.take(&group.name, "/digests", check_committed(&reader, expected)?);
        readers.push(reader);
    }
    report.take("", "attributes", check_sums(&readers));
    report.take("", "attributes", check_texts(&readers, &expected.attributes));
    match report.findings.into_iter().next() {
        None => Ok(()),
        Some(finding) => Err(damaged(Error::new(format!("{}: {finding}", path.display())))),
    }
}

/// The strings of the root are those that were written.
fn check_texts(readers: &[Reader], expected: &[(String, String)]) -> Findings {
    let mut findings = Findings::default();
    for (name, value) in expected {
        let found = readers.first().and_then(|reader| reader.root_string(name).ok());
        findings.add_if(found.as_ref() != Some(value), || {
            format!("{name} is {}, expected {value}", found.as_deref().unwrap_or("missing"))
        });
    }
    findings
}

fn check_committed<'a>(reader: &Reader, mut expected: impl Iterator<Item = &'a Digest>) -> Result<Findings> {
    let mut findings = Findings::default();
    let digests = reader.digests();
    for window in digests.windows(0..digests.n) {
        for found in window?.1.chunks_exact(digests.record_bytes) {
            let differs = expected.next().is_none_or(|digest| found != digest.0);
            findings.add_if(differs, || "/digests differs from those of what was written".to_owned());
        }
    }
    Ok(findings)
}

/// Findings of one kind: the first few in words, all of them counted.
#[derive(Default)]
struct Findings {
    listed: Vec<String>,
    n: u64,
}

impl Findings {
    fn add(&mut self, finding: impl FnOnce() -> String) {
        self.n += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding());
        }
    }

    fn add_if(&mut self, wrong: bool, finding: impl FnOnce() -> String) {
        if wrong {
            self.add(finding);
        }
    }

    fn extend(&mut self, other: Self) {
        self.n += other.n;
        let room = LISTED_MAX - self.listed.len();
        self.listed.extend(other.listed.into_iter().take(room));
    }
}

/// What a group counts, by the attribute that says so.
fn counts(reader: &Reader) -> Vec<(&'static str, u64)> {
    let mut counts = vec![
        (attr::TOTAL_ITEMS, reader.n_rows()),
        (attr::EMBEDDING_DIM, reader.dim() as u64),
        (attr::TOTAL_ASSETS, reader.assets().n()),
        (attr::FAILED_ITEMS, reader.failures().n()),
    ];
    if reader.assets().has_views() {
        counts.push((attr::TOTAL_VIEWPOINTS, reader.n_rows()));
    }
    counts
}

/// The attributes of the root of a file with groups: what its groups have together.
fn check_sums(readers: &[Reader]) -> Findings {
    let mut findings = Findings::default();
    let Some(first) = readers.first().filter(|first| !first.group().is_empty()) else { return findings };
    for reader in readers {
        findings.add_if(reader.dim() != first.dim(), || {
            format!(
                "{} has vectors of {}, {} of {}",
                first.group(),
                first.dim(),
                reader.group(),
                reader.dim()
            )
        });
    }
    let of_name = |reader: &Reader, name: &str| {
        counts(reader).into_iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| count)
    };
    for (name, count) in counts(first) {
        let sum = readers.iter().map(|reader| of_name(reader, name)).sum();
        let expected = if name == attr::EMBEDDING_DIM { count } else { sum };
        check_count(first.root_integer(name), name, expected, &mut findings);
    }
    findings
}

fn check_counts(reader: &Reader, n_blocks: u64) -> Findings {
    let mut findings = Findings::default();
    for (name, expected) in counts(reader) {
        check_count(reader.integer(name), name, expected, &mut findings);
    }
    let digests = reader.digests().n;
    findings.add_if(digests != n_blocks, || {
        format!(
            "/digests has {digests} rows, but {} rows in blocks of {} need {n_blocks}",
            reader.n_rows(),
            reader.block_rows()
        )
    });
    findings
}

fn check_count(found: Result<i64>, name: &str, expected: u64, findings: &mut Findings) {
    match found {
        Err(error) => findings.add(|| error.to_string()),
        Ok(value) => findings.add_if(u64::try_from(value) != Ok(expected), || {
            format!("attribute {name} is {value}, the datasets have {expected}")
        }),
    }
}

/// One number for each row, none below 0, and the bytes those that were written.
fn check_num_images(reader: &Reader) -> Result<Findings> {
    let mut findings = Findings::default();
    let Some(NumImages { records }) = reader.num_images() else { return Ok(findings) };
    let n_rows = reader.n_rows();
    findings
        .add_if(records.n != n_rows, || format!("/{NUM_IMAGES} has {}, but /embeddings {n_rows}", records.n));
    let mut digest = Sha256::new();
    for window in records.windows(0..records.n) {
        let (first, bytes) = window?;
        digest.update(&bytes);
        for (row, one) in (first..).zip(bytes.chunks_exact(NUM_IMAGES_BYTES)) {
            let n = i32_le(one);
            findings.add_if(n < 0, || format!("/{NUM_IMAGES}: row {row} has {n}"));
        }
    }
    check_digest(reader, NUM_IMAGES, attr::NUM_IMAGES_SHA256, digest, &mut findings);
    Ok(findings)
}

/// Ids sorted and unique, rows without gap or overlap, and the bytes those that were written.
fn check_table(reader: &Reader) -> Result<Findings> {
    let Assets { records, layout, n_rows } = reader.assets();
    let name = layout.dataset();
    let mut findings = Findings::default();
    let (mut digest, mut before, mut next_row) = (Sha256::new(), None::<Vec<u8>>, 0_i64);
    for window in records.windows(0..records.n) {
        let (first, bytes) = window?;
        digest.update(&bytes);
        for (index, bytes) in (first..).zip(bytes.chunks_exact(records.record_bytes)) {
            let record = layout.decode(index, bytes);
            let id = record.id;
            let entry = || format!("/{name}: entry {index} ('{}')", String::from_utf8_lossy(id));
            let is_text = std::str::from_utf8(id).is_ok() && !id.is_empty() && !id.contains(&0);
            findings.add_if(!is_text, || format!("{} is no id", entry()));
            findings.add_if(before.as_deref().is_some_and(|before| before >= id), || {
                format!("{} is not after the entry before it", entry())
            });
            findings.add_if(record.count <= 0, || format!("{} has {} rows", entry(), record.count));
            findings.add_if(record.start_idx != next_row, || {
                format!("{} starts at row {}, expected {next_row}", entry(), record.start_idx)
            });
            next_row = record.start_idx.saturating_add(i64::from(record.count));
            before = Some(id.to_owned());
        }
    }
    findings.add_if(u64::try_from(next_row) != Ok(*n_rows), || {
        format!("/{name} ends at row {next_row}, but /embeddings has {n_rows}")
    });
    check_digest(reader, name, attr::TABLE_SHA256, digest, &mut findings);
    Ok(findings)
}

/// Sorted by row, each with the id that owns the row and a reason.
fn check_failures(reader: &Reader) -> Result<Findings> {
    let FailedItems { records, layout } = reader.failures();
    let mut findings = Findings::default();
    let (mut digest, mut before) = (Sha256::new(), -1);
    for window in records.windows(0..records.n) {
        let (first, bytes) = window?;
        digest.update(&bytes);
        for (index, bytes) in (first..).zip(bytes.chunks_exact(records.record_bytes)) {
            let record = layout.decode(bytes);
            let entry = || format!("/failures: entry {index} (row {})", record.row);
            findings.add_if(record.row <= before, || format!("{} is not after the entry before it", entry()));
            findings.add_if(record.reason.is_empty(), || format!("{} has no reason", entry()));
            before = record.row;
            let owner = u64::try_from(record.row).map_or(Ok(None), |row| owner(reader.assets(), row))?;
            findings.add_if(owner.as_deref() != Some(record.id), || {
                let owner = owner.as_deref().map_or("nobody".into(), String::from_utf8_lossy);
                let id = String::from_utf8_lossy(record.id);
                format!("{} names '{id}', but the row belongs to '{owner}'", entry())
            });
        }
    }
    check_digest(reader, "failures", attr::FAILURES_SHA256, digest, &mut findings);
    Ok(findings)
}

/// The id that owns a row, from the table as it is.
fn owner(assets: &Assets, row: u64) -> Result<Option<Vec<u8>>> {
    if row >= assets.n_rows {
        return Ok(None);
    }
    let index = assets.of_rows(row..row + 1)?.start;
    let bytes = assets.records.read(index..index + 1)?;
    Ok((!bytes.is_empty()).then(|| assets.layout.decode(index, &bytes).id.to_owned()))
}

fn check_digest(reader: &Reader, dataset: &str, attribute: &str, digest: Sha256, findings: &mut Findings) {
    let found = Digest(digest.finalize().into()).to_string();
    match reader.digest_attribute(attribute) {
        Err(error) => findings.add(|| error.to_string()),
        Ok(expected) => findings
            .add_if(expected != found, || format!("/{dataset} has SHA-256 {found}, expected {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_capped_and_counted() {
        let mut findings = Findings::default();
        (0..30).for_each(|i| findings.add(|| i.to_string()));
        let mut report = Report::default();
        report.take("english", "part", findings);
        assert_eq!((report.findings.len(), report.n_findings), (LISTED_MAX + 1, 30));
        assert_eq!(report.findings.last().unwrap(), "english: part: 10 more like these");
    }
}
