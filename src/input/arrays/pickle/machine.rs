//! The machine that a pickle is written for, as far as dictionaries of vectors need it.
//!
//! Whatever the pickle says: the stack has a limit, values hold no others but tuples and lists of fixed depth, and
//! there are never more vectors than the file has bytes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::list::{Content, List};
use super::stream::{Span, Stream};
use super::value::{Array, Global, Tuple, Value};
use super::{Op, numpy};
use crate::error::{Error, Result};
use crate::input::arrays::elements::Run;
use crate::input::arrays::index::Index;
use crate::input::arrays::scratch::Scratch;

/// Values that wait on the stack: pickle writes lists and dictionaries in batches of 1,000.
const STACK_MAX: usize = 1 << 14;
/// A name of a class, or an id that is possible, is no longer.
const TEXT_BYTES_MAX: u64 = 256;

/// The state of following one pickle.
pub struct Machine<'a> {
    per_view: bool,
    /// The places of the memo that are fetched from.
    again: HashSet<u32>,
    memo: HashMap<u32, Value>,
    /// How often something was put into the memo.
    puts: u32,
    stack: Vec<Value>,
    has_dict: bool,
    index: &'a mut Index,
    scratch: &'a mut Scratch,
    /// Vectors of all assets so far.
    vectors: u64,
}

impl<'a> Machine<'a> {
    /// For a pickle of whose memo the places `again` are used.
    pub fn new(per_view: bool, again: HashSet<u32>, index: &'a mut Index, scratch: &'a mut Scratch) -> Self {
        let (memo, stack) = (HashMap::new(), Vec::new());
        Self { per_view, again, memo, puts: 0, stack, has_dict: false, index, scratch, vectors: 0 }
    }

    /// Follows one instruction, whose bytes are in `stream`.
    ///
    /// # Errors
    /// It does not fit what is on the stack, or makes what is no dictionary of vectors.
    pub fn step(&mut self, op: &Op, stream: &Stream<'_>) -> Result<()> {
        match op {
            Op::Nothing | Op::Stop => {}
            Op::Pop => drop(self.pop()?),
            Op::PopMark => drop(self.pop_to_mark()?),
            Op::Append => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            Op::Appends => {
                let values = self.pop_to_mark()?;
                self.append(values)?;
            }
            Op::SetItem => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value], stream)?;
            }
            Op::SetItems => {
                let items = self.pop_to_mark()?;
                self.set_items(&items, stream)?;
            }
            Op::Build => {
                let state = self.pop()?;
                let of = self.top()?.clone();
                numpy::build(&of, &state, stream, self.scratch)?;
            }
            // Of a class that is known, or it would have been refused by its name.
            Op::Object => return Err(Error::new("an object of a class, which is not made")),
            Op::Put(place) => self.put(*place)?,
            Op::Memoize => self.put(self.puts)?,
            op => {
                let value = self.made(op, stream)?;
                self.push(value)?;
            }
        }
        Ok(())
    }

    /// The value that an instruction puts on the stack.
    fn made(&mut self, op: &Op, stream: &Stream<'_>) -> Result<Value> {
        Ok(match op {
            Op::Mark => Value::Mark,
            Op::Dup => self.top()?.clone(),
            Op::Bool(value) => Value::Bool(*value),
            Op::Int(value) => Value::Int(*value),
            Op::Float(value) => Value::Float(*value),
            Op::Text(span) => Value::Text(*span),
            Op::Bytes(span) => Value::Bytes(*span),
            Op::EmptyList => Value::List(Rc::new(RefCell::new(List::default()))),
            Op::EmptyTuple => tuple(Vec::new())?,
            Op::Tuple(n) => {
                let from = self.stack.len().checked_sub(*n).ok_or_else(too_few)?;
                tuple(self.stack.split_off(from))?
            }
            Op::TupleFromMark => tuple(self.pop_to_mark()?)?,
            Op::EmptyDict => self.dict()?,
            Op::Global(module, name) => global(module, name)?,
            Op::StackGlobal => {
                let (name, module) = (self.pop()?, self.pop()?);
                global(&text(&module, stream)?, &text(&name, stream)?)?
            }
            Op::Reduce => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.reduce(&function, &arguments, stream)?
            }
            Op::Get(place) => {
                let value = self.memo.get(place).cloned();
                value.ok_or_else(|| Error::new(format!("nothing was put into the memo as number {place}")))?
            }
            _ => Value::None,
        })
    }

    /// The end: the dictionary must be what is left.
    ///
    /// # Errors
    /// Something else is.
    pub fn finish(&mut self) -> Result<()> {
        match &self.stack[..] {
            [Value::Dict] => Ok(()),
            [other] => {
                Err(Error::new(format!("the pickle is {}, not a dictionary of asset ids", other.name())))
            }
            _ => Err(Error::new("the pickle ends before what it builds is complete")),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() >= STACK_MAX {
            return Err(Error::new(format!("over {STACK_MAX} values wait on the stack")));
        }
        self.stack.push(value);
        Ok(())
    }

    fn top(&self) -> Result<&Value> {
        match self.stack.last() {
            Some(Value::Mark) | None => Err(too_few()),
            Some(value) => Ok(value),
        }
    }

    fn pop(&mut self) -> Result<Value> {
        self.top()?;
        self.stack.pop().ok_or_else(too_few)
    }

    /// What lies above the last mark, which goes too.
    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or_else(too_few)?;
        let values = self.stack.split_off(mark + 1);
        self.stack.truncate(mark);
        Ok(values)
    }

    fn put(&mut self, place: u32) -> Result<()> {
        let value = self.top()?;
        if self.again.contains(&place) {
            self.memo.insert(place, value.clone());
        }
        self.puts =
            self.puts.checked_add(1).ok_or_else(|| Error::new("over 4 billion values in the memo"))?;
        Ok(())
    }

    fn dict(&mut self) -> Result<Value> {
        if std::mem::replace(&mut self.has_dict, true) {
            return Err(Error::new(
                "a dictionary in the dictionary; its values must be arrays, or lists of them",
            ));
        }
        Ok(Value::Dict)
    }

    fn reduce(&mut self, function: &Value, arguments: &Value, stream: &Stream<'_>) -> Result<Value> {
        let (Value::Global(function), Value::Tuple(arguments)) = (function, arguments) else {
            let (function, arguments) = (function.name(), arguments.name());
            return Err(Error::new(format!("a call of {function} with {arguments}")));
        };
        match (function, &arguments.values[..]) {
            (Global::OrderedDict, []) => self.dict(),
            (Global::Bytes, []) => Ok(Value::Bytes(Span { offset: 0, bytes: 0 })),
            (function, arguments) => numpy::call(*function, arguments, stream, self.scratch),
        }
    }

    fn append(&mut self, values: Vec<Value>) -> Result<()> {
        let Value::List(list) = self.top()? else {
            return Err(Error::new(format!("something is added to {}, not to a list", self.top()?.name())));
        };
        let list = Rc::clone(list);
        for value in values {
            match value {
                Value::Float(number) => list.borrow_mut().push_number(number, self.scratch)?,
                Value::Int(number) => list.borrow_mut().push_number(number as f64, self.scratch)?,
                Value::Array(array) => list.borrow_mut().push_vector(built(array.get())?)?,
                Value::List(inner) if !Rc::ptr_eq(&inner, &list) => {
                    inner.borrow_mut().set_used();
                    let vector = inner.borrow().vector();
                    let vector =
                        vector.ok_or_else(|| Error::new("a list in a list that holds no numbers"))?;
                    list.borrow_mut().push_vector(vector)?;
                }
                other => return Err(Error::new(format!("a list with {} in it", other.name()))),
            }
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value], stream: &Stream<'_>) -> Result<()> {
        if !matches!(self.top()?, Value::Dict) {
            return Err(Error::new(format!("an item is set in {}, not in a dictionary", self.top()?.name())));
        }
        let (pairs, rest) = items.as_chunks();
        if !rest.is_empty() {
            return Err(Error::new("a key without a value"));
        }
        for [key, value] in pairs {
            let id = text(key, stream)?;
            let of_asset = |error: Error| Error {
                message: format!("asset '{}': {}", id.escape_debug(), error.message),
                ..error
            };
            let (runs, dim) = vectors_of(value, self.per_view).map_err(of_asset)?;
            self.vectors += runs.iter().map(|run| u64::from(run.rows)).sum::<u64>();
            // Each takes some bytes, unless lists are used again and again.
            if self.vectors > stream.bytes() {
                return Err(of_asset(Error::new("more vectors than the file has bytes")));
            }
            self.index.push(stream.file_number(), &id, dim, &runs)?;
        }
        Ok(())
    }
}

fn too_few() -> Error {
    Error::new("the stack holds too little: the pickle is damaged")
}

fn tuple(values: Vec<Value>) -> Result<Value> {
    let is_nested = values.iter().any(|value| matches!(value, Value::Tuple(_)));
    if values.iter().any(|value| matches!(value, Value::Tuple(tuple) if tuple.is_nested)) {
        return Err(Error::new("tuples in tuples in a tuple"));
    }
    Ok(Value::Tuple(Rc::new(Tuple { values, is_nested })))
}

fn global(module: &str, name: &str) -> Result<Value> {
    Global::of(module, name).map(Value::Global).ok_or_else(|| {
        let full = format!("{module}.{name}");
        Error::new(format!("it needs '{}', which is not executed", full.escape_debug()))
            .hint("write it anew as a dictionary of asset ids and NumPy arrays")
    })
}

/// A string: a name, or an asset's id.
pub fn text(value: &Value, stream: &Stream<'_>) -> Result<String> {
    let bytes = match value {
        // Python 2 has its strings as bytes.
        Value::Text(span) | Value::Bytes(span) => stream.read(*span, TEXT_BYTES_MAX)?,
        Value::Raw(bytes) => bytes.to_vec(),
        Value::Str(text) => return Ok(text.to_string()),
        other => return Err(Error::new(format!("{} where a string should be", other.name()))),
    };
    String::from_utf8(bytes).map_err(|_| Error::new("a string that is not UTF-8"))
}

fn built(array: Option<Array>) -> Result<Array> {
    array.ok_or_else(|| Error::new("an array that nothing is in yet"))
}

/// The rows of an asset, and their length.
fn vectors_of(value: &Value, per_view: bool) -> Result<(Vec<Run>, u64)> {
    let (runs, dim, is_one) = match value {
        Value::Array(array) => {
            let array = built(array.get())?;
            (vec![array.run], array.dim, !array.has_rows)
        }
        Value::List(list) => {
            list.borrow_mut().set_used();
            let list = list.borrow();
            match (&list.content, list.vector()) {
                (_, Some(vector)) => (vec![vector.run], vector.dim, true),
                (Content::Vectors { runs, dim }, _) => (runs.clone(), *dim, false),
                _ => (Vec::new(), 0, !per_view),
            }
        }
        other => return Err(Error::new(format!("{}, not an array or a list", other.name()))),
    };
    let rows: u64 = runs.iter().map(|run| u64::from(run.rows)).sum();
    if per_view && is_one {
        return Err(Error::new("one vector, where a list of its views' vectors should be"));
    }
    if !per_view && rows > 1 {
        return Err(Error::new(format!("{rows} vectors, where one should be"))
            .hint("vectors of each asset's views are imported as siglip-image"));
    }
    Ok((runs, dim))
}
