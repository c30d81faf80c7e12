//! What is odd about an input, yet no error.

use serde::Serialize;

use crate::error::Result;
use crate::plan::bytes::{Reader, put_bytes, put_varint};

/// How many are shown by name.
const SHOWN: usize = 5;

/// One kind of oddity: how often it was met, and the first few by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Odd {
    pub count: u64,
    pub first: Vec<String>,
}

impl Odd {
    pub fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(name.to_owned());
        }
    }

    /// Adds what another rank or thread met.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort_unstable();
        self.first.truncate(SHOWN);
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.count);
        put_varint(out, self.first.len() as u64);
        self.first.iter().for_each(|name| put_bytes(out, name.as_bytes()));
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.varint()?;
        let shown = reader.varint()?;
        let first = (0..shown).map(|_| reader.str().map(str::to_owned)).collect::<Result<_>>()?;
        Ok(Self { count, first })
    }
}
