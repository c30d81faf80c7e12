//! The instructions of a pickle, as `pickletools` of Python describes them.

use super::PROTOCOLS;
use super::stream::{Span, Stream};
use crate::error::{Error, Result};

/// One instruction with its argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// What says nothing of the content: protocol, frames.
    Nothing,
    Stop,
    Mark,
    Pop,
    PopMark,
    Dup,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// UTF-8.
    Text(Span),
    Bytes(Span),
    EmptyList,
    Append,
    Appends,
    EmptyTuple,
    /// Of so many values.
    Tuple(usize),
    TupleFromMark,
    EmptyDict,
    SetItem,
    SetItems,
    /// Module and name of a class or function.
    Global(String, String),
    StackGlobal,
    Reduce,
    Build,
    /// An object of a class.
    Object,
    Get(u32),
    Put(u32),
    Memoize,
}

impl Stream<'_> {
    /// The next instruction.
    ///
    /// # Errors
    /// It is not one that dictionaries of arrays need, or the file ends within it.
    pub fn next_op(&mut self) -> Result<Op> {
        let [code] = self.take()?;
        Ok(match code {
            0x80 => self.protocol()?,
            // A frame is only to be read at once.
            0x95 => self.take::<8>().map(|_| Op::Nothing)?,
            // What is behind it is a buffer that must not be changed.
            0x98 => Op::Nothing,
            b'.' => Op::Stop,
            b'(' => Op::Mark,
            b'0' => Op::Pop,
            b'1' => Op::PopMark,
            b'2' => Op::Dup,
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => self.number(code)?,
            b'X' | 0x8c | 0x8d => Op::Text(self.counted(code)?),
            b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => Op::Bytes(self.counted(code)?),
            b']' => Op::EmptyList,
            b'a' => Op::Append,
            b'e' => Op::Appends,
            b')' => Op::EmptyTuple,
            0x85..=0x87 => Op::Tuple(usize::from(code - 0x84)),
            b't' => Op::TupleFromMark,
            b'}' => Op::EmptyDict,
            b's' => Op::SetItem,
            b'u' => Op::SetItems,
            b'c' => Op::Global(self.line()?, self.line()?),
            0x93 => Op::StackGlobal,
            b'R' => Op::Reduce,
            b'b' => Op::Build,
            0x81 | 0x92 => Op::Object,
            b'h' => Op::Get(self.take::<1>()?[0].into()),
            b'j' => Op::Get(u32::from_le_bytes(self.take()?)),
            b'q' => Op::Put(self.take::<1>()?[0].into()),
            b'r' => Op::Put(u32::from_le_bytes(self.take()?)),
            0x94 => Op::Memoize,
            other => return Err(refused(other)),
        })
    }

    fn protocol(&mut self) -> Result<Op> {
        let [protocol] = self.take()?;
        if PROTOCOLS.contains(&protocol) {
            return Ok(Op::Nothing);
        }
        let (first, last) = PROTOCOLS.into_inner();
        Err(Error::new(format!("a pickle of protocol {protocol}; {first} to {last} are read")))
    }

    fn number(&mut self, code: u8) -> Result<Op> {
        Ok(match code {
            b'N' => Op::None,
            0x88 => Op::Bool(true),
            0x89 => Op::Bool(false),
            b'J' => Op::Int(i32::from_le_bytes(self.take()?).into()),
            b'K' => Op::Int(self.take::<1>()?[0].into()),
            b'M' => Op::Int(u16::from_le_bytes(self.take()?).into()),
            0x8a => {
                let [bytes] = self.take()?;
                self.long(bytes.into())?
            }
            0x8b => {
                let bytes = u32::from_le_bytes(self.take()?);
                self.long(bytes.into())?
            }
            _ => Op::Float(f64::from_be_bytes(self.take()?)),
        })
    }

    /// An integer of so many bytes, in two's complement.
    fn long(&mut self, bytes: u64) -> Result<Op> {
        let span = self.span(bytes)?;
        let bytes = self.read(span, 8)?;
        let sign = bytes.last().map_or(0, |&last| if last >= 0x80 { -1 } else { 0 });
        Ok(Op::Int(bytes.iter().rev().fold(sign, |value, &byte| value << 8 | i64::from(byte))))
    }

    /// What stands behind its length, of 1, 4 or 8 bytes.
    fn counted(&mut self, code: u8) -> Result<Span> {
        let bytes = match code {
            b'U' | b'C' | 0x8c => self.take::<1>()?[0].into(),
            b'T' | b'B' | b'X' => u32::from_le_bytes(self.take()?).into(),
            _ => u64::from_le_bytes(self.take()?),
        };
        self.span(bytes)
    }
}

/// Instructions that are known and not followed, and those that are none.
fn refused(code: u8) -> Error {
    let what = match code {
        b'P' | b'Q' => "a reference to what is outside the file, as torch.save makes it",
        0x97 => "a buffer that is outside the file",
        0x82..=0x84 => "a class by number",
        0x8f..=0x91 => "a set",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'l' | b'd' | b'g' | b'p' | b'i' | b'o' => {
            "an instruction of protocol 0 or 1, which is not followed"
        }
        _ => return Error::new(format!("no instruction of a pickle: {code:#04x}")),
    };
    Error::new(what).hint("write it anew as a dictionary of asset ids and NumPy arrays")
}
