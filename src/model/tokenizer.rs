//! `tokenizer.json` of any kind, by the crate that transformers itself uses, and the small files beside it.
//!
//! What the file says is honoured as it is: normaliser, splitting, byte-pair encoding of characters with
//! bytes to fall back on (Gemma) or of bytes (Qwen), special tokens, post-processor.

use std::path::Path;

use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{AddedToken, Tokenizer, TruncationDirection, TruncationParams};

use super::checkpoint;
use super::json::Section;
use crate::error::{Error, Result};

/// The special tokens that have a name of their own in the small files.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A text as the model takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextIds {
    pub ids: Vec<i64>,
    /// Whether the text had more tokens than the model takes, and lost its end.
    pub is_cut: bool,
}

/// A tokenizer that truncates texts to a length.
pub struct HubTokenizer {
    tokenizer: Box<Tokenizer>,
}

impl HubTokenizer {
    /// Reads the file at `path` for texts of at most `length` ids, those before and after the text included;
    /// `section` is all of `tokenizer_config.json`.
    ///
    /// # Errors
    /// A file that cannot be read or is broken, or settings that are wrong.
    pub fn load(path: &Path, section: &Section<'_>, length: usize) -> Result<Self> {
        let broken = |error: &dyn std::fmt::Display| Error::new(format!("{}: {error}", path.display()));
        // From the text of the file, not from a parsed value: order matters within it.
        let bytes = std::fs::read(path).map_err(|error| broken(&error))?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| broken(&error))?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && let Some(dropout) = model.dropout.filter(|&dropout| dropout > 0.0)
        {
            return Err(broken(&format!(
                "`model.dropout` = {dropout} is not supported: it makes ids random"
            ))
            .hint("set it to null, as it is in published models"));
        }
        let direction = match section.text("truncation_side", "right")? {
            "right" => TruncationDirection::Right,
            "left" => TruncationDirection::Left,
            other => return Err(section.wrong("truncation_side", "left or right", &other.into())),
        };
        let truncation = TruncationParams { max_length: length, direction, ..TruncationParams::default() };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(truncation)).map_err(|error| broken(&error))?;
        Ok(Self { tokenizer: Box::new(tokenizer) })
    }

    /// Recognises, where they are written out, the special tokens that the small files name and
    /// `tokenizer.json` does not, as transformers does. One that has no id is left alone.
    ///
    /// # Errors
    /// What the tokenizer reports; nothing is known.
    pub fn recognise(&mut self, names: &Names<'_>) -> Result<()> {
        let named = NAMED.iter().filter_map(|key| names.get(key)).map(|token| AddedToken::from(token, true));
        let added = names.added().into_iter().map(|special| {
            AddedToken::from(special.content, true).lstrip(special.lstrip).rstrip(special.rstrip)
        });
        let known = self.tokenizer.get_added_vocabulary().get_vocab();
        let is_new =
            |token: &AddedToken| !known.contains_key(&token.content) && self.id(&token.content).is_some();
        let new: Vec<_> = added.chain(named).filter(is_new).collect();
        self.tokenizer.add_special_tokens(new).map_err(|error| Error::new(error.to_string()))?;
        Ok(())
    }

    /// Lower-cases the text before all else that the normaliser does.
    ///
    /// # Errors
    /// What the tokenizer reports; nothing is known.
    pub fn lower_case(&mut self) -> Result<()> {
        let own = self.tokenizer.get_normalizer().cloned();
        let steps = std::iter::once(NormalizerWrapper::from(Lowercase)).chain(own).collect();
        let normaliser = NormalizerWrapper::from(Sequence::new(steps));
        let set = self.tokenizer.with_normalizer(Some(normaliser)).map(|_| ());
        set.map_err(|error| Error::new(error.to_string()))
    }

    /// One more than the largest id.
    pub fn ids_end(&self) -> usize {
        // The post-processor has ids of its own, which need not be in the vocabulary.
        let around = self.encode("a").map(|found| found.ids).unwrap_or_default();
        let known = self.tokenizer.get_vocab(true).into_values().map(i64::from);
        known.chain(around).max().map_or(0, |id| id as usize + 1)
    }

    /// The id of a token as it is written.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// What the tokenizer reports, e.g. of a character that its vocabulary cannot express.
    pub fn encode(&self, text: &str) -> std::result::Result<TextIds, String> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| error.to_string())?;
        let ids = encoding.get_ids().iter().copied().map(i64::from).collect();
        Ok(TextIds { ids, is_cut: !encoding.get_overflowing().is_empty() })
    }
}

/// Whether the normaliser of a `tokenizer.json` lower-cases somewhere.
pub fn lowers(json: &Value) -> bool {
    json.get("normalizer").is_some_and(|normaliser| has_step(normaliser, "normalizers", "Lowercase"))
}

/// Whether text is split into bytes, as Qwen's and GPT's tokenizers do.
pub fn is_byte_level(json: &Value) -> bool {
    json.get("pre_tokenizer").is_some_and(|splitting| has_step(splitting, "pretokenizers", "ByteLevel"))
}

/// Whether a step is of a type, or, being a sequence, holds one that is.
fn has_step(step: &Value, sequence: &str, kind: &str) -> bool {
    let steps = step.get(sequence).and_then(Value::as_array);
    step.get("type").and_then(Value::as_str) == Some(kind)
        || steps.into_iter().flatten().any(|step| has_step(step, sequence, kind))
}

/// The names of special tokens, from the two files that have them.
pub struct Names<'a> {
    pub dir: &'a Path,
    pub config: Option<&'a Value>,
    pub map: Option<&'a Value>,
}

impl Names<'_> {
    /// A token's text, written as a string or as an object with `content`.
    pub fn get(&self, key: &str) -> Option<String> {
        let token = |file: Option<&Value>| {
            let token = file?.get(key)?;
            Some(token.as_str().or_else(|| token.get("content")?.as_str())?.to_owned())
        };
        token(self.config).or_else(|| token(self.map))
    }

    /// `added_tokens_decoder`: tokens that are recognised where they are written out.
    pub fn added(&self) -> Vec<Special> {
        let decoder = self.config.and_then(|config| config.get("added_tokens_decoder")?.as_object());
        let entries = decoder.into_iter().flatten().filter_map(|(id, token)| {
            let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
            let content = token.get("content")?.as_str().filter(|content| !content.is_empty())?;
            Some(Special {
                content: content.to_owned(),
                id: id.parse().ok()?,
                lstrip: flag("lstrip"),
                rstrip: flag("rstrip"),
            })
        });
        entries.collect()
    }

    /// The error for a token that no file names.
    pub fn missing(&self, key: &str) -> Error {
        let (config, map) = (checkpoint::TOKENIZER_CONFIG, checkpoint::SPECIAL_TOKENS);
        Error::new(format!("{}: `{key}` stands neither in {config} nor in {map}", self.dir.display()))
    }

    /// The error for a token without an id.
    pub fn unknown(&self, key: &str, token: &str) -> Error {
        Error::new(format!("{}: the {key} `{token}` is not in the vocabulary", self.dir.display()))
    }
}

/// A token that is recognised where it is written out.
pub struct Special {
    pub content: String,
    pub id: u32,
    /// White space before, or after it, belongs to it.
    pub lstrip: bool,
    pub rstrip: bool,
}

/// Refuses a tokenizer whose ids end at `ids` where the model's table of embeddings is shorter.
///
/// # Errors
/// Such a tokenizer.
pub fn check_vocabulary(dir: &Path, ids: usize, vocabulary: usize) -> Result<()> {
    if ids <= vocabulary {
        return Ok(());
    }
    Err(Error::new(format!(
        "{}: the tokenizer has ids up to {}, the model's embedding table {vocabulary} rows",
        dir.display(),
        ids - 1
    ))
    .hint("tokenizer and weights are of different models"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_found_within_sequences() {
        let lower = json!({"type": "Lowercase"});
        let within = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence", "normalizers": [lower]}]});
        assert!(lowers(&json!({"normalizer": lower})) && lowers(&json!({"normalizer": within})));
        assert!(!lowers(&json!({"normalizer": null})) && !lowers(&json!({"normalizer": {"type": "NFC"}})));
        let bytes = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split"}, {"type": "ByteLevel"}]}});
        assert!(is_byte_level(&bytes) && !is_byte_level(&json!({"pre_tokenizer": null})));
        assert!(!is_byte_level(&json!({"pre_tokenizer": {"type": "Split"}})));
    }
}
