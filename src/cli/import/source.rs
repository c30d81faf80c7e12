//! Where the rows of a group come from: arrays of other programs, or HDF5 files of the old pipeline.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::error::{Context, Error, Exit, Result};
use crate::input::Odd;
use crate::input::arrays::{Rows, Vectors};
use crate::plan::{Kind, Table};
use crate::store::{Digest, Picks, Place, Reader, RowWalk};

/// Vectors with ids, which are taken over in the order of the ids.
pub enum Source {
    Arrays(Vectors),
    Old(OldFiles),
}

/// A group of HDF5 files of the old pipeline, which together are one source.
pub struct OldFiles {
    readers: Vec<Reader>,
    table: Table,
    /// Of each asset of the table.
    places: Vec<Place>,
    sha256: Digest,
    bytes: u64,
    /// Of the files as they were opened.
    stamps: Vec<Stamp>,
    /// What is being made, beside which there is room to unpack.
    output: PathBuf,
    nothing: Odd,
}

/// A file's length and time of its last change.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    changed: SystemTime,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let stamp = || {
            let there = path.metadata()?;
            Ok::<_, std::io::Error>((there.len(), there.modified()?))
        };
        let (bytes, changed) = stamp().context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), bytes, changed })
    }
}

/// Whether all of these files are HDF5, by their first bytes.
///
/// # Errors
/// Some are and others are not, or one cannot be read.
pub fn are_hdf5(files: &[PathBuf]) -> Result<bool> {
    let mut n = 0;
    for path in files {
        let mut head = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read(&mut head));
        n += usize::from(
            read.context(|| format!("cannot read {}", path.display()))? == 4 && head == *b"\x89HDF",
        );
    }
    if n > 0 && n < files.len() {
        return Err(Error::new("some of the source files are HDF5 and others are not")
            .hint("import files of one format, and merge what comes out"));
    }
    Ok(n > 0)
}

/// The groups that old files have, by name: English first.
///
/// # Errors
/// A file that does not open, or is of ours; groups or rows that are not those of `kind`.
pub fn open_old(
    files: &[PathBuf],
    output: &Path,
    kind: Kind,
    languages: bool,
) -> Result<Vec<(&'static str, Source)>> {
    let mut all = Vec::new();
    for path in files {
        all.extend(Reader::open_all(path)?);
    }
    let stamps: Vec<Stamp> = files.iter().map(|path| Stamp::of(path)).collect::<Result<_>>()?;
    let (sha256, bytes) = digest(files)?;
    let names: &[&'static str] = if languages { &["english", "chinese"] } else { &[""] };
    let mut groups = Vec::new();
    for &name in names {
        let (readers, others) = all.into_iter().partition(|reader: &Reader| reader.group() == name);
        all = others;
        if !readers.is_empty() {
            let old = OldFiles::new(readers, kind, (sha256, bytes))?;
            let old = OldFiles { output: output.to_owned(), stamps: stamps.clone(), ..old };
            groups.push((name, Source::Old(old)));
        }
    }
    match all.first() {
        None => Ok(groups),
        Some(other) => Err(Error::new(format!(
            "{} has a group '{}', which a file of this kind has not",
            other.path().display(),
            other.group()
        ))
        .hint("is it of another KIND?")),
    }
}

impl OldFiles {
    fn new(readers: Vec<Reader>, kind: Kind, (sha256, bytes): (Digest, u64)) -> Result<Self> {
        for reader in &readers {
            let path = reader.path().display();
            if !reader.is_old() {
                return Err(Error::new(format!("{path} is a file of this program already"))
                    .hint("`hyperslab export` and `merge` make others of it"));
            }
            if reader.assets().has_views() != kind.has_row_per_view() {
                let what =
                    if reader.assets().has_views() { "a row for each view" } else { "one row an asset" };
                return Err(Error::new(format!("{path} has {what}"))
                    .hint("is it of another KIND?")
                    .exit(Exit::Usage));
            }
        }
        if let [first, others @ ..] = &readers[..]
            && let Some(other) = others.iter().find(|other| other.dim() != first.dim())
        {
            let (one, two) = (first.path().display(), other.path().display());
            return Err(Error::new(format!(
                "{one} has vectors of {} components, {two} of {}",
                first.dim(),
                other.dim()
            ))
            .hint("the vectors of one file are all of one model"));
        }
        let (table, places) = Picks::all_of(&readers.iter().collect::<Vec<_>>())?.finish();
        let (stamps, output, nothing) = (Vec::new(), PathBuf::new(), Odd::default());
        Ok(Self { readers, table, places, sha256, bytes, stamps, output, nothing })
    }
}

impl Source {
    /// Assets sorted by id, with their rows.
    pub fn table(&self) -> &Table {
        match self {
            Self::Arrays(vectors) => vectors.table(),
            Self::Old(old) => &old.table,
        }
    }

    pub fn dim(&self) -> usize {
        match self {
            Self::Arrays(vectors) => vectors.dim(),
            Self::Old(old) => old.readers.first().map_or(0, Reader::dim),
        }
    }

    /// In words.
    pub fn format(&self) -> &'static str {
        match self {
            Self::Arrays(vectors) => vectors.format().name(),
            Self::Old(_) => "the old pipeline's HDF5",
        }
    }

    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Arrays(vectors) => vectors.paths().map(PathBuf::as_path).collect(),
            Self::Old(old) => old.readers.iter().map(Reader::path).collect(),
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Arrays(vectors) => vectors.bytes(),
            Self::Old(old) => old.bytes,
        }
    }

    /// Of the files, one after the other.
    pub fn sha256(&self) -> Digest {
        match self {
            Self::Arrays(vectors) => Digest(vectors.sha256()),
            Self::Old(old) => old.sha256,
        }
    }

    /// Assets without rows, which are left out.
    pub fn left_out(&self) -> &Odd {
        match self {
            Self::Arrays(vectors) => vectors.left_out(),
            Self::Old(old) => &old.nothing,
        }
    }

    /// Rows that no asset has.
    pub fn unclaimed(&self) -> u64 {
        match self {
            Self::Arrays(vectors) => vectors.unclaimed(),
            Self::Old(old) => old.readers.iter().map(Reader::n_rows).sum::<u64>() - rows_of(&old.places),
        }
    }

    /// # Errors
    /// A file is another than the one that was opened.
    pub fn refuse_changed(&self) -> Result<()> {
        match self {
            Self::Arrays(vectors) => vectors.refuse_changed(),
            Self::Old(old) => old.stamps.iter().try_for_each(|stamp| {
                if Stamp::of(&stamp.path)? == *stamp {
                    return Ok(());
                }
                Err(Error::new(format!("{} has changed while it was read", stamp.path.display()))
                    .hint("import it once nothing writes to it any more"))
            }),
        }
    }

    /// All rows, in the order of the table.
    ///
    /// # Errors
    /// An old file cannot be unpacked.
    pub fn rows(&self) -> Result<SourceRows<'_>> {
        Ok(match self {
            Self::Arrays(vectors) => SourceRows::Arrays(vectors.rows()),
            Self::Old(old) => {
                let walks = old.readers.iter().map(|reader| RowWalk::new(reader, &old.output));
                SourceRows::Old { walks: walks.collect::<Result<_>>()?, places: &old.places, row: 0 }
            }
        })
    }
}

fn rows_of(places: &[Place]) -> u64 {
    places.iter().map(|(_, _, count)| u64::from(*count)).sum()
}

/// Goes through the rows of a source.
pub enum SourceRows<'a> {
    Arrays(Rows<'a>),
    Old {
        walks: Vec<RowWalk<'a>>,
        /// Those that are still to come; of the first one, from this row on.
        places: &'a [Place],
        row: u32,
    },
}

impl SourceRows<'_> {
    /// The next row comes to stand in `out`, which is emptied before; false after the last one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next(&mut self, out: &mut Vec<f64>) -> Result<bool> {
        match self {
            Self::Arrays(rows) => rows.next(out),
            Self::Old { walks, places, row } => {
                out.clear();
                let Some(((source, start, count), after)) = places.split_first() else { return Ok(false) };
                let Some(walk) = walks.get_mut(*source as usize) else { return Ok(false) };
                out.extend(walk.stored(start + u64::from(*row))?.iter().map(|value| f64::from(*value)));
                *row += 1;
                if row == count {
                    (*places, *row) = (after, 0);
                }
                Ok(true)
            }
        }
    }
}

/// SHA-256 and length of files, one after the other.
fn digest(files: &[PathBuf]) -> Result<(Digest, u64)> {
    let (mut sha256, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; 1 << 20];
    for path in files {
        let what = || format!("cannot read {}", path.display());
        let mut file = File::open(path).context(what)?;
        loop {
            let n = file.read(&mut piece).context(what)?;
            if n == 0 {
                break;
            }
            sha256.update(&piece[..n]);
            bytes += n as u64;
        }
    }
    Ok((Digest(sha256.finalize().into()), bytes))
}
