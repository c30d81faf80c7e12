//! How NumPy has its arrays, types and numbers pickled.

use std::cell::Cell;
use std::rc::Rc;

use super::machine::text;
use super::stream::{Span, Stream};
use super::value::{Array, Dtype, Global, Value};
use crate::error::{Error, Result};
use crate::input::arrays::elements::{Elements, Order, Run, SCRATCH};
use crate::input::arrays::npy::not_floats;
use crate::input::arrays::npz::decode_text;
use crate::input::arrays::scratch::Scratch;

/// Decoded at once of bytes that protocol 2 has as text.
const PIECE_BYTES: u64 = 1 << 16;
/// A number, or an id in characters of 4 bytes, takes no more; so many bytes are kept in memory.
const SMALL_BYTES_MAX: u64 = 1024;

/// What one of the functions returns that arrays are pickled with.
///
/// # Errors
/// It is called with something else than they are. The scratch file cannot be written.
pub fn call(
    function: Global,
    arguments: &[Value],
    stream: &Stream<'_>,
    scratch: &mut Scratch,
) -> Result<Value> {
    match (function, arguments) {
        (Global::Reconstruct, [Value::Global(Global::Ndarray), ..]) => Ok(Value::Array(Rc::default())),
        (Global::Dtype, [name, ..]) => Ok(Value::Dtype(Rc::new(Cell::new(dtype(&text(name, stream)?)?)))),
        (Global::Scalar, [Value::Dtype(dtype), Value::Bytes(span)]) => {
            scalar(dtype.get(), &stream.read(*span, SMALL_BYTES_MAX)?)
        }
        (Global::Scalar, [Value::Dtype(dtype), Value::Raw(bytes)]) => scalar(dtype.get(), bytes),
        (Global::FromBuffer, [data, Value::Dtype(dtype), Value::Tuple(shape), order]) => {
            let is_fortran = text(order, stream)? == "F";
            let array = array(data, dtype.get(), &shape.values, is_fortran, (stream, scratch))?;
            Ok(Value::Array(Rc::new(Cell::new(Some(array)))))
        }
        (Global::Encode, [Value::Text(span), codec])
            if matches!(&*text(codec, stream)?, "latin1" | "latin-1") =>
        {
            encode(*span, stream, scratch)
        }
        (function, arguments) => {
            Err(Error::new(format!("{} called with {}", function.name(), names(arguments))))
        }
    }
}

/// Tells an array or a type what is in it.
///
/// # Errors
/// The state is not one that NumPy writes, or not of floats. The scratch file cannot be written.
pub fn build(of: &Value, state: &Value, stream: &Stream<'_>, scratch: &mut Scratch) -> Result<()> {
    let Value::Tuple(state) = state else {
        return Err(Error::new(format!("{} with {} for its content", of.name(), state.name())));
    };
    match (of, &state.values[..]) {
        (Value::Array(cell), [Value::Int(_), Value::Tuple(shape), Value::Dtype(dtype), fortran, data]) => {
            let is_fortran = matches!(fortran, Value::Bool(true) | Value::Int(1));
            if cell.get().is_some() {
                return Err(Error::new("an array that is filled twice"));
            }
            cell.set(Some(array(data, dtype.get(), &shape.values, is_fortran, (stream, scratch))?));
        }
        (Value::Dtype(cell), [Value::Int(_), order, ..]) => {
            let sign = text(order, stream)?;
            let order = Order::of(&sign)
                .ok_or_else(|| Error::new(format!("elements in the order '{}'", sign.escape_debug())))?;
            cell.set(match cell.get() {
                Dtype::Float(elements) => Dtype::Float(elements.ordered(order)),
                Dtype::Wide(_) => Dtype::Wide(order),
                Dtype::Narrow => Dtype::Narrow,
            });
        }
        (of, state) => {
            return Err(Error::new(format!("{} with {} for its content", of.name(), names(state))));
        }
    }
    Ok(())
}

fn names(values: &[Value]) -> String {
    if values.is_empty() {
        return "nothing".to_owned();
    }
    values.iter().map(Value::name).collect::<Vec<_>>().join(", ")
}

/// The type of this name, in the order of most machines until it is told another.
fn dtype(name: &str) -> Result<Dtype> {
    let order = Order::Little;
    match (Elements::of(name, order), name.split_at_checked(1)) {
        (Some(elements), _) => Ok(Dtype::Float(elements)),
        (None, Some(("U", _))) => Ok(Dtype::Wide(order)),
        (None, Some(("S", _))) => Ok(Dtype::Narrow),
        _ => Err(not_floats(name)),
    }
}

/// A number or a string of NumPy's.
fn scalar(dtype: Dtype, bytes: &[u8]) -> Result<Value> {
    let decoded = match dtype {
        Dtype::Float(elements) if bytes.len() as u64 == elements.bytes() => {
            let mut numbers = Vec::new();
            elements.decode(bytes, &mut numbers);
            numbers.first().copied().map(Value::Float)
        }
        Dtype::Float(_) => None,
        Dtype::Wide(order) => decode_text(bytes, Some(order)).map(|text| Value::Str(text.into())),
        Dtype::Narrow => decode_text(bytes, None).map(|text| Value::Str(text.into())),
    };
    decoded.ok_or_else(|| Error::new("a number or string of NumPy's whose bytes do not fit its type"))
}

/// The vectors in an array of this shape.
fn array(
    data: &Value,
    dtype: Dtype,
    shape: &[Value],
    is_fortran: bool,
    (stream, scratch): (&Stream<'_>, &mut Scratch),
) -> Result<Array> {
    let axis = |value: &Value| match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    let axes: Option<Vec<u64>> = shape.iter().map(axis).collect();
    let (rows, dim, has_rows) = match axes.as_deref() {
        Some(&[dim]) => (1, dim, false),
        Some(&[rows, dim]) => (rows, dim, true),
        Some(axes) => return Err(Error::new(format!("an array with {} axes, not 1 or 2", axes.len()))),
        None => return Err(Error::new(format!("an array whose shape has {}", names(shape)))),
    };
    let Dtype::Float(elements) = dtype else { return Err(not_floats("text")) };
    if is_fortran && rows > 1 && dim > 1 {
        return Err(Error::new("an array in Fortran's order, column after column")
            .hint("write it anew with numpy.ascontiguousarray"));
    }
    let (file, offset, bytes) = match data {
        Value::Bytes(Span { offset, bytes }) => (stream.file_number(), *offset, *bytes),
        Value::Unpacked(Span { offset, bytes }) => (SCRATCH, *offset, *bytes),
        Value::Raw(raw) => {
            let offset = scratch.end();
            scratch.append(raw)?;
            (SCRATCH, offset, raw.len() as u64)
        }
        Value::List(_) => return Err(not_floats("O")),
        other => return Err(Error::new(format!("an array with {} in it", other.name()))),
    };
    let expected = rows.checked_mul(dim).and_then(|n| n.checked_mul(elements.bytes()));
    let rows = u32::try_from(rows).ok().filter(|_| expected == Some(bytes));
    let rows = rows.ok_or_else(|| Error::new(format!("{bytes} bytes for an array of another size")))?;
    Ok(Array { run: Run { offset, rows, file, elements }, dim, has_rows })
}

/// The bytes that are meant by text, each character one byte.
fn encode(text: Span, stream: &Stream<'_>, scratch: &mut Scratch) -> Result<Value> {
    let start = scratch.end();
    let mut decoded = Vec::new();
    let mut lead = None;
    let mut at = text.offset;
    let end = text.offset + text.bytes;
    while at < end {
        let piece = stream.read(Span { offset: at, bytes: PIECE_BYTES.min(end - at) }, PIECE_BYTES)?;
        at += piece.len() as u64;
        for byte in piece {
            match (lead.take(), byte) {
                (None, 0..=0x7f) => decoded.push(byte),
                (None, 0xc2 | 0xc3) => lead = Some(byte),
                (Some(lead), 0x80..=0xbf) => decoded.push((lead & 3) << 6 | byte & 0x3f),
                _ => return Err(Error::new("text that stands for bytes, with characters that are none")),
            }
        }
        if text.bytes > SMALL_BYTES_MAX {
            scratch.append(&decoded)?;
            decoded.clear();
        }
    }
    if lead.is_some() {
        return Err(Error::new("text that stands for bytes, and ends within a character"));
    }
    if text.bytes > SMALL_BYTES_MAX {
        return Ok(Value::Unpacked(Span { offset: start, bytes: scratch.end() - start }));
    }
    Ok(Value::Raw(decoded.into()))
}
