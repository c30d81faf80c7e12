//! Pickled dictionaries of arrays, protocols 2 to 5. What a pickle says is followed, never executed.
//!
//! The file is gone through twice: once to find out which of its values it refers to again, of millions a few, and
//! once to build the dictionary, keeping those alone. Arrays are passed over; where their bytes lie is noted.

mod list;
mod machine;
mod numpy;
mod op;
mod stream;
mod value;

use std::collections::HashSet;

use super::index::Index;
use super::scratch::Scratch;
use super::source::Source;
use crate::error::{Error, Result};
use {machine::Machine, op::Op, stream::Stream};

/// The protocols that are read.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// One byte at least stands for a number in a list, which takes 8 when it is unpacked.
const UNPACKED_MAX: u64 = 8;

/// Adds the assets of a pickled dictionary.
///
/// # Errors
/// The pickle is damaged, or is no dictionary of vectors; says at which byte. The scratch file cannot be written.
pub fn index(
    source: &Source,
    number: u16,
    per_view: bool,
    index: &mut Index,
    scratch: &mut Scratch,
) -> Result<()> {
    let again = used_again(&mut Stream::new(&source.file, source.bytes, number))?;
    scratch.limit(UNPACKED_MAX * source.bytes);
    let mut stream = Stream::new(&source.file, source.bytes, number);
    let mut machine = Machine::new(per_view, again, index, scratch);
    let mut at = 0;
    let mut run = || -> Result<()> {
        loop {
            at = stream.at();
            let op = stream.next_op()?;
            if op == Op::Stop {
                return machine.finish();
            }
            machine.step(&op, &stream)?;
        }
    };
    let outcome = run();
    scratch.limit(u64::MAX);
    outcome.map_err(|error| Error { message: format!("at byte {at}: {}", error.message), ..error })
}

/// The places of the memo that the pickle fetches something from.
fn used_again(stream: &mut Stream<'_>) -> Result<HashSet<u32>> {
    let mut again = HashSet::new();
    loop {
        let at = stream.at();
        let op = stream.next_op();
        match op.map_err(|error| Error { message: format!("at byte {at}: {}", error.message), ..error })? {
            Op::Get(place) => {
                again.insert(place);
            }
            Op::Stop => break,
            _ => {}
        }
    }
    if stream.at() == stream.bytes() {
        return Ok(again);
    }
    let (end, bytes) = (stream.at(), stream.bytes());
    Err(Error::new(format!("the pickle ends at byte {end} of {bytes}: there is something behind it"))
        .hint("a file with several pickles has to be written anew, with one dictionary"))
}
