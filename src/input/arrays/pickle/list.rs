//! A list of a pickle: of numbers, which are one vector, or of vectors.

use super::value::Array;
use crate::error::{Error, Result};
use crate::input::arrays::elements::{Elements, Run, SCRATCH};
use crate::input::arrays::scratch::Scratch;

/// A list as it grows.
#[derive(Debug, Default)]
pub struct List {
    pub content: Content,
    /// It is in a list or a dictionary, which has taken over what it holds.
    is_used: bool,
}

/// What a list holds.
#[derive(Debug, Default)]
pub enum Content {
    #[default]
    Nothing,
    /// So many numbers, in the scratch file from here on.
    Numbers { start: u64, count: u64 },
    /// Vectors of `dim` components each.
    Vectors { runs: Vec<Run>, dim: u64 },
}

impl List {
    /// Adds a number.
    ///
    /// # Errors
    /// There are vectors in it, or it was used already; the scratch file cannot be written.
    pub fn push_number(&mut self, number: f64, scratch: &mut Scratch) -> Result<()> {
        self.refuse_used()?;
        match &mut self.content {
            Content::Nothing => self.content = Content::Numbers { start: scratch.end(), count: 1 },
            Content::Numbers { start, count } if *start + *count * 8 == scratch.end() => *count += 1,
            Content::Numbers { .. } => return Err(Error::new("two lists of numbers that grow by turns")),
            Content::Vectors { .. } => return Err(Error::new("a list of vectors, and a number among them")),
        }
        scratch.append(&number.to_le_bytes())
    }

    /// Adds a vector.
    ///
    /// # Errors
    /// There are numbers in it, or vectors of another length, or it was used already.
    pub fn push_vector(&mut self, vector: Array) -> Result<()> {
        self.refuse_used()?;
        if vector.run.rows != 1 {
            let rows = vector.run.rows;
            return Err(Error::new(format!("a list of arrays, and one of {rows} rows among them")));
        }
        match &mut self.content {
            Content::Nothing => {
                self.content = Content::Vectors { runs: vec![vector.run], dim: vector.dim };
            }
            Content::Vectors { runs, dim } if *dim == vector.dim => runs.push(vector.run),
            Content::Vectors { dim, .. } => {
                let (dim, found) = (*dim, vector.dim);
                return Err(Error::new(format!("a list of vectors of {dim} components, and one of {found}")));
            }
            Content::Numbers { .. } => return Err(Error::new("a list of numbers, and a vector among them")),
        }
        Ok(())
    }

    /// From now on nothing may be added: the pickle would mean something else than was understood.
    pub fn set_used(&mut self) {
        self.is_used = true;
    }

    /// Where it is one of numbers, these as a vector.
    pub fn vector(&self) -> Option<Array> {
        let Content::Numbers { start, count } = self.content else { return None };
        let run = Run { offset: start, rows: 1, file: SCRATCH, elements: Elements::F64 };
        Some(Array { run, dim: count, has_rows: false })
    }

    fn refuse_used(&self) -> Result<()> {
        if self.is_used { Err(Error::new("a list that grows after it was used")) } else { Ok(()) }
    }
}
