//! How large a picture becomes: transformers' `smart_resize`, in the same arithmetic. That of qwen_vl_utils differs
//! for sides of half a factor or less, which it rounds up first.

/// The longest side over the shortest, at most.
const ASPECT_MAX: f64 = 200.0;

/// How many pixels a picture has after it was resized, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelRange {
    pub min: usize,
    pub max: usize,
}

/// Height and width of a picture, both multiples of `factor`, with about its aspect and a number of pixels
/// within the range. `None` where it is longer than 200 times its other side.
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    pixels: PixelRange,
) -> Option<(usize, usize)> {
    let (h, w, f) = (height as f64, width as f64, factor as f64);
    if h.max(w) / h.min(w) > ASPECT_MAX {
        return None;
    }
    // Python rounds halves to even.
    let [rounded_h, rounded_w] = [h, w].map(|side| (side / f).round_ties_even() * f);
    let (found_h, found_w) = if rounded_h * rounded_w > pixels.max as f64 {
        let beta = (h * w / pixels.max as f64).sqrt();
        let shrunk = |side: f64| ((side / beta / f).floor() * f).max(f);
        (shrunk(h), shrunk(w))
    } else if rounded_h * rounded_w < pixels.min as f64 {
        let beta = (pixels.min as f64 / (h * w)).sqrt();
        let grown = |side: f64| (side * beta / f).ceil() * f;
        (grown(h), grown(w))
    } else {
        (rounded_h, rounded_w)
    };
    Some((found_h as usize, found_w as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `tests/reference` compares many more with the reference.
    #[test]
    fn sides_are_multiples_and_pixels_in_range() {
        let range = PixelRange { min: 4096, max: 1_843_200 };
        let resize = |height, width| smart_resize(height, width, 32, range);
        assert_eq!(resize(512, 512), Some((512, 512)));
        assert_eq!(resize(48, 80), Some((64, 64)), "1.5 and 2.5 round to 2");
        assert_eq!(resize(1, 1), Some((64, 64)));
        assert_eq!(resize(4000, 3000), Some((1536, 1152)));
        assert_eq!((resize(201, 1), resize(200, 1).is_some()), (None, true));
    }
}
