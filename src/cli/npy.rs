//! Writes a file of one array in the format of `numpy.save`, version 1.0 (`numpy.lib.format`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ndarray::Array2;

use crate::error::{Context, Error, Result};

/// The header is padded so that the data begins at a multiple of this.
const ALIGN: usize = 64;

/// A float32 array `[rows, columns]` written row by row. It gets its name when it is whole; before
/// that, and if that never happens, nothing has.
pub struct NpyWriter {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
}

impl NpyWriter {
    /// Begins an array of a known shape.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, rows: u64, columns: usize) -> Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(Error::new(format!("{} is there and is not a plain file", path.display()))
                .hint("name a file to make, or one to replace"));
        }
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let context = || format!("cannot write {}", path.display());
        let out = BufWriter::new(File::create_new(&temporary).context(context)?);
        let mut writer = Self { path: path.to_owned(), temporary, out };
        writer.out.write_all(&header(rows, columns)).context(context)?;
        Ok(writer)
    }

    /// Appends rows.
    ///
    /// # Errors
    /// A failed write, e.g. a full disk.
    pub fn write(&mut self, rows: &Array2<f32>) -> Result<()> {
        rows.iter()
            .try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
            .context(|| format!("cannot write {}", self.path.display()))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// A failed write or rename.
    pub fn finish(mut self) -> Result<()> {
        let renamed = self.out.flush().and_then(|()| fs::rename(&self.temporary, &self.path));
        renamed.context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for NpyWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing by this name.
        let _ = fs::remove_file(&self.temporary);
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
