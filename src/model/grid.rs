//! The grid that a picture of variable size is cut into, and what is computed once for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tch::{TchError, Tensor};

/// Rows and columns of a picture's patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    pub rows: i64,
    pub columns: i64,
}

impl Grid {
    /// How many patches there are.
    pub fn patches(self) -> i64 {
        self.rows * self.columns
    }
}

/// What is kept, in bytes. Pictures of 256 patches have some 500 different grids, of 0.6 MB each at the width
/// of so400m in bf16; most data sets have a few.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// Something that depends on a picture's grid alone, kept once it was computed. Threads may share it.
pub struct PerGrid<T> {
    state: Mutex<State<T>>,
}

/// What can be handed out again and again: another handle to the same values.
pub trait Shallow {
    #[must_use]
    fn shallow(&self) -> Self;
}

impl Shallow for Tensor {
    fn shallow(&self) -> Self {
        self.shallow_clone()
    }
}

struct State<T> {
    kept: HashMap<Grid, T>,
    bytes: usize,
}

impl<T> Default for PerGrid<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { kept: HashMap::new(), bytes: 0 }) }
    }
}

impl<T: Shallow> PerGrid<T> {
    /// What belongs to `grid`: as kept, or made by `make`, which says how many bytes it takes.
    ///
    /// # Errors
    /// What `make` reports.
    pub fn of(&self, grid: Grid, make: impl FnOnce() -> Result<(T, usize), TchError>) -> Result<T, TchError> {
        let lock = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().kept.get(&grid) {
            return Ok(known.shallow());
        }
        // Outside the lock; that two threads may do it at once does no harm.
        let (made, bytes) = make()?;
        let mut state = lock();
        if state.bytes + bytes > KEPT_BYTES_MAX {
            state.kept.clear();
            state.bytes = 0;
        }
        if state.kept.insert(grid, made.shallow()).is_none() {
            state.bytes += bytes;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Shallow for i32 {
        fn shallow(&self) -> Self {
            *self
        }
    }

    #[test]
    fn a_grid_is_computed_once() {
        let cache = PerGrid::default();
        let grid = |rows| Grid { rows, columns: 2 };
        let of = |rows, value| cache.of(grid(rows), || Ok((value, 8))).expect("computed");
        assert_eq!((of(1, 10), of(1, 11), of(2, 12)), (10, 10, 12));
        let failed = cache.of(grid(3), || Err(TchError::Shape("no".into())));
        assert!(failed.is_err());
        assert_eq!(of(3, 13), 13, "what failed is not kept");
        // One more than is kept: the others go.
        assert_eq!(cache.of(grid(4), || Ok((14, KEPT_BYTES_MAX))).expect("computed"), 14);
        assert_eq!(of(1, 15), 15);
    }
}
