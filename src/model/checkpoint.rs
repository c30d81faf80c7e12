//! What lies in a model folder: names of its files, and their digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256};

use super::json;
use crate::error::{Context, Error, Result};

pub const CONFIG: &str = "config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub const SPIECE: &str = "spiece.model";
/// Gemma's sentencepiece model.
pub const TOKENIZER_MODEL: &str = "tokenizer.model";
/// Qwen's byte-level BPE, with `merges.txt`.
pub const VOCABULARY: &str = "vocab.json";
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// Where transformers 5 saves the same settings, under `image_processor`.
pub const PROCESSOR: &str = "processor_config.json";

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// All of a repository on the hub that a model is read from, its weights aside.
pub const SMALL_FILES: [&str; 12] = [
    CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    SPIECE,
    TOKENIZER_MODEL,
    VOCABULARY,
    "merges.txt",
    "added_tokens.json",
    "chat_template.json",
    PREPROCESSOR,
    PROCESSOR,
];

/// Every file that decides which ids a caption becomes.
const TOKENIZER_FILES: [&str; 4] = [SPECIAL_TOKENS, SPIECE, TOKENIZER, TOKENIZER_CONFIG];

/// The header of a safetensors file is its length (8 bytes, little-endian) and that much JSON.
const LENGTH_BYTES: u64 = 8;
/// As the safetensors crate has it: no real header comes near, and a broken length would.
const HEADER_BYTES_MAX: u64 = 100_000_000;
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
        refuse_special(&dir.join(WEIGHTS))?;
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    if let Some(content) = json::optional(&index)? {
        let names = shards(&index, &content)?;
        names.iter().try_for_each(|name| refuse_special(&dir.join(name)))?;
        return Ok(names);
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

/// Refuses what is there and no plain file: a pipe would be waited for, for ever.
///
/// # Errors
/// Such a thing, by its path.
pub fn refuse_special(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err(Error::new(format!("{} is no plain file", path.display())))
        }
        _ => Ok(()),
    }
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

/// SHA-256 over what tells one model folder from another without reading gigabytes: small files whole, of
/// each weight file its size and pieces spread evenly over it, the header being the first.
///
/// # Errors
/// Files that are missing or cannot be read, by name.
pub fn sampled_digest(dir: &Path) -> Result<String> {
    const PIECES: u64 = 16;
    const PIECE_BYTES: u64 = 64 << 10;
    let mut hasher = Sha256::new();
    for name in [CONFIG, PREPROCESSOR, PROCESSOR].into_iter().chain(TOKENIZER_FILES) {
        let path = dir.join(name);
        if path.exists() {
            hasher.update(format!("{name}\0"));
            absorb(&mut hasher, &path)?;
        }
    }
    for name in weight_files(dir)? {
        let path = dir.join(&name);
        let file = File::open(&path).context(|| path.display())?;
        let size = file.metadata().context(|| path.display())?.len();
        hasher.update(format!("{name}\0{size}\0"));
        let last = size.saturating_sub(PIECE_BYTES);
        for index in 0..PIECES {
            let start = last * index / (PIECES - 1);
            let mut piece = vec![0; PIECE_BYTES.min(size) as usize];
            file.read_exact_at(&mut piece, start).context(|| path.display())?;
            hasher.update(&piece);
        }
    }
    Ok(hexadecimal(&hasher.finalize()))
}

/// How many numbers the weights are that a model may need.
///
/// # Errors
/// Files that are missing or broken, by name.
pub fn parameters(dir: &Path) -> Result<u64> {
    let of_file = |name: String| -> Result<u64> {
        let path = dir.join(name);
        let file = File::open(&path).context(|| path.display())?;
        let (_, metadata) = header(&path, &file)?;
        let tensors = metadata.tensors();
        let needed = tensors.iter().filter(|(name, _)| !is_left_over(name));
        Ok(needed.map(|(_, info)| info.shape.iter().product::<usize>() as u64).sum())
    };
    weight_files(dir)?.into_iter().map(of_file).sum()
}

/// Tensors that a checkpoint may hold and nobody needs: what scales SigLIP's logits, what makes words of a
/// decoder's states, and buffers of positions that old versions of transformers saved.
pub fn is_left_over(name: &str) -> bool {
    matches!(name, "logit_scale" | "logit_bias")
        || name.ends_with(".position_ids")
        || name.ends_with("rotary_emb.inv_freq")
        || name.starts_with("lm_head.")
}

/// The offset at which the data begins, and what the header says of it.
///
/// # Errors
/// A file that is no sound safetensors file, or has another length than its header says.
pub fn header(path: &Path, file: &File) -> Result<(u64, Metadata)> {
    let broken = |what: &dyn std::fmt::Display| {
        Error::new(format!("{}: not a sound safetensors file: {what}", path.display()))
            .hint("copy or download the file again")
    };
    let file_length = file.metadata().context(|| path.display())?.len();
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact_at(&mut length, 0).map_err(|error| broken(&error))?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX || length + LENGTH_BYTES > file_length {
        return Err(broken(&format!("{file_length} bytes cannot hold a header of {length}")));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, LENGTH_BYTES).map_err(|error| broken(&error))?;
    // Deserialising checks that the tensors lie side by side and are as long as their shapes say.
    let metadata: Metadata = serde_json::from_slice(&bytes).map_err(|error| broken(&error))?;
    let data_start = LENGTH_BYTES + length;
    // A hostile header can say more than a u64 counts.
    let expected = data_start.saturating_add(metadata.data_len() as u64);
    if file_length != expected {
        let wrong = if file_length < expected { "truncated" } else { "longer than its header says" };
        let (path, found) = (path.display(), file_length);
        return Err(Error::new(format!("{path}: {wrong} ({found} bytes, its header says {expected})"))
            .hint("copy or download the file again"));
    }
    Ok((data_start, metadata))
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

/// A digest as people read it.
pub fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_long_as_its_header_says_is_sound_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let parameters = |header: &str, data: usize| {
            let length = (header.len() as u64).to_le_bytes();
            let file = [&length[..], header.as_bytes(), &vec![0; data]].concat();
            std::fs::write(folder.path().join(WEIGHTS), file).expect("written");
            parameters(folder.path()).map_err(|error| error.message)
        };
        let header = r#"{"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}"#;
        assert_eq!(parameters(header, 8), Ok(2));
        assert!(parameters(header, 7).is_err_and(|message| message.contains("truncated")));
        assert!(parameters(header, 9).is_err_and(|message| message.contains("longer than its header says")));
        let most = u64::MAX;
        let header = format!(r#"{{"a": {{"dtype": "U8", "shape": [{most}], "data_offsets": [0, {most}]}}}}"#);
        assert!(parameters(&header, 8).is_err());
    }
}
