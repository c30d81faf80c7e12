//! Options that say with what model, and on what, a job computes.

use std::path::PathBuf;
#[cfg(feature = "engine")]
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::settings::layered;
use super::{Family, InputArgs};
#[cfg(feature = "engine")]
use crate::error::Error;
use crate::error::Result;
use crate::model::{Options, TextForm};

/// How long a rank may be silent unless something else is asked: longer than the slowest batch on a CPU.
#[cfg(feature = "engine")]
const WATCHDOG: Duration = Duration::from_secs(30 * 60);
/// Less than any rank is silent that computes.
#[cfg(feature = "engine")]
const WATCHDOG_MIN: Duration = Duration::from_secs(2);

/// The model as typed.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The model: a Hugging Face folder (config.json, model.safetensors, tokenizer.json, ...), or the name
    /// org/name[@revision] of one that `hyperslab fetch` has fetched
    #[arg(long, env = "HYPERSLAB_MODEL", value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// What the model computes in [default: bf16 on a GPU, f32 on a CPU]
    #[arg(long, env = "HYPERSLAB_PRECISION", value_name = "TYPE")]
    pub precision: Option<PrecisionArg>,
    /// What becomes of transparency: drop (shows the hidden colour, as SigLIP's reference does), qwen (RGBA on
    /// white, as Qwen's does), white, black, or #RRGGBB [default: as the model's reference does]
    #[arg(long, env = "HYPERSLAB_BACKGROUND", value_name = "COLOUR")]
    pub background: Option<String>,
    /// The most patches a picture becomes, for models of variable resolution (SigLIP 2 NaFlex): more of them
    /// show more detail and cost more [default: as the model's preprocessor_config.json says, 256 for those
    /// published]
    #[arg(long, env = "HYPERSLAB_MAX_NUM_PATCHES", value_name = "N", value_parser = at_least_one)]
    pub max_num_patches: Option<usize>,
    /// The most pixels that Qwen3-VL-Embedding keeps of a picture: 1,024 of them are a token, of which the views
    /// of an asset may have 8,192 together [default: as the model's reference has it, 1843200]
    #[arg(long, env = "HYPERSLAB_MAX_PIXELS", value_name = "N", value_parser = at_least_one)]
    pub max_pixels: Option<usize>,
    /// Items computed together by SigLIP; part of what makes results bit-identical [default: GPU: 512 captions,
    /// 128 views; CPU: 32 captions, 8 views]
    #[arg(long, env = "HYPERSLAB_BATCH_SIZE", value_name = "N", value_parser = at_least_one)]
    pub batch_size: Option<usize>,
    /// Tokens computed together by Qwen, padding included; part of what makes results bit-identical [default:
    /// GPU: what its memory holds beside the model, 32768 at most; CPU: 2048]
    #[arg(long, env = "HYPERSLAB_MAX_TOKENS_PER_BATCH", value_name = "N", value_parser = at_least_one)]
    pub max_tokens_per_batch: Option<usize>,
    /// What the vectors are for, in words, for models that are told: Qwen3-VL-Embedding, and queries of
    /// Qwen3-Embedding [default: as the model's reference has it]
    #[arg(long, env = "HYPERSLAB_INSTRUCTION", value_name = "TEXT")]
    pub instruction: Option<String>,
    /// What texts are to Qwen3-Embedding: document (what is searched) or query (what is searched for)
    /// [default: document]
    #[arg(long, env = "HYPERSLAB_TEXT_FORM", value_name = "FORM")]
    pub text_form: Option<TextFormArg>,
    /// Components that are kept of a vector, for models trained to be cut (Qwen's); it is normalised
    /// afterwards. For `plan` without a model: the length of vectors [default: all]
    #[arg(long, env = "HYPERSLAB_DIM", value_name = "N", value_parser = at_least_one)]
    pub dim: Option<usize>,
}

layered!(
    "model",
    ModelArgs {
        model,
        precision,
        background,
        max_num_patches,
        max_pixels,
        batch_size,
        max_tokens_per_batch,
        instruction,
        text_form,
        dim
    }
);

impl ModelArgs {
    /// What is asked of a model of this family.
    ///
    /// # Errors
    /// A background that is none.
    pub fn options(&self, family: Family) -> Result<Options> {
        let (mut own, mut input) = (self.clone(), InputArgs::default());
        family.drop_of_others(&mut input, &mut own);
        own.all_options()
    }

    /// What is asked of a model, whether it has all of it or not.
    ///
    /// # Errors
    /// A background that is none.
    pub fn all_options(self) -> Result<Options> {
        Ok(Options {
            background: self.background.as_deref().map(str::parse).transpose()?,
            max_num_patches: self.max_num_patches,
            max_pixels: self.max_pixels,
            instruction: self.instruction,
            form: self.text_form.map(Into::into),
            dim: self.dim,
        })
    }
}

/// How a job runs, as typed.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Where to compute; auto takes the GPU, and the CPU only where no GPU should be [default: auto]
    #[arg(long, env = "HYPERSLAB_DEVICE", value_name = "WHERE")]
    pub device: Option<DeviceArg>,
    /// Allow more ranks than GPUs on a node
    #[arg(long, env = "HYPERSLAB_SHARE_GPU", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub share_gpu: Option<bool>,
    /// Threads that read and decode, per rank [default: the cores this rank may use]
    #[arg(long, env = "HYPERSLAB_DECODE_THREADS", value_name = "N", value_parser = at_least_one)]
    pub decode_threads: Option<usize>,
    /// libtorch's threads per rank on a CPU; part of what makes results bit-identical [default: 1]
    #[arg(long, env = "HYPERSLAB_THREADS", value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// Stop, to be resumed, when more items than this fail: a number, or a percentage of all rows
    /// [default: 10%]
    #[arg(long, env = "HYPERSLAB_MAX_FAILURES", value_name = "N|P%")]
    pub max_failures: Option<String>,
    /// Most blocks per rank between two commits [default: as many as make commits cost little]
    #[arg(long, env = "HYPERSLAB_ROUND_BLOCKS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub round_blocks: Option<u64>,
    /// Which committed blocks a resume reads again; those that are damaged are computed again
    /// [default: all, which costs as much as reading the rows]
    #[arg(long, env = "HYPERSLAB_VERIFY_RESUME", value_name = "WHICH")]
    pub verify_resume: Option<VerifyResumeArg>,
    /// End in time, with everything committed and exit code 75, e.g. 3h50m for a job that has four hours
    /// [default: none]
    #[arg(long, env = "HYPERSLAB_TIME_LIMIT", value_name = "TIME")]
    pub time_limit: Option<String>,
    /// End the job when a rank has shown no sign of life, or no progress, for so long, e.g. 10m; off never does
    /// [default: 30m]
    #[arg(long, env = "HYPERSLAB_WATCHDOG", value_name = "TIME|off")]
    pub watchdog: Option<String>,
}

layered!(
    "run",
    RunArgs {
        device,
        share_gpu,
        decode_threads,
        threads,
        max_failures,
        round_blocks,
        verify_resume,
        time_limit,
        watchdog
    }
);

#[cfg(feature = "engine")]
impl RunArgs {
    /// How long the job may take.
    ///
    /// # Errors
    /// What was typed is no time.
    pub fn time_limit(&self) -> Result<Option<Duration>> {
        self.time_limit.as_deref().map(|text| duration("time-limit", text)).transpose()
    }

    /// How long a rank may be silent; `None`: for ever.
    ///
    /// # Errors
    /// What was typed is no time, or less than a rank may well be silent.
    pub fn watchdog(&self) -> Result<Option<Duration>> {
        match self.watchdog.as_deref() {
            None => Ok(Some(WATCHDOG)),
            Some("off") => Ok(None),
            Some(text) => match duration("watchdog", text)? {
                limit if limit < WATCHDOG_MIN => {
                    Err(Error::new(format!("--watchdog '{text}': less than {} s", WATCHDOG_MIN.as_secs())))
                }
                limit => Ok(Some(limit)),
            },
        }
    }
}

#[cfg(feature = "engine")]
fn duration(name: &str, text: &str) -> Result<Duration> {
    humantime::parse_duration(text)
        .map_err(|why| Error::new(format!("--{name} '{text}': {why}")).hint("for example 3h50m, or 90m"))
}

/// Which committed blocks are checked, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyResumeArg {
    All,
    /// One of 16.
    Sample,
    None,
}

/// A precision, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionArg {
    F32,
    Bf16,
    F16,
}

/// What a text is, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextFormArg {
    Document,
    Query,
}

impl From<TextFormArg> for TextForm {
    fn from(typed: TextFormArg) -> Self {
        match typed {
            TextFormArg::Document => Self::Document,
            TextFormArg::Query => Self::Query,
        }
    }
}

/// A device, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceArg {
    Auto,
    Cpu,
    Cuda,
}

#[cfg(feature = "engine")]
impl From<PrecisionArg> for crate::model::device::Precision {
    fn from(typed: PrecisionArg) -> Self {
        match typed {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
            PrecisionArg::F16 => Self::F16,
        }
    }
}

#[cfg(feature = "engine")]
impl From<DeviceArg> for crate::model::device::DeviceRequest {
    fn from(typed: DeviceArg) -> Self {
        match typed {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Cuda => Self::Cuda,
        }
    }
}

pub(super) fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("'{text}': expected a number of at least 1")),
        Ok(number) => Ok(number),
    }
}
