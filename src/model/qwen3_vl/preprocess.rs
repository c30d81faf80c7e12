//! Pictures as `Qwen2VLImageProcessor` prepares them: patches, those together that become one token.

use std::path::Path;

use serde_json::{Value, json};
use tch::{TchError, Tensor};

use super::config::VisionConfig;
use super::size::{PixelRange, smart_resize};
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::Background;
use crate::model::checkpoint;
use crate::model::grid::Grid;
use crate::model::json::Section;
use crate::model::layers::Computed;
use crate::model::picture::Rgb;
use crate::model::pixels::{self, Defaults, Filter, Pixels};

/// The classes of transformers 4 and 5 that prepare in this way.
const PROCESSORS: [&str; 4] = [
    "Qwen2VLImageProcessor",
    "Qwen2VLImageProcessorFast",
    "Qwen2VLImageProcessorPil",
    "Qwen3VLImageProcessor",
];

/// Mean and deviation where the file has none (`OPENAI_CLIP_MEAN`, `OPENAI_CLIP_STD`).
const DEFAULTS: Defaults = Defaults {
    filter: Filter::Bicubic,
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

/// The range that the embedding models are used with (`MIN_PIXELS`, `MAX_PIXELS` of QwenLM/Qwen3-VL-Embedding).
const PIXELS: PixelRange = PixelRange { min: 4_096, max: 1_843_200 };

/// The range of the chat models, which the published files of the embedding models have kept and their own
/// code ignores.
const PIXELS_OF_CHAT: PixelRange = PixelRange { min: 65_536, max: 16_777_216 };

/// How pictures become what the tower takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Side of a patch, in pixels.
    patch_size: usize,
    /// Side of the square of patches that become one token.
    merge_size: usize,
    range: PixelRange,
    pixels: Pixels,
}

impl Preprocess {
    /// Reads the settings of the folder `dir` for a tower of this kind; `max_pixels` goes before theirs.
    ///
    /// # Errors
    /// Settings that are missing, wrong or not supported, by name; patches that are not the tower's.
    pub fn load(
        dir: &Path,
        config: &VisionConfig,
        max_pixels: Option<usize>,
        background: Background,
    ) -> Result<Self> {
        let mut own = pixels::read(dir, |section| Self::parse(section, config, background))?;
        if let Some(max) = max_pixels {
            if max < own.range.min {
                let min = own.range.min;
                return Err(Error::new(format!("--max-pixels is {max}; the model takes {min} at least")));
            }
            own.range.max = max;
        }
        Ok(own)
    }

    fn parse(section: &Section<'_>, config: &VisionConfig, background: Background) -> Result<Self> {
        pixels::check_class(section, "Qwen3-VL", &PROCESSORS)?;
        for (key, default, of_config, wanted) in [
            ("patch_size", 14, "patch_size", config.patch_size),
            ("temporal_patch_size", 2, "temporal_patch_size", config.temporal_patch_size),
            ("merge_size", 2, "spatial_merge_size", config.merge_size),
        ] {
            let found = section.count(key, default)?;
            if found != wanted {
                let expected = format!("{wanted}, the `vision_config.{of_config}` of {}", checkpoint::CONFIG);
                return Err(section.wrong(key, &expected, &found.into()));
            }
        }
        Ok(Self {
            patch_size: config.patch_size,
            merge_size: config.merge_size,
            range: parse_range(section)?,
            pixels: Pixels::parse(section, &DEFAULTS, background)?,
        })
    }

    /// A picture file as patches (T, `patch_size` x `patch_size` x 3) in 8 bits, each flattened as (row, column,
    /// channel), the patches of one token together; and its grid.
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn patches(&self, bytes: &[u8]) -> std::result::Result<(Tensor, Grid), ItemError> {
        let found = self.pixels.decode(bytes, |picture| {
            let factor = self.patch_size * self.merge_size;
            let size = smart_resize(picture.height, picture.width, factor, self.range);
            size.map(|(height, width)| self.cut(picture, height, width)).transpose()
        })?;
        found.ok_or_else(|| {
            let detail = "more than 200 times as long as it is wide, or the other way round";
            ItemError::new(ItemErrorKind::TooLarge, detail)
        })
    }

    fn cut(
        &self,
        picture: &Rgb,
        height: usize,
        width: usize,
    ) -> std::result::Result<(Tensor, Grid), TchError> {
        let (patch, merge) = (self.patch_size as i64, self.merge_size as i64);
        let grid = Grid { rows: height as i64 / patch, columns: width as i64 / patch };
        let pixels = self.pixels.resize(picture, height, width)?;
        let (rows, columns) = (grid.rows / merge, grid.columns / merge);
        let cut = pixels.f_view([rows, merge, patch, columns, merge, patch * 3])?;
        let cut = cut.f_permute([0, 3, 1, 4, 2, 5])?; // (rows, columns) of tokens, of patches, a patch
        Ok((cut.f_reshape([grid.patches(), patch * patch * 3])?, grid))
    }

    /// How many tokens a picture of this grid becomes.
    pub fn tokens(&self, grid: Grid) -> usize {
        grid.patches() as usize / (self.merge_size * self.merge_size)
    }

    /// Patches (T, patch) in 8 bits to what the tower takes, in f32 on the same device.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn normalise(&self, patches: &Tensor) -> Computed {
        let (tokens, patch) = patches.size2()?;
        self.pixels.normalise(&patches.f_view([tokens, patch / 3, 3])?)?.f_view([tokens, patch])
    }

    /// What decides the patches, for provenance.
    pub fn provenance(&self) -> Value {
        let mut provenance = self.pixels.provenance();
        for (name, value) in [
            ("patch_size", self.patch_size),
            ("merge_size", self.merge_size),
            ("pixels_min", self.range.min),
            ("pixels_max", self.range.max),
        ] {
            provenance.insert(name.to_owned(), json!(value));
        }
        provenance.into()
    }
}

/// `size`, or the older `min_pixels` and `max_pixels`, which go before it.
fn parse_range(section: &Section<'_>) -> Result<PixelRange> {
    let size = section.within("size")?;
    let of_size = PixelRange {
        min: size.count("shortest_edge", PIXELS.min)?,
        max: size.count("longest_edge", PIXELS.max)?,
    };
    let range = PixelRange {
        min: section.count("min_pixels", of_size.min)?,
        max: section.count("max_pixels", of_size.max)?,
    };
    if range.min > range.max {
        let expected = format!("at least the smallest number of pixels, {}", range.min);
        return Err(section.wrong("size", &expected, &range.max.into()));
    }
    Ok(if range == PIXELS_OF_CHAT { PIXELS } else { range })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::qwen3_vl::config::Config;

    fn parse(value: &Value) -> Result<Preprocess> {
        let vision = json!({"vision_config": {"out_hidden_size": 4096}});
        let config = Config::parse(Path::new("/m"), &vision).expect("defaults");
        Preprocess::parse(
            &Section::new(Path::new("p.json"), "", Some(value)),
            &config.vision,
            Background::Qwen,
        )
    }

    #[test]
    fn the_range_is_the_embedding_models_own_unless_the_file_has_another() {
        // As Qwen/Qwen3-VL-Embedding-2B has it.
        let published = json!({
            "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536}, "patch_size": 16,
            "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5], "processor_class": "Qwen3VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessorFast"
        });
        let range = |value: &Value| parse(value).expect("sound").range;
        assert_eq!(range(&published), PIXELS);
        assert_eq!(range(&json!({"patch_size": 16})), PIXELS);
        let own = json!({"patch_size": 16, "size": {"longest_edge": 100_000, "shortest_edge": 1024}});
        assert_eq!(range(&own), PixelRange { min: 1024, max: 100_000 });
        let older = json!({"patch_size": 16, "min_pixels": 2048, "max_pixels": 50_000});
        assert_eq!(range(&older), PixelRange { min: 2048, max: 50_000 });
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (value, key) in [
            (json!({}), "patch_size"),
            (json!({"patch_size": 16, "merge_size": 4}), "merge_size"),
            (json!({"patch_size": 16, "temporal_patch_size": 1}), "temporal_patch_size"),
            (json!({"patch_size": 16, "size": 224}), "size"),
            (json!({"patch_size": 16, "min_pixels": 5_000_000}), "size"),
            (
                json!({"patch_size": 16, "image_processor_type": "SiglipImageProcessor"}),
                "image_processor_type",
            ),
            (json!({"patch_size": 16, "do_resize": false}), "do_resize"),
        ] {
            let message = parse(&value).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }
}
