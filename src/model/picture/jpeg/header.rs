//! What stands before the picture in a JPEG file, without what libjpeg warns of and reads all the same.

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP14: u8 = 0xee;

/// Where the number of components stands in the data of a frame's header: behind precision, height and width.
const FRAME_COMPONENTS: usize = 5;
/// Where the colour transform stands in Adobe's data: behind the name, a version and two words of flags.
const ADOBE_TRANSFORM: usize = 11;

/// The same picture behind a header that libjpeg does not warn of: only the segments that decide pixels, no
/// bytes between them, a known revision of JFIF, and the colour transform that libjpeg takes for an unknown one.
/// `None` where the header cannot be followed.
pub fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(&[0xff, SOI])?;
    let mut plain = vec![0xff, SOI];
    let mut adobe = None;
    let mut components = 0;
    loop {
        let (marker, data, behind) = segment(rest)?;
        if marker == SOS {
            plain.extend_from_slice(&rest[rest.len() - behind.len() - data.len() - 4..]);
            break;
        }
        let from = plain.len();
        if is_needed(marker, data) {
            plain.extend_from_slice(&[0xff, marker]);
            plain.extend_from_slice(&u16::try_from(data.len() + 2).ok()?.to_be_bytes());
            plain.extend_from_slice(data);
        }
        match marker {
            APP0 if data.starts_with(b"JFIF\0") && data.len() > 5 => plain[from + 4 + 5] = 1,
            APP14 if data.len() > ADOBE_TRANSFORM => adobe = Some(from + 4 + ADOBE_TRANSFORM),
            marker if is_frame(marker) => components = *data.get(FRAME_COMPONENTS)?,
            _ => {}
        }
        rest = behind;
    }
    // `default_decompress_parms` of jdapimin.c: YCbCr for three components, YCCK for four.
    if let Some(at) = adobe.filter(|&at| plain[at] > 2) {
        plain[at] = if components == 4 { 2 } else { 1 };
    }
    Some(plain)
}

/// Whether the file has the marker of its end, behind the header of its last scan.
pub fn has_end(bytes: &[u8]) -> bool {
    let after = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    after(EOI).is_some_and(|end| after(SOS).is_some_and(|scan| scan < end))
}

/// The next segment, whatever stands before it: its marker, its data, and what is behind it.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))?;
    let (marker, bytes) = bytes[at + 1..].split_first()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let (data, behind) = bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)).checked_sub(2)?)?;
    Some((*marker, data, behind))
}

/// Frames, tables, and the two kinds of application data that decide colours.
fn is_needed(marker: u8, data: &[u8]) -> bool {
    match marker {
        APP0 => data.starts_with(b"JFIF\0"),
        APP14 => data.starts_with(b"Adobe"),
        // Huffman and arithmetic tables, quantisation, restarts.
        marker => is_frame(marker) || matches!(marker, 0xc4 | 0xcc | 0xdb | 0xdd),
    }
}

fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}
