//! The model that a plan is made for, as far as it is known.

use crate::cli::compute::PrecisionArg;
use crate::cli::out::thousands;
use crate::cli::{Family, InputSettings, ModelArgs};
use crate::error::{Error, Exit, Result};
use crate::hub;
use crate::model::{self, Description, Modality, checkpoint, memory};
use crate::plan::{Kind, Views};

use super::look::Pictures;
use super::report::MemoryNeed;

/// Length of a vector of so400m, the model that plans are made for most.
const ASSUMED_DIM: u64 = 1152;
/// What pgvector 0.8 indexes at most, as `vector` and as `halfvec`.
const VECTOR_DIM_MAX: u64 = 2000;
const HALFVEC_DIM_MAX: u64 = 4000;
/// Of Qwen3-VL-Embedding, about: pixels that are a token, and at most kept of a picture; tokens around each view
/// and around all of them.
const QWEN_PIXELS_OF_TOKEN: u64 = 32 * 32;
const QWEN_PIXELS_MAX: u64 = 1_843_200;
const QWEN_TOKENS_AROUND_VIEW: u64 = 2;
const QWEN_TOKENS_OF_PROMPT: u64 = 32;
/// Items of a batch on a GPU, where SigLIP embeds captions and views.
const SIGLIP_BATCH: [usize; 2] = [512, 128];

/// What is planned for.
pub struct Target {
    pub family: Family,
    /// Neither model nor length was given.
    pub assumed: bool,
    pub sees_pictures: bool,
    model: Option<Known>,
    args: ModelArgs,
}

/// A model that is at hand.
struct Known {
    description: Description,
    /// Numbers that its weights are; `None` where they are not there yet.
    parameters: Option<u64>,
}

/// The model that is named. Where it cannot be read, the length of its vectors will do in its place.
fn known(args: &ModelArgs) -> Result<Option<Known>> {
    let Some(typed) = &args.model else { return Ok(None) };
    let read = || {
        let found = hub::find(typed)?;
        let description = model::describe(&found.path)?;
        Ok(Some(Known { description, parameters: checkpoint::parameters(&found.path).ok() }))
    };
    read().or_else(|error| if args.dim.is_some() { Ok(None) } else { Err(error) })
}

impl Target {
    /// The model that `args` name, a folder or a name in the cache; else what is asked for without one.
    ///
    /// # Errors
    /// The folder does not hold a model that is known; a length that its vectors cannot have.
    pub fn of(args: &ModelArgs, family: Option<Family>) -> Result<Self> {
        let model = known(args)?;
        let of_model = model.as_ref().map(|known| match known.description.family.command() {
            "qwen" => Family::Qwen,
            _ => Family::Siglip,
        });
        if let (Some(found), Some(asked)) = (of_model, family)
            && found != asked
        {
            let (found, asked) = (found.name(), asked.name());
            return Err(
                Error::new(format!("--family {asked}: the model is of the family {found}")).exit(Exit::Usage)
            );
        }
        let family = of_model.or(family).unwrap_or(Family::Siglip);
        let target = Self {
            family,
            assumed: model.is_none() && args.dim.is_none(),
            sees_pictures: model.as_ref().is_none_or(|known| known.description.image_dim.is_some()),
            model,
            args: args.clone(),
        };
        target.check()?;
        Ok(target)
    }

    /// Refuses what `embed` would refuse.
    fn check(&self) -> Result<()> {
        let (Some(known), Some(dir)) = (&self.model, &self.args.model) else { return Ok(()) };
        let description = &known.description;
        let options = self.args.options(self.family)?;
        options.check(dir, description.family, description.text_dim).map_err(|error| error.exit(Exit::Usage))
    }

    /// Length of the vectors of a file of this kind.
    pub fn dim(&self, kind: Kind) -> u64 {
        let of_model = |known: &Known| known.description.dim(Modality::from_views(kind.has_views()));
        let dim = self.args.dim.or_else(|| self.model.as_ref().and_then(of_model));
        dim.map_or(ASSUMED_DIM, |dim| dim as u64)
    }

    /// What becomes of transparency where nothing is asked for.
    pub fn background(&self) -> &'static str {
        match self.family {
            Family::Siglip => "drop",
            Family::Qwen => "qwen",
        }
    }

    /// What the model and a batch take of a GPU.
    pub fn memory(&self, kind: Kind) -> Option<MemoryNeed> {
        let known = self.model.as_ref()?;
        let work = known.description.work(Modality::from_views(kind.has_views()))?;
        let tokens = match work.tokens_per_item {
            // One item may be longer than the budget.
            None => {
                let longest = known.description.max_position_embeddings;
                self.args.max_tokens_per_batch.unwrap_or(memory::TOKENS_MAX).max(longest)
            }
            Some(tokens) => {
                let [captions, views] = SIGLIP_BATCH;
                let default = if kind.has_views() { views } else { captions };
                tokens * self.args.batch_size.unwrap_or(default)
            }
        };
        let (precision, value_bytes) = match self.args.precision {
            Some(PrecisionArg::F32) => ("f32", 4),
            Some(PrecisionArg::F16) => ("f16", 2),
            Some(PrecisionArg::Bf16) | None => ("bf16", 2),
        };
        let (weights_bytes, batch_bytes) = memory::bytes(known.parameters?, work, tokens, value_bytes);
        let precision = precision.to_owned();
        Some(MemoryNeed { precision, weights_bytes, batch_bytes, batch_tokens: tokens as u64 })
    }

    /// Whether the views of an asset are more than the model takes at once.
    fn too_many_tokens(&self, input: &InputSettings, pictures: &Pictures) -> Option<String> {
        let limit = self.model.as_ref()?.description.max_position_embeddings as u64;
        let Views::Evenly(views) = self.family.views(input) else { return None };
        let pixels = pictures.pixels_max.min(self.args.max_pixels.map_or(QWEN_PIXELS_MAX, |max| max as u64));
        let tokens = u64::from(views) * (pixels / QWEN_PIXELS_OF_TOKEN + QWEN_TOKENS_AROUND_VIEW);
        if self.family == Family::Siglip || tokens + QWEN_TOKENS_OF_PROMPT <= limit {
            return None;
        }
        let fitting = (limit - QWEN_TOKENS_OF_PROMPT) / u64::from(views) - QWEN_TOKENS_AROUND_VIEW;
        Some(format!(
            "{views} views of the largest pictures are about {} tokens, and the model takes {}: such assets would fail; \
             take fewer (--views), or smaller ones (--max-pixels {})",
            thousands(tokens),
            thousands(limit),
            fitting * QWEN_PIXELS_OF_TOKEN
        ))
    }

    /// What does not go together, and what follows from the length of vectors.
    pub fn warnings(&self, input: &InputSettings, pictures: Option<&Pictures>) -> Vec<String> {
        let mut warnings: Vec<String> =
            pictures.and_then(|seen| self.too_many_tokens(input, seen)).into_iter().collect();
        if !self.sees_pictures && (input.renders.is_some() || input.renders_list.is_some()) {
            warnings.push("the model is one of texts alone: the views are left out".to_owned());
        }
        let dim = self.dim(Kind::Text);
        let (vector, halfvec) = (thousands(VECTOR_DIM_MAX), thousands(HALFVEC_DIM_MAX));
        if dim > HALFVEC_DIM_MAX {
            warnings.push(format!(
                "vectors of {} components can be stored, but pgvector indexes {halfvec} at most (as halfvec): for a \
                 database cut them, e.g. --dim 2048",
                thousands(dim)
            ));
        } else if dim > VECTOR_DIM_MAX {
            warnings.push(format!(
                "pgvector indexes vectors of {} components as halfvec alone (vector: {vector} at most)",
                thousands(dim)
            ));
        }
        warnings
    }
}
