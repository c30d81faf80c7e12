//! Options that say what is written, and where.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Family;
use super::settings::layered;
use crate::plan::Kind;
use crate::store::{Compression, StoredType};

/// The output as typed.
#[allow(clippy::doc_markdown, reason = "help shows these comments as they are")]
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Folder of the files [default: the working folder]
    #[arg(long, env = "HYPERSLAB_OUTPUT_DIR", value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Name of SigLIP's file of captions' vectors [default: siglip_text_embeddings.h5]
    #[arg(long, env = "HYPERSLAB_SIGLIP_TEXT", value_name = "NAME")]
    pub siglip_text: Option<String>,
    /// Name of SigLIP's file of views' vectors [default: siglip_image_embeddings.h5]
    #[arg(long, env = "HYPERSLAB_SIGLIP_IMAGE", value_name = "NAME")]
    pub siglip_image: Option<String>,
    /// Name of Qwen's file of captions' vectors [default: qwen_text_embeddings.h5]
    #[arg(long, env = "HYPERSLAB_QWEN_TEXT", value_name = "NAME")]
    pub qwen_text: Option<String>,
    /// Name of Qwen's file of the vectors of assets' views [default: qwen_image_embeddings.h5]
    #[arg(long, env = "HYPERSLAB_QWEN_IMAGE", value_name = "NAME")]
    pub qwen_image: Option<String>,
    /// How vectors are stored: f32 or f16 [default: f32]
    #[arg(long, env = "HYPERSLAB_DTYPE", value_name = "TYPE")]
    pub dtype: Option<StoredType>,
    /// gzip:1 to gzip:9 (after shuffle), or none [default: gzip:4]
    #[arg(long, env = "HYPERSLAB_COMPRESSION", value_name = "HOW")]
    pub compression: Option<Compression>,
}

layered!(
    "output",
    OutputArgs { output_dir, siglip_text, siglip_image, qwen_text, qwen_image, dtype, compression }
);

/// The output as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    pub dir: PathBuf,
    pub siglip_text: String,
    pub siglip_image: String,
    pub qwen_text: String,
    pub qwen_image: String,
    pub dtype: StoredType,
    pub compression: Compression,
}

impl OutputArgs {
    pub fn resolve(self) -> OutputSettings {
        OutputSettings {
            dir: self.output_dir.unwrap_or_else(|| ".".into()),
            siglip_text: self.siglip_text.unwrap_or_else(|| "siglip_text_embeddings.h5".into()),
            siglip_image: self.siglip_image.unwrap_or_else(|| "siglip_image_embeddings.h5".into()),
            qwen_text: self.qwen_text.unwrap_or_else(|| "qwen_text_embeddings.h5".into()),
            qwen_image: self.qwen_image.unwrap_or_else(|| "qwen_image_embeddings.h5".into()),
            dtype: self.dtype.unwrap_or(StoredType::F32),
            compression: self.compression.unwrap_or(Compression::Gzip(4)),
        }
    }
}

impl OutputSettings {
    /// The file of a family's vectors of this kind.
    pub fn file(&self, family: Family, kind: Kind) -> PathBuf {
        let [text, image] = self.names(family);
        self.dir.join(if kind.has_views() { image } else { text })
    }

    /// Names of a family's two files, of captions and of views.
    pub fn names(&self, family: Family) -> [&str; 2] {
        match family {
            Family::Siglip => [&self.siglip_text, &self.siglip_image],
            Family::Qwen => [&self.qwen_text, &self.qwen_image],
        }
    }
}
