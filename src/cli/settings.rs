//! Settings in layers: flags, then `HYPERSLAB_*` variables (both clap's), then `hyperslab.toml`, then
//! defaults.
//!
//! What was typed is a struct of `Option`s that clap and serde both fill ([`layered`]); what it means is
//! another type, made by its `resolve`. A section of the file has the keys that are flags of its group.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DatabaseArgs, InputArgs, ModelArgs, OutputArgs, RunArgs};
use crate::error::{Context, Error, Result};

/// Every section of the file, with its keys: one line per group of settings.
fn sections() -> Vec<(&'static str, Vec<String>)> {
    vec![
        section_of::<InputArgs>(),
        section_of::<OutputArgs>(),
        section_of::<ModelArgs>(),
        section_of::<RunArgs>(),
        section_of::<DatabaseArgs>(),
    ]
}

/// A group of settings as typed: flags and variables, or a section of the file.
pub trait Layered: Args + DeserializeOwned + Serialize + Default {
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

/// The settings of a group as flags, so that another process in another folder means the same: paths become
/// absolute.
///
/// # Errors
/// A path that is not UTF-8, or a working folder that is gone.
pub fn flags<T: Layered>(settings: &T) -> Result<Vec<String>> {
    let values = serde_json::to_value(settings).context(|| format!("the settings of [{}]", T::SECTION))?;
    let command = T::augment_args(clap::Command::new(T::SECTION));
    let mut flags = Vec::new();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long() else { continue };
        let values = match values.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        let is_path = argument.get_value_hint() == ValueHint::AnyPath;
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // A model that is no folder here is a name, which means the same everywhere.
            let is_here = name != "model" || Path::new(&text).exists();
            flags.push(format!("--{name}"));
            flags.push(if is_path && is_here { absolute(&text)? } else { text });
        }
    }
    Ok(flags)
}

fn absolute(path: &str) -> Result<String> {
    let path = std::path::absolute(path).context(|| format!("the path '{path}'"))?;
    // The working folder that it may begin with need not be UTF-8.
    path.into_os_string()
        .into_string()
        .map_err(|path| Error::new(format!("the path '{}' is not UTF-8", path.display())))
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

    /// The file that was read, if there is one.
    pub fn path(&self) -> Option<&Path> {
        (self.path != Path::new("")).then_some(&self.path)
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
    fn settings_become_flags_that_mean_the_same_elsewhere() {
        let typed = InputArgs {
            captions: Some("my captions.json".into()),
            views: Some(Views::Every(3)),
            max_assets: Some(7),
            view_glob: Some(vec!["*_a.png".into(), "*_b.png".into()]),
            ..InputArgs::default()
        };
        let flags = flags(&typed).unwrap();
        let here = std::env::current_dir().unwrap().join("my captions.json");
        let expected = "--view-glob *_a.png --view-glob *_b.png --views every:3 --max-assets 7";
        let expected: Vec<&str> =
            ["--captions", here.to_str().unwrap()].into_iter().chain(expected.split(' ')).collect();
        assert_eq!(flags, expected);
        let command = InputArgs::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(&flags).unwrap();
        let read = <InputArgs as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        assert_eq!((read.captions, read.views, read.view_glob), (Some(here), typed.views, typed.view_glob));
        assert!(super::flags(&RunArgs::default()).unwrap().is_empty());
    }

    #[test]
    fn a_model_that_is_no_folder_stays_a_name() {
        let model = |name: &str| ModelArgs { model: Some(name.into()), ..ModelArgs::default() };
        assert_eq!(flags(&model("google/siglip-base")).unwrap()[1], "google/siglip-base");
        assert!(Path::new(&flags(&model("src")).unwrap()[1]).is_absolute());
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
