//! How large a picture becomes: transformers' `get_image_size_for_max_num_patches`, in the same arithmetic.

/// Where the search ends.
const EPS: f64 = 1e-5;
/// The largest scale that is tried.
const SCALE_MAX: f64 = 100.0;

/// Height and width of a picture's grid of patches: as many as fit into `max_num_patches` with about its
/// aspect, each side rounded up to whole patches. `None` where even one row or column of patches at the
/// smallest scale is too many.
pub fn target(
    height: usize,
    width: usize,
    patch_size: usize,
    max_num_patches: usize,
) -> Option<(usize, usize)> {
    let patches = |scale: f64| [height, width].map(|side| patches_along(side, scale, patch_size));
    let fits = |[rows, columns]: [f64; 2]| rows * columns <= max_num_patches as f64;
    let (mut low, mut high) = (EPS / 10.0, SCALE_MAX);
    while high - low >= EPS {
        let scale = f64::midpoint(low, high);
        *(if fits(patches(scale)) { &mut low } else { &mut high }) = scale;
    }
    let found = patches(low);
    fits(found).then(|| found.map(|side| side as usize).into())
}

/// Patches along a side of so many pixels, at least one.
fn patches_along(side: usize, scale: f64, patch_size: usize) -> f64 {
    (side as f64 * scale / patch_size as f64).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // `tests/reference` compares many more with the reference.
    #[test]
    fn a_grid_has_about_the_aspect_of_the_picture() {
        assert_eq!(target(512, 512, 16, 256), Some((16, 16)));
        assert_eq!(target(100, 1000, 16, 256), Some((5, 50)));
        assert_eq!(target(1, 1, 16, 256), Some((7, 7)), "the scale ends at 100");
        assert_eq!(target(1, 170_000_000, 16, 8), None, "11 patches at the smallest scale");
    }
}
