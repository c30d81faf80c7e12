//! Many rows at once, wherever they are.

use std::ops::Range;

use ndarray::{Array2, s};

use super::parallel::{cores, in_order};
use super::reader::Reader;
use crate::error::Result;

/// Rows that are read together where there are no chunks.
const TOGETHER: u64 = 64;

/// Chunks that a thread reads before it hands them over.
const CHUNKS_TOGETHER: usize = 16;

/// Some of the wanted rows: those of one run that lie in one chunk.
struct Piece {
    chunk: u64,
    run: usize,
    rows: Range<u64>,
}

impl Reader {
    /// The vectors of an asset, `[rows, dim]`, if it is there: one row, or a row for each of its views. What failed is
    /// NaN.
    ///
    /// # Errors
    /// A failed read, or a record that cannot be right.
    pub fn get(&self, id: &str) -> Result<Option<Array2<f32>>> {
        self.find(id)?.map(|rows| self.rows(rows)).transpose()
    }

    /// The vectors of each of these assets, as [`get`](Self::get) gives them; those that share a chunk are read
    /// together.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn get_each(&self, ids: &[&str]) -> Result<Vec<Option<Array2<f32>>>> {
        let found: Vec<Option<Range<u64>>> = ids.iter().map(|id| self.find(id)).collect::<Result<_>>()?;
        let there: Vec<Range<u64>> = found.iter().flatten().cloned().collect();
        let mut vectors = self.rows_of_each(&there)?.into_iter();
        Ok(found.iter().map(|rows| rows.as_ref().and_then(|_| vectors.next())).collect())
    }

    /// The vectors of each of these runs of rows, `[run.len(), dim]`, read in the order of the file: of each chunk
    /// that holds some of them once, on all cores.
    ///
    /// # Errors
    /// Those of [`rows`](Self::rows).
    pub fn rows_of_each(&self, runs: &[Range<u64>]) -> Result<Vec<Array2<f32>>> {
        let lengths = runs.iter().map(|run| run.end.saturating_sub(run.start) as usize);
        let mut found: Vec<_> = lengths.map(|rows| Array2::zeros((rows, self.dim()))).collect();
        let pieces = self.pieces(runs);
        let chunks: Vec<&[Piece]> = pieces.chunk_by(|one, other| one.chunk == other.chunk).collect();
        let works: Vec<&[&[Piece]]> = chunks.chunks(CHUNKS_TOGETHER).collect();
        let read = |work: u64| -> Result<Vec<Array2<f32>>> {
            works[work as usize].iter().map(|pieces| self.rows(span(pieces))).collect()
        };
        let mut next = 0;
        in_order(works.len() as u64, cores().min(works.len()), read, |rows| {
            for (pieces, rows) in works[next].iter().zip(rows?) {
                hand_out(pieces, &rows, runs, &mut found);
            }
            next += 1;
            Ok(())
        })?;
        Ok(found)
    }

    /// The runs cut at the ends of chunks, in the order of the file.
    fn pieces(&self, runs: &[Range<u64>]) -> Vec<Piece> {
        let chunk_rows = if self.chunk_rows() > 1 { self.chunk_rows() } else { TOGETHER };
        let mut pieces = Vec::new();
        for (run, rows) in runs.iter().enumerate() {
            let mut start = rows.start;
            while start < rows.end {
                let chunk = start / chunk_rows;
                let end = rows.end.min((chunk + 1) * chunk_rows);
                pieces.push(Piece { chunk, run, rows: start..end });
                start = end;
            }
        }
        pieces.sort_unstable_by_key(|piece| (piece.chunk, piece.rows.start));
        pieces
    }
}

/// Copies the rows from the first to the last of some pieces to where they were asked for.
fn hand_out(pieces: &[Piece], rows: &Array2<f32>, runs: &[Range<u64>], found: &mut [Array2<f32>]) {
    let first = span(pieces).start;
    for Piece { run, rows: wanted, .. } in pieces {
        let to = wanted.start - runs[*run].start..wanted.end - runs[*run].start;
        let from = wanted.start - first..wanted.end - first;
        found[*run]
            .slice_mut(s![to.start as usize..to.end as usize, ..])
            .assign(&rows.slice(s![from.start as usize..from.end as usize, ..]));
    }
}

/// From the first to the last row of pieces of one chunk.
fn span(pieces: &[Piece]) -> Range<u64> {
    let start = pieces.iter().map(|piece| piece.rows.start).min().unwrap_or(0);
    start..pieces.iter().map(|piece| piece.rows.end).max().unwrap_or(start)
}
