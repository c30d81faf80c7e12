//! `config.json` of Qwen3-VL: what is absent takes the defaults of transformers' `configuration_qwen3_vl.py`.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::model::activation::Activation;
use crate::model::json::Section;
use crate::model::memory::{Layer, Work};
use crate::model::qwen3::config::{DecoderConfig, Defaults, parse_decoder, rope};
use crate::model::{Description, Family, checkpoint, display_name};

/// Published models have 2; far more than this is a mistake.
const MERGE_SIZE_MAX: usize = 16;

const DEFAULTS: Defaults = Defaults { max_position_embeddings: 128_000, rope_theta: 500_000.0 };

/// Both parts and the tokens that stand for pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub text: DecoderConfig,
    /// Pairs of a head's components that turn with time, row and column.
    pub mrope_section: [usize; 3],
    pub vision: VisionConfig,
    /// The token in whose places a picture's own tokens stand.
    pub image_token_id: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub activation: Activation,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Frames in a patch; a picture is repeated so often.
    pub temporal_patch_size: usize,
    /// Side of the square of patches that become one token.
    pub merge_size: usize,
    /// Length of a token for the decoder.
    pub out_hidden_size: usize,
    /// Entries of the table of positions.
    pub positions: usize,
    /// Side of the square of them that is used.
    pub positions_side: usize,
    pub rope_theta: f64,
    /// The layers whose states are also given to the decoder's first layers (DeepStack).
    pub deepstack: Vec<usize>,
}

impl VisionConfig {
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Numbers that are in memory at once for each patch.
    fn values_per_patch(&self) -> usize {
        let layer = Layer {
            hidden_size: self.hidden_size,
            // Queries and keys are turned in f32, twice the width.
            attention_size: 5 * self.hidden_size,
            mlp_size: self.intermediate_size,
        };
        layer.values_per_token()
    }
}

impl Config {
    /// Reads the parsed `config.json` of the folder `dir`.
    ///
    /// # Errors
    /// A value that is wrong, or right and not supported, by its key.
    pub fn parse(dir: &Path, config: &Value) -> Result<Self> {
        let path = dir.join(checkpoint::CONFIG);
        let whole = Section::new(&path, "", Some(config));
        let section = whole.within("text_config")?;
        let text = parse_decoder(&section, &DEFAULTS)?;
        let vision = parse_vision(&whole.within("vision_config")?)?;
        if vision.out_hidden_size != text.hidden_size {
            let expected = format!("{}, the `text_config.hidden_size`", text.hidden_size);
            let found = vision.out_hidden_size.into();
            return Err(whole.within("vision_config")?.wrong("out_hidden_size", &expected, &found));
        }
        if vision.deepstack.len() > text.num_layers {
            let expected = format!("at most as many as the decoder's layers, {}", text.num_layers);
            let found = vision.deepstack.clone().into();
            return Err(whole.within("vision_config")?.wrong("deepstack_visual_indexes", &expected, &found));
        }
        Ok(Self {
            mrope_section: parse_mrope(&section)?,
            text,
            vision,
            image_token_id: whole.count("image_token_id", 151_655)? as i64,
        })
    }

    /// What the job and provenance need to know.
    pub fn describe(&self, dir: &Path, config: &Value) -> Description {
        Description {
            family: Family::Qwen3Vl,
            name: display_name(dir, config),
            text_dim: self.text.hidden_size,
            image_dim: Some(self.text.hidden_size),
            max_position_embeddings: self.text.tokens_max(),
            text_work: self.text.work(),
            image_work: Some(self.image_work()),
        }
    }

    /// Pictures go through the vision tower and then through the decoder, whichever takes more; what the tower
    /// gives, for every layer that it is added to, stays.
    fn image_work(&self) -> Work {
        let decoder = self.text.work();
        let patches_of_token = self.vision.merge_size * self.vision.merge_size;
        let vision = patches_of_token * self.vision.values_per_patch();
        let features = (1 + self.vision.deepstack.len()) * self.text.hidden_size;
        Work { values_per_token: decoder.values_per_token.max(vision) + features, ..decoder }
    }
}

fn parse_mrope(section: &Section<'_>) -> Result<[usize; 3]> {
    let rope = rope(section)?;
    if !rope.flag("mrope_interleaved", true)? {
        return Err(rope.unsupported("mrope_interleaved", &false.into()));
    }
    let sections = rope.counts("mrope_section", &[24, 20, 20])?;
    <[usize; 3]>::try_from(sections)
        .map_err(|found| rope.wrong("mrope_section", "three numbers (time, row, column)", &found.into()))
}

fn parse_vision(section: &Section<'_>) -> Result<VisionConfig> {
    let channels = section.count("in_channels", 3)?;
    if channels != 3 {
        return Err(section.unsupported("in_channels", &channels.into()));
    }
    let hidden_size = section.count("hidden_size", 1152)?;
    // transformers knows the number of heads under both names.
    let num_heads = section.count("num_heads", section.count("num_attention_heads", 16)?)?;
    if hidden_size % num_heads != 0 || !(hidden_size / num_heads).is_multiple_of(4) {
        let expected = format!("a divisor of `hidden_size`, {hidden_size}, into heads of a multiple of 4");
        return Err(section.wrong("num_heads", &expected, &num_heads.into()));
    }
    let positions = section.count("num_position_embeddings", 2304)?;
    let merge_size = section.count("spatial_merge_size", 2)?;
    if merge_size > MERGE_SIZE_MAX {
        let expected = format!("at most {MERGE_SIZE_MAX}");
        return Err(section.wrong("spatial_merge_size", &expected, &merge_size.into()));
    }
    let num_layers = section.count("depth", 27)?;
    let deepstack = section.counts("deepstack_visual_indexes", &[8, 16, 24])?;
    let is_wrong =
        |(place, layer): (usize, &usize)| *layer >= num_layers || deepstack[..place].contains(layer);
    if deepstack.iter().enumerate().any(is_wrong) {
        let expected = format!("different layers of the {num_layers}");
        return Err(section.wrong("deepstack_visual_indexes", &expected, &deepstack.into()));
    }
    let rope_theta = vision_rope_theta(section)?;
    Ok(VisionConfig {
        hidden_size,
        intermediate_size: section.count("intermediate_size", 4304)?,
        num_layers,
        num_heads,
        activation: Activation::parse(section, "hidden_act", "gelu_pytorch_tanh")?,
        patch_size: section.side("patch_size", 16)?,
        temporal_patch_size: section.side("temporal_patch_size", 2)?,
        merge_size,
        out_hidden_size: section.count("out_hidden_size", 3584)?,
        positions,
        positions_side: positions.isqrt(),
        rope_theta,
        deepstack,
    })
}

/// The base of rotary positions in two dimensions, which the reference calls axial.
fn vision_rope_theta(section: &Section<'_>) -> Result<f64> {
    let parameters = section.within("rope_parameters")?;
    let kind = parameters.text("rope_type", "axial")?;
    if kind != "axial" {
        return Err(parameters.unsupported("rope_type", &kind.into()).hint("supported: axial"));
    }
    let theta = parameters.number("rope_theta", section.number("rope_theta", 10_000.0)?)?;
    if theta <= 0.0 {
        return Err(parameters.wrong("rope_theta", "positive", &theta.into()));
    }
    Ok(theta)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: &Value) -> Result<Config> {
        Config::parse(Path::new("/m"), config)
    }

    /// Qwen/Qwen3-VL-Embedding-2B, as transformers 4.57 saved it.
    fn published() -> Value {
        json!({
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "image_token_id": 151_655,
            "model_type": "qwen3_vl",
            "text_config": {
                "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151_643,
                "dtype": "bfloat16", "eos_token_id": 151_645, "head_dim": 128, "hidden_act": "silu",
                "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144,
                "max_position_embeddings": 262_144, "model_type": "qwen3_vl_text",
                "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
                "rms_norm_eps": 1e-06,
                "rope_scaling": {"mrope_interleaved": true, "mrope_section": [24, 20, 20],
                                 "rope_type": "default"},
                "rope_theta": 5_000_000, "tie_word_embeddings": true, "use_cache": true,
                "vocab_size": 151_936
            },
            "tie_word_embeddings": true,
            "transformers_version": "4.57.0.dev0",
            "video_token_id": 151_656,
            "vision_config": {
                "deepstack_visual_indexes": [5, 11, 17], "depth": 24, "hidden_act": "gelu_pytorch_tanh",
                "hidden_size": 1024, "in_channels": 3, "initializer_range": 0.02,
                "intermediate_size": 4096, "model_type": "qwen3_vl", "num_heads": 16,
                "num_position_embeddings": 2304, "out_hidden_size": 2048, "patch_size": 16,
                "spatial_merge_size": 2, "temporal_patch_size": 2
            },
            "vision_end_token_id": 151_653,
            "vision_start_token_id": 151_652
        })
    }

    #[test]
    fn a_config_as_on_the_hub() {
        let config = parse(&published()).expect("as published");
        assert_eq!((config.text.rope_theta, config.mrope_section), (5e6, [24, 20, 20]));
        assert_eq!((config.vision.positions_side, config.vision.head_dim()), (48, 64));
        assert_eq!(config.vision.deepstack, [5, 11, 17]);
        // In the spelling of transformers 5.
        let mut spelled = published();
        let text = spelled["text_config"].as_object_mut().expect("an object");
        text.remove("rope_theta");
        let rope = text.remove("rope_scaling").expect("there");
        text.insert("rope_parameters".into(), rope);
        text["rope_parameters"]["rope_theta"] = json!(5_000_000);
        spelled["vision_config"]["rope_parameters"] = json!({"rope_theta": 10_000.0, "rope_type": "axial"});
        assert_eq!(parse(&spelled), Ok(config));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let with = |path: &str, value: Value| {
            let mut config = published();
            *config.pointer_mut(path).expect("there") = value;
            parse(&config).expect_err(path).to_string()
        };
        for (path, value, key) in [
            ("/text_config/rope_scaling/rope_type", json!("yarn"), "text_config.rope_scaling.rope_type"),
            ("/text_config/rope_scaling/mrope_section", json!([24, 20]), "rope_scaling.mrope_section"),
            ("/text_config/rope_scaling/mrope_interleaved", json!(false), "mrope_interleaved"),
            ("/vision_config/in_channels", json!(4), "vision_config.in_channels"),
            ("/vision_config/out_hidden_size", json!(1024), "vision_config.out_hidden_size"),
            ("/vision_config/deepstack_visual_indexes", json!([5, 24]), "deepstack_visual_indexes"),
            ("/vision_config/deepstack_visual_indexes", json!([5, 5]), "deepstack_visual_indexes"),
            ("/vision_config/deepstack_visual_indexes", json!("all"), "deepstack_visual_indexes"),
            ("/vision_config/num_heads", json!(7), "vision_config.num_heads"),
            ("/vision_config/hidden_act", json!("xielu"), "vision_config.hidden_act"),
            ("/text_config", json!([]), "text_config"),
        ] {
            let message = with(path, value);
            assert!(message.contains(&format!("{key}`")), "{key}: {message}");
        }
    }
}
