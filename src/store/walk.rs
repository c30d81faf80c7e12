//! The rows of a file one by one, in bounded memory, with all that it says of each.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::digest::Digest;
use super::draft::Draft;
use super::reader::{Reader, values};
use super::schema::StoredType;
use super::table::FailedItem;
use super::writer::NewRow;
use crate::error::{Context, Error, Exit, Result};

/// Blocks that are kept: an asset's rows may lie in two.
const KEPT: usize = 2;

/// Goes through rows, in any order that mostly goes on.
pub struct RowWalk<'a> {
    reader: &'a Reader,
    from: From,
}

enum From {
    /// Blocks of a file of ours, those used last at the end.
    Blocks(Vec<Block>),
    /// All vectors of an old file, as float32 in an unnamed file: its ids are in any order, and its chunks too long to
    /// be inflated for each of their rows.
    Unpacked { file: File, row: Vec<f32> },
}

struct Block {
    rows: Range<u64>,
    values: Vec<f32>,
    failures: Vec<FailedItem>,
    /// Of files of view sets.
    num_images: Vec<i32>,
}

impl<'a> RowWalk<'a> {
    /// Begins a walk. Of an old file the vectors are unpacked first, into an unnamed file beside `output`.
    ///
    /// # Errors
    /// An old file that does not read, or a full disk.
    pub fn new(reader: &'a Reader, output: &Path) -> Result<Self> {
        let from = if reader.is_old() {
            From::Unpacked { file: unpack(reader, output)?, row: Vec::new() }
        } else {
            From::Blocks(Vec::new())
        };
        Ok(Self { reader, from })
    }

    /// A row as it would be written. In an old file a vector that is zero, or not finite, is what it left of an item
    /// that failed.
    ///
    /// # Errors
    /// A row that is not there, a failed read, a block that is not what its digest says.
    pub fn row(&mut self, row: u64) -> Result<NewRow<'_>> {
        if self.reader.is_old() {
            let vector = self.stored(row)?;
            let failure = lost(vector);
            return Ok(NewRow { vector: Some(vector).filter(|_| failure.is_none()), failure, num_images: 0 });
        }
        let From::Blocks(kept) = &mut self.from else { return Ok(NewRow::default()) };
        use_block_of(self.reader, kept, row)?;
        Ok(kept.last().map_or_else(NewRow::default, |block| block.row(row, self.reader.dim())))
    }

    /// A row's values as they stand in the file, whatever they are.
    ///
    /// # Errors
    /// Those of [`row`](Self::row).
    pub fn stored(&mut self, row: u64) -> Result<&[f32]> {
        let dim = self.reader.dim();
        match &mut self.from {
            From::Blocks(kept) => {
                use_block_of(self.reader, kept, row)?;
                Ok(kept.last().map(|block| block.vector(row, dim)).unwrap_or_default())
            }
            From::Unpacked { file, row: values_of_row } => {
                let mut bytes = vec![0; dim * StoredType::F32.size_bytes()];
                let offset = row * bytes.len() as u64;
                file.read_exact_at(&mut bytes, offset)
                    .context(|| format!("row {row} of {}, unpacked", self.reader.path().display()))?;
                *values_of_row = values(&bytes, StoredType::F32);
                Ok(values_of_row)
            }
        }
    }
}

/// Makes the block of a row the last one of those kept.
fn use_block_of(reader: &Reader, kept: &mut Vec<Block>, row: u64) -> Result<()> {
    if row >= reader.n_rows() {
        let path = reader.path().display();
        return Err(Error::new(format!("row {row} asked for of {path}, which has {}", reader.n_rows())));
    }
    let block = match kept.iter().rposition(|block| block.rows.contains(&row)) {
        Some(place) if place + 1 == kept.len() => return Ok(()),
        Some(place) => kept.remove(place),
        None => {
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            read_block(reader, row / reader.block_rows())?
        }
    };
    kept.push(block);
    Ok(())
}

/// Reads a block, which has to be what its digest says: what is made from it gets new digests.
fn read_block(reader: &Reader, index: u64) -> Result<Block> {
    let start = index * reader.block_rows();
    let rows = start..start.saturating_add(reader.block_rows()).min(reader.n_rows());
    let bytes = reader.stored_rows(rows.clone())?;
    if reader.digest_of_block(index)? != Digest::of(&bytes) {
        let path = reader.path().display();
        return Err(Error::new(format!(
            "block {index} (rows {start} to {}) of {path} is damaged",
            rows.end - 1
        ))
        .hint(format!("`hyperslab verify {path}` lists all that is wrong"))
        .exit(Exit::Damaged));
    }
    Ok(Block {
        values: values(&bytes, reader.stored()),
        failures: reader.failures_of(rows.clone())?,
        num_images: reader.num_images().map_or(Ok(Vec::new()), |all| all.of_rows(rows.clone()))?,
        rows,
    })
}

impl Block {
    fn vector(&self, row: u64, dim: usize) -> &[f32] {
        let index = (row - self.rows.start) as usize;
        self.values.get(index * dim..(index + 1) * dim).unwrap_or_default()
    }

    fn row(&self, row: u64, dim: usize) -> NewRow<'_> {
        let listed = self.failures.binary_search_by_key(&row, |failure| failure.row);
        let failure = listed.ok().map(|place| self.failures[place].reason.as_str());
        let num_images = self.num_images.get((row - self.rows.start) as usize).copied();
        let has_vector = num_images.map_or(failure.is_none(), |n| n > 0);
        NewRow {
            vector: Some(self.vector(row, dim)).filter(|_| has_vector),
            failure,
            num_images: num_images.unwrap_or_default(),
        }
    }
}

/// Writes all vectors of a file, in the order of its rows, as float32 into a file beside `output` that has no name any
/// more.
fn unpack(reader: &Reader, output: &Path) -> Result<File> {
    let what = || format!("cannot unpack {} beside {}", reader.path().display(), output.display());
    let name = output.with_extension("unpacked");
    let draft = Draft::new(&name, true)?;
    let file =
        File::options().read(true).write(true).create_new(true).open(draft.temporary()).context(what)?;
    // Its room is given back however this ends.
    drop(draft);
    let mut out = BufWriter::new(&file);
    let step = reader.block_rows();
    for start in (0..reader.n_rows()).step_by(step as usize) {
        let rows = start..start.saturating_add(step).min(reader.n_rows());
        let written = reader.rows(rows)?.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
        written.context(what)?;
    }
    out.flush().context(what)?;
    drop(out);
    Ok(file)
}

/// Why a vector of the old pipeline is none, if it is none.
pub fn lost(vector: &[f32]) -> Option<&'static str> {
    if vector.iter().all(|value| *value == 0.0) {
        Some("zero vector in the source")
    } else if vector.iter().any(|value| !value.is_finite()) {
        Some("vector not finite in the source")
    } else {
        None
    }
}
