//! How the items of an output are put into batches, decided once for all ranks.

use super::devices::RankDevice;
use super::request::{EmbedRequest, EncoderRequest};
use crate::comm::World;
use crate::error::{Context, Result};
use crate::model::{self, Description, Modality, checkpoint};
use crate::plan::{Batching, Kind};

/// Rows among which items of one length are chosen. All captions of a block are a few megabytes; the views of
/// an asset, eight of 512 x 512 pixels, are six, and several windows are in memory at once.
const WINDOW_OF_VIEW_SETS: usize = 32;

/// Decides, from what is asked for, the model and the device. Collective.
///
/// # Errors
/// The model's weights cannot be examined.
pub fn choose(
    world: &World,
    request: &EmbedRequest,
    kind: Kind,
    device: &RankDevice,
    folder: &std::path::Path,
    description: &Description,
) -> Result<Batching> {
    let modality = Modality::from_views(kind.has_views());
    let has_lengths = description.work(modality).is_some_and(|work| work.tokens_per_item.is_none());
    if !has_lengths {
        return Ok(Batching::Rows(request.batch_size.unwrap_or_else(|| default_batch_size(device, kind))));
    }
    // On rank 0, whatever the others have: batches must not depend on who makes them.
    let chosen = world.from_root(|| {
        let tokens_max = match request.max_tokens_per_batch {
            Some(asked) => asked,
            None => default_tokens(modality, device, folder, description)?,
        };
        serde_json::to_vec(&tokens_max).context(|| "cannot encode the size of batches")
    })?;
    let tokens_max = serde_json::from_slice(&chosen).context(|| "cannot decode the size of batches")?;
    let window_rows = if kind.has_views() { WINDOW_OF_VIEW_SETS } else { usize::MAX };
    Ok(Batching::Tokens { tokens_max, window_rows })
}

/// Decides for an encoder, of which nothing depends on how its items are put together.
///
/// # Errors
/// The model's weights cannot be examined.
pub fn choose_alone(
    modality: Modality,
    device: &RankDevice,
    request: &EncoderRequest,
    description: &Description,
) -> Result<Batching> {
    if description.work(modality).is_some_and(|work| work.tokens_per_item.is_none()) {
        let tokens_max = match request.max_tokens_per_batch {
            Some(asked) => asked,
            None => default_tokens(modality, device, &request.folder.path, description)?,
        };
        return Ok(Batching::Tokens { tokens_max, window_rows: usize::MAX });
    }
    let kind = if modality == Modality::Text { Kind::Text } else { Kind::Image };
    Ok(Batching::Rows(request.batch_size.unwrap_or_else(|| default_batch_size(device, kind))))
}

/// As many tokens as the device holds beside the model.
fn default_tokens(
    modality: Modality,
    device: &RankDevice,
    folder: &std::path::Path,
    description: &Description,
) -> Result<usize> {
    let parameters = checkpoint::parameters(folder)?;
    let value_bytes = device.precision.value_bytes();
    Ok(model::memory::default_tokens(description, modality, parameters, value_bytes, device.memory))
}

/// Enough to fill the device, and on a CPU few enough to stay in its caches. Captions have 64 tokens, views of
/// so400m at 384 have 729.
fn default_batch_size(device: &RankDevice, kind: Kind) -> usize {
    match (device.is_gpu(), kind.has_views()) {
        (true, false) => 512,
        (true, true) => 128,
        (false, false) => 32,
        (false, true) => 8,
    }
}

/// What of it decides about vectors, by name.
pub fn fingerprint_parts(batching: Batching) -> Vec<(&'static str, String)> {
    match batching {
        Batching::Rows(rows) => vec![("batch_size", rows.to_string())],
        Batching::Tokens { tokens_max, window_rows } => {
            let mut parts = vec![("max_tokens_per_batch", tokens_max.to_string())];
            if window_rows != usize::MAX {
                parts.push(("batch_window_rows", window_rows.to_string()));
            }
            parts
        }
    }
}
