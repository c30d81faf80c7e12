//! JPEG by libjpeg-turbo, which Pillow uses too: the accurate DCT, smooth upsampling of colour.

mod header;

use std::cell::RefCell;

use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat};

use super::{Rgb, broken, check_size};
use crate::error::ItemError;

/// Guards against files of a few bytes that ask for thousands of passes; real ones have about ten.
const SCANS_MAX: u32 = 500;

/// libjpeg's warnings after which every pixel is still right. All others are about damaged data, which
/// Pillow decodes to something, and which here fail.
const HARMLESS: [&str; 5] = [
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
    "bad ICC marker",
    // Some encoders leave them at zero in files of one scan, where libjpeg does not read them.
    "Invalid SOS parameters for sequential JPEG",
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
    match decompressor.read_header(bytes) {
        Ok(header) => {
            let (picture, is_clean) = decompress(&mut decompressor, &header, bytes)?;
            if is_clean {
                DECOMPRESSOR.set(Some(decompressor));
            }
            Ok(picture)
        }
        // A warning within the header is an error to TurboJPEG, however harmless.
        Err(error) if is_harmless(&error) => {
            decode_plain(&header::plain(bytes).ok_or_else(|| broken(error))?)
        }
        Err(error) => Err(broken(error)),
    }
}

fn decode_plain(bytes: &[u8]) -> Result<Rgb, ItemError> {
    let mut decompressor = fresh().map_err(broken)?;
    let header = decompressor.read_header(bytes).map_err(broken)?;
    decompress(&mut decompressor, &header, bytes).map(|(picture, _)| picture)
}

fn is_harmless(warning: &turbojpeg::Error) -> bool {
    let text = warning.to_string();
    HARMLESS.iter().any(|harmless| text.contains(harmless))
}

fn fresh() -> turbojpeg::Result<Decompressor> {
    let mut decompressor = Decompressor::new()?;
    decompressor.set_scan_limit(SCANS_MAX)?;
    Ok(decompressor)
}

/// The picture, and whether there was not even a harmless warning.
fn decompress(
    decompressor: &mut Decompressor,
    header: &DecompressHeader,
    bytes: &[u8],
) -> Result<(Rgb, bool), ItemError> {
    check_size(header.width as u64, header.height as u64)?;
    let (width, height) = (header.width, header.height);
    let four = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let (format, samples) = if four { (PixelFormat::CMYK, 4) } else { (PixelFormat::RGB, 3) };
    let mut data = vec![0; width * height * samples];
    let image = Image { pixels: data.as_mut_slice(), width, pitch: width * samples, height, format };
    let decompressed = decompressor.decompress(bytes, image);
    let is_clean = decompressed.is_ok();
    if let Err(error) = decompressed {
        if !is_harmless(&error) {
            return Err(broken(error));
        }
        // It is the first warning alone that is told: behind a harmless one the file may have been cut off.
        if !header::has_end(bytes) {
            return Err(broken("the file ends before the picture does"));
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
