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
    let found = tokenizer.encode(text).map_err(|detail| ItemError::new(ItemErrorKind::Unreadable, detail))?;
    if found.ids.is_empty() {
        return Err(ItemError::new(ItemErrorKind::EmptyCaption, "no token of it is in the vocabulary"));
    }
    Ok(found)
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
        Ok(Self { tokenizer, length, task: is_query.then(task) })
    }

    /// The ids of a caption.
    ///
    /// # Errors
    /// A caption that is empty or white space alone.
    pub fn ids(&self, caption: &str) -> std::result::Result<TextIds, ItemError> {
        refuse_empty(caption)?;
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
