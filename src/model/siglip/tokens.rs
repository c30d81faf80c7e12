//! From a caption to token ids, always `max_position_embeddings` of them: the towers saw padding in
//! training and have no mask, so another length gives another (and worse) vector.
//!
//! Two tokenizers go by `model_type: siglip`. SigLIP's is transformers' `tokenization_siglip.py`:
//! canonical text, sentencepiece, `</s>` at the end and as padding. SigLIP 2's is Gemma's, on lower-cased
//! text; all of it but the lower-casing stands in `tokenizer.json`.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{Tokenizer, TruncationParams};

use super::sentencepiece::{SPACE, SentencePiece};
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::json::{self as files, Section};
use crate::model::{checkpoint, pytext};

/// Turns captions into ids.
pub struct Tokens {
    kind: Kind,
    length: usize,
    pad: i64,
    pad_left: bool,
}

enum Kind {
    Siglip(Box<Canonical>),
    Gemma { tokenizer: Box<Tokenizer>, lower: bool },
}

/// SigLIP's own tokenizer.
struct Canonical {
    pieces: SentencePiece,
    /// How many ids the marker `<unk>` written before a text takes.
    marker_length: usize,
    marker: String,
    specials: Vec<Special>,
    eos: u32,
    lower: bool,
}

/// A token that is recognised where it is written out.
struct Special {
    content: String,
    id: u32,
    lstrip: bool,
    rstrip: bool,
}

impl Tokens {
    /// Reads the tokenizer of the folder `dir`, for texts of `length` tokens and a table of `vocabulary` ids.
    ///
    /// # Errors
    /// Files that are missing, broken or of another kind; ids that the embedding table does not have.
    pub fn load(dir: &Path, length: usize, vocabulary: usize) -> Result<Self> {
        let config_path = dir.join(checkpoint::TOKENIZER_CONFIG);
        let config = files::optional(&config_path)?;
        let map = files::optional(&dir.join(checkpoint::SPECIAL_TOKENS))?;
        let names = Names { dir, config: config.as_ref(), map: map.as_ref() };
        let section = Section::new(&config_path, "", config.as_ref());
        let class = section.text("tokenizer_class", "")?;
        let json_path = dir.join(checkpoint::TOKENIZER);
        let spiece = dir.join(checkpoint::SPIECE);
        let siglip = class.trim_end_matches("Fast") == "SiglipTokenizer";
        if siglip && spiece.exists() {
            let canonical = Canonical::new(SentencePiece::from_spiece(&spiece)?, &names, &section)?;
            return Self::siglip(canonical, &names, &section, length, vocabulary);
        }
        let json = files::optional(&json_path)?.ok_or_else(|| {
            Error::new(format!("{}: no such file", json_path.display()))
                .hint("captions need the model's tokenizer: copy tokenizer.json and tokenizer_config.json")
        })?;
        match json.pointer("/model/type").and_then(Value::as_str) {
            // Whatever class has saved it, a unigram model of a `siglip` checkpoint is SigLIP's own.
            Some("Unigram") => {
                let canonical =
                    Canonical::new(SentencePiece::from_json(&json_path, &json)?, &names, &section)?;
                Self::siglip(canonical, &names, &section, length, vocabulary)
            }
            Some("BPE") if !siglip => Self::gemma(&json_path, &json, &names, &section, length, vocabulary),
            kind => Err(Error::new(format!(
                "{}: a {} model of class `{class}` is not a tokenizer of SigLIP (Unigram, SiglipTokenizer) \
                 or SigLIP 2 (BPE, GemmaTokenizer)",
                json_path.display(),
                kind.unwrap_or("nameless")
            ))),
        }
    }

    fn siglip(
        canonical: Canonical,
        names: &Names<'_>,
        section: &Section<'_>,
        length: usize,
        vocabulary: usize,
    ) -> Result<Self> {
        let pad = canonical.find(&names.get("pad_token").unwrap_or_else(|| "</s>".to_owned()), names)?;
        let specials = canonical.specials.iter().map(|special| special.id as usize + 1);
        let ids = specials.max().unwrap_or(0).max(canonical.pieces.len());
        check_vocabulary(names.dir, ids, vocabulary)?;
        let pad_left = pads_left(section)?;
        Ok(Self { kind: Kind::Siglip(Box::new(canonical)), length, pad: i64::from(pad), pad_left })
    }

    fn gemma(
        path: &Path,
        json: &Value,
        names: &Names<'_>,
        section: &Section<'_>,
        length: usize,
        vocabulary: usize,
    ) -> Result<Self> {
        let broken = |error: &dyn std::fmt::Display| Error::new(format!("{}: {error}", path.display()));
        // From the text of the file, not from the parsed value: order matters within it.
        let bytes = std::fs::read(path).map_err(|error| broken(&error))?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| broken(&error))?;
        frame(&mut tokenizer, names, section).map_err(|error| broken(&error))?;
        let truncation = TruncationParams { max_length: length, ..TruncationParams::default() };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(truncation)).map_err(|error| broken(&error))?;
        let ids = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        check_vocabulary(names.dir, ids, vocabulary)?;
        let padding = json.pointer("/padding/pad_token").and_then(Value::as_str).map(str::to_owned);
        let pad = names.get("pad_token").or(padding).ok_or_else(|| names.missing("pad_token"))?;
        let pad = tokenizer.token_to_id(&pad).ok_or_else(|| names.unknown("pad_token", &pad))?;
        let lower = !lowers(json.get("normalizer").unwrap_or(&Value::Null));
        Ok(Self {
            kind: Kind::Gemma { tokenizer: Box::new(tokenizer), lower },
            length,
            pad: i64::from(pad),
            pad_left: pads_left(section)?,
        })
    }

    /// The ids of a caption, padded or truncated to the model's length.
    ///
    /// # Errors
    /// A caption that is empty or white space alone.
    pub fn ids(&self, caption: &str) -> std::result::Result<Vec<i64>, ItemError> {
        if pytext::strip(caption).is_empty() {
            return Err(ItemError::new(ItemErrorKind::EmptyCaption, ""));
        }
        let unreadable = |detail: String| ItemError::new(ItemErrorKind::Unreadable, detail);
        let ids = match &self.kind {
            Kind::Siglip(canonical) => canonical.encode(caption, self.length).map_err(unreadable)?,
            Kind::Gemma { tokenizer, lower } => {
                let text = if *lower { pytext::lower(caption) } else { caption.to_owned() };
                let encoding =
                    tokenizer.encode_fast(text, true).map_err(|error| unreadable(error.to_string()))?;
                encoding.get_ids().to_vec()
            }
        };
        let mut ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let missing = self.length.saturating_sub(ids.len());
        let at = if self.pad_left { 0 } else { ids.len() };
        ids.splice(at..at, std::iter::repeat_n(self.pad, missing));
        Ok(ids)
    }

    /// Ids of nothing but padding.
    pub fn padding(&self) -> Vec<i64> {
        vec![self.pad; self.length]
    }

    /// What decides the ids beside the tokenizer's files, for provenance.
    pub fn provenance(&self) -> Value {
        let (kind, lower) = match &self.kind {
            Kind::Siglip(canonical) => ("siglip", canonical.lower),
            Kind::Gemma { lower, .. } => ("gemma", *lower),
        };
        json!({
            "tokenizer": kind, "lower_case": lower, "length": self.length,
            "pad_id": self.pad, "pad_left": self.pad_left,
        })
    }
}

impl Canonical {
    fn new(pieces: SentencePiece, names: &Names<'_>, section: &Section<'_>) -> Result<Self> {
        let marker = names.get("unk_token").unwrap_or_else(|| "<unk>".to_owned());
        let marker_length = pieces.encode(&marker).map_err(Error::new)?.len();
        let mut canonical = Self {
            pieces,
            marker_length,
            specials: names.added(),
            marker,
            eos: 0,
            lower: section.flag("do_lower_case", true)?,
        };
        for (key, default) in [("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "</s>")] {
            let content = names.get(key).unwrap_or_else(|| default.to_owned());
            let id = canonical.find(&content, names)?;
            if !canonical.specials.iter().any(|special| special.content == content) {
                canonical.specials.push(Special { content: content.clone(), id, lstrip: true, rstrip: true });
            }
            if key == "eos_token" {
                canonical.eos = id;
            }
        }
        Ok(canonical)
    }

    fn find(&self, content: &str, names: &Names<'_>) -> Result<u32> {
        let added = self.specials.iter().find(|special| special.content == content).map(|special| special.id);
        added.or_else(|| self.pieces.id(content)).ok_or_else(|| names.unknown("special token", content))
    }

    /// `SiglipTokenizer.__call__` with truncation to `length`, without padding.
    fn encode(&self, caption: &str, length: usize) -> std::result::Result<Vec<u32>, String> {
        let text = format!("{SPACE}{}", caption.replace(SPACE, " "));
        let mut ids = Vec::new();
        let mut rest = text.as_str();
        let mut stripped_left = false;
        while let Some((at, special)) = self.first_special(rest) {
            let before = rest.get(..at).unwrap_or_default();
            let before = if stripped_left { pytext::lstrip(before) } else { before };
            let before = if special.lstrip { pytext::rstrip(before) } else { before };
            ids.extend(self.segment(before)?);
            ids.push(special.id);
            rest = rest.get(at + special.content.len()..).unwrap_or_default();
            stripped_left = special.rstrip;
        }
        ids.extend(self.segment(if stripped_left { pytext::lstrip(rest) } else { rest })?);
        ids.truncate(length - 1);
        if ids.last() != Some(&self.eos) {
            ids.push(self.eos);
        }
        Ok(ids)
    }

    /// The first place where a special token is written out, and the longest that is.
    fn first_special(&self, text: &str) -> Option<(usize, &Special)> {
        // An empty one would be found everywhere, for ever.
        let specials = self.specials.iter().filter(|special| !special.content.is_empty());
        let found = specials.filter_map(|special| Some((text.find(&special.content)?, special)));
        found.min_by_key(|(at, special)| (*at, usize::MAX - special.content.len()))
    }

    /// `SiglipTokenizer._tokenize`: canonical text, encoded behind a marker that is cut off again, because
    /// sentencepiece would trim a space at the very beginning.
    fn segment(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let text = if self.lower { pytext::lower(text) } else { text.to_owned() };
        let text = pytext::collapse(&pytext::without_punctuation(&text));
        let ids = self.pieces.encode(&format!("{}{}", self.marker, pytext::strip(&text)))?;
        Ok(ids.get(self.marker_length..).map_or_else(|| ids.clone(), <[u32]>::to_vec))
    }
}

/// The names of special tokens, from the two files that have them.
struct Names<'a> {
    dir: &'a Path,
    config: Option<&'a Value>,
    map: Option<&'a Value>,
}

impl Names<'_> {
    /// A token's text, written as a string or as an object with `content`.
    fn get(&self, key: &str) -> Option<String> {
        let token = |file: Option<&Value>| {
            let token = file?.get(key)?;
            Some(token.as_str().or_else(|| token.get("content")?.as_str())?.to_owned())
        };
        token(self.config).or_else(|| token(self.map))
    }

    /// `added_tokens_decoder`, which lists them by id.
    fn added(&self) -> Vec<Special> {
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

    fn missing(&self, key: &str) -> Error {
        let (config, map) = (checkpoint::TOKENIZER_CONFIG, checkpoint::SPECIAL_TOKENS);
        Error::new(format!("{}: `{key}` stands neither in {config} nor in {map}", self.dir.display()))
    }

    fn unknown(&self, key: &str, token: &str) -> Error {
        Error::new(format!("{}: the {key} `{token}` is not in the vocabulary", self.dir.display()))
    }
}

/// What is put before and after the text. `add_bos_token` and `add_eos_token`, where either is given,
/// decide; else the post-processor of `tokenizer.json` does, as it is.
fn frame(tokenizer: &mut Tokenizer, names: &Names<'_>, section: &Section<'_>) -> Result<()> {
    if section.get("add_bos_token").is_none() && section.get("add_eos_token").is_none() {
        return Ok(());
    }
    let token = |flag: &str, key: &str| -> Result<Option<(String, u32)>> {
        if !section.flag(flag, false)? {
            return Ok(None);
        }
        let token = names.get(key).ok_or_else(|| names.missing(key))?;
        let id = tokenizer.token_to_id(&token).ok_or_else(|| names.unknown(key, &token))?;
        Ok(Some((token, id)))
    };
    let (bos, eos) = (token("add_bos_token", "bos_token")?, token("add_eos_token", "eos_token")?);
    let name = |token: &Option<(String, u32)>| token.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let template = [name(&bos), vec!["$A".to_owned()], name(&eos)].concat();
    let processor = TemplateProcessing::builder()
        .try_single(template)
        .map_err(Error::new)?
        .special_tokens(bos.into_iter().chain(eos).collect::<Vec<_>>())
        .build()
        .map_err(|error| Error::new(error.to_string()))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// Whether a normaliser lower-cases somewhere.
fn lowers(normaliser: &Value) -> bool {
    let steps = normaliser.get("normalizers").and_then(Value::as_array);
    normaliser.get("type").and_then(Value::as_str) == Some("Lowercase")
        || steps.into_iter().flatten().any(lowers)
}

/// The side of the padding; both families of SigLIP were trained with it on the right.
fn pads_left(section: &Section<'_>) -> Result<bool> {
    match section.text("padding_side", "right")? {
        "right" => Ok(false),
        "left" => Ok(true),
        other => Err(section.wrong("padding_side", "left or right", &other.into())),
    }
}

fn check_vocabulary(dir: &Path, ids: usize, vocabulary: usize) -> Result<()> {
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
