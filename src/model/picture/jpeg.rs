//! JPEG by libjpeg-turbo, which Pillow uses too: the accurate DCT, smooth upsampling of colour.

use std::cell::RefCell;

use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

use super::{Rgb, broken, check_size};
use crate::error::ItemError;

/// Guards against files of a few bytes that ask for thousands of passes; real ones have about ten.
const SCANS_MAX: u32 = 500;

/// libjpeg's warnings after which every pixel is still right. All others are about damaged data, which
/// Pillow decodes to something, and which here fail.
const HARMLESS: [&str; 4] = [
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
    "bad ICC marker",
];

thread_local! {
    /// Kept from one sound picture to the next. After anything else it is thrown away: libjpeg-turbo's
    /// state after an error would make good pictures fail.
    static DECOMPRESSOR: RefCell<Option<Decompressor>> = const { RefCell::new(None) };
}

/// Decodes a grey, colour, CMYK or YCCK file.
pub fn decode(bytes: &[u8]) -> Result<Rgb, ItemError> {
    let kept = DECOMPRESSOR.take();
    let mut decompressor = kept.map_or_else(fresh, Ok).map_err(broken)?;
    let (picture, is_clean) = decode_with(&mut decompressor, bytes)?;
    if is_clean {
        DECOMPRESSOR.set(Some(decompressor));
    }
    Ok(picture)
}

fn fresh() -> turbojpeg::Result<Decompressor> {
    let mut decompressor = Decompressor::new()?;
    decompressor.set_scan_limit(SCANS_MAX)?;
    Ok(decompressor)
}

/// The picture, and whether there was not even a harmless warning.
fn decode_with(decompressor: &mut Decompressor, bytes: &[u8]) -> Result<(Rgb, bool), ItemError> {
    let header = decompressor.read_header(bytes).map_err(broken)?;
    check_size(header.width as u64, header.height as u64)?;
    let (width, height) = (header.width, header.height);
    let four = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let (format, samples) = if four { (PixelFormat::CMYK, 4) } else { (PixelFormat::RGB, 3) };
    let mut data = vec![0; width * height * samples];
    let image = Image { pixels: data.as_mut_slice(), width, pitch: width * samples, height, format };
    let decompressed = decompressor.decompress(bytes, image);
    let is_clean = decompressed.is_ok();
    if let Err(error) = decompressed {
        let text = error.to_string();
        if !HARMLESS.iter().any(|warning| text.contains(warning)) {
            return Err(broken(text));
        }
    }
    let data = if four { data.as_chunks().0.iter().copied().flat_map(from_cmyk).collect() } else { data };
    Ok((Rgb { width, height, data }, is_clean))
}

/// Pillow's `cmyk2rgb` of `Convert.c`, on inks stored inverted, as it takes all JPEG files to be.
fn from_cmyk(pixel: [u8; 4]) -> [u8; 3] {
    let [cyan, magenta, yellow, black] = pixel.map(|ink| u32::from(255 - ink));
    let light = 255 - black;
    [cyan, magenta, yellow].map(|ink| {
        let product = ink * light + 128;
        let absorbed = ((product >> 8) + product) >> 8;
        light.saturating_sub(absorbed) as u8
    })
}
