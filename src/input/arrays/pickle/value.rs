//! What lies on the stack while a pickle is followed: as much of each value as is needed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::list::List;
use super::stream::Span;
use crate::input::arrays::elements::{Elements, Order, Run};

/// A value. Those that change after they are made are shared, as in Python.
#[derive(Clone, Debug)]
pub enum Value {
    Mark,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// UTF-8 in the file.
    Text(Span),
    /// Bytes in the file.
    Bytes(Span),
    /// Bytes in the scratch file.
    Unpacked(Span),
    /// Few bytes.
    Raw(Rc<[u8]>),
    /// A string of NumPy's.
    Str(Rc<str>),
    Global(Global),
    Tuple(Rc<Tuple>),
    List(Rc<RefCell<List>>),
    /// The one dictionary.
    Dict,
    Dtype(Rc<Cell<Dtype>>),
    /// None until it is told what is in it.
    Array(Rc<Cell<Option<Array>>>),
}

impl Value {
    /// In words, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mark => "a mark",
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) | Self::Str(_) => "a string",
            Self::Bytes(_) | Self::Unpacked(_) | Self::Raw(_) => "bytes",
            Self::Global(_) => "a class or function",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict => "a dictionary",
            Self::Dtype(_) => "a type of elements",
            Self::Array(_) => "an array",
        }
    }
}

/// A tuple, of what stands in those of arrays: at most a tuple of plain values.
#[derive(Debug)]
pub struct Tuple {
    pub values: Vec<Value>,
    /// Whether there are tuples in it.
    pub is_nested: bool,
}

/// The classes and functions that dictionaries of arrays are built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    Reconstruct,
    Scalar,
    FromBuffer,
    Ndarray,
    Dtype,
    /// Which protocol 2 has bytes with.
    Encode,
    /// Which protocol 2 has empty bytes with.
    Bytes,
    OrderedDict,
}

impl Global {
    /// As Python calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconstruct => "numpy.core.multiarray._reconstruct",
            Self::Scalar => "numpy.core.multiarray.scalar",
            Self::FromBuffer => "numpy.core.numeric._frombuffer",
            Self::Ndarray => "numpy.ndarray",
            Self::Dtype => "numpy.dtype",
            Self::Encode => "_codecs.encode",
            Self::Bytes => "bytes",
            Self::OrderedDict => "collections.OrderedDict",
        }
    }

    /// The one of this name; NumPy 2 has renamed `numpy.core`, Python 3 its builtins.
    pub fn of(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::Ndarray,
            ("numpy", "dtype") => Self::Dtype,
            ("_codecs", "encode") => Self::Encode,
            ("builtins" | "__builtin__", "bytes") => Self::Bytes,
            ("collections", "OrderedDict") => Self::OrderedDict,
            _ => return None,
        })
    }
}

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    Float(Elements),
    /// Text in characters of 4 bytes.
    Wide(Order),
    /// Text in UTF-8.
    Narrow,
}

/// Vectors in a row.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    pub run: Run,
    pub dim: u64,
    /// Whether it has an axis of rows.
    pub has_rows: bool,
}
