//! Arrays in the format of `numpy.lib.format`, versions 1 to 3.

use std::io::{BufReader, Read};

use super::check_dim;
use super::elements::{Elements, Order, Run};
use super::index::Index;
use super::metadata;
use super::source::Source;
use crate::error::{Context, Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself reads no longer header than 10,000 bytes unasked.
const HEADER_BYTES_MAX: u64 = 1 << 16;
/// Shown of what is not understood.
const SHOWN: usize = 60;

/// What stands before an array's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of an element, as NumPy writes it: `<f4`.
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<u64>,
    /// Where the data begin.
    pub bytes: u64,
}

impl Header {
    /// Reads a header from its first byte on.
    ///
    /// # Errors
    /// It ends too early, is too long, or is none.
    pub fn read(from: &mut dyn Read) -> Result<Self> {
        let mut take = |n: u64, what: &str| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            from.take(n).read_to_end(&mut bytes).context(|| format!("reading {what} of the array"))?;
            if bytes.len() as u64 == n { Ok(bytes) } else { Err(Error::new(format!("it ends in {what}"))) }
        };
        let start = take(8, "the first bytes")?;
        let (Some((MAGIC, version)), wide) = (start.split_first_chunk(), start.get(6) != Some(&1)) else {
            return Err(Error::new("it is no array of NumPy: its first bytes are others"));
        };
        if !matches!(version, [1..=3, 0]) {
            let version = version.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
            return Err(Error::new(format!("version {version} of NumPy's format; 1.0 to 3.0 are read")));
        }
        let width = if wide { 4 } else { 2 };
        let length = take(width, "the length of the header")?;
        let length = length.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
        if length > HEADER_BYTES_MAX {
            return Err(Error::new(format!("a header of {length} bytes; up to {HEADER_BYTES_MAX} are read")));
        }
        let text = take(length, "the header")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Literal(&text)
            .header(8 + width + length)
            .ok_or_else(|| Error::new(format!("a header that is not understood: {}", shown(&text))))
    }

    /// Number of elements.
    ///
    /// # Errors
    /// They are more than can be counted.
    pub fn elements(&self) -> Result<u64> {
        let product = self.shape.iter().try_fold(1_u64, |product, &n| product.checked_mul(n));
        product.ok_or_else(|| Error::new(format!("an array of shape {}, which no file holds", self.shape())))
    }

    /// The shape as Python writes it.
    pub fn shape(&self) -> String {
        match &self.shape[..] {
            [one] => format!("({one},)"),
            all => format!("({})", all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        }
    }

    /// What the elements are, split into order and type.
    pub fn type_of(&self) -> Option<(Order, &str)> {
        let (order, name) = self.descr.split_at_checked(1)?;
        Some((Order::of(order)?, name))
    }

    /// The array as rows of vectors: how many, their length, and the elements.
    ///
    /// # Errors
    /// It has another number of axes, other elements, or its rows are not one after the other.
    pub fn vectors(&self) -> Result<(u64, u64, Elements)> {
        let &[rows, dim] = &self.shape[..] else {
            return Err(Error::new(format!("an array of shape {}, not (rows, components)", self.shape())));
        };
        let elements = self.type_of().and_then(|(order, name)| Elements::of(name, order));
        let elements = elements.ok_or_else(|| not_floats(&self.descr))?;
        if self.fortran_order && rows > 1 && dim > 1 {
            return Err(Error::new(format!(
                "an array of shape {} in Fortran's order, column after column",
                self.shape()
            ))
            .hint("write it anew with numpy.ascontiguousarray"));
        }
        check_dim(dim.max(u64::from(rows == 0)))?;
        self.elements()?
            .checked_mul(elements.bytes())
            .ok_or_else(|| Error::new(format!("an array of shape {}, which no file holds", self.shape())))?;
        Ok((rows, dim, elements))
    }
}

/// Elements that are no floats, by their name.
pub fn not_floats(descr: &str) -> Error {
    let what = match descr.trim_start_matches(['<', '>', '|', '=']) {
        name if name.starts_with('O') => "Python objects, which are not executed".to_owned(),
        _ => format!("elements of type {}", shown(descr)),
    };
    Error::new(format!("an array of {what}; float16, float32 and float64 are read"))
}

fn shown(text: &str) -> String {
    let start: String = text.trim().chars().take(SHOWN).collect();
    format!("'{}'", start.escape_debug())
}

/// What is left of a literal of Python.
struct Literal<'a>(&'a str);

impl Literal<'_> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, in any order.
    fn header(mut self, bytes: u64) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.takes('}') {
            let key = self.string()?;
            self.expect(':')?;
            match key.as_str() {
                "descr" => descr = Some(self.descr()?),
                "fortran_order" => fortran_order = Some(self.boolean()?),
                "shape" => shape = Some(self.shape()?),
                _ => return None,
            }
            if !self.takes(',') {
                self.expect('}')?;
                break;
            }
        }
        let is_end = self.0.trim().is_empty();
        is_end.then_some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape?, bytes })
    }

    fn takes(&mut self, sign: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, sign: char) -> Option<()> {
        self.takes(sign).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        let quote = if self.takes('\'') { '\'' } else { self.takes('"').then_some('"')? };
        let (text, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        (!text.contains('\\')).then(|| text.to_owned())
    }

    /// A name, or a list of fields, of which the text is taken: it is named in an error.
    fn descr(&mut self) -> Option<String> {
        if !self.0.trim_start().starts_with('[') {
            return self.string();
        }
        let (fields, rest) = self.0.split_once(']')?;
        let fields = format!("{}]", fields.trim_start());
        self.0 = rest;
        Some(fields)
    }

    fn boolean(&mut self) -> Option<bool> {
        let text = self.0.trim_start();
        let (rest, value) = match text.strip_prefix("False") {
            Some(rest) => (rest, false),
            None => (text.strip_prefix("True")?, true),
        };
        self.0 = rest;
        Some(value)
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.takes(')') {
            let text = self.0.trim_start();
            let end = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            shape.push(digits.parse().ok()?);
            // Python 2 marked long integers.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.takes(',') {
                self.expect(')')?;
                break;
            }
        }
        Some(shape)
    }
}

/// Adds the rows of a `.npy` file, which its metadata give to assets.
///
/// # Errors
/// The array is damaged or none of vectors; the metadata cannot be read, or say what does not fit the array.
pub fn index(source: &Source, number: u16, per_view: bool, index: &mut Index) -> Result<()> {
    let header = Header::read(&mut BufReader::new(&source.file))?;
    let (rows, dim, elements) = header.vectors()?;
    // `vectors` has checked that this can be counted.
    let expected = header.bytes.saturating_add(rows * dim * elements.bytes());
    if source.bytes != expected {
        return Err(Error::new(format!(
            "{} bytes, where an array of shape {} and '{}' makes {expected}",
            source.bytes,
            header.shape(),
            header.descr
        ))
        .hint("copy it again; if the program that made it was killed, its array is not complete"));
    }
    let Some(path) = &source.metadata else { return Err(Error::new("an array without ids")) };
    let owners = metadata::read(path, per_view)?;
    owners.check(rows, path)?;
    index.add_unclaimed(rows - owners.rows());
    let row_bytes = dim * elements.bytes();
    owners.for_each(|id, start, count| {
        let run = Run { offset: header.bytes + start * row_bytes, rows: count, file: number, elements };
        index.push(number, id, dim, &[run])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, dict: &str) -> Result<Header> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        let length = (dict.len() as u32).to_le_bytes();
        bytes.extend_from_slice(if version == 1 { &length[..2] } else { &length });
        bytes.extend(dict.bytes());
        Header::read(&mut &bytes[..])
    }

    const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n";

    #[test]
    fn headers_of_every_version_are_read() {
        for (version, at) in [(1, 10), (2, 12), (3, 12)] {
            let read = header(version, GOOD).unwrap();
            assert_eq!((&*read.descr, read.fortran_order, &read.shape[..]), ("<f4", false, &[3, 4][..]));
            assert_eq!(read.bytes, at + GOOD.len() as u64);
        }
        let other = "{\"shape\":(7L,),'fortran_order':True,'descr':\"|S5\"}";
        let read = header(1, other).unwrap();
        assert_eq!((&*read.descr, read.fortran_order, &read.shape[..]), ("|S5", true, &[7][..]));
        assert!(header(1, "{'descr': 'f', 'fortran_order': False, 'shape': ()}").unwrap().shape.is_empty());
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let message = |version, dict: &str| header(version, dict).unwrap_err().message;
        assert!(message(4, GOOD).contains("version 4.0"));
        for bad in
            ["", "{", "{'descr': '<f4'}", "{'shape': (3, 4}", "{'shape': (99999999999999999999,)}", "[]"]
        {
            assert!(message(1, bad).contains("not understood"), "{bad}");
        }
        let bytes = [&MAGIC[..], &[2, 0, 255, 255, 255, 255]].concat();
        assert!(Header::read(&mut &bytes[..]).unwrap_err().message.contains("4294967295 bytes"));
        for cut in 0..bytes.len() {
            assert!(Header::read(&mut &bytes[..cut]).is_err());
        }
        assert!(Header::read(&mut &b"PK\x03\x04.........."[..]).unwrap_err().message.contains("no array"));
    }

    #[test]
    fn arrays_that_are_no_vectors_are_refused_by_name() {
        let vectors = |descr: &str, order: &str, shape: &str| {
            let dict = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}");
            header(1, &dict).unwrap().vectors().map_err(|error| error.message)
        };
        let f4 = Elements::of("f4", Order::Little).unwrap();
        assert_eq!(vectors("'<f4'", "False", "(3, 4)"), Ok((3, 4, f4)));
        assert_eq!(vectors("'<f4'", "True", "(1, 4)"), Ok((1, 4, f4)));
        assert_eq!(vectors("'<f4'", "False", "(0, 0)"), Ok((0, 0, f4)));
        for (descr, order, shape, says) in [
            ("'<f4'", "True", "(3, 4)", "Fortran"),
            ("'|O'", "False", "(3, 4)", "Python objects"),
            ("'<i8'", "False", "(3, 4)", "'<i8'"),
            ("'<c8'", "False", "(3, 4)", "'<c8'"),
            ("[('a', '<f4')]", "False", "(3, 4)", "[("),
            ("'<f4'", "False", "(3,)", "shape (3,)"),
            ("'<f4'", "False", "(3, 4, 5)", "shape (3, 4, 5)"),
            ("'<f4'", "False", "(3, 0)", "without components"),
            ("'<f4'", "False", "(3, 1000000)", "1000000 components"),
            ("'<f8'", "False", "(4611686018427387904, 2)", "no file holds"),
            ("'<f8'", "False", "(18446744073709551615, 2)", "no file holds"),
        ] {
            let message = vectors(descr, order, shape).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }
}
