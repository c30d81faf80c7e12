//! Model, captions and views, as far as a job would read them on its first minute.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;

use super::finding::Finding;
use crate::comm::shielded;
use crate::error::{Context, Error, Result};
use crate::hub;
use crate::model::weights::Weights;
use crate::model::{self, Modality, Options, checkpoint};

/// Deeper than any layout of views goes.
const DEPTH_MAX: usize = 8;
/// Entries of a folder that are looked at for a file.
const ENTRIES_MAX: usize = 64;

/// What is known of a model that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    pub weights_bytes: u64,
    /// See [`checkpoint::sampled_digest`].
    pub digest: String,
}

/// Whether `model`, a folder or a name in the cache, can be read: its description, the headers of its
/// weights, its tokenizer and preprocessing.
pub fn model(model: &Path) -> (Vec<Finding>, Option<ModelFacts>) {
    match hub::find(model).and_then(|found| examine_model(&found.path)) {
        Ok((what, facts)) => (vec![Finding::ok("model", what)], Some(facts)),
        Err(error) => (vec![Finding::of_error("model", error)], None),
    }
}

fn examine_model(dir: &Path) -> Result<(String, ModelFacts)> {
    let description = model::describe(dir)?;
    // Reads every header, and compares the length of each file with it.
    Weights::open(dir)?;
    for modality in
        [Modality::Text, Modality::Image].into_iter().filter(|&kind| description.dim(kind).is_some())
    {
        let read = || model::preprocessing(dir, modality, &Options::default()).map(drop);
        shielded(read).unwrap_or_else(|panic| {
            Err(Error::new(format!("cannot read the preprocessing of {}: {panic}", dir.display()))
                .hint("its tokenizer.json or spiece.model is broken: copy or download it again"))
        })?;
    }
    let sizes = checkpoint::weight_files(dir)?.into_iter().map(|name| {
        let path = dir.join(name);
        fs::metadata(&path).map(|file| file.len()).context(|| path.display())
    });
    let weights_bytes = sizes.sum::<Result<u64>>()?;
    let digest = checkpoint::sampled_digest(dir)?;
    let what = format!(
        "{}: weights of {}, tokenizer and preprocessing readable",
        description.name,
        HumanBytes(weights_bytes)
    );
    Ok((what, ModelFacts { weights_bytes, digest }))
}

/// Whether the captions can be opened and begin with something. A job reads them on rank 0 alone.
pub fn captions(path: &Path) -> Finding {
    match read_beginning(path) {
        Ok(0) => Finding::error(
            "captions",
            format!("{} is empty", path.display()),
            "`hyperslab plan` reads it whole",
        ),
        Ok(_) => Finding::ok("captions", format!("{} is readable", path.display())),
        Err(error) => Finding::of_error("captions", error),
    }
}

/// Whether some file below the folder of views can be read.
pub fn renders(root: &Path) -> Finding {
    let read = || -> Result<Option<PathBuf>> {
        let Some(file) = first_file(root, DEPTH_MAX)? else { return Ok(None) };
        read_beginning(&file)?;
        Ok(Some(file))
    };
    match read() {
        Ok(Some(_)) => Finding::ok("renders", format!("{} is readable", root.display())),
        Ok(None) => Finding::error(
            "renders",
            format!("no file was found below {}", root.display()),
            "`hyperslab plan` with the same options shows what is there",
        ),
        Err(error) => {
            Finding::of_error("renders", error.hint("every node must see the views under the same path"))
        }
    }
}

fn first_file(folder: &Path, depth: usize) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).context(|| folder.display())?.take(ENTRIES_MAX) {
        let path = entry.context(|| folder.display())?.path();
        if path.is_file() {
            return Ok(Some(path));
        }
        if depth > 0
            && path.is_dir()
            && let Some(found) = first_file(&path, depth - 1)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// How many bytes a first read gets.
fn read_beginning(path: &Path) -> Result<usize> {
    let mut piece = [0; 4096];
    File::open(path)
        .and_then(|mut file| file.read(&mut piece))
        .context(|| format!("cannot read {}", path.display()))
}
