//! `config.json` of Qwen3: what is absent takes the defaults of transformers' `configuration_qwen3.py`; the
//! spellings of transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) are both read.

use std::path::Path;

use serde_json::Value;

use super::TOKENS_MAX;
use crate::error::Result;
use crate::model::activation::Activation;
use crate::model::json::Section;
use crate::model::memory::{Layer, Work};
use crate::model::{Description, Family, checkpoint, display_name};

/// The defaults in which the decoders of families differ.
pub struct Defaults {
    pub max_position_embeddings: usize,
    pub rope_theta: f64,
}

const DEFAULTS: Defaults = Defaults { max_position_embeddings: 32_768, rope_theta: 10_000.0 };

/// A causal decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    /// Heads of keys and values, each of which serves several heads of queries.
    pub num_kv_heads: usize,
    /// Need not be `hidden_size / num_heads`.
    pub head_dim: usize,
    pub activation: Activation,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// Whether the products of attention have a bias.
    pub attention_bias: bool,
    pub max_position_embeddings: usize,
}

/// A model that is a decoder alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub decoder: DecoderConfig,
}

impl Config {
    /// Reads the parsed `config.json` of the folder `dir`.
    ///
    /// # Errors
    /// A value that is wrong, or right and not supported, by its key.
    pub fn parse(dir: &Path, config: &Value) -> Result<Self> {
        let path = dir.join(checkpoint::CONFIG);
        let section = Section::new(&path, "", Some(config));
        refuse_windows(&section)?;
        Ok(Self { decoder: parse_decoder(&section, &DEFAULTS)? })
    }

    /// What the job and provenance need to know.
    pub fn describe(&self, dir: &Path, config: &Value) -> Description {
        Description {
            family: Family::Qwen3,
            name: display_name(dir, config),
            text_dim: self.decoder.hidden_size,
            image_dim: None,
            max_position_embeddings: self.decoder.tokens_max(),
            text_work: self.decoder.work(),
            image_work: None,
        }
    }
}

impl DecoderConfig {
    /// The longest sequence that is embedded.
    pub fn tokens_max(&self) -> usize {
        self.max_position_embeddings.min(TOKENS_MAX)
    }

    /// What computing takes of memory.
    pub fn work(&self) -> Work {
        let layer = Layer {
            hidden_size: self.hidden_size,
            attention_size: (self.num_heads + 2 * self.num_kv_heads) * self.head_dim,
            mlp_size: 2 * self.intermediate_size,
        };
        Work { values_per_token: layer.values_per_token(), tokens_per_item: None }
    }
}

/// Reads a decoder's sizes.
///
/// # Errors
/// As [`Config::parse`].
pub fn parse_decoder(section: &Section<'_>, defaults: &Defaults) -> Result<DecoderConfig> {
    let num_heads = section.count("num_attention_heads", 32)?;
    // Of this key alone, null means something else than absence: as many as there are heads.
    let kv_heads_default = if section.is_null("num_key_value_heads") { num_heads } else { 32 };
    let num_kv_heads = section.count("num_key_value_heads", kv_heads_default)?;
    if num_heads % num_kv_heads != 0 {
        let expected = format!("a divisor of `num_attention_heads`, {num_heads}");
        return Err(section.wrong("num_key_value_heads", &expected, &num_kv_heads.into()));
    }
    let head_dim = section.count("head_dim", 128)?;
    if head_dim % 2 != 0 {
        return Err(section.wrong("head_dim", "even", &head_dim.into()));
    }
    let rms_norm_eps = section.number("rms_norm_eps", 1e-6)?;
    if rms_norm_eps < 0.0 {
        return Err(section.wrong("rms_norm_eps", "positive", &rms_norm_eps.into()));
    }
    Ok(DecoderConfig {
        vocab_size: section.count("vocab_size", 151_936)?,
        hidden_size: section.count("hidden_size", 4096)?,
        intermediate_size: section.count("intermediate_size", 22_016)?,
        num_layers: section.count("num_hidden_layers", 32)?,
        num_heads,
        num_kv_heads,
        head_dim,
        activation: Activation::parse(section, "hidden_act", "silu")?,
        rms_norm_eps,
        rope_theta: rope_theta(section, defaults.rope_theta)?,
        attention_bias: section.flag("attention_bias", false)?,
        max_position_embeddings: section
            .count("max_position_embeddings", defaults.max_position_embeddings)?,
    })
}

/// The section that says how positions rotate, in either spelling; positions that are scaled are refused.
///
/// # Errors
/// Another kind of rotary positions than the plain one.
pub fn rope<'a>(section: &Section<'a>) -> Result<Section<'a>> {
    let (new, old) = (section.within("rope_parameters")?, section.within("rope_scaling")?);
    for rope in [&new, &old] {
        for name in ["rope_type", "type"] {
            let kind = rope.text(name, "default")?;
            if kind != "default" {
                return Err(rope.unsupported(name, &kind.into()).hint("supported: default, i.e. unscaled"));
            }
        }
    }
    Ok(if section.get("rope_parameters").is_some() { new } else { old })
}

/// The base of rotary positions: where it stands with them, else at the top, else the default.
///
/// # Errors
/// As [`rope`], and a value that is no positive number.
pub fn rope_theta(section: &Section<'_>, default: f64) -> Result<f64> {
    let theta = rope(section)?.number("rope_theta", section.number("rope_theta", default)?)?;
    if theta <= 0.0 {
        return Err(section.wrong("rope_theta", "positive", &theta.into()));
    }
    Ok(theta)
}

/// Refuses layers that do not see all that is before a token.
fn refuse_windows(section: &Section<'_>) -> Result<()> {
    if section.flag("use_sliding_window", false)? {
        return Err(section.unsupported("use_sliding_window", &true.into()));
    }
    let layers = section.get("layer_types").and_then(Value::as_array);
    match layers.into_iter().flatten().find(|layer| layer.as_str() != Some("full_attention")) {
        None => Ok(()),
        Some(other) => Err(section.unsupported("layer_types", other).hint("supported: full_attention")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: &Value) -> Result<DecoderConfig> {
        Config::parse(Path::new("/m"), config).map(|config| config.decoder)
    }

    #[test]
    fn a_config_as_on_the_hub() {
        // Qwen/Qwen3-Embedding-0.6B, as transformers 4.51 saved it.
        let published = json!({
            "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 151_643, "eos_token_id": 151_643, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 32_768, "max_window_layers": 28, "model_type": "qwen3",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": null,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_sliding_window": false,
            "vocab_size": 151_669
        });
        let config = parse(&published).expect("as published");
        assert_eq!((config.num_heads, config.num_kv_heads, config.head_dim), (16, 8, 128));
        assert_eq!((config.rope_theta, config.tokens_max()), (1e6, 8192));
        // The same in the spelling of transformers 5.
        let mut spelled = published.clone();
        let fields = spelled.as_object_mut().expect("an object");
        fields.retain(|key, _| !["rope_theta", "rope_scaling", "torch_dtype"].contains(&key.as_str()));
        fields.insert("dtype".into(), "bfloat16".into());
        fields.insert("rope_parameters".into(), json!({"rope_theta": 1_000_000, "rope_type": "default"}));
        fields.insert("layer_types".into(), json!(vec!["full_attention"; 28]));
        assert_eq!(parse(&spelled), Ok(config));
    }

    #[test]
    fn absent_settings_take_the_defaults() {
        let config = parse(&json!({"num_attention_heads": 8, "num_key_value_heads": null})).expect("sound");
        assert_eq!((config.num_kv_heads, config.head_dim, config.rope_theta), (8, 128, 10_000.0));
        assert_eq!(parse(&json!({})).expect("all defaults").num_kv_heads, 32);
        assert_eq!(parse(&json!({"max_position_embeddings": 512})).expect("sound").tokens_max(), 512);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let yarn = json!({"rope_type": "yarn", "factor": 4.0});
        for (config, key) in [
            (json!({"rope_scaling": yarn}), "rope_scaling.rope_type"),
            (json!({"rope_parameters": yarn}), "rope_parameters.rope_type"),
            (json!({"rope_scaling": {"type": "linear"}}), "rope_scaling.type"),
            (json!({"rope_scaling": 3}), "rope_scaling"),
            (json!({"rope_theta": 0}), "rope_theta"),
            (json!({"use_sliding_window": true}), "use_sliding_window"),
            (json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
            (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
            (json!({"head_dim": 15}), "head_dim"),
            (json!({"hidden_act": "xielu"}), "hidden_act"),
            (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        ] {
            let message = parse(&config).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{key}: {message}");
        }
    }
}
