//! One tower of a model behind the contract of the job.

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

    /// The setting that makes a batch smaller than this one, where there is one.
    fn smaller(&self, items: &[&Prepared]) -> Option<String> {
        (items.len() > 1).then(|| format!("--batch-size {}", items.len() / 2))
    }
}

/// A tower that embeds batches.
pub struct TowerEmbedder<T> {
    tower: T,
    /// What a slot without an item is computed from.
    padding: Prepared,
    dim: usize,
}

impl<T: Tower> TowerEmbedder<T> {
    pub fn new(tower: T, padding: Prepared) -> Self {
        let dim = tower.dim();
        Self { tower, padding, dim }
    }

    /// Cuts vectors to their first `dim` components, before they are normalised (Matryoshka representation
    /// learning, Kusupati et al. 2022).
    #[must_use]
    pub fn cut(self, dim: Option<usize>) -> Self {
        Self { dim: dim.unwrap_or(self.dim).min(self.dim), ..self }
    }

    /// As [`Embedder::embed`], showing every stage on the way.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_observed(&self, slots: &[Option<Prepared>], stages: &mut Stages<'_>) -> Result<Array2<f32>> {
        if slots.is_empty() {
            return Ok(Array2::zeros((0, self.dim)));
        }
        let items: Vec<&Prepared> = slots.iter().map(|slot| slot.as_ref().unwrap_or(&self.padding)).collect();
        let _no_grad = tch::no_grad_guard();
        let rows = self.tower.forward(&items, stages);
        let rows = rows.and_then(|rows| normalise(&rows.f_narrow(1, 0, self.dim as i64)?));
        to_array(&rows.map_err(|error| failed(slots.len(), self.tower.smaller(&items), &error))?)
    }
}

impl<T: Tower> Embedder for TowerEmbedder<T> {
    fn dim(&self) -> usize {
        self.dim
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
    Tensor::f_stack(&tensors(items, place)?, 0)
}

/// The tensor at `place` of every item.
///
/// # Errors
/// Items of another tower.
pub fn tensors<'a>(items: &[&'a Prepared], place: usize) -> std::result::Result<Vec<&'a Tensor>, TchError> {
    items.iter().map(|item| item.tensor(place)).collect()
}

/// What libtorch said of a batch of so many items, with the setting that mends it.
fn failed(batch: usize, smaller: Option<String>, error: &TchError) -> Error {
    let error = torch(&format!("embedding a batch of {batch}"), error);
    match smaller {
        // What a batch is decides bits, so a run cannot go on with another.
        // In the words of CUDA's allocator and of the CPU's.
        Some(setting)
            if ["out of memory", "can't allocate memory"]
                .iter()
                .any(|words| error.message.contains(words)) =>
        {
            error.hint(format!("start again with --overwrite {setting}"))
        }
        _ => error,
    }
}
