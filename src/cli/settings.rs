//! Settings in layers: flags, then `HYPERSLAB_*` variables (both clap's), then `hyperslab.toml`, then
//! defaults.
//!
//! What was typed is a struct of `Option`s that clap and serde both fill ([`layered`]); what it means is
//! another type, made by its `resolve`. A section of the file has the keys that are flags of its group.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{InputArgs, ModelArgs, OutputArgs, RunArgs};
use crate::error::{Context, Error, Result};

/// Every section of the file, with its keys: one line per group of settings.
fn sections() -> Vec<(&'static str, Vec<String>)> {
    vec![
        section_of::<InputArgs>(),
        section_of::<OutputArgs>(),
        section_of::<ModelArgs>(),
        section_of::<RunArgs>(),
    ]
}

/// A group of settings as typed: flags and variables, or a section of the file.
pub trait Layered: Args + DeserializeOwned + Default {
    /// The section's name in `hyperslab.toml`.
    const SECTION: &'static str;

    /// Each setting of `self`, and where there is none, that of `below`.
    #[must_use]
    fn or(self, below: Self) -> Self;
}

/// Implements [`Layered`] for a struct of `Option`s: section, type, and every field.
macro_rules! layered {
    ($section:literal, $type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::cli::Layered for $type {
            const SECTION: &'static str = $section;

            fn or(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),* }
            }
        }
    };
}
pub(super) use layered;

/// What was typed, completed by the file.
///
/// # Errors
/// A value of the file is not what the setting takes; names its line.
pub fn layer<T: Layered + Clone>(typed: &T, file: &ConfigFile) -> Result<T> {
    Ok(typed.clone().or(file.section()?))
}

/// A file of settings; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads `path`, or `hyperslab.toml` of the working folder if that is there.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a section or key that is unknown; names the line and
    /// the nearest key.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let default = Path::new("hyperslab.toml");
        if path.is_none() && !default.exists() {
            return Ok(Self::default());
        }
        let path = path.unwrap_or(default).to_path_buf();
        let text = std::fs::read_to_string(&path).context(|| format!("settings '{}'", path.display()))?;
        let file = Self { path, text };
        file.check_names()?;
        Ok(file)
    }

    /// The settings of one section.
    ///
    /// # Errors
    /// A value is not what the setting takes; names its line.
    pub fn section<T: Layered>(&self) -> Result<T> {
        let mut table = self.parse()?;
        let Some(section) = table.remove(T::SECTION) else { return Ok(T::default()) };
        T::deserialize(section.into_deserializer()).map_err(|error| self.explain(&error))
    }

    fn parse(&self) -> Result<DeTable<'_>> {
        DeTable::parse(&self.text).map(Spanned::into_inner).map_err(|error| self.explain(&error))
    }

    fn check_names(&self) -> Result<()> {
        let sections = sections();
        for (name, value) in &self.parse()? {
            let Some((section, keys)) =
                sections.iter().find(|(section, _)| *section == name.get_ref().as_ref())
            else {
                let known = sections.iter().map(|(section, _)| *section);
                return Err(self.unknown("section", name.get_ref(), name.span(), known));
            };
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.at(value.span(), &format!("'{section}' must be a section: [{section}]")));
            };
            for (key, _) in table {
                if !keys.iter().any(|known| known == key.get_ref().as_ref()) {
                    let known = keys.iter().map(String::as_str);
                    return Err(self.unknown(
                        &format!("key in [{section}]"),
                        key.get_ref(),
                        key.span(),
                        known,
                    ));
                }
            }
        }
        Ok(())
    }

    fn unknown<'a>(
        &self,
        what: &str,
        name: &str,
        span: Range<usize>,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Error {
        let all = known.clone().collect::<Vec<_>>().join(", ");
        let nearest = known.min_by_key(|known| distance(name, known));
        let hint = match nearest.filter(|known| distance(name, known) <= 1 + name.len() / 3) {
            Some(nearest) => format!("did you mean '{nearest}'? Known: {all}"),
            None => format!("known: {all}"),
        };
        self.at(span, &format!("unknown {what} '{name}'")).hint(hint)
    }

    fn explain(&self, error: &toml::de::Error) -> Error {
        match error.span() {
            Some(span) => self.at(span, error.message()),
            None => Error::new(format!("settings '{}': {}", self.path.display(), error.message())),
        }
    }

    fn at(&self, span: Range<usize>, what: &str) -> Error {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error::new(format!("settings '{}', line {line}, column {column}: {what}", self.path.display()))
    }
}

/// Name and keys of a group's section.
fn section_of<T: Layered>() -> (&'static str, Vec<String>) {
    let command = T::augment_args(clap::Command::new(T::SECTION));
    let keys = command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned));
    (T::SECTION, keys.collect())
}

/// How many letters must be changed, added or left out to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let changed = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = changed.min(diagonal + 1).min(left + 1);
            left = *cell;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Views;

    fn file(text: &str) -> Result<ConfigFile> {
        let file = ConfigFile { path: "hyperslab.toml".into(), text: text.to_owned() };
        file.check_names()?;
        Ok(file)
    }

    #[test]
    fn the_file_stands_below_what_was_typed() {
        let file = file("[input]\ncaptions = 'file.json'\nviews = 4\nmax-assets = 10\n").unwrap();
        let typed = InputArgs { captions: Some("typed.json".into()), ..InputArgs::default() };
        let layered = layer(&typed, &file).unwrap();
        assert_eq!(layered.captions, Some("typed.json".into()));
        assert_eq!((layered.views, layered.max_assets), (Some(Views::Evenly(4)), Some(10)));
        assert_eq!(layered.renders, None);
        assert_eq!(layer(&typed, &ConfigFile::default()).unwrap().captions, typed.captions);
    }

    #[test]
    fn unknown_names_are_refused_with_line_and_nearest() {
        let error = file("[input]\n\ncaption = 'x'\n").unwrap_err().to_string();
        assert!(error.contains("line 3, column 1: unknown key in [input] 'caption'"), "{error}");
        assert!(error.contains("did you mean 'captions'?"), "{error}");
        let error = file("# none\n[outputs]\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("did you mean 'output'?"), "{error}");
        let error = file("[input]\nzzzzzzzzzzzz = 1\n").unwrap_err().to_string();
        assert!(error.contains("known: captions") && !error.contains("mean"), "{error}");
        assert!(file("input = 3\n").unwrap_err().message.contains("must be a section"));
    }

    #[test]
    fn bad_values_and_bad_toml_are_refused_with_their_line() {
        let value = |text| file(text).and_then(|file| file.section::<InputArgs>()).unwrap_err().message;
        let error = value("[input]\nmax-assets = 3\nviews = 'some'\n");
        assert!(error.contains("line 3") && error.contains("expected all"), "{error}");
        let error = value("[input]\nmax-assets = 'many'\n");
        assert!(error.contains("line 2"), "{error}");
        let error = value("[input]\ncaptions = \n");
        assert!(error.contains("hyperslab.toml', line 2"), "{error}");
        let file = file("[output]\ncompression = 'lz4'\n").unwrap();
        let error = file.section::<OutputArgs>().unwrap_err().message;
        assert!(error.contains("line 2") && error.contains("gzip:1"), "{error}");
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("views", "view", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
