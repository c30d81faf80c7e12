//! `config.json` of SigLIP: what is absent takes the defaults of transformers'
//! `configuration_siglip.py` (the same in 4.x and 5.x).

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::model::activation::Activation;
use crate::model::json::Section;
use crate::model::memory::{Layer, Work};
use crate::model::{Description, Family, checkpoint, display_name};

/// Both towers.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub text: TextConfig,
    pub vision: VisionConfig,
}

/// What the blocks of either tower are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub activation: Activation,
    pub layer_norm_eps: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    pub blocks: BlockConfig,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    /// Length of the vector: what the head projects to.
    pub projection_size: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    pub blocks: BlockConfig,
    /// Side of the square picture the tower takes, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
}

impl VisionConfig {
    /// Patches along one side. A border narrower than a patch is dropped, as a 'valid' convolution does.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }
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
            family: Family::Siglip,
            name: display_name(dir, config),
            text_dim: self.text.projection_size,
            image_dim: Some(self.vision.blocks.hidden_size),
            max_position_embeddings: self.text.max_position_embeddings,
            text_work: self.text.work(),
            image_work: Some(self.vision.blocks.work(self.vision.grid() * self.vision.grid())),
        }
    }
}

impl BlockConfig {
    /// Of a tower whose items all have so many tokens.
    pub fn work(&self, tokens: usize) -> Work {
        let layer = Layer {
            hidden_size: self.hidden_size,
            attention_size: 3 * self.hidden_size,
            mlp_size: self.intermediate_size,
        };
        Work { values_per_token: layer.values_per_token(), tokens_per_item: Some(tokens) }
    }
}

impl TextConfig {
    /// Of captions, all padded to one length.
    pub fn work(&self) -> Work {
        self.blocks.work(self.max_position_embeddings)
    }
}

/// Reads `text_config`.
///
/// # Errors
/// As [`Config::parse`].
pub fn parse_text(section: &Section<'_>) -> Result<TextConfig> {
    let blocks = parse_blocks(section)?;
    Ok(TextConfig {
        vocab_size: section.count("vocab_size", 32_000)?,
        max_position_embeddings: section.count("max_position_embeddings", 64)?,
        projection_size: section.count("projection_size", blocks.hidden_size)?,
        blocks,
    })
}

fn parse_vision(section: &Section<'_>) -> Result<VisionConfig> {
    check_vision(section)?;
    let (image_size, patch_size) = (section.side("image_size", 224)?, section.side("patch_size", 16)?);
    if patch_size > image_size {
        return Err(section.wrong(
            "patch_size",
            &format!("at most `image_size`, {image_size}"),
            &patch_size.into(),
        ));
    }
    Ok(VisionConfig { blocks: parse_blocks(section)?, image_size, patch_size })
}

/// Refuses vision towers that take no colours or make no vector.
///
/// # Errors
/// Such a tower, by the key that makes it so.
pub fn check_vision(section: &Section<'_>) -> Result<()> {
    let channels = section.count("num_channels", 3)?;
    if channels != 3 {
        return Err(section.unsupported("num_channels", &channels.into()));
    }
    if !section.flag("vision_use_head", true)? {
        // Without its pooling head the tower has no vector for a picture.
        return Err(section.unsupported("vision_use_head", &false.into()));
    }
    Ok(())
}

/// Reads what the blocks of a tower are made of.
///
/// # Errors
/// As [`Config::parse`].
pub fn parse_blocks(section: &Section<'_>) -> Result<BlockConfig> {
    let hidden_size = section.count("hidden_size", 768)?;
    let num_heads = section.count("num_attention_heads", 12)?;
    if hidden_size % num_heads != 0 {
        let expected = format!("a divisor of `hidden_size`, {hidden_size}");
        return Err(section.wrong("num_attention_heads", &expected, &num_heads.into()));
    }
    let layer_norm_eps = section.number("layer_norm_eps", 1e-6)?;
    if layer_norm_eps < 0.0 {
        return Err(section.wrong("layer_norm_eps", "positive", &layer_norm_eps.into()));
    }
    Ok(BlockConfig {
        hidden_size,
        intermediate_size: section.count("intermediate_size", 3072)?,
        num_layers: section.count("num_hidden_layers", 12)?,
        num_heads,
        activation: Activation::parse(section, "hidden_act", "gelu_pytorch_tanh")?,
        layer_norm_eps,
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
        let config = parse(&json!({"model_type": "siglip"})).expect("all defaults");
        assert_eq!(config.text.vocab_size, 32_000);
        assert_eq!(config.text.max_position_embeddings, 64);
        assert_eq!(config.text.projection_size, 768);
        assert_eq!((config.vision.image_size, config.vision.patch_size, config.vision.grid()), (224, 16, 14));
        assert_eq!(config.vision.blocks, config.text.blocks);
        assert_eq!(config.text.blocks.activation, Activation::GeluTanh);
    }

    #[test]
    fn a_sparse_config_as_on_the_hub() {
        // google/siglip-so400m-patch14-384 says this much and leaves the rest to the defaults.
        let config = parse(&json!({
            "text_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
                            "num_hidden_layers": 27, "model_type": "siglip_text_model"},
            "vision_config": {"hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
                              "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14},
            "torch_dtype": "float32"
        }))
        .expect("as published");
        assert_eq!(config.vision.grid(), 27, "the last 6 pixels are dropped");
        assert_eq!(config.text.projection_size, 1152);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refusals = [
            (json!({"vision_config": {"vision_use_head": false}}), "vision_config.vision_use_head"),
            (json!({"vision_config": {"num_channels": 4}}), "vision_config.num_channels"),
            (json!({"vision_config": {"image_size": [224, 256]}}), "vision_config.image_size"),
            (json!({"vision_config": {"patch_size": 300}}), "vision_config.patch_size"),
            (json!({"text_config": {"hidden_act": "xielu"}}), "text_config.hidden_act"),
            (json!({"text_config": "large"}), "text_config"),
            (json!({"vision_config": [1, 2]}), "vision_config"),
            (json!({"text_config": {"num_attention_heads": 7}}), "text_config.num_attention_heads"),
            (json!({"text_config": {"hidden_size": 0}}), "text_config.hidden_size"),
            (json!({"text_config": {"layer_norm_eps": "small"}}), "text_config.layer_norm_eps"),
        ];
        for (config, key) in refusals {
            let message = parse(&config).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{key}: {message}");
        }
    }

    #[test]
    fn sides_may_be_lists() {
        let config = parse(&json!({"vision_config": {"image_size": [384, 384], "patch_size": [14, 14]}}));
        let vision = config.expect("equal sides").vision;
        assert_eq!((vision.image_size, vision.patch_size), (384, 14));
    }
}
