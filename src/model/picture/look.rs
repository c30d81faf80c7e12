//! What a picture looks like, as far as it matters before it is embedded.

use super::{decode_raster, unknown_colours};
use crate::error::ItemError;
use crate::model::Background;

/// One picture, looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub width: usize,
    pub height: usize,
    /// Its transparency, where it has any.
    pub transparency: Option<Transparency>,
    /// Every pixel is grey.
    pub is_grey: bool,
    /// Every pixel is the same, on white.
    pub is_blank: bool,
}

/// What lies under the transparent part of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transparency {
    /// How much of the picture is transparent, from 0 to 1.
    pub share: f64,
    /// Mean of the colour that is hidden there, which shows where alpha is dropped.
    pub hidden: [u8; 3],
    /// Mean absolute difference between the picture with alpha dropped and on white, over all samples: 0 to
    /// 255.
    pub difference: f64,
}

/// Looks at a PNG, JPEG or WebP file.
///
/// # Errors
/// As [`super::decode`].
pub fn look(bytes: &[u8]) -> Result<Look, ItemError> {
    let decoded = decode_raster(bytes)?;
    let (width, height, raster) = (decoded.width, decoded.height, decoded.raster);
    let has_alpha = raster.kind.has_alpha();
    let on = |background| raster.clone().into_rgb(background).ok_or_else(unknown_colours);
    let dropped = on(Background::Drop)?;
    let (white, transparency) = if has_alpha {
        let white = on(Background::Colour([255; 3]))?;
        let transparency = transparency(&dropped, &white, &on(Background::Colour([0; 3]))?);
        (Some(white), transparency)
    } else {
        (None, None)
    };
    let (pixels, _) = dropped.as_chunks::<3>();
    let (seen, _) = white.as_ref().unwrap_or(&dropped).as_chunks::<3>();
    Ok(Look {
        width,
        height,
        transparency,
        is_grey: pixels.iter().all(|[red, green, blue]| red == green && green == blue),
        is_blank: seen.iter().all(|pixel| Some(pixel) == seen.first()),
    })
}

/// The same picture with alpha dropped, on white and on black: on white a pixel is lighter by 255 less its
/// alpha.
fn transparency(dropped: &[u8], white: &[u8], black: &[u8]) -> Option<Transparency> {
    let (mut clear, mut difference, mut hidden) = (0_u64, 0_u64, [0_u64; 3]);
    for (i, ((&dropped, &white), &black)) in dropped.iter().zip(white).zip(black).enumerate() {
        let through = u64::from(white.saturating_sub(black));
        clear += through;
        hidden[i % 3] += through * u64::from(dropped);
        difference += u64::from(white.abs_diff(dropped));
    }
    let samples = dropped.len().max(1) as f64;
    (clear > 0).then(|| Transparency {
        share: clear as f64 / 255.0 / samples,
        // A third of `clear` is each channel's.
        hidden: hidden.map(|sum| (3 * sum / clear).min(255) as u8),
        difference: difference as f64 / samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_is_what_shows_through() {
        let on = |pixels: &[[u8; 4]], under: u16| -> Vec<u8> {
            let mix = |over: u8, alpha: u8| {
                ((u16::from(over) * u16::from(alpha) + under * u16::from(255 - alpha)) / 255) as u8
            };
            pixels.iter().flat_map(|[r, g, b, a]| [r, g, b].map(|over| mix(*over, *a))).collect()
        };
        let of = |pixels: &[[u8; 4]]| {
            let dropped: Vec<u8> = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
            transparency(&dropped, &on(pixels, 255), &on(pixels, 0))
        };
        assert_eq!(of(&[[9, 8, 7, 255], [1, 2, 3, 255]]), None);
        let half = of(&[[10, 20, 30, 0], [1, 2, 3, 255]]).unwrap();
        assert_eq!((half.share, half.hidden), (0.5, [10, 20, 30]));
        assert!((half.difference - (245.0 + 235.0 + 225.0) / 6.0).abs() < 1e-9);
        let white = of(&[[255, 255, 255, 0], [1, 2, 3, 255]]).unwrap();
        assert_eq!((white.hidden, white.difference), ([255; 3], 0.0));
    }
}
