//! Reading the small JSON files of a model folder, with errors that name the file and the key.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use crate::error::{Context, Error, Result};

/// Reads one JSON object.
///
/// # Errors
/// A file that is missing, cannot be read, or is not a JSON object, by its path (and line and column).
pub fn read(path: &Path) -> Result<Value> {
    optional(path)?.ok_or_else(|| {
        Error::new(format!("{}: no such file", path.display()))
            .hint("a model is a Hugging Face folder: config.json, model.safetensors, tokenizer.json, preprocessor_config.json")
    })
}

/// Reads one JSON object that a folder may lack.
///
/// # Errors
/// As [`read`], but a missing file is `None`.
pub fn optional(path: &Path) -> Result<Option<Value>> {
    super::checkpoint::refuse_special(path)?;
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| path.display())?,
    };
    let value: Value = serde_json::from_slice(&bytes).context(|| path.display())?;
    if value.is_object() {
        Ok(Some(value))
    } else {
        Err(Error::new(format!("{}: expected a JSON object", path.display())))
    }
}

/// A section of a JSON file that says where it stands when one of its values is not right.
#[derive(Clone)]
pub struct Section<'a> {
    /// The file.
    path: &'a Path,
    /// The key of the section, with a dot behind it; empty at the top.
    prefix: Cow<'a, str>,
    /// `None` for a section that is absent: all its keys have their defaults.
    value: Option<&'a Value>,
}

impl<'a> Section<'a> {
    pub fn new(path: &'a Path, prefix: &'a str, value: Option<&'a Value>) -> Self {
        Self { path, prefix: Cow::Borrowed(prefix), value: value.filter(|value| !value.is_null()) }
    }

    /// The object at a key of a file, `prefix` being the key with a dot behind it; one that is absent or null
    /// has all its defaults.
    ///
    /// # Errors
    /// A value that is no object.
    pub fn part(path: &'a Path, prefix: &'a str, file: &'a Value) -> Result<Self> {
        let (key, whole) = (prefix.trim_end_matches('.'), Self::new(path, "", Some(file)));
        match whole.get(key) {
            Some(found) if !found.is_object() => Err(whole.wrong(key, "a JSON object", found)),
            part => Ok(Self::new(path, prefix, part)),
        }
    }

    /// The value of a key that is present and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value?.get(key).filter(|value| !value.is_null())
    }

    /// A positive whole number.
    ///
    /// # Errors
    /// A value that is not one.
    pub fn count(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        // The bound keeps products of a few of these numbers far from overflow.
        count
            .filter(|count| (1..=1 << 24).contains(count))
            .ok_or_else(|| self.wrong(key, "a positive whole number", value))
    }

    /// A finite number.
    ///
    /// # Errors
    /// A value that is not one.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.wrong(key, "a number", value))
    }

    /// A string.
    ///
    /// # Errors
    /// A value that is not one.
    pub fn text(&self, key: &str, default: &'a str) -> Result<&'a str> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| self.wrong(key, "a string", value))
    }

    /// True or false.
    ///
    /// # Errors
    /// A value that is neither.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value))
    }

    /// A side length, written as one number or as a list of two equal ones.
    ///
    /// # Errors
    /// A value that is neither.
    pub fn side(&self, key: &str, default: usize) -> Result<usize> {
        match self.get(key) {
            Some(Value::Array(sides)) if sides.len() == 2 && sides.first() == sides.last() => {
                let single = serde_json::json!({ key: sides.first() });
                Section::new(self.path, &self.prefix, Some(&single)).count(key, default)
            }
            Some(found @ Value::Array(_)) => Err(self.unsupported(key, found)),
            _ => self.count(key, default),
        }
    }

    /// Whole numbers from 0 on.
    ///
    /// # Errors
    /// A value that is not a list of them.
    pub fn counts(&self, key: &str, default: &[usize]) -> Result<Vec<usize>> {
        let Some(value) = self.get(key) else { return Ok(default.to_vec()) };
        let number = |one: &Value| one.as_u64().filter(|&one| one < 1 << 24).map(|one| one as usize);
        let list = value.as_array().map(|list| list.iter().map(number).collect());
        list.flatten().ok_or_else(|| self.wrong(key, "a list of whole numbers", value))
    }

    /// A section within this one; absent or null has all its defaults.
    ///
    /// # Errors
    /// A value that is no object.
    pub fn within(&self, key: &str) -> Result<Self> {
        match self.get(key) {
            Some(found) if !found.is_object() => Err(self.wrong(key, "a JSON object", found)),
            part => {
                let prefix = Cow::Owned(format!("{}{key}.", self.prefix));
                Ok(Self { path: self.path, prefix, value: part })
            }
        }
    }

    /// Whether a key is there and null.
    pub fn is_null(&self, key: &str) -> bool {
        self.value.and_then(|value| value.get(key)).is_some_and(Value::is_null)
    }

    /// The error for a value that is not what it must be.
    pub fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::new(format!(
            "{}: `{}{key}` must be {expected}, found {found}",
            self.path.display(),
            self.prefix
        ))
    }

    /// The error for a setting that is understood and not supported.
    pub fn unsupported(&self, key: &str, found: &Value) -> Error {
        Error::new(format!("{}: `{}{key}` = {found} is not supported", self.path.display(), self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_an_object_or_absent() {
        let file = serde_json::json!({"a": {"x": 1}, "b": null, "c": [], "d": "x"});
        let part = |prefix: &'static str| Section::part(Path::new("config.json"), prefix, &file);
        assert_eq!(part("a.").expect("an object").count("x", 2), Ok(1));
        assert_eq!(part("b.").expect("null is absent").count("x", 2), Ok(2));
        assert_eq!(part("missing.").expect("absent").count("x", 2), Ok(2));
        for (prefix, key) in [("c.", "`c`"), ("d.", "`d`")] {
            let message = part(prefix).err().expect("no object").message;
            assert!(message.contains(key) && message.contains("config.json"), "{message}");
        }
    }

    #[test]
    fn values_are_checked_and_named() {
        let value = serde_json::json!({"a": 3, "b": "x", "c": null, "d": -1, "e": true, "f": 1.5});
        let section = Section::new(Path::new("config.json"), "text_config.", Some(&value));
        assert_eq!(section.count("a", 7), Ok(3));
        assert_eq!(section.count("c", 7), Ok(7), "null is absent");
        assert_eq!(section.count("missing", 7), Ok(7));
        assert_eq!(section.text("b", "y"), Ok("x"));
        assert_eq!(section.flag("e", false), Ok(true));
        assert_eq!(section.number("f", 0.0), Ok(1.5));
        for (error, key) in [(section.count("d", 1), "d"), (section.count("f", 1), "f")] {
            let message = error.expect_err("not a count").message;
            assert!(message.contains(&format!("config.json: `text_config.{key}`")), "{message}");
        }
        assert!(section.text("a", "").is_err() && section.flag("a", true).is_err());
    }
}
