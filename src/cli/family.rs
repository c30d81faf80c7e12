//! The families of models, as commands and files are named after them.

use std::path::Path;

use clap::ValueEnum;

use super::InputSettings;
use crate::plan::{Kind, Views};

/// Which models embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    Siglip,
    Qwen,
}

/// Views of an asset that Qwen sees at once, where nothing else is asked.
const QWEN_VIEWS: u32 = 8;

impl Family {
    /// As in `hyperslab embed <name>`, and at the beginning of a file's kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Siglip => "siglip",
            Self::Qwen => "qwen",
        }
    }

    /// What rows of the file of views' vectors are made from.
    pub fn image_kind(self) -> Kind {
        match self {
            Self::Siglip => Kind::Image,
            Self::Qwen => Kind::ViewSet,
        }
    }

    /// Which views are taken.
    pub fn views(self, input: &InputSettings) -> Views {
        input.views.unwrap_or(match self {
            Self::Siglip => Views::All,
            Self::Qwen => Views::Evenly(QWEN_VIEWS),
        })
    }

    /// Files of captions with the groups of the output they go to, the root having no name.
    pub fn captions(self, input: &InputSettings) -> Vec<(&'static str, &Path)> {
        let english = input.captions.as_deref();
        let files = match self {
            Self::Siglip => [("", english), ("", None)],
            Self::Qwen => [("english", english), ("chinese", input.captions_zh.as_deref())],
        };
        files.into_iter().filter_map(|(group, file)| Some((group, file?))).collect()
    }
}
