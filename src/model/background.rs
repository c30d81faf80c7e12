//! What becomes of a picture's transparency.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What becomes of transparency (`--background`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    /// Alpha is dropped and the hidden colour shows, as `convert("RGB")` does.
    #[default]
    Drop,
    /// The picture is put over a colour, by the formula of Pillow's `paste` with the alpha as its mask:
    /// (colour x (255 - alpha) + pixel x alpha) / 255, rounded to nearest.
    Colour([u8; 3]),
    /// As Qwen's own utilities have it (`to_rgb` of qwen_vl_utils): what Pillow opens in its mode `RGBA` is put
    /// on white; other transparency (grey with alpha, a palette's, one transparent colour) is dropped.
    Qwen,
}

impl FromStr for Background {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = |at: usize| u8::from_str_radix(digits?.get(at..at + 2)?, 16).ok();
        match (text, byte(0), byte(2), byte(4)) {
            ("drop", ..) => Ok(Self::Drop),
            ("qwen", ..) => Ok(Self::Qwen),
            ("white", ..) => Ok(Self::Colour([255; 3])),
            ("black", ..) => Ok(Self::Colour([0; 3])),
            (_, Some(red), Some(green), Some(blue)) => Ok(Self::Colour([red, green, blue])),
            _ => {
                Err(Error::new(format!("background `{text}`: expected drop, qwen, white, black or #RRGGBB")))
            }
        }
    }
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Qwen => f.write_str("qwen"),
            Self::Colour([red, green, blue]) => write!(f, "#{red:02x}{green:02x}{blue:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backgrounds() {
        assert_eq!("drop".parse(), Ok(Background::Drop));
        assert_eq!("white".parse(), Ok(Background::Colour([255; 3])));
        assert_eq!("qwen".parse(), Ok(Background::Qwen));
        assert_eq!("#0aFf01".parse(), Ok(Background::Colour([10, 255, 1])));
        for wrong in ["", "#12345", "#1234567", "#+12345", "red", "#ééé"] {
            assert!(wrong.parse::<Background>().is_err(), "{wrong}");
        }
        assert_eq!(Background::Colour([10, 255, 1]).to_string(), "#0aff01");
    }
}
