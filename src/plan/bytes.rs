//! Compact bytes for what ranks send each other and what the spool holds. A [`Reader`] takes hostile
//! bytes: it never panics, and never reserves more memory than there are bytes left.

use crate::error::{Error, Result};

/// Appends `value` in 7-bit groups, the lowest first (LEB128): 1 byte below 128, 10 at most.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length of `bytes` as a varint, then `bytes`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads front to back what the functions above wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(n).ok_or_else(|| too_short(n as u64, self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }

    /// # Errors
    /// Fewer than 8 bytes are left.
    pub fn u64(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// # Errors
    /// Fewer than 4 bytes are left.
    pub fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// # Errors
    /// The bytes end within the number, or it does not fit 64 bits.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            let group = u64::from(byte & 0x7f);
            if group << shift >> shift != group {
                break;
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::new("damaged bytes: a number of more than 64 bits"))
    }

    /// A length as a varint, then as many bytes.
    ///
    /// # Errors
    /// The bytes end before that.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.varint()?;
        let len = usize::try_from(n).map_err(|_| too_short(n, self.rest.len()))?;
        self.take(len)
    }

    /// A length as a varint, then as many bytes of UTF-8.
    ///
    /// # Errors
    /// The bytes end before that, or are not UTF-8.
    pub fn str(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::new("damaged bytes: text that is not UTF-8"))
    }

    /// # Errors
    /// Bytes are left over.
    pub fn finish(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("damaged bytes: {} left over at the end", self.rest.len())))
    }
}

fn too_short(wanted: u64, left: usize) -> Error {
    Error::new(format!("damaged bytes: {wanted} wanted where {left} are left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut out = Vec::new();
        for n in numbers {
            put_varint(&mut out, n);
        }
        put_bytes(&mut out, "青い椅子".as_bytes());
        let mut reader = Reader::new(&out);
        for n in numbers {
            assert_eq!(reader.varint(), Ok(n));
        }
        assert_eq!(reader.str(), Ok("青い椅子"));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn fixed_numbers_are_little_endian() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u64(), Ok(0x0807_0605_0403_0201));
        assert_eq!(reader.u32(), Ok(0x0c0b_0a09));
        assert!(reader.u32().is_err());
    }

    #[test]
    fn hostile_bytes_are_refused() {
        assert!(Reader::new(&[0x80; 10]).varint().is_err(), "never ends");
        assert!(Reader::new(&[0xff; 11]).varint().is_err(), "over 64 bits");
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint().is_err());
        assert!(Reader::new(&[5, 1, 2]).bytes().is_err(), "ends too early");
        assert!(Reader::new(&[2, 0xc3, 0x28]).str().is_err(), "not UTF-8");
        assert!(Reader::new(&[0]).finish().is_err(), "left over");
    }
}
