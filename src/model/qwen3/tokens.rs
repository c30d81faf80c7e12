//! From a text to token ids: byte-level BPE, all of which stands in `tokenizer.json`, down to the end-of-text
//! token that its post-processor appends, or does not.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::json::{self as files, Section};
use crate::model::options::{Options, TextForm};
use crate::model::tokenizer::{self, HubTokenizer, Names, TextIds};
use crate::model::{checkpoint, pytext};

/// What a query is for where nothing else is said (`prompts` of the published
/// `config_sentence_transformers.json`).
pub const TASK: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// Tokens that are left for a text, at the very least.
const ROOM_MIN: usize = 8;

/// Reads the tokenizer of the folder `dir`, for texts of at most `length` tokens and a table of `vocabulary`
/// ids.
///
/// # Errors
/// Files that are missing, broken or of another kind; ids that the embedding table does not have.
pub fn load_tokenizer(dir: &Path, length: usize, vocabulary: usize) -> Result<HubTokenizer> {
    let config_path = dir.join(checkpoint::TOKENIZER_CONFIG);
    let config = files::optional(&config_path)?;
    let map = files::optional(&dir.join(checkpoint::SPECIAL_TOKENS))?;
    let names = Names { dir, config: config.as_ref(), map: map.as_ref() };
    let path = dir.join(checkpoint::TOKENIZER);
    let json = files::optional(&path)?.ok_or_else(|| {
        Error::new(format!("{}: no such file", path.display()))
            .hint("texts need the model's tokenizer: copy tokenizer.json and tokenizer_config.json")
    })?;
    let kind = json.pointer("/model/type").and_then(Value::as_str);
    if kind != Some("BPE") || !tokenizer::is_byte_level(&json) {
        let kind = kind.unwrap_or("nameless");
        return Err(Error::new(format!(
            "{}: a {kind} model is not a tokenizer of Qwen (BPE of bytes)",
            path.display()
        )));
    }
    let mut tokenizer = HubTokenizer::load(&path, &Section::new(&config_path, "", config.as_ref()), length)?;
    tokenizer.recognise(&names)?;
    tokenizer::check_vocabulary(dir, tokenizer.ids_end(), vocabulary)?;
    Ok(tokenizer)
}

/// The ids of a text, as the model takes them.
///
/// # Errors
/// What the tokenizer reports.
pub fn ids(tokenizer: &HubTokenizer, text: &str) -> std::result::Result<TextIds, ItemError> {
    tokenizer.encode(text).map_err(|detail| ItemError::new(ItemErrorKind::Unreadable, detail))
}

/// Refuses what stands around every text, `empty` being the ids of none, where it leaves no room for one.
///
/// # Errors
/// Next to all of what the model takes.
pub fn check_room(dir: &Path, empty: &TextIds, length: usize) -> Result<()> {
    let around = empty.ids.len();
    if !empty.is_cut && around + ROOM_MIN <= length {
        return Ok(());
    }
    Err(Error::new(format!(
        "{}: what stands around a text, the instruction above all, takes {around} tokens or more, of the {length} \
         that the model takes",
        dir.display()
    ))
    .hint("give a shorter --instruction; or `max_position_embeddings` of config.json is wrong"))
}

/// A caption that there is something in.
///
/// # Errors
/// One that is empty or white space alone.
pub fn refuse_empty(caption: &str) -> std::result::Result<(), ItemError> {
    if pytext::strip(caption).is_empty() {
        return Err(ItemError::new(ItemErrorKind::EmptyCaption, ""));
    }
    Ok(())
}

/// Turns captions into ids.
pub struct Tokens {
    tokenizer: HubTokenizer,
    length: usize,
    /// Of queries, what they are for; documents are embedded as they are.
    task: Option<String>,
}

impl Tokens {
    /// As [`load_tokenizer`], in the form that the options ask for.
    ///
    /// # Errors
    /// As [`load_tokenizer`].
    pub fn load(dir: &Path, length: usize, vocabulary: usize, options: &Options) -> Result<Self> {
        let is_query = options.form == Some(TextForm::Query);
        let task = || options.instruction.clone().unwrap_or_else(|| TASK.to_owned());
        let tokenizer = load_tokenizer(dir, length, vocabulary)?;
        let tokens = Self { tokenizer, length, task: is_query.then(task) };
        check_room(dir, &tokens.encode("").map_err(|error| Error::new(error.to_string()))?, length)?;
        Ok(tokens)
    }

    /// The ids of a caption.
    ///
    /// # Errors
    /// A caption that is empty or white space alone.
    pub fn ids(&self, caption: &str) -> std::result::Result<TextIds, ItemError> {
        refuse_empty(caption)?;
        let found = self.encode(caption)?;
        if found.ids.is_empty() {
            return Err(ItemError::new(ItemErrorKind::EmptyCaption, "no token of it is in the vocabulary"));
        }
        Ok(found)
    }

    fn encode(&self, caption: &str) -> std::result::Result<TextIds, ItemError> {
        match &self.task {
            None => ids(&self.tokenizer, caption),
            Some(task) => ids(&self.tokenizer, &format!("Instruct: {task}\nQuery:{caption}")),
        }
    }

    /// What decides the ids beside the tokenizer's files, for provenance.
    pub fn provenance(&self) -> Value {
        let form = if self.task.is_some() { "query" } else { "document" };
        json!({"tokenizer": "byte_level", "length": self.length, "form": form, "instruction": self.task})
    }
}
