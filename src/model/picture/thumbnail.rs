//! Small copies of pictures, to look at.

use std::borrow::Cow;

use image::codecs::png::{CompressionType, FilterType as RowFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::{Rgb, broken, decode};
use crate::error::ItemError;
use crate::model::Background;

/// Beyond so many times the size that is wanted, a picture is first averaged down to that: a smooth filter over
/// all of a large picture takes seconds, and shows no difference.
const COARSE: u32 = 4;

/// A PNG of the picture in `bytes`, on white where it is transparent: no wider or higher than `side` pixels, and
/// no larger than it is.
///
/// # Errors
/// As [`super::decode`].
pub fn thumbnail(bytes: &[u8], side: u32) -> Result<Vec<u8>, ItemError> {
    let Rgb { width, height, data } = decode(bytes, Background::Colour([255; 3]))?;
    let size = |side: usize| u32::try_from(side).map_err(broken);
    let (width, height) = (size(width)?, size(height)?);
    let whole = RgbImage::from_raw(width, height, data).ok_or_else(|| broken("pixels that are too few"))?;
    let small = shrink(&whole, fit(width, height, side.max(1)));
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, RowFilter::Adaptive)
        .write_image(small.as_raw(), small.width(), small.height(), ExtendedColorType::Rgb8)
        .map_err(broken)?;
    Ok(png)
}

/// Width and height within a square, the proportions kept: at least a pixel each.
fn fit(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    let scaled = |length: u32| {
        let exact = f64::from(length) * f64::from(side) / f64::from(longer);
        (exact.round() as u32).clamp(1, side)
    };
    (scaled(width), scaled(height))
}

fn shrink(whole: &RgbImage, (width, height): (u32, u32)) -> Cow<'_, RgbImage> {
    if whole.dimensions() == (width, height) {
        return Cow::Borrowed(whole);
    }
    let coarse = (whole.width().min(COARSE * width), whole.height().min(COARSE * height));
    let coarse = if coarse == whole.dimensions() {
        Cow::Borrowed(whole)
    } else {
        Cow::Owned(imageops::thumbnail(whole, coarse.0, coarse.1))
    };
    Cow::Owned(imageops::resize(coarse.as_ref(), width, height, FilterType::CatmullRom))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, pixel: [u8; 4]) -> Vec<u8> {
        let mut png = Vec::new();
        let pixels = pixel.repeat((width * height) as usize);
        PngEncoder::new(&mut png).write_image(&pixels, width, height, ExtendedColorType::Rgba8).unwrap();
        png
    }

    fn small(bytes: &[u8], side: u32) -> Rgb {
        decode(&thumbnail(bytes, side).unwrap(), Background::Drop).unwrap()
    }

    #[test]
    fn a_thumbnail_fits_and_keeps_proportions() {
        for ((width, height), fitted) in [
            ((100, 50), (32, 16)),
            ((50, 100), (16, 32)),
            ((20, 30), (20, 30)),
            ((3000, 2), (32, 1)),
            ((1, 900), (1, 32)),
            ((33, 33), (32, 32)),
        ] {
            let small = small(&png(width, height, [10, 200, 30, 255]), 32);
            assert_eq!((small.width, small.height), fitted, "{width} x {height}");
            let (pixels, _) = small.data.as_chunks::<3>();
            assert!(pixels.iter().all(|pixel| *pixel == [10, 200, 30]), "{width} x {height}: its colour");
        }
    }

    #[test]
    fn transparency_is_white() {
        let clear = small(&png(64, 64, [200, 0, 0, 0]), 16);
        assert!(clear.data.iter().all(|&value| value == 255));
    }

    #[test]
    fn what_is_no_picture_says_so() {
        assert!(thumbnail(b"GIF89a", 16).unwrap_err().detail.contains("not a PNG"));
    }
}
