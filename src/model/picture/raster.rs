//! Decoded pixels of every layout, to RGB.

use image::ColorType;

use crate::model::Background;

/// Pixels as a decoder leaves them; 16-bit samples in the machine's byte order.
#[derive(Clone)]
pub struct Raster {
    pub data: Vec<u8>,
    pub kind: ColorType,
    pub mode: Mode,
}

/// What Pillow opens the file as, where that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Grey without an alpha channel (it may still name one transparent grey).
    Grey,
    /// Colours with an alpha channel in the file itself, not a palette's or one transparent colour.
    Rgba,
    Other,
}

impl Raster {
    /// RGB by Pillow's rules. `None` for a layout that no decoder here gives.
    pub fn into_rgb(self, background: Background) -> Option<Vec<u8>> {
        let Self { data, kind, mode } = self;
        let narrow = if mode == Mode::Grey { clip } else { high };
        let background = match background {
            Background::Qwen if mode == Mode::Rgba => Background::Colour([255; 3]),
            Background::Qwen => Background::Drop,
            other => other,
        };
        match kind {
            ColorType::Rgb8 => Some(data),
            ColorType::L8 => Some(data.iter().flat_map(|&v| [v; 3]).collect()),
            ColorType::La8 => Some(blend(&data, |p: &[u8; 2]| ([p[0]; 3], p[1]), background)),
            ColorType::Rgba8 => Some(blend(&data, |p: &[u8; 4]| ([p[0], p[1], p[2]], p[3]), background)),
            ColorType::L16 => Some(samples(&data).flat_map(|v| [narrow(v); 3]).collect()),
            ColorType::Rgb16 => Some(samples(&data).map(narrow).collect()),
            ColorType::La16 => {
                // Alpha is 0 or 65,535 where it stands for a transparent grey, so its high byte serves both.
                let narrowed: Vec<u8> = samples(&data)
                    .enumerate()
                    .map(|(i, v)| if i % 2 == 0 { narrow(v) } else { high(v) })
                    .collect();
                Some(blend(&narrowed, |p: &[u8; 2]| ([p[0]; 3], p[1]), background))
            }
            ColorType::Rgba16 => {
                let narrowed: Vec<u8> = samples(&data).map(high).collect();
                Some(blend(&narrowed, |p: &[u8; 4]| ([p[0], p[1], p[2]], p[3]), background))
            }
            _ => None,
        }
    }
}

/// Pillow keeps the high byte of 16-bit samples…
fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// … but reads 16-bit grey into its mode `I;16`, which `convert` clips.
fn clip(sample: u16) -> u8 {
    sample.min(255) as u8
}

fn samples(data: &[u8]) -> impl Iterator<Item = u16> + '_ {
    data.as_chunks().0.iter().map(|pair| u16::from_ne_bytes(*pair))
}

fn blend<const N: usize>(
    data: &[u8],
    split: impl Fn(&[u8; N]) -> ([u8; 3], u8),
    background: Background,
) -> Vec<u8> {
    let pixels = data.as_chunks::<N>().0;
    let mut rgb = vec![0; 3 * pixels.len()];
    for (pixel, target) in pixels.iter().zip(rgb.as_chunks_mut::<3>().0) {
        let (over, alpha) = split(pixel);
        *target = match background {
            Background::Drop | Background::Qwen => over,
            Background::Colour(under) => {
                [mix(under[0], over[0], alpha), mix(under[1], over[1], alpha), mix(under[2], over[2], alpha)]
            }
        };
    }
    rgb
}

/// Pillow's `BLEND` of `Imaging.h`: exact rounding of the division by 255 without dividing.
fn mix(under: u8, over: u8, alpha: u8) -> u8 {
    let sum = u32::from(under) * u32::from(255 - alpha) + u32::from(over) * u32::from(alpha) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(kind: ColorType, mode: Mode, data: &[u8], background: Background) -> Vec<u8> {
        Raster { data: data.to_vec(), kind, mode }.into_rgb(background).expect("a known layout")
    }

    #[test]
    fn alpha_is_dropped_or_mixed() {
        let pixel = [200, 100, 0, 128];
        let (mode, grey_alpha) = (Mode::Rgba, Mode::Other);
        assert_eq!(rgb(ColorType::Rgba8, mode, &pixel, Background::Drop), [200, 100, 0]);
        assert_eq!(rgb(ColorType::Rgba8, mode, &pixel, Background::Colour([255; 3])), [227, 177, 127]);
        assert_eq!(rgb(ColorType::La8, grey_alpha, &[9, 0], Background::Colour([1, 2, 3])), [1, 2, 3]);
        assert_eq!(rgb(ColorType::La8, grey_alpha, &[9, 255], Background::Colour([1, 2, 3])), [9, 9, 9]);
    }

    #[test]
    fn qwen_puts_on_white_what_is_rgba_in_the_file() {
        let pixel = [200, 100, 0, 128];
        assert_eq!(rgb(ColorType::Rgba8, Mode::Rgba, &pixel, Background::Qwen), [227, 177, 127]);
        assert_eq!(rgb(ColorType::Rgba8, Mode::Other, &pixel, Background::Qwen), [200, 100, 0]);
        assert_eq!(rgb(ColorType::La8, Mode::Other, &[9, 0], Background::Qwen), [9, 9, 9]);
    }

    #[test]
    fn sixteen_bits_keep_the_high_byte_but_grey_is_clipped() {
        let bytes: Vec<u8> = [300_u16, 0x1234, 7].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(rgb(ColorType::Rgb16, Mode::Other, &bytes, Background::Drop), [1, 0x12, 0]);
        assert_eq!(
            rgb(ColorType::L16, Mode::Grey, &bytes, Background::Drop),
            [255, 255, 255, 255, 255, 255, 7, 7, 7]
        );
    }

    #[test]
    fn mixing_rounds_to_nearest() {
        for under in 0..=255_u8 {
            for (over, alpha) in [(0, 1), (255, 128), (77, 254), (13, 200)] {
                let exact = f64::from(under) * f64::from(255 - alpha) + f64::from(over) * f64::from(alpha);
                assert_eq!(i32::from(mix(under, over, alpha)), (exact / 255.0).round() as i32);
            }
        }
    }
}
