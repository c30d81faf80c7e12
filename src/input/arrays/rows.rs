//! Reading the rows of a source in the order of the ids, a window of them at a time.

use std::os::unix::fs::FileExt;

use super::elements::Run;
use super::index::Vectors;
use crate::error::{Context, Result};

/// Rows that are read together, in the order of the file: that of the ids is another, and a disk would have to
/// seek for each.
const WINDOW_BYTES: u64 = 4 << 20;

/// All rows of a source, one after the other, in the order of the table.
#[derive(Debug)]
pub struct Rows<'a> {
    vectors: &'a Vectors,
    /// The first run that is not in the window yet, and how many of its rows are.
    next_run: usize,
    next_row: u32,
    window: Vec<u8>,
    /// What is in the window, in order.
    pieces: Vec<Piece>,
    /// The piece, and the row of it, that come next.
    piece: usize,
    row: u32,
}

/// A run of rows, or a part of one, and its place in the window.
#[derive(Clone, Copy, Debug)]
struct Piece {
    run: Run,
    at: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(vectors: &'a Vectors) -> Self {
        let (window, pieces) = (Vec::new(), Vec::new());
        Self { vectors, next_run: 0, next_row: 0, window, pieces, piece: 0, row: 0 }
    }

    /// The next row comes to stand in `out`, which is emptied before; false after the last one.
    ///
    /// # Errors
    /// A file cannot be read, or ends before the row.
    pub fn next(&mut self, out: &mut Vec<f64>) -> Result<bool> {
        out.clear();
        if self.piece == self.pieces.len() {
            self.fill()?;
        }
        let Some(piece) = self.pieces.get(self.piece) else { return Ok(false) };
        let bytes = piece.run.row_bytes(self.vectors.dim()) as usize;
        let start = piece.at + self.row as usize * bytes;
        piece.run.elements.decode(self.window.get(start..start + bytes).unwrap_or_default(), out);
        self.row += 1;
        if self.row == piece.run.rows {
            (self.piece, self.row) = (self.piece + 1, 0);
        }
        Ok(true)
    }

    /// Reads the next rows, in the order in which they lie in the files.
    fn fill(&mut self) -> Result<()> {
        self.choose();
        let mut by_place = self.pieces.clone();
        by_place.sort_unstable_by_key(|piece| (piece.run.file, piece.run.offset));
        for piece in by_place {
            let (file, path) = self.vectors.file(piece.run.file)?;
            let bytes = (u64::from(piece.run.rows) * piece.run.row_bytes(self.vectors.dim())) as usize;
            let place = self.window.get_mut(piece.at..piece.at + bytes).unwrap_or_default();
            file.read_exact_at(place, piece.run.offset)
                .context(|| format!("reading '{}' at byte {}", path.display(), piece.run.offset))?;
        }
        Ok(())
    }

    /// Lays out the window: at least one row, while there is one, and else what fits.
    fn choose(&mut self) {
        self.pieces.clear();
        (self.piece, self.row) = (0, 0);
        let (mut bytes, dim) = (0, self.vectors.dim());
        while let Some(run) = self.vectors.runs().get(self.next_run) {
            let row_bytes = run.row_bytes(dim);
            let fit = (WINDOW_BYTES.saturating_sub(bytes) / row_bytes.max(1)) as u32;
            let fit = if self.pieces.is_empty() { fit.max(1) } else { fit };
            let rows = fit.min(run.rows - self.next_row);
            if rows == 0 {
                break;
            }
            let offset = run.offset + u64::from(self.next_row) * row_bytes;
            self.pieces.push(Piece { run: Run { offset, rows, ..*run }, at: bytes as usize });
            bytes += u64::from(rows) * row_bytes;
            self.next_row += rows;
            if self.next_row == run.rows {
                (self.next_run, self.next_row) = (self.next_run + 1, 0);
            }
        }
        self.window.resize(bytes as usize, 0);
    }
}
