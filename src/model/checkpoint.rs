//! What lies in a model folder: names of its files, and their digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::json;
use crate::error::{Context, Error, Result};

pub const CONFIG: &str = "config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub const SPIECE: &str = "spiece.model";
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// Where transformers 5 saves the same settings, under `image_processor`.
pub const PROCESSOR: &str = "processor_config.json";

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Every file that decides which ids a caption becomes.
const TOKENIZER_FILES: [&str; 4] = [SPECIAL_TOKENS, SPIECE, TOKENIZER, TOKENIZER_CONFIG];

/// SHA-256 of what a model is made of, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Over the bytes of all weight files, in order of name.
    pub weights: String,
    /// Over name, size and bytes of each tokenizer file there is, in order of name.
    pub tokenizer: String,
}

/// The names of the weight files, sorted.
///
/// # Errors
/// A folder without safetensors weights (saying so if it has pickled ones); an index that is broken.
pub fn weight_files(dir: &Path) -> Result<Vec<String>> {
    let index = dir.join(INDEX);
    if dir.join(WEIGHTS).exists() {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    if let Some(content) = json::optional(&index)? {
        return shards(&index, &content);
    }
    let error = Error::new(format!("{}: neither {WEIGHTS} nor {INDEX}", dir.display()));
    Err(if let Some(pickled) = PICKLED.iter().find(|name| dir.join(name).exists()) {
        error.hint(format!(
            "{pickled} is in the pickle format, which is not read because it can run code; convert it: \
             python -c \"from transformers import AutoModel as M; \
             M.from_pretrained('DIR').save_pretrained('NEW_DIR', safe_serialization=True)\""
        ))
    } else {
        error.hint("a model is a Hugging Face folder with its weights as safetensors")
    })
}

/// SHA-256 of weights and tokenizer. Reads every byte of the weights.
///
/// # Errors
/// Files that are missing or cannot be read, by name.
pub fn digests(dir: &Path) -> Result<Digests> {
    let mut weights = Sha256::new();
    for name in weight_files(dir)? {
        absorb(&mut weights, &dir.join(name))?;
    }
    let mut tokenizer = Sha256::new();
    for name in TOKENIZER_FILES {
        let path = dir.join(name);
        if path.exists() {
            let size = path.metadata().context(|| path.display())?.len();
            tokenizer.update(format!("{name}\0{size}\0"));
            absorb(&mut tokenizer, &path)?;
        }
    }
    Ok(Digests { weights: hexadecimal(&weights.finalize()), tokenizer: hexadecimal(&tokenizer.finalize()) })
}

fn shards(index: &Path, content: &serde_json::Value) -> Result<Vec<String>> {
    let broken = |what: &str| Error::new(format!("{}: {what}", index.display()));
    let map = content.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| broken("no `weight_map`"))?;
    let names = map.iter().map(|(tensor, file)| {
        let file = file.as_str().filter(|file| !file.is_empty() && !file.contains('/'));
        file.map(str::to_owned).ok_or_else(|| broken(&format!("`{tensor}` names no file of the folder")))
    });
    let names = names.collect::<Result<BTreeSet<_>>>()?;
    if names.is_empty() { Err(broken("`weight_map` is empty")) } else { Ok(names.into_iter().collect()) }
}

fn absorb(hasher: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path).context(|| path.display())?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).context(|| path.display())? {
            0 => return Ok(()),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
