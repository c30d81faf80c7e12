//! From a caption to token ids, always `max_position_embeddings` of them: the towers saw padding in
//! training and have no mask, so another length gives another (and worse) vector.
//!
//! Two tokenizers go with the towers of SigLIP. SigLIP's own is [`canonical`](super::canonical). SigLIP 2's is
//! Gemma's, on lower-cased text; all of it but the lower-casing stands in `tokenizer.json`, and any other kind
//! of byte-pair encoding that stands there is taken as it is, and so is a unigram model of no class of its own.

use std::path::Path;

use serde_json::{Value, json};

use super::canonical::Canonical;
use super::sentencepiece::SentencePiece;
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::json::{self as files, Section};
use crate::model::tokenizer::{self, HubTokenizer, Names, TextIds};
use crate::model::{checkpoint, pytext};

/// The class of published SigLIP tokenizers, and of folders of SigLIP that name none.
const SIGLIP_CLASS: &str = "SiglipTokenizer";
/// The classes of transformers 4 (without its `Fast`) and 5 that take `tokenizer.json` as it is.
const GENERIC_CLASSES: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];
/// The class of published SigLIP 2 tokenizers, without the `Fast` that transformers 4 put behind it.
const GEMMA_CLASS: &str = "GemmaTokenizer";
/// The same in transformers 5, which lower-cases by itself, as the first step of its normaliser.
pub const SIGLIP2_CLASS: &str = "Siglip2Tokenizer";

/// A `tokenizer.json` of sentencepiece's unigram models.
const UNIGRAM: &str = "Unigram";

/// What byte-pair encoding of characters is called in provenance.
const GEMMA: &str = "gemma";

/// Turns captions into ids.
pub struct Tokens {
    kind: Kind,
    length: usize,
    pad: i64,
    pad_left: bool,
}

enum Kind {
    Siglip(Box<Canonical>),
    Hub { tokenizer: HubTokenizer, name: &'static str, lower: Lower },
}

/// Who lower-cases the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    Nobody,
    /// The tokenizer's own normaliser, which special tokens that are written out never reach.
    Normaliser,
    /// The caller, before special tokens are looked for.
    Caller,
}

/// The files of a tokenizer, read.
struct Files<'a> {
    names: Names<'a>,
    section: Section<'a>,
    class: &'a str,
    length: usize,
    vocabulary: usize,
}

impl Tokens {
    /// Reads the tokenizer of the folder `dir`, for texts of `length` tokens and a table of `vocabulary` ids.
    /// `class` is transformers' for folders that name none.
    ///
    /// # Errors
    /// Files that are missing, broken or of another kind; ids that the embedding table does not have.
    pub fn load(dir: &Path, class: &str, length: usize, vocabulary: usize) -> Result<Self> {
        let config_path = dir.join(checkpoint::TOKENIZER_CONFIG);
        let config = files::optional(&config_path)?;
        let map = files::optional(&dir.join(checkpoint::SPECIAL_TOKENS))?;
        let names = Names { dir, config: config.as_ref(), map: map.as_ref() };
        let section = Section::new(&config_path, "", config.as_ref());
        let class = section.text("tokenizer_class", class)?.trim_end_matches("Fast");
        let files = Files { names, section, class, length, vocabulary };
        let is_siglip = class == SIGLIP_CLASS || class.is_empty();
        let spiece = dir.join(checkpoint::SPIECE);
        if is_siglip && spiece.exists() {
            return files.siglip(SentencePiece::from_spiece(&spiece)?);
        }
        let path = dir.join(checkpoint::TOKENIZER);
        let json = files::optional(&path)?.ok_or_else(|| {
            Error::new(format!("{}: no such file", path.display()))
                .hint("captions need the model's tokenizer: copy tokenizer.json and tokenizer_config.json")
        })?;
        match model_type(&json) {
            Some(UNIGRAM) if is_siglip => files.siglip(SentencePiece::from_json(&path, &json)?),
            Some(UNIGRAM) if GENERIC_CLASSES.contains(&class) => files.hub(&path, &json),
            Some("BPE") if class != SIGLIP_CLASS => files.hub(&path, &json),
            kind => Err(Error::new(format!(
                "{}: a {} model of class `{class}` is not a tokenizer of SigLIP (Unigram, SiglipTokenizer) \
                 or SigLIP 2 (BPE, GemmaTokenizer)",
                path.display(),
                kind.unwrap_or("nameless")
            ))
            .hint("copy the tokenizer files of the checkpoint, tokenizer_config.json included")),
        }
    }

    /// The ids of a caption, padded or truncated to the model's length.
    ///
    /// # Errors
    /// A caption that is empty or white space alone.
    pub fn ids(&self, caption: &str) -> std::result::Result<TextIds, ItemError> {
        if pytext::strip(caption).is_empty() {
            return Err(ItemError::new(ItemErrorKind::EmptyCaption, ""));
        }
        let encoded = match &self.kind {
            Kind::Siglip(canonical) => canonical.encode(caption, self.length),
            Kind::Hub { tokenizer, lower: Lower::Caller, .. } => tokenizer.encode(&pytext::lower(caption)),
            Kind::Hub { tokenizer, .. } => tokenizer.encode(caption),
        };
        let mut found = encoded.map_err(|detail| ItemError::new(ItemErrorKind::Unreadable, detail))?;
        let missing = self.length.saturating_sub(found.ids.len());
        let at = if self.pad_left { 0 } else { found.ids.len() };
        found.ids.splice(at..at, std::iter::repeat_n(self.pad, missing));
        Ok(found)
    }

    /// Ids of nothing but padding.
    pub fn padding(&self) -> Vec<i64> {
        vec![self.pad; self.length]
    }

    /// What decides the ids beside the tokenizer's files, for provenance.
    pub fn provenance(&self) -> Value {
        let (kind, lower) = match &self.kind {
            Kind::Siglip(canonical) => ("siglip", canonical.lower),
            Kind::Hub { name, lower, .. } => (*name, *lower != Lower::Nobody),
        };
        json!({
            "tokenizer": kind, "lower_case": lower, "length": self.length,
            "pad_id": self.pad, "pad_left": self.pad_left,
        })
    }
}

impl Files<'_> {
    fn siglip(&self, pieces: SentencePiece) -> Result<Tokens> {
        let canonical = Canonical::new(pieces, &self.names, &self.section)?;
        let name = self.names.get("pad_token").unwrap_or_else(|| "</s>".to_owned());
        let pad = i64::from(canonical.find(&name, &self.names)?);
        tokenizer::check_vocabulary(self.names.dir, canonical.ids_end(), self.vocabulary)?;
        let pad_left = self.pads_left("right")?;
        Ok(Tokens { kind: Kind::Siglip(Box::new(canonical)), length: self.length, pad, pad_left })
    }

    fn hub(&self, path: &Path, json: &Value) -> Result<Tokens> {
        let mut tokenizer = HubTokenizer::load(path, &self.section, self.length)?;
        tokenizer.recognise(&self.names)?;
        tokenizer::check_vocabulary(self.names.dir, tokenizer.ids_end(), self.vocabulary)?;
        let name = hub_name(json);
        let lower = self.lower(json, name)?;
        if lower == Lower::Normaliser && !tokenizer::lowers(json) {
            tokenizer.lower_case()?;
        }
        let padding = |key: &str| json.get("padding")?.get(key)?.as_str().map(str::to_owned);
        let pad = self.names.get("pad_token").or_else(|| padding("pad_token"));
        let pad = pad.ok_or_else(|| self.names.missing("pad_token"))?;
        let pad = tokenizer.id(&pad).ok_or_else(|| self.names.unknown("pad_token", &pad))?;
        // The classes' own default; published checkpoints say "right".
        let side = if [GEMMA_CLASS, SIGLIP2_CLASS].contains(&self.class) { "left" } else { "right" };
        let side = padding("direction").map_or_else(|| side.to_owned(), |side| side.to_lowercase());
        let (pad, pad_left) = (i64::from(pad), self.pads_left(&side)?);
        Ok(Tokens { kind: Kind::Hub { tokenizer, name, lower }, length: self.length, pad, pad_left })
    }

    /// SigLIP 2 was trained on lower-cased text, which the files of published checkpoints do not all say.
    fn lower(&self, json: &Value, name: &str) -> Result<Lower> {
        Ok(if tokenizer::lowers(json) || self.class == SIGLIP2_CLASS {
            Lower::Normaliser
        } else if name != GEMMA || !self.section.flag("do_lower_case", true)? {
            Lower::Nobody
        } else {
            Lower::Caller
        })
    }

    fn pads_left(&self, default: &str) -> Result<bool> {
        match self.section.text("padding_side", default)? {
            "right" => Ok(false),
            "left" => Ok(true),
            other => Err(self.section.wrong("padding_side", "left or right", &other.into())),
        }
    }
}

/// What a `tokenizer.json` that is taken as it is is called in provenance.
fn hub_name(json: &Value) -> &'static str {
    if model_type(json) == Some(UNIGRAM) {
        "unigram"
    } else if tokenizer::is_byte_level(json) {
        "byte_level"
    } else {
        GEMMA
    }
}

/// The kind of model of a `tokenizer.json`.
fn model_type(json: &Value) -> Option<&str> {
    json.pointer("/model/type").and_then(Value::as_str)
}
