//! The conversation that a text or pictures are put into, and its token ids.
//!
//! ```text
//! <|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n
//!   <|vision_start|><|image_pad|> x tokens<|vision_end|>   for each picture, nothing between them
//!   {text}<|im_end|>\n<|im_start|>assistant\n              and what the tokenizer appends
//! ```

use std::path::Path;

use serde_json::{Value, json};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::config::Config;
use super::places::places;
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::grid::Grid;
use crate::model::pytext;
use crate::model::qwen3::tokens::{check_room, ids, load_tokenizer, refuse_empty};
use crate::model::tokenizer::{HubTokenizer, TextIds};

/// What is said where no instruction is given (`default_instruction` of QwenLM/Qwen3-VL-Embedding).
const INSTRUCTION: &str = "Represent the user's input.";
/// The token that stands for a picture's tokens, as it is written.
const IMAGE_TOKEN: &str = "<|image_pad|>";
const PICTURE: &str = "<|vision_start|><|image_pad|><|vision_end|>";

/// Turns texts and pictures into ids.
pub struct Prompt {
    tokenizer: HubTokenizer,
    instruction: String,
    image_token: i64,
    tokens_max: usize,
    merge: i64,
}

/// A sequence with pictures in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub ids: Vec<i64>,
    /// Time, row and column of every token: (3, T).
    pub places: Vec<i64>,
}

impl Prompt {
    /// Reads the tokenizer of the folder `dir`.
    ///
    /// # Errors
    /// A tokenizer that is missing or broken, or not of this model.
    pub fn load(dir: &Path, config: &Config, instruction: Option<&str>) -> Result<Self> {
        let tokens_max = config.text.tokens_max();
        let tokenizer = load_tokenizer(dir, tokens_max, config.text.vocab_size)?;
        let image_token = config.image_token_id;
        if tokenizer.id(IMAGE_TOKEN).map(i64::from) != Some(image_token) {
            let found = tokenizer.id(IMAGE_TOKEN).map_or_else(|| "no id".to_owned(), |id| id.to_string());
            return Err(Error::new(format!(
                "{}: `image_token_id` of config.json is {image_token}, the tokenizer has {found} for {IMAGE_TOKEN}",
                dir.display()
            ))
            .hint("tokenizer and config are of different models"));
        }
        let merge = config.vision.merge_size as i64;
        let instruction = punctuated(instruction.unwrap_or_default());
        if instruction.contains(IMAGE_TOKEN) {
            return Err(Error::new(format!("--instruction holds {IMAGE_TOKEN}, which stands for a picture"))
                .hint("leave it out of the instruction"));
        }
        let prompt = Self { tokenizer, instruction, image_token, tokens_max, merge };
        let empty = ids(&prompt.tokenizer, &prompt.written(0, ""));
        check_room(dir, &empty.map_err(|error| Error::new(error.to_string()))?, tokens_max)?;
        Ok(prompt)
    }

    /// The ids of a text, truncated to what the model takes.
    ///
    /// # Errors
    /// A text that is empty or white space alone.
    pub fn text(&self, text: &str) -> std::result::Result<TextIds, ItemError> {
        refuse_empty(text)?;
        ids(&self.tokenizer, &self.written(0, text))
    }

    /// Pictures of these grids of patches, and a text behind them, which may be empty.
    ///
    /// # Errors
    /// More tokens than the model takes.
    pub fn pictures(&self, grids: &[Grid], text: &str) -> std::result::Result<Sequence, ItemError> {
        let token_grid =
            |grid: &Grid| Grid { rows: grid.rows / self.merge, columns: grid.columns / self.merge };
        let grids: Vec<Grid> = grids.iter().map(token_grid).collect();
        let mut pending = grids.iter();
        let mut all = Vec::new();
        for id in ids(&self.tokenizer, &self.written(grids.len(), text))?.ids {
            let picture = if id == self.image_token { pending.next() } else { None };
            let count = picture.map_or(1, |grid| grid.patches() as usize);
            all.extend(std::iter::repeat_n(id, count));
        }
        let is_literal = all.iter().filter(|&&id| id == self.image_token).count()
            != grids.iter().map(|grid| grid.patches() as usize).sum::<usize>();
        if is_literal {
            let detail = format!("{IMAGE_TOKEN} is written out in a text beside pictures");
            return Err(ItemError::new(ItemErrorKind::Unreadable, detail));
        }
        if all.len() > self.tokens_max {
            let detail = format!(
                "{} tokens, at most {} are possible (fewer --views, or --max-pixels, make fewer)",
                all.len(),
                self.tokens_max
            );
            return Err(ItemError::new(ItemErrorKind::TooManyTokens, detail));
        }
        let places = places(&all, self.image_token, &grids);
        Ok(Sequence { ids: all, places })
    }

    /// The token that stands for a picture's.
    pub fn image_token(&self) -> i64 {
        self.image_token
    }

    fn written(&self, pictures: usize, text: &str) -> String {
        format!(
            "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}{text}<|im_end|>\n<|im_start|>assistant\n",
            self.instruction,
            PICTURE.repeat(pictures),
        )
    }

    /// What decides the ids beside the tokenizer's files, for provenance.
    pub fn provenance(&self) -> Value {
        json!({
            "tokenizer": "byte_level", "length": self.tokens_max, "form": "chat",
            "instruction": self.instruction,
        })
    }
}

/// An instruction as the reference has it: trimmed, with a full stop where it ends without punctuation.
fn punctuated(instruction: &str) -> String {
    let trimmed = pytext::strip(instruction);
    match trimmed.chars().next_back() {
        None => INSTRUCTION.to_owned(),
        Some(last) if last.general_category_group() == GeneralCategoryGroup::Punctuation => {
            trimmed.to_owned()
        }
        Some(_) => format!("{trimmed}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_ends_with_punctuation() {
        assert_eq!(punctuated(""), "Represent the user's input.");
        assert_eq!(punctuated(" \n"), "Represent the user's input.");
        assert_eq!(punctuated(" Find the object "), "Find the object.");
        assert_eq!(punctuated("Find it!"), "Find it!");
        assert_eq!(punctuated("找到它。"), "找到它。");
        assert_eq!(punctuated("a + b ="), "a + b =.", "a symbol is no punctuation");
    }
}
