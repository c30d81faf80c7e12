//! One tower of a model behind the contract of the job, for towers whose items all have one shape.

use ndarray::Array2;
use tch::{TchError, Tensor};

use super::layers::{Computed, Stages, normalise, to_array};
use super::weights::torch;
use super::{Embedder, Prepared};
use crate::error::{Error, Result};

/// A model's tower on its device.
pub trait Tower: Send {
    /// Length of a vector.
    fn dim(&self) -> usize;

    /// Vectors (B, dim), not normalised, of what was prepared for this tower.
    ///
    /// # Errors
    /// What libtorch reports.
    fn forward(&self, items: &[&Prepared], stages: &mut Stages<'_>) -> Computed;
}

/// A tower that embeds batches.
pub struct TowerEmbedder<T> {
    tower: T,
    /// What a slot without an item is computed from.
    padding: Prepared,
}

impl<T: Tower> TowerEmbedder<T> {
    pub fn new(tower: T, padding: Prepared) -> Self {
        Self { tower, padding }
    }

    /// As [`Embedder::embed`], showing every stage on the way.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_observed(&self, slots: &[Option<Prepared>], stages: &mut Stages<'_>) -> Result<Array2<f32>> {
        if slots.is_empty() {
            return Ok(Array2::zeros((0, self.tower.dim())));
        }
        let items: Vec<&Prepared> = slots.iter().map(|slot| slot.as_ref().unwrap_or(&self.padding)).collect();
        let _no_grad = tch::no_grad_guard();
        let rows = self.tower.forward(&items, stages).and_then(|rows| normalise(&rows));
        to_array(&rows.map_err(|error| failed(slots.len(), &error))?)
    }
}

impl<T: Tower> Embedder for TowerEmbedder<T> {
    fn dim(&self) -> usize {
        self.tower.dim()
    }

    fn embed(&mut self, slots: &[Option<Prepared>]) -> Result<Array2<f32>> {
        self.embed_observed(slots, &mut |_, _| {})
    }
}

/// The tensor at `place` of every item, stacked (B, …).
///
/// # Errors
/// Items of another tower, or what libtorch reports.
pub fn stack(items: &[&Prepared], place: usize) -> Computed {
    let tensors: Option<Vec<&Tensor>> = items.iter().map(|item| item.0.get(place)).collect();
    let tensors = tensors.ok_or_else(|| TchError::Shape("an item prepared for another tower".to_owned()))?;
    Tensor::f_stack(&tensors, 0)
}

/// What libtorch said of a batch of so many items, with the setting that mends it.
fn failed(batch: usize, error: &TchError) -> Error {
    let error = torch(&format!("embedding a batch of {batch}"), error);
    if error.message.contains("out of memory") && batch > 1 {
        // The batch size decides bits, so a run cannot go on with another.
        return error.hint(format!("start again with --overwrite --batch-size {}", batch / 2));
    }
    error
}
