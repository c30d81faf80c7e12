//! How much of a device's memory a model and a batch take: an estimate, from the config alone.

use super::{Description, Modality};

/// What libtorch and CUDA keep for themselves: context, workspaces of products.
const CONTEXT_BYTES: u64 = 1 << 30;
/// The allocator's blocks are larger than what is asked of it.
const SLACK: f64 = 1.3;
/// This much of a device is meant to be filled.
const SHARE: f64 = 0.85;
/// A device is busy with this many tokens; more would make a batch's memory larger and nothing faster.
pub const TOKENS_MAX: usize = 1 << 15;
const TOKENS_MIN: usize = 1 << 11;
/// Where the driver tells nothing: 2 GB beside a model of 2B.
const TOKENS_ON_UNKNOWN: usize = 1 << 13;
/// On a CPU a batch is to stay near its caches.
const TOKENS_ON_CPU: usize = 1 << 11;

/// Numbers that are in memory at once for each token of a batch, where a forward pass has most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub values_per_token: usize,
    /// Tokens of an item; `None` where items have lengths of their own.
    pub tokens_per_item: Option<usize>,
}

/// A layer of attention and an MLP, by the sizes of what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub hidden_size: usize,
    /// Queries, keys and values together.
    pub attention_size: usize,
    /// What stands between the products of the MLP, all of it.
    pub mlp_size: usize,
}

impl Layer {
    /// Numbers per token: the state, the same normalised, and either attention's parts twice (before and after
    /// they are turned) or the MLP's with its result.
    pub fn values_per_token(self) -> usize {
        let attention = 2 * self.attention_size;
        let mlp = self.mlp_size + self.hidden_size;
        2 * self.hidden_size + attention.max(mlp)
    }
}

/// Bytes that a model of so many parameters and a batch of so many tokens take.
pub fn bytes(parameters: u64, work: Work, tokens: usize, value_bytes: usize) -> (u64, u64) {
    let batch = work.values_per_token as f64 * value_bytes as f64 * tokens as f64 * SLACK;
    (parameters * value_bytes as u64, batch as u64 + CONTEXT_BYTES)
}

/// What is known of the device that a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMemory {
    Cpu,
    /// A GPU, or this rank's share of one.
    Gpu(u64),
    /// A GPU of which the driver tells nothing.
    UnknownGpu,
}

/// The most tokens of a batch where nothing is asked for: a power of two, of what the device holds beside the
/// model.
pub fn default_tokens(
    description: &Description,
    modality: Modality,
    parameters: u64,
    value_bytes: usize,
    device: DeviceMemory,
) -> usize {
    let memory = match device {
        DeviceMemory::Cpu => return TOKENS_ON_CPU,
        DeviceMemory::UnknownGpu => return TOKENS_ON_UNKNOWN,
        DeviceMemory::Gpu(memory) => memory,
    };
    let Some(work) = description.work(modality) else { return TOKENS_ON_UNKNOWN };
    let (weights, context) = bytes(parameters, work, 0, value_bytes);
    let left = (memory as f64 * SHARE) as u64;
    let left = left.saturating_sub(weights + context) as f64;
    let fit = left / SLACK / (work.values_per_token * value_bytes).max(1) as f64;
    let fit = (fit as usize).clamp(TOKENS_MIN, TOKENS_MAX);
    1 << fit.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    /// About Qwen3-VL-Embedding-8B.
    fn large() -> Description {
        let layer = Layer { hidden_size: 4096, attention_size: 6144, mlp_size: 24_576 };
        let work = Work { values_per_token: layer.values_per_token(), tokens_per_item: None };
        Description {
            family: Family::Qwen3,
            name: String::new(),
            text_dim: 4096,
            image_dim: None,
            max_position_embeddings: 8192,
            text_work: work,
            image_work: None,
        }
    }

    #[test]
    fn a_batch_fills_what_the_model_leaves() {
        let tokens =
            |memory: DeviceMemory| default_tokens(&large(), Modality::Text, 8_000_000_000, 2, memory);
        let gpu = |gigabytes: u64| tokens(DeviceMemory::Gpu(gigabytes << 30));
        assert_eq!(gpu(80), 1 << 15, "no more than keeps it busy");
        assert_eq!(gpu(20), 1 << 13);
        assert_eq!(gpu(12), 1 << 11, "too small: told when it does not fit");
        assert_eq!(tokens(DeviceMemory::Cpu), 1 << 11);
        assert_eq!(tokens(DeviceMemory::UnknownGpu), 1 << 13);
    }

    #[test]
    fn bytes_are_those_of_the_weights_and_of_the_largest_layer() {
        let (weights, batch) = bytes(1000, large().text_work, 100, 2);
        assert_eq!(weights, 2000);
        let values = 100 * (2 * 4096 + 24_576 + 4096) * 2;
        assert_eq!(batch, (f64::from(values) * SLACK) as u64 + CONTEXT_BYTES);
    }
}
