//! What is in the files that the program makes, and whether two of them are the same.

use std::fs;
use std::ops::Range;
use std::path::Path;

use hyperslab::store::{Digest, OutputPaths, Reader, read_journal};

/// How many blocks of an output are committed, by its journal.
pub fn committed_blocks(output: &Path) -> usize {
    read_journal(&OutputPaths::new(output).journal).map_or(0, |(_, committed, _)| committed.digests.len())
}

pub fn sha256(path: &Path) -> String {
    Digest::of(&fs::read(path).unwrap()).to_string()
}

/// All that a reader gets from a sealed file, or from a group of one.
#[derive(Debug, PartialEq)]
pub struct Contents {
    pub assets: Vec<(String, Range<u64>)>,
    /// The bits of every row.
    pub rows: Vec<Vec<u32>>,
    /// Empty where vectors are not made from sets of views.
    pub num_images: Vec<i32>,
    pub failures: Vec<(u64, String)>,
    pub provenance: Vec<(String, String)>,
}

impl Contents {
    /// Of a file with one group, at the root or below it.
    pub fn of(path: &Path) -> Self {
        Self::read(&Reader::open(path, None).unwrap())
    }

    pub fn of_group(path: &Path, group: &str) -> Self {
        Self::read(&Reader::open(path, Some(group)).unwrap())
    }

    fn read(reader: &Reader) -> Self {
        let assets = reader.iter_prefix("").unwrap().map(|asset| asset.map(|asset| (asset.id, asset.rows)));
        let rows = reader.rows(0..reader.n_rows()).unwrap();
        let num_images = reader.num_images().map(|all| all.of_rows(0..reader.n_rows()).unwrap());
        let failures = reader.failures_of(0..reader.n_rows()).unwrap();
        Self {
            assets: assets.collect::<Result<_, _>>().unwrap(),
            rows: rows.outer_iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect(),
            num_images: num_images.unwrap_or_default(),
            failures: failures.into_iter().map(|item| (item.row, item.reason)).collect(),
            provenance: reader.summary().unwrap().provenance,
        }
    }

    /// The rows as numbers.
    pub fn vectors(&self) -> impl Iterator<Item = Vec<f32>> {
        self.rows.iter().map(|row| row.iter().map(|&bits| f32::from_bits(bits)).collect())
    }
}

/// Asserts that two sealed files are the same to the last bit: first what they hold, which tells more.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    let [all, others] = [one, other].map(|path| Reader::open_all(path).unwrap());
    assert_eq!(all.len(), others.len(), "groups");
    for (a, b) in all.iter().zip(&others) {
        assert_eq!(a.group(), b.group());
        let (a, b) = (Contents::read(a), Contents::read(b));
        assert_eq!(a.assets, b.assets);
        let differing: Vec<usize> =
            (0..a.rows.len()).filter(|&row| a.rows.get(row) != b.rows.get(row)).collect();
        assert!(differing.is_empty() && a.rows.len() == b.rows.len(), "rows {differing:?} differ");
        assert_eq!((a.num_images, a.failures, a.provenance), (b.num_images, b.failures, b.provenance));
    }
    assert_eq!(sha256(one), sha256(other), "{} and {}", one.display(), other.display());
}

/// Asserts that `hyperslab verify` finds nothing wrong.
#[track_caller]
pub fn assert_sound(path: &Path) {
    let report = hyperslab::store::verify(path, |_, _| {}).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}
