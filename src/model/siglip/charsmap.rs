//! Character normalisation as sentencepiece compiles it into its models.
//!
//! Format, from sentencepiece's `normalizer.cc` and the Darts-clone double array it uses: the size of the
//! trie in bytes (u32), the trie's units (u32 each), then the replacements, each ended by a zero byte.
//! All little-endian. A unit's bits say: 8, that a value hangs here; 31 and 0 to 7, the label; 10 to 30,
//! the offset to the children, in units of 256 where bit 9 is set.
//!
//! The `tokenizers` crate has this too, but applies it to whole grapheme clusters, where sentencepiece
//! takes the longest match at each position.

use crate::error::{Error, Result};

/// A compiled map from character sequences to their replacements.
pub struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    /// `None` for an empty map, which changes nothing.
    ///
    /// # Errors
    /// Bytes that are no such map.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let broken = || Error::new("the tokenizer's character map is broken");
        let (size, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, replacements) = rest.split_at_checked(size).ok_or_else(broken)?;
        let (units, []) = trie.as_chunks() else { return Err(broken()) };
        if units.is_empty() || std::str::from_utf8(replacements).is_err() {
            return Err(broken());
        }
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Ok(Some(Self { units, replacements: replacements.to_vec() }))
    }

    /// The longest sequence at the beginning of `text` that has a replacement: that, and the sequence's
    /// length in bytes.
    pub fn longest_match(&self, text: &str) -> Option<(&str, usize)> {
        let unit = |at: usize| self.units.get(at).copied();
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut at = offset(unit(0)?);
        let mut found = None;
        for (i, byte) in text.bytes().enumerate() {
            at ^= usize::from(byte);
            let Some(node) = unit(at) else { break };
            if node & ((1 << 31) | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(node);
            if node & (1 << 8) != 0 {
                let value = unit(at)? & !(1 << 31);
                found = Some((self.replacement(value as usize)?, i + 1));
            }
        }
        // A match that ends within a character cannot be meant.
        found.filter(|(_, length)| text.is_char_boundary(*length))
    }

    fn replacement(&self, start: usize) -> Option<&str> {
        let rest = self.replacements.get(start..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(rest.get(..end)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_maps_are_refused() {
        assert!(Charsmap::parse(b"").is_ok_and(|map| map.is_none()));
        for bytes in
            [&b"\x01"[..], b"\xff\0\0\0abcd", b"\x03\0\0\0abc", b"\0\0\0\0", b"\x04\0\0\0abcd\xff\xff"]
        {
            assert!(Charsmap::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_map_of_garbage_does_not_loop_or_panic() {
        let mut bytes = vec![64, 0, 0, 0];
        bytes.extend((0..64_u8).map(|i| i.wrapping_mul(37)));
        bytes.extend(b"x\0");
        let map = Charsmap::parse(&bytes).expect("well-formed").expect("not empty");
        for text in ["", "a", "\u{1}\u{2}\u{3}", "日本語"] {
            map.longest_match(text);
        }
    }
}
