//! `config.json` of SigLIP 2 NaFlex: what is absent takes the defaults of transformers'
//! `configuration_siglip2.py` (the same in 4.x and 5.x). The text tower's are SigLIP's.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::model::json::Section;
use crate::model::siglip::config::{BlockConfig, TextConfig, check_vision, parse_blocks, parse_text};
use crate::model::{Description, Family, checkpoint, display_name};

/// Both towers.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub text: TextConfig,
    pub vision: VisionConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    pub blocks: BlockConfig,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Side of the square table of positions, which is interpolated to a picture's own grid.
    pub positions_side: usize,
}

impl Config {
    /// Reads the parsed `config.json` of the folder `dir`.
    ///
    /// # Errors
    /// A value that is wrong, or right and not supported, by its key.
    pub fn parse(dir: &Path, config: &Value) -> Result<Self> {
        let path = dir.join(checkpoint::CONFIG);
        Ok(Self {
            text: parse_text(&Section::part(&path, "text_config.", config)?)?,
            vision: parse_vision(&Section::part(&path, "vision_config.", config)?)?,
        })
    }

    /// What the job and provenance need to know.
    pub fn describe(&self, dir: &Path, config: &Value) -> Description {
        Description {
            family: Family::Siglip2,
            name: display_name(dir, config),
            text_dim: self.text.projection_size,
            image_dim: Some(self.vision.blocks.hidden_size),
            max_position_embeddings: self.text.max_position_embeddings,
            text_work: self.text.work(),
            image_work: Some(
                self.vision.blocks.work(self.vision.positions_side * self.vision.positions_side),
            ),
        }
    }
}

fn parse_vision(section: &Section<'_>) -> Result<VisionConfig> {
    check_vision(section)?;
    let positions = section.count("num_patches", 256)?;
    let positions_side = positions.isqrt();
    if positions_side * positions_side != positions {
        return Err(section.wrong("num_patches", "a square number", &positions.into()));
    }
    Ok(VisionConfig {
        blocks: parse_blocks(section)?,
        patch_size: section.side("patch_size", 16)?,
        positions_side,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: &Value) -> Result<Config> {
        Config::parse(Path::new("/m"), config)
    }

    #[test]
    fn an_empty_config_is_the_base_model() {
        let config = parse(&json!({"model_type": "siglip2"})).expect("all defaults");
        assert_eq!((config.text.vocab_size, config.text.max_position_embeddings), (32_000, 64));
        assert_eq!((config.vision.patch_size, config.vision.positions_side), (16, 16));
        assert_eq!((config.text.projection_size, config.vision.blocks.hidden_size), (768, 768));
    }

    #[test]
    fn a_sparse_config_as_on_the_hub() {
        // google/siglip2-so400m-patch16-naflex, as transformers 4 saved it.
        let config = parse(&json!({
            "architectures": ["Siglip2Model"],
            "initializer_factor": 1.0,
            "text_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
                            "num_hidden_layers": 27, "projection_size": 1152, "torch_dtype": "float32",
                            "model_type": "siglip2_text_model", "vocab_size": 256_000},
            "torch_dtype": "float32",
            "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
                              "num_hidden_layers": 27, "num_patches": 256, "patch_size": 16,
                              "torch_dtype": "float32", "model_type": "siglip2_vision_model"}
        }))
        .expect("as published");
        assert_eq!((config.text.vocab_size, config.text.projection_size), (256_000, 1152));
        assert_eq!((config.vision.patch_size, config.vision.positions_side), (16, 16));
        assert_eq!(config.vision.blocks.num_layers, 27);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refusals = [
            (json!({"vision_config": {"num_patches": 255}}), "vision_config.num_patches"),
            (json!({"vision_config": {"num_patches": 0}}), "vision_config.num_patches"),
            (json!({"vision_config": {"patch_size": [16, 14]}}), "vision_config.patch_size"),
            (json!({"vision_config": {"vision_use_head": false}}), "vision_config.vision_use_head"),
            (json!({"vision_config": {"num_channels": 1}}), "vision_config.num_channels"),
            (json!({"vision_config": "base"}), "vision_config"),
            (json!({"text_config": []}), "text_config"),
            (json!({"text_config": {"projection_size": -1}}), "text_config.projection_size"),
        ];
        for (config, key) in refusals {
            let message = parse(&config).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{key}: {message}");
        }
    }
}
