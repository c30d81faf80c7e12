//! From the bytes of a picture file to RGB, exactly as Pillow's `Image.open(f).convert("RGB")` has it.
//!
//! The format comes from the bytes, not from a name. As in Pillow, EXIF orientation, colour profiles and
//! gamma are ignored, and of an animation the first frame is taken. Nothing is allocated before the size
//! in the header has been checked.

mod jpeg;
mod look;
mod raster;
mod thumbnail;

use std::fmt;
use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, Limits};

use super::Background;
use crate::error::{ItemError, ItemErrorKind};
pub use look::{Look, look};
use raster::{Mode, Raster};
pub use thumbnail::thumbnail;

/// The most pixels a picture may have: where Pillow's `open` refuses a decompression bomb, twice its
/// `MAX_IMAGE_PIXELS`.
pub const PIXELS_MAX: u64 = 178_956_970;

/// Colour types of PNG: without colour and alpha, grey with alpha, and with both.
const PNG_GREY: u8 = 0;
const PNG_GREY_ALPHA: u8 = 4;
const PNG_RGBA: u8 = 6;

/// What may be allocated beside the pixels, for rows and ancillary chunks.
const SLACK_BYTES: u64 = 64 << 20;

/// 8-bit RGB, rows from the top, no padding: `data` is height x width x 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    pub data: Vec<u8>,
}

/// Decodes a PNG, JPEG or WebP file.
///
/// # Errors
/// Bytes that are no such file or end too early ([`ItemErrorKind::BrokenPicture`]), or more than
/// [`PIXELS_MAX`] pixels ([`ItemErrorKind::TooLarge`]).
pub fn decode(bytes: &[u8], background: Background) -> Result<Rgb, ItemError> {
    let decoded = decode_raster(bytes)?;
    let (width, height) = (decoded.width, decoded.height);
    Ok(Rgb { width, height, data: decoded.raster.into_rgb(background).ok_or_else(unknown_colours)? })
}

/// A picture as its decoder leaves it.
struct Decoded {
    width: usize,
    height: usize,
    raster: Raster,
}

fn decode_raster(bytes: &[u8]) -> Result<Decoded, ItemError> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => decode_png(bytes),
        [0xff, 0xd8, 0xff, ..] => {
            let Rgb { width, height, data } = jpeg::decode(bytes)?;
            Ok(Decoded { width, height, raster: Raster { data, kind: ColorType::Rgb8, mode: Mode::Other } })
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => decode_webp(bytes),
        [] => Err(broken("the file is empty")),
        _ => Err(broken("not a PNG, JPEG or WebP file")),
    }
}

fn decode_png(bytes: &[u8]) -> Result<Decoded, ItemError> {
    // The IHDR chunk always comes first: width at 16, height at 20, depth and colour
    // type at 24.
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (Some(width), Some(height), Some(&[depth, colour_type])) =
        (number(16), number(20), bytes.get(24..26).and_then(|both| both.first_chunk()))
    else {
        return Err(broken("the file ends within its header"));
    };
    let pixels = check_size(u64::from(width), u64::from(height))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(SLACK_BYTES + 8 * pixels);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(broken)?;
    let mode = match (colour_type, depth) {
        (PNG_GREY, _) => Mode::Grey,
        // Pillow has no mode for grey with alpha in 16 bits.
        (PNG_RGBA, _) | (PNG_GREY_ALPHA, 16) => Mode::Rgba,
        _ => Mode::Other,
    };
    read(decoder, mode)
}

fn decode_webp(bytes: &[u8]) -> Result<Decoded, ItemError> {
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height))?;
    let mode = if decoder.color_type().has_alpha() { Mode::Rgba } else { Mode::Other };
    read(decoder, mode)
}

fn read(decoder: impl ImageDecoder, mode: Mode) -> Result<Decoded, ItemError> {
    let ((width, height), kind) = (decoder.dimensions(), decoder.color_type());
    let length = usize::try_from(decoder.total_bytes()).map_err(broken)?;
    let mut data = vec![0; length];
    decoder.read_image(&mut data).map_err(broken)?;
    Ok(Decoded { width: width as usize, height: height as usize, raster: Raster { data, kind, mode } })
}

fn unknown_colours() -> ItemError {
    broken("a colour type that is not known")
}

/// The number of pixels, if it is allowed.
fn check_size(width: u64, height: u64) -> Result<u64, ItemError> {
    match width.checked_mul(height) {
        Some(0) => Err(broken("a picture without pixels")),
        Some(pixels) if pixels <= PIXELS_MAX => Ok(pixels),
        _ => Err(ItemError::new(
            ItemErrorKind::TooLarge,
            format!("{width} x {height} pixels, at most {PIXELS_MAX} are read"),
        )),
    }
}

fn broken(detail: impl fmt::Display) -> ItemError {
    ItemError::new(ItemErrorKind::BrokenPicture, detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_picture() {
        for bytes in [&b""[..], b"hello, world", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x04\0\0\0WEBP"]
        {
            let error = decode(bytes, Background::Drop).expect_err("no picture");
            assert_eq!(error.kind, ItemErrorKind::BrokenPicture, "{bytes:?}");
            assert!(!error.detail.is_empty());
        }
    }

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend([0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
        let error = decode(&png, Background::Drop).expect_err("65535 x 65535");
        assert_eq!(error.kind, ItemErrorKind::TooLarge);
        assert!(check_size(PIXELS_MAX, 1).is_ok() && check_size(PIXELS_MAX + 1, 1).is_err());
    }
}
