//! SigLIP's own tokenizer, transformers' `tokenization_siglip.py`: canonical text, sentencepiece, `</s>` at
//! the end and as padding.

use super::sentencepiece::{SPACE, SentencePiece};
use crate::error::{Error, Result};
use crate::model::json::Section;
use crate::model::pytext;
use crate::model::tokenizer::{Names, Special, TextIds};

/// SigLIP's own tokenizer.
pub struct Canonical {
    pieces: SentencePiece,
    /// How many ids the marker `<unk>` written before a text takes.
    marker_length: usize,
    marker: String,
    specials: Vec<Special>,
    eos: u32,
    /// Whether text is lower-cased.
    pub lower: bool,
}

impl Canonical {
    /// # Errors
    /// A setting that is wrong, or a special token that is not in the vocabulary.
    pub fn new(pieces: SentencePiece, names: &Names<'_>, section: &Section<'_>) -> Result<Self> {
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

    /// The id of a special token.
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn find(&self, content: &str, names: &Names<'_>) -> Result<u32> {
        let added = self.specials.iter().find(|special| special.content == content).map(|special| special.id);
        added.or_else(|| self.pieces.id(content)).ok_or_else(|| names.unknown("special token", content))
    }

    /// One more than the largest id.
    pub fn ids_end(&self) -> usize {
        let specials = self.specials.iter().map(|special| special.id as usize + 1);
        specials.max().unwrap_or(0).max(self.pieces.len())
    }

    /// `SiglipTokenizer.__call__` with truncation to `length`, without padding.
    ///
    /// # Errors
    /// What the search for the best pieces reports; none is known.
    pub fn encode(&self, caption: &str, length: usize) -> std::result::Result<TextIds, String> {
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
        let is_cut = ids.len() > length - 1;
        ids.truncate(length - 1);
        if ids.last() != Some(&self.eos) {
            ids.push(self.eos);
        }
        Ok(TextIds { ids: ids.into_iter().map(i64::from).collect(), is_cut })
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
