//! Writes a file of one array in the format of `numpy.save`, version 1.0 (`numpy.lib.format`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Context, Result};
use crate::store::Draft;

/// The header is padded so that the data begins at a multiple of this.
const ALIGN: usize = 64;

/// A float32 array `[rows, columns]` written row by row. It gets its name when it is whole; before
/// that, and if that never happens, nothing has.
pub struct NpyWriter {
    draft: Draft,
    out: BufWriter<File>,
}

impl NpyWriter {
    /// Begins an array of a known shape.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, rows: u64, columns: usize, overwrite: bool) -> Result<Self> {
        let draft = Draft::new(path, overwrite)?;
        let context = || format!("cannot write {}", path.display());
        let mut out = BufWriter::new(File::create_new(draft.temporary()).context(context)?);
        out.write_all(&header(rows, columns)).context(context)?;
        Ok(Self { draft, out })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A failed write, e.g. a full disk.
    pub fn write<'v>(&mut self, row: impl IntoIterator<Item = &'v f32>) -> Result<()> {
        row.into_iter()
            .try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
            .context(|| format!("cannot write {}", self.draft.path().display()))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// A failed write or rename.
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().context(|| format!("cannot write {}", self.draft.path().display()))?;
        self.draft.publish()
    }
}

fn header(rows: u64, columns: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let preamble = b"\x93NUMPY\x01\x00";
    let end = (preamble.len() + 2 + dict.len() + 1).next_multiple_of(ALIGN);
    let length = end - preamble.len() - 2;
    let mut header = preamble.to_vec();
    // At most two ALIGNs: the dictionary holds two integers.
    header.extend((length as u16).to_le_bytes());
    header.extend(dict.bytes());
    header.resize(end - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_begins_where_the_header_says() {
        for (rows, columns) in [(0, 1), (12, 1152), (u64::MAX, usize::MAX)] {
            let header = header(rows, columns);
            assert_eq!(header.len() % ALIGN, 0);
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])) + 10, header.len());
            assert_eq!(header.last(), Some(&b'\n'));
        }
    }
}
