//! Where a token stands in time, row and column (M-RoPE): words follow each other in all three at once, the
//! tokens of a picture stand side by side in rows and columns.

use tch::{Kind, TchError, Tensor};

use crate::model::grid::Grid;
use crate::model::layers::Computed;

/// Time, row and column of every token of a sequence, one after the other: (3, T). `image_token` stands where
/// a picture's tokens are, whose `grids` of tokens come in order; a picture moves what follows it on by its
/// longer side.
pub fn places(ids: &[i64], image_token: i64, grids: &[Grid]) -> Vec<i64> {
    let [mut times, mut rows, mut columns] = [(); 3].map(|()| Vec::with_capacity(ids.len()));
    let (mut next, mut at) = (0, 0);
    let mut grids = grids.iter();
    while let Some(&id) = ids.get(at) {
        let picture = if id == image_token { grids.next() } else { None };
        // A word is a picture of one token.
        let grid = picture.copied().unwrap_or(Grid { rows: 1, columns: 1 });
        for index in 0..grid.patches() {
            times.push(next);
            rows.push(next + index / grid.columns);
            columns.push(next + index % grid.columns);
        }
        next += grid.rows.max(grid.columns);
        at += grid.patches() as usize;
    }
    [times, rows, columns].concat()
}

/// Which of time, row and column each pair of a head's components turns with: they take turns, as many of rows
/// and columns as `section` says, time taking the rest.
pub fn interleaved(section: [usize; 3], pairs: i64) -> Vec<i64> {
    let dimension = |pair: i64| {
        let kind = pair % 3;
        let is_within = section.get(kind as usize).is_some_and(|&count| pair < 3 * count as i64);
        if kind > 0 && is_within { kind } else { 0 }
    };
    (0..pairs).map(dimension).collect()
}

/// Places (3, T) of rows of several lengths, padded with zeros, to those of each pair of components (B, 1, T,
/// pairs), one for all heads.
///
/// # Errors
/// What libtorch reports.
pub fn of_pairs(rows: &[&Tensor], dimensions: &Tensor) -> Computed {
    let turned = rows.iter().map(|row| row.f_transpose(0, 1)); // (T, 3)
    let turned = turned.collect::<Result<Vec<_>, TchError>>()?;
    let padded = Tensor::f_pad_sequence(&turned, true, 0.0, "right")?; // (B, T, 3)
    let padded = padded.f_to_device(dimensions.device())?.f_to_kind(Kind::Float)?;
    padded.f_index_select(2, dimensions)?.f_unsqueeze(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_stands_in_rows_and_columns() {
        let grid = Grid { rows: 2, columns: 3 };
        let ids = [7, 9, 9, 9, 9, 9, 9, 7, 7];
        let found = places(&ids, 9, &[grid]);
        let (time, rest) = found.split_at(9);
        let (row, column) = rest.split_at(9);
        assert_eq!(time, [0, 1, 1, 1, 1, 1, 1, 4, 5]);
        assert_eq!(row, [0, 1, 1, 1, 2, 2, 2, 4, 5]);
        assert_eq!(column, [0, 1, 2, 3, 1, 2, 3, 4, 5]);
        assert_eq!(places(&[1, 2], 9, &[]), [0, 1, 0, 1, 0, 1]);
        assert_eq!(places(&[9], 9, &[]), [0, 0, 0], "a token that is written out, not a picture");
    }

    #[test]
    fn pairs_take_turns() {
        // As the reference does for heads of 128 with [24, 20, 20]: time takes the last four too.
        let found = interleaved([24, 20, 20], 64);
        assert_eq!(found[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!(found[57..], [0, 1, 2, 0, 0, 0, 0]);
        assert_eq!(found.iter().filter(|&&dimension| dimension == 0).count(), 24);
        assert_eq!(interleaved([4, 2, 2], 8), [0, 1, 2, 0, 1, 2, 0, 0]);
    }
}
