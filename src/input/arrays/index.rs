//! Which assets a source has, and where their rows lie: first in the order of the files, then of the ids.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::elements::{Run, SCRATCH};
use super::rows::Rows;
use super::source::{Source, Sources};
use super::{Format, check_dim};
use crate::error::{Error, Result};
use crate::input::Odd;
use crate::plan::{Table, TableBuilder, check_id};

/// Takes in the assets as the files have them.
#[derive(Debug, Default)]
pub struct Index {
    ids: String,
    entries: Vec<Entry>,
    runs: Vec<Run>,
    /// Length of the vectors, and the asset that had it first.
    dim: Option<(usize, String)>,
    left_out: Odd,
    unclaimed: u64,
}

/// One asset; its runs end where those of the next begin.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id_start: u64,
    first_run: u64,
    n_runs: u32,
    file: u16,
    id_len: u8,
}

impl Index {
    /// Adds an asset of the file with this number: its rows, in order, vectors of `dim` components. One without
    /// rows is left out, and counted.
    ///
    /// # Errors
    /// The id cannot stand in a file; the vectors are longer or shorter than those before.
    pub fn push(&mut self, file: u16, id: &str, dim: u64, runs: &[Run]) -> Result<()> {
        check_id(id)?;
        if runs.iter().all(|run| run.rows == 0) {
            self.left_out.add(id);
            return Ok(());
        }
        let of_asset = |error: Error| Error { message: format!("asset '{id}': {}", error.message), ..error };
        let dim = check_dim(dim).map_err(of_asset)?;
        let (expected, first) = self.dim.get_or_insert_with(|| (dim, id.to_owned()));
        if *expected != dim {
            return Err(of_asset(Error::new(format!(
                "vectors of {dim} components, where '{first}' has {expected}"
            ))));
        }
        let first_run = self.runs.len();
        for run in runs.iter().filter(|run| run.rows > 0) {
            let joined = self.runs.get_mut(first_run..).and_then(<[Run]>::last_mut);
            if !joined.is_some_and(|last| last.join(*run, dim)) {
                self.runs.push(*run);
            }
        }
        let n_runs = u32::try_from(self.runs.len() - first_run)
            .map_err(|_| of_asset(Error::new("over 4 billion vectors")))?;
        let (id_start, id_len) = (self.ids.len() as u64, id.len() as u8);
        self.entries.push(Entry { id_start, first_run: first_run as u64, n_runs, file, id_len });
        self.ids.push_str(id);
        Ok(())
    }

    /// Counts rows of an array that no asset names.
    pub fn add_unclaimed(&mut self, rows: u64) {
        self.unclaimed += rows;
    }

    /// All assets in order of id.
    ///
    /// # Errors
    /// An id comes twice, or an asset has 2^32 vectors.
    pub fn finish(mut self, sources: Sources, scratch: Option<File>) -> Result<Vectors> {
        let mut entries = std::mem::take(&mut self.entries);
        if !entries.is_sorted_by(|a, b| self.id(a) <= self.id(b)) {
            entries.sort_unstable_by(|a, b| self.id(a).cmp(self.id(b)));
        }
        let mut table = TableBuilder::with_capacity(entries.len(), self.ids.len());
        let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
        let mut before: Option<&Entry> = None;
        for entry in &entries {
            let id = self.id(entry);
            if let Some(other) = before.filter(|other| self.id(other) == id) {
                return Err(twice(id, &sources, other.file, entry.file));
            }
            before = Some(entry);
            let own = self.runs_of(entry);
            let rows: u64 = own.iter().map(|run| u64::from(run.rows)).sum();
            let count = u32::try_from(rows)
                .ok()
                .filter(|&rows| i32::try_from(rows).is_ok())
                .ok_or_else(|| Error::new(format!("asset '{id}' has {rows} vectors")))?;
            table.push(id, count)?;
            runs.extend_from_slice(own);
        }
        let dim = self.dim.as_ref().map_or(0, |(dim, _)| *dim);
        let Sources { files, format, sha256 } = sources;
        let (left_out, unclaimed) = (self.left_out, self.unclaimed);
        Ok(Vectors { files, scratch, format, sha256, table: table.finish(), runs, dim, left_out, unclaimed })
    }

    fn id(&self, entry: &Entry) -> &str {
        let start = entry.id_start as usize;
        &self.ids[start..start + usize::from(entry.id_len)]
    }

    fn runs_of(&self, entry: &Entry) -> &[Run] {
        let start = entry.first_run as usize;
        &self.runs[start..start + entry.n_runs as usize]
    }
}

fn twice(id: &str, sources: &Sources, one: u16, other: u16) -> Error {
    let path =
        |file: u16| sources.files.get(usize::from(file)).map(|source| source.path.display().to_string());
    let (one, other) = (path(one.min(other)).unwrap_or_default(), path(one.max(other)).unwrap_or_default());
    let place =
        if one == other { format!("twice in '{one}'") } else { format!("in '{one}' and in '{other}'") };
    Error::new(format!("asset id '{id}' is {place}")).hint("leave one of the two out of the source")
}

/// The vectors of a source, by asset in order of id.
#[derive(Debug)]
pub struct Vectors {
    files: Vec<Source>,
    scratch: Option<File>,
    format: Format,
    sha256: [u8; 32],
    table: Table,
    /// Of all rows, in the order of the table.
    runs: Vec<Run>,
    dim: usize,
    left_out: Odd,
    unclaimed: u64,
}

impl Vectors {
    /// The assets, with how many vectors of each.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Components of each vector; 0 where there is none.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What the files are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The files, in their order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &PathBuf> {
        self.files.iter().map(|source| &source.path)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|source| source.bytes).sum()
    }

    /// SHA-256 of the files as if they were one: as `cat FILES | sha256sum` has it, of `.npy` files with the
    /// metadata of each behind it.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Assets without vectors, which are in no table.
    pub fn left_out(&self) -> &Odd {
        &self.left_out
    }

    /// Rows of arrays that no asset names.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed
    }

    /// Reads all rows, in the order of the table.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(self)
    }

    /// Refuses files that are no longer what they were when they were opened.
    ///
    /// # Errors
    /// One was changed; names it.
    pub fn refuse_changed(&self) -> Result<()> {
        self.files.iter().try_for_each(Source::refuse_changed)
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The file with this number, and its name in errors.
    pub(super) fn file(&self, number: u16) -> Result<(&File, &Path)> {
        let file = match number {
            SCRATCH => self.scratch.as_ref().map(|file| (file, Path::new("the scratch file"))),
            number => self.files.get(usize::from(number)).map(|source| (&source.file, &*source.path)),
        };
        file.ok_or_else(|| Error::new(format!("no source file {number}")))
    }
}
