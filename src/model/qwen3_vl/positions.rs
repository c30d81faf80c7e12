//! Where a patch stands in its picture, for the vision tower: a learned table, interpolated to the picture's
//! grid, and rotary positions by row and column. Both in the order in which the patches of a token lie together.

use tch::{Kind, TchError, Tensor};

use super::config::VisionConfig;
use crate::model::grid::{Grid, PerGrid, Shallow};
use crate::model::layers::Computed;
use crate::model::qwen3::rope::{Angles, Rope};

/// Gives each grid its positions, and keeps them.
pub struct Positions {
    /// (side x side, D)
    table: Tensor,
    side: i64,
    merge: i64,
    /// Of half a head, once for rows and once for columns.
    rope: Rope,
    kept: PerGrid<OfGrid>,
}

/// What belongs to the patches (T) of one grid.
pub struct OfGrid {
    /// (T, D), to be added.
    pub learned: Tensor,
    /// (T, D/H) in f32, in which the reference turns heads.
    pub angles: Angles,
}

impl Shallow for OfGrid {
    fn shallow(&self) -> Self {
        let Angles { cos, sin } = &self.angles;
        let angles = Angles { cos: cos.shallow_clone(), sin: sin.shallow_clone() };
        Self { learned: self.learned.shallow_clone(), angles }
    }
}

impl Positions {
    /// From the table (side x side, D).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(table: Tensor, config: &VisionConfig) -> Result<Self, TchError> {
        let rope = Rope::new(config.rope_theta, config.head_dim() / 2, Kind::Float, table.device())?;
        Ok(Self {
            side: config.positions_side as i64,
            merge: config.merge_size as i64,
            table,
            rope,
            kept: PerGrid::default(),
        })
    }

    /// The positions of a picture's patches.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn of(&self, grid: Grid) -> Result<OfGrid, TchError> {
        self.kept.of(grid, || {
            let places = in_order(grid, self.merge);
            let learned = self.interpolate(grid, &places)?;
            let angles = self.angles(&places)?;
            let angle_bytes = 2 * angles.cos.numel() * size_of::<f32>();
            let bytes = learned.numel() * learned.kind().elt_size_in_bytes() + angle_bytes;
            Ok((OfGrid { learned, angles }, bytes))
        })
    }

    /// Bilinear, the corners of the grid on the corners of the table; the sum of four entries in f32.
    fn interpolate(&self, grid: Grid, places: &[(i64, i64)]) -> Computed {
        let mut sum: Option<Tensor> = None;
        for (below, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let tap = |&(row, column): &(i64, i64)| {
                let (row, row_weight) = tap(row, grid.rows, self.side, below);
                let (column, column_weight) = tap(column, grid.columns, self.side, right);
                (row * self.side + column, row_weight * column_weight)
            };
            let (entries, weights): (Vec<i64>, Vec<f32>) = places.iter().map(tap).unzip();
            let entries = Tensor::f_from_slice(&entries)?.f_to_device(self.table.device())?;
            let weights = Tensor::f_from_slice(&weights)?.f_to_device(self.table.device())?.f_unsqueeze(1)?;
            let part = self.table.f_index_select(0, &entries)?.f_to_kind(Kind::Float)?.f_mul(&weights)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| TchError::Shape("no positions".to_owned()))?.f_to_kind(self.table.kind())
    }

    /// The first half of a head's pairs turns with the row, the second with the column.
    fn angles(&self, places: &[(i64, i64)]) -> Result<Angles, TchError> {
        let flat: Vec<i64> = places.iter().flat_map(|&(row, column)| [row, column]).collect();
        let places = Tensor::f_from_slice(&flat)?.f_view([-1, 2, 1])?.f_to_device(self.table.device())?;
        // Of (T, 2, D/2H): what a whole head repeats in its second half stands in the first half here.
        let of_halves = self.rope.at(&places)?;
        let whole = |x: &Tensor| -> Computed {
            let once = x.f_narrow(2, 0, self.rope.pairs())?.f_flatten(1, 2)?; // (T, D/2H)
            Tensor::f_cat(&[&once, &once], -1)
        };
        Ok(Angles { cos: whole(&of_halves.cos)?, sin: whole(&of_halves.sin)? })
    }
}

/// Row and column of each patch, in the order of tokens and of the patches within them.
fn in_order(grid: Grid, merge: i64) -> Vec<(i64, i64)> {
    let mut places = Vec::with_capacity(grid.patches() as usize);
    for row in (0..grid.rows).step_by(merge as usize) {
        for column in (0..grid.columns).step_by(merge as usize) {
            for inner in 0..merge * merge {
                places.push((row + inner / merge, column + inner % merge));
            }
        }
    }
    places
}

/// One of the two entries of the table that a place of `size` falls between, and its weight: in f32, in the
/// arithmetic of transformers' `get_vision_interpolation_indices_and_weights`.
fn tap(place: i64, size: i64, side: i64, offset: i64) -> (i64, f32) {
    let exact = place as f32 * (side - 1) as f32 / (size - 1).max(1) as f32;
    let entry = exact.floor() as i64 + offset;
    let distance = (exact - exact.floor() - offset as f32).abs();
    (entry.clamp(0, side - 1), (1.0 - distance).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patches_of_a_token_lie_together() {
        let found = in_order(Grid { rows: 2, columns: 4 }, 2);
        assert_eq!(found, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]);
    }

    #[test]
    fn corners_fall_on_corners() {
        assert_eq!((tap(0, 5, 48, 0), tap(4, 5, 48, 0)), ((0, 1.0), (47, 1.0)));
        assert_eq!((tap(1, 3, 4, 0), tap(1, 3, 4, 1)), ((1, 0.5), (2, 0.5)));
        assert_eq!(tap(4, 5, 48, 1), (47, 0.0), "nothing lies beyond");
        assert_eq!(tap(0, 1, 48, 0), (0, 1.0));
    }
}
