//! The model's folder, the same on every rank: rank 0 finds it, and every rank makes sure that it can read
//! what rank 0 reads. A cache on a node's own disk is found out here, not by half the ranks in mid-job.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::comm::World;
use crate::error::{Context, Error, Result};
use crate::hub::{self, ModelFolder};
use crate::model::checkpoint;
use crate::store::Holder;

/// Sizes of a model's files in bytes, by name.
type Sizes = BTreeMap<String, u64>;

/// Finds the model `typed`, a folder or a name in the cache, for all ranks. Collective.
///
/// # Errors
/// It is not there, or not on every rank: names the rank and its host.
pub fn find_model(world: &World, typed: &Path) -> Result<ModelFolder> {
    let found = world.from_root(|| {
        let folder = hub::find(typed)?;
        let sizes = sizes(&folder.path)?;
        serde_json::to_vec(&(folder, sizes)).context(|| "cannot encode the model's folder")
    })?;
    let (folder, sizes): (ModelFolder, Sizes) =
        serde_json::from_slice(&found).context(|| "cannot decode the model's folder")?;
    world.agree(check(&folder.path, &sizes))?;
    Ok(folder)
}

/// The files of a folder that a model may be read from. What must be there, its reader says better.
fn sizes(folder: &Path) -> Result<Sizes> {
    let is_read = |name: &str| checkpoint::SMALL_FILES.contains(&name) || name.contains(".safetensors");
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Sizes::new()) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| is_read(name)).map(|name| Ok((name.clone(), size(&folder.join(name))?))).collect()
}

/// Size of a file that this process can read.
fn size(path: &Path) -> Result<u64> {
    checkpoint::refuse_special(path)?;
    let metadata = File::open(path).and_then(|file| file.metadata()).context(|| path.display())?;
    Ok(metadata.len())
}

/// Whether this rank sees what rank 0 sees.
fn check(folder: &Path, sizes: &Sizes) -> Result<()> {
    let unlike = |what: String| {
        let host = Holder::this().host;
        Error::new(format!("{host} does not see the model as rank 0 does: {what}")).hint(
            "every node of the job must see the model's files under the same path: let HF_HOME, or --model, \
             name a folder on a shared file system",
        )
    };
    for (name, &expected) in sizes {
        let path = folder.join(name);
        let found = size(&path).map_err(|error| unlike(error.message))?;
        if found != expected {
            return Err(unlike(format!("{}: {found} bytes, not {expected}", path.display())));
        }
    }
    Ok(())
}
