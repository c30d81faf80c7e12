//! The families of models, as commands and files are named after them.

use std::path::Path;

use clap::ValueEnum;

use super::{InputArgs, InputSettings, ModelArgs};
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

    /// Takes away what the other family alone has; names what was there, as it is typed.
    pub fn drop_of_others(self, input: &mut InputArgs, model: &mut ModelArgs) -> Vec<&'static str> {
        let dropped = match self {
            Self::Siglip => vec![
                ("--captions-zh", input.captions_zh.take().is_some()),
                ("--max-pixels", model.max_pixels.take().is_some()),
                ("--max-tokens-per-batch", model.max_tokens_per_batch.take().is_some()),
                ("--instruction", model.instruction.take().is_some()),
                ("--text-form", model.text_form.take().is_some()),
                ("--dim", model.dim.take().is_some()),
            ],
            Self::Qwen => vec![
                ("--batch-size", model.batch_size.take().is_some()),
                ("--max-num-patches", model.max_num_patches.take().is_some()),
            ],
        };
        dropped.into_iter().filter_map(|(option, was_there)| was_there.then_some(option)).collect()
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
        input.views.unwrap_or(self.default_views())
    }

    /// Which views are taken where nothing else is asked.
    pub fn default_views(self) -> Views {
        match self {
            Self::Siglip => Views::All,
            Self::Qwen => Views::Evenly(QWEN_VIEWS),
        }
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
