//! What goes into a table: the assets of a file's groups, joined by id, and of them those that are wanted.

use std::collections::HashSet;
use std::iter::Peekable;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::table::{Layout, Mark, Vectors};
use crate::error::{Error, Exit, Result};
use crate::store::{Asset, Digest, Reader, refuse_old};

/// Rows that a connection takes at once: a few blocks, so that few of them are read twice.
const RUN_ROWS: u64 = 4096;

/// Which assets go in, and what is said of them.
#[derive(Debug, Default)]
pub struct Selection {
    /// None: all.
    pub valid: Option<HashSet<String>>,
    pub high_quality: HashSet<String>,
}

impl Selection {
    fn takes(&self, id: &str) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.contains(id))
    }

    /// What distinguishes it from others: digests of the two sets.
    fn identity(&self) -> String {
        let digest = |set: &HashSet<String>| {
            let mut ids: Vec<&str> = set.iter().map(String::as_str).collect();
            ids.sort_unstable();
            // NUL stands in no id.
            Digest::of(ids.join("\0").as_bytes()).to_string()
        };
        let valid = self.valid.as_ref().map_or_else(|| "all".to_owned(), digest);
        format!("{valid} {}", digest(&self.high_quality))
    }
}

/// A file, as a table takes it.
pub struct Source {
    pub path: PathBuf,
    pub layout: &'static Layout,
    /// For each column of vectors the group it is filled from, where the file has it.
    pub readers: Vec<Option<Reader>>,
    pub selection: Arc<Selection>,
    /// Components that are kept of each vector: all, or the first so many, normalised again.
    pub dim: usize,
}

/// An asset and its rows in each group.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub asset_id: String,
    pub rows: Vec<Option<Range<u64>>>,
}

impl Source {
    /// Opens a file for a table.
    ///
    /// # Errors
    /// A file that does not open, of the old pipeline, or of another form than the table; fewer components than are to
    /// be kept.
    pub fn open(
        path: &Path,
        layout: &'static Layout,
        selection: Arc<Selection>,
        dim: Option<usize>,
    ) -> Result<Self> {
        let mut readers: Vec<Option<Reader>> = layout.vectors.iter().map(|_| None).collect();
        for reader in Reader::open_all(path)? {
            refuse_old(&reader)?;
            let place = layout.vectors.iter().position(|(_, group)| *group == reader.group());
            let is_of_form = reader.assets().has_views() == layout.has_views
                && reader.num_images().is_some() == layout.has_num_images;
            match place.filter(|_| is_of_form) {
                Some(place) => readers[place] = Some(reader),
                None => return Err(of_other_form(&reader, layout)),
            }
        }
        let mut dims: Vec<usize> = readers.iter().flatten().map(Reader::dim).collect();
        dims.dedup();
        let &[own] = &dims[..] else {
            return Err(Error::new(format!("{}: vectors of {dims:?} components", path.display())));
        };
        let dim = dim.unwrap_or(own);
        if dim > own || dim == 0 {
            return Err(Error::new(format!(
                "--dim {dim}: {} has vectors of {own} components",
                path.display()
            ))
            .exit(Exit::Usage));
        }
        Ok(Self { path: path.to_owned(), layout, readers, selection, dim })
    }

    /// The readers of the groups there are.
    pub fn groups(&self) -> impl Iterator<Item = &Reader> {
        self.readers.iter().flatten()
    }

    /// Rows of the file, of all groups together.
    pub fn n_rows(&self) -> u64 {
        self.groups().map(Reader::n_rows).sum()
    }

    /// Rows that the table has at most.
    pub fn rows_max(&self) -> u64 {
        let all = if self.layout.has_views {
            self.n_rows()
        } else {
            // The languages have most assets in common.
            self.groups().map(Reader::n_rows).max().unwrap_or(0)
        };
        let valid = self.selection.valid.as_ref().map(|valid| valid.len() as u64);
        if self.layout.has_views { all } else { valid.map_or(all, |valid| valid.min(all)) }
    }

    /// The most rows that an asset has.
    ///
    /// # Errors
    /// A failed read.
    pub fn views_max(&self) -> Result<u64> {
        let rows =
            |entry: Entry| entry.rows.iter().flatten().map(|rows| rows.end - rows.start).max().unwrap_or(0);
        self.entries()?.try_fold(1, |most, entry| Ok(rows(entry?).max(most)))
    }

    /// Digest of all that decides what the table holds, and how it is stored.
    ///
    /// # Errors
    /// A failed read.
    pub fn identity(&self, vectors: Vectors) -> Result<String> {
        let mut parts = vec![vectors.to_string(), self.selection.identity()];
        for reader in self.groups() {
            parts.push(format!("{} {}", reader.group(), reader.identity()?));
        }
        Ok(Digest::of(parts.join(" ").as_bytes()).to_string())
    }

    /// All entries that are wanted, in order of their ids, in bounded memory.
    ///
    /// # Errors
    /// A failed read, here or in an item.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry>> + Send + use<'_>> {
        let mut groups = Vec::new();
        for reader in &self.readers {
            groups.push(match reader {
                Some(reader) => {
                    let assets: Assets<'_> = Box::new(reader.iter_prefix("")?);
                    Some(assets.peekable())
                }
                None => None,
            });
        }
        let joined = Joined { groups };
        Ok(joined.filter(|entry| entry.as_ref().map_or(true, |entry| self.selection.takes(&entry.asset_id))))
    }
}

type Assets<'a> = Box<dyn Iterator<Item = Result<Asset>> + Send + 'a>;

fn of_other_form(reader: &Reader, layout: &Layout) -> Error {
    let group =
        if reader.group().is_empty() { "no groups".to_owned() } else { format!("'{}'", reader.group()) };
    Error::new(format!(
        "{} does not fit the table {}: it has {group}, {}",
        reader.path().display(),
        layout.name,
        if reader.assets().has_views() { "rows of views" } else { "a row per asset" }
    ))
}

/// The groups' assets, those of one id together.
struct Joined<'a> {
    groups: Vec<Option<Peekable<Assets<'a>>>>,
}

impl Iterator for Joined<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<String> = None;
        for assets in self.groups.iter_mut().flatten() {
            match assets.peek() {
                Some(Ok(asset)) if first.as_ref().is_none_or(|first| asset.id < *first) => {
                    first = Some(asset.id.clone());
                }
                Some(Err(error)) => return Some(Err(error.clone())),
                _ => {}
            }
        }
        let asset_id = first?;
        let of_id = |assets: &mut Option<Peekable<Assets<'_>>>| {
            let next =
                assets.as_mut()?.next_if(|asset| asset.as_ref().is_ok_and(|asset| asset.id == asset_id))?;
            next.ok().map(|asset| asset.rows)
        };
        let rows = self.groups.iter_mut().map(of_id).collect();
        Some(Ok(Entry { asset_id, rows }))
    }
}

/// Entries that several connections share, run by run.
pub struct Runs<I>(Mutex<I>);

impl<I: Iterator<Item = Result<Entry>>> Runs<I> {
    pub fn new(entries: I) -> Self {
        Self(Mutex::new(entries))
    }

    /// The next run; empty at the end.
    ///
    /// # Errors
    /// A failed read.
    pub fn next(&self) -> Result<Vec<Entry>> {
        let mut entries = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut run = Vec::new();
        let mut rows = 0;
        while rows < RUN_ROWS {
            let Some(entry) = entries.next() else { break };
            let entry = entry?;
            rows += entry.rows.iter().flatten().map(|rows| rows.end - rows.start).max().unwrap_or(0).max(1);
            run.push(entry);
        }
        Ok(run)
    }
}

/// What was counted while the rows of a source went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    /// Vectors, by column.
    pub vectors: Vec<u64>,
    /// Rows of the file that have no vector: NULL, or no row at all.
    pub failed: u64,
}

impl Counts {
    pub fn of(layout: &Layout) -> Self {
        Self { rows: 0, vectors: vec![0; layout.vectors.len()], failed: 0 }
    }

    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.vectors.iter_mut().zip(&other.vectors).for_each(|(own, other)| *own += other);
        self.failed += other.failed;
    }

    /// As the table remembers it.
    pub fn mark(&self, source: String) -> Mark {
        Mark { source, rows: self.rows, vectors: self.vectors.clone() }
    }
}
