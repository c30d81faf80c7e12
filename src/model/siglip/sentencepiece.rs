//! Sentencepiece's unigram segmentation, from `spiece.model` or from the same content in `tokenizer.json`.
//!
//! The search over segmentations is that of the `tokenizers` crate; what stands before it, normalisation
//! and which pieces may match, is sentencepiece's own (`normalizer.cc`, `unigram_model.cc`).

use std::path::Path;

use serde_json::Value;
use tokenizers::Model as _;
use tokenizers::models::unigram::Unigram;

use super::charsmap::Charsmap;
use super::protobuf::{Field, fields};
use crate::error::{Context, Error, Result};
use crate::model::checkpoint::refuse_special;

/// Stands for a space within pieces.
pub const SPACE: char = '\u{2581}';

/// What the two kinds of file say.
struct Content {
    /// Pieces with their scores, by id, and whether text may match them.
    pieces: Vec<(String, f64, bool)>,
    unknown: usize,
    charsmap: Vec<u8>,
    dummy_prefix: bool,
}

/// A unigram model with its normalisation.
pub struct SentencePiece {
    model: Unigram,
    pieces: Vec<String>,
    charsmap: Option<Charsmap>,
    dummy_prefix: bool,
}

impl SentencePiece {
    /// Reads `spiece.model`.
    ///
    /// # Errors
    /// A file that is missing, broken, or of another kind of model than unigram.
    pub fn from_spiece(path: &Path) -> Result<Self> {
        refuse_special(path)?;
        let bytes = std::fs::read(path).context(|| path.display())?;
        let content =
            parse_spiece(&bytes).map_err(|what| Error::new(format!("{}: {what}", path.display())))?;
        Self::new(content).context(|| path.display())
    }

    /// Takes the same from a parsed `tokenizer.json`.
    ///
    /// # Errors
    /// A vocabulary or character map that is broken.
    pub fn from_json(path: &Path, json: &Value) -> Result<Self> {
        let content = parse_json(json).map_err(|what| Error::new(format!("{}: {what}", path.display())))?;
        Self::new(content).context(|| path.display())
    }

    fn new(content: Content) -> Result<Self> {
        let pieces: Vec<String> = content.pieces.iter().map(|(piece, ..)| piece.clone()).collect();
        // Normalised text holds no space, so a piece behind one can never match: control pieces such as
        // `</s>` must not be reachable by writing them.
        let matching = content
            .pieces
            .into_iter()
            .map(|(piece, score, text)| (if text { piece } else { format!(" {piece}") }, score));
        let model = Unigram::from(matching.collect(), Some(content.unknown), false);
        Ok(Self {
            model: model.map_err(|error| Error::new(error.to_string()))?,
            pieces,
            charsmap: Charsmap::parse(&content.charsmap)?,
            dummy_prefix: content.dummy_prefix,
        })
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The id of a piece, control pieces included.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.pieces.iter().position(|known| known == piece).map(|id| id as u32)
    }

    /// The ids of the best segmentation.
    ///
    /// # Errors
    /// What the search reports; none is known.
    pub fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        let normalised = self.normalise(text);
        if normalised.is_empty() {
            return Ok(Vec::new());
        }
        let tokens = self.model.tokenize(&normalised).map_err(|error| error.to_string())?;
        Ok(tokens.iter().map(|token| token.id).collect())
    }

    /// `Normalizer::Normalize`, with white space collapsed, trimmed and shown as [`SPACE`].
    fn normalise(&self, mut text: &str) -> String {
        while !text.is_empty() {
            let (" ", length) = self.prefix(text) else { break };
            text = text.get(length..).unwrap_or_default();
        }
        let mut normalised = String::with_capacity(text.len() + 8);
        if text.is_empty() {
            return normalised;
        }
        if self.dummy_prefix {
            normalised.push(SPACE);
        }
        let mut after_space = true;
        while !text.is_empty() {
            let (replacement, length) = self.prefix(text);
            let kept = if after_space { replacement.trim_start_matches(' ') } else { replacement };
            if !kept.is_empty() {
                normalised.extend(kept.chars().map(|c| if c == ' ' { SPACE } else { c }));
                after_space = kept.ends_with(' ');
            }
            text = text.get(length..).unwrap_or_default();
        }
        normalised.truncate(normalised.trim_end_matches(SPACE).len());
        normalised
    }

    /// `Normalizer::NormalizePrefix`: what the beginning of `text` becomes, and its length.
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        let mapped = self.charsmap.as_ref().and_then(|map| map.longest_match(text));
        mapped.unwrap_or_else(|| {
            let length = text.chars().next().map_or(0, char::len_utf8);
            (text.get(..length).unwrap_or_default(), length)
        })
    }
}

/// `sentencepiece_model.proto`: the fields that decide segmentation.
fn parse_spiece(bytes: &[u8]) -> std::result::Result<Content, String> {
    const UNIGRAM: u64 = 1;
    let mut content = Content { pieces: Vec::new(), unknown: 0, charsmap: Vec::new(), dummy_prefix: true };
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(piece)) => content.pieces.push(parse_piece(piece)?),
            // TrainerSpec: model_type = 3, unk_id = 40
            (2, Field::Bytes(trainer)) => {
                for field in fields(trainer) {
                    match field? {
                        (3, Field::Number(kind)) if kind != UNIGRAM => {
                            return Err(format!("model type {kind} is not unigram"));
                        }
                        (40, Field::Number(id)) => content.unknown = id as usize,
                        _ => {}
                    }
                }
            }
            // NormalizerSpec: precompiled_charsmap = 2, add_dummy_prefix = 3, remove_extra_whitespaces = 4
            (3, Field::Bytes(normaliser)) => {
                for field in fields(normaliser) {
                    match field? {
                        (2, Field::Bytes(map)) => content.charsmap = map.to_vec(),
                        (3, Field::Number(flag)) => content.dummy_prefix = flag != 0,
                        (4, Field::Number(0)) => {
                            return Err("keeping extra white space is not supported".to_owned());
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if content.pieces.is_empty() { Err("no sentencepiece model".to_owned()) } else { Ok(content) }
}

/// `SentencePiece`: piece = 1, score = 2, type = 3 (1 normal, 4 user-defined, 5 unused match text).
fn parse_piece(bytes: &[u8]) -> std::result::Result<(String, f64, bool), String> {
    let (mut piece, mut score, mut kind) = (String::new(), 0.0, 1);
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => {
                piece = String::from_utf8(text.to_vec()).map_err(|error| error.to_string())?;
            }
            (2, Field::Float(value)) => score = f64::from(value),
            (3, Field::Number(value)) => kind = value,
            _ => {}
        }
    }
    Ok((piece, score, matches!(kind, 1 | 4 | 5)))
}

fn parse_json(json: &Value) -> std::result::Result<Content, String> {
    let model = json.get("model");
    let entries = model.and_then(|model| model.get("vocab")?.as_array());
    let entries = entries.ok_or("no list of pieces at `model.vocab`")?;
    let unknown = model.and_then(|model| model.get("unk_id")?.as_u64()).ok_or("no `model.unk_id`")? as usize;
    let control: Vec<&str> = json
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|token| token.get("special").and_then(Value::as_bool) == Some(true))
        .filter_map(|token| token.get("content")?.as_str())
        .collect();
    let piece = |(id, entry): (usize, &Value)| {
        let (piece, score) = (entry.get(0)?.as_str()?, entry.get(1)?.as_f64()?);
        Some((piece.to_owned(), score, id != unknown && !control.contains(&piece)))
    };
    let pieces: Option<Vec<_>> = entries.iter().enumerate().map(piece).collect();
    let charsmap = find_charsmap(json.get("normalizer").unwrap_or(&Value::Null));
    Ok(Content {
        pieces: pieces.ok_or("`model.vocab` is not a list of [piece, score]")?,
        unknown,
        charsmap: charsmap.map(super::protobuf::base64).transpose()?.unwrap_or_default(),
        dummy_prefix: true,
    })
}

/// The map of a `Precompiled` step, wherever it stands in the normaliser.
fn find_charsmap(normaliser: &Value) -> Option<&str> {
    if normaliser.get("type").and_then(Value::as_str) == Some("Precompiled") {
        return normaliser.get("precompiled_charsmap")?.as_str();
    }
    normaliser.get("normalizers")?.as_array()?.iter().find_map(find_charsmap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("spiece.model");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = SentencePiece::from_spiece(&pipe).err().unwrap().message;
        assert!(error.ends_with("spiece.model is no plain file"), "{error}");
    }
}
