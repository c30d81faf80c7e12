//! Rows of a source, judged and handed to the writer.

use half::f16;

use super::digest::Contents;
use super::source::Source;
use crate::cli::out::thousands;
use crate::error::{Error, Exit, Result};
use crate::input::arrays::{Judge, NotUnit, Verdict};
use crate::plan::Kind;
use crate::store::{Digest, NewRow, StoredType, Writer};

/// What one group of the output got.
pub struct Taken {
    pub rows: u64,
    zeros: u64,
    not_finite: u64,
    /// Of what is to be in the output.
    pub digest: Digest,
}

impl Taken {
    /// Rows without vector.
    pub fn failed(&self) -> u64 {
        self.zeros + self.not_finite
    }

    /// Why they have none, in words: nothing where none failed.
    pub fn failures(&self) -> String {
        let kinds = [(self.zeros, Verdict::Zero), (self.not_finite, Verdict::NotFinite)];
        let words: Vec<_> = kinds
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, verdict)| format!("{} {}", thousands(n), verdict.failure().unwrap_or_default()))
            .collect();
        if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
    }
}

/// Hands all rows of a source to the writer, in order. `num_images` is said of each row with a vector.
///
/// # Errors
/// A vector is not normalised, and is not to be; a source cannot be read, or the output not written.
pub fn take(
    vectors: &Source,
    kind: Kind,
    (judge, stored, num_images): (Judge, StoredType, i32),
    writer: &mut Writer,
    progress: &dyn Fn(),
) -> Result<Taken> {
    let mut rows = vectors.rows()?;
    let mut contents = Contents::default();
    let mut taken = Taken { rows: 0, zeros: 0, not_finite: 0, digest: Digest::default() };
    let (mut row, mut vector) = (Vec::new(), Vec::new());
    for (id, count) in vectors.table().iter() {
        contents.asset(id);
        for view in 0..count {
            if !rows.next(&mut row)? {
                return Err(Error::new("the source has fewer rows than its table").exit(Exit::Bug));
            }
            let verdict = judge.take(&row, &mut vector).map_err(|NotUnit { norm }| {
                let whose = if kind.has_row_per_view() { format!("{id}#{view}") } else { id.to_owned() };
                Error::new(format!("the vector of '{whose}' has norm {norm:.6}, not 1"))
                    .hint("--normalize divides each vector by its norm")
            })?;
            match verdict {
                Verdict::Vector => contents.row(vector.iter().map(|&value| as_stored(value, stored))),
                Verdict::Zero => taken.zeros += 1,
                Verdict::NotFinite => taken.not_finite += 1,
            }
            let failure = verdict.failure();
            if failure.is_some() {
                contents.row(row.iter().map(|_| f32::NAN));
            }
            let vector = failure.is_none().then_some(&vector[..]);
            let num_images = if vector.is_some() { num_images } else { 0 };
            writer.push(&NewRow { vector, failure, num_images })?;
            taken.rows += 1;
            progress();
        }
    }
    Ok(Taken { digest: contents.finish(), ..taken })
}

fn as_stored(value: f32, stored: StoredType) -> f32 {
    match stored {
        StoredType::F32 => value,
        StoredType::F16 => f16::from_f32(value).to_f32(),
    }
}
