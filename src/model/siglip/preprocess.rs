//! Pictures as `SiglipImageProcessor` prepares them: a square, whatever their aspect.

use std::path::Path;

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::error::{ItemError, Result};
use crate::model::Background;
use crate::model::checkpoint;
use crate::model::json::Section;
use crate::model::layers::Computed;
use crate::model::pixels::{self, Defaults, Filter, Pixels};

/// The classes of transformers 4 and 5 that prepare in this way. Those of other models crop, or have other defaults.
const PROCESSORS: [&str; 3] = ["SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"];

/// How pictures become what the tower takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Side of the square, in pixels.
    size: usize,
    pixels: Pixels,
}

impl Preprocess {
    /// Reads the settings of the folder `dir` for a tower that takes `image_size` pixels a side.
    ///
    /// # Errors
    /// Settings that are missing, wrong or not supported, by name; a size that is not the tower's.
    pub fn load(dir: &Path, image_size: usize, background: Background) -> Result<Self> {
        pixels::read(dir, |section| Self::parse(section, image_size, background))
    }

    fn parse(section: &Section<'_>, image_size: usize, background: Background) -> Result<Self> {
        pixels::check_class(section, "SigLIP", &PROCESSORS)?;
        let pixels = Pixels::parse(section, &Defaults::half(Filter::Bicubic), background)?;
        Ok(Self { size: size(section, image_size)?, pixels })
    }

    /// A picture file as pixels (side, side, 3) in 8 bits.
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn pixels(&self, bytes: &[u8]) -> std::result::Result<Tensor, ItemError> {
        self.pixels.decode(bytes, |picture| self.pixels.resize(picture, self.size, self.size))
    }

    /// Grey pixels (side, side, 3), for a slot without a picture.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn grey(&self) -> Computed {
        let side = self.size as i64;
        Tensor::f_full([side, side, 3], 128, (Kind::Uint8, tch::Device::Cpu))
    }

    /// Pixels (B, side, side, 3) in 8 bits to what the tower takes, in f32 on the same device.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn normalise(&self, pixels: &Tensor) -> Computed {
        self.pixels.normalise(pixels)
    }

    /// What decides the pixels, for provenance.
    pub fn provenance(&self) -> Value {
        let mut provenance = self.pixels.provenance();
        provenance.insert("size".to_owned(), json!(self.size));
        provenance.into()
    }
}

/// `size`, as `{"height": n, "width": n}` or as a number, which must be the tower's.
fn size(section: &Section<'_>, image_size: usize) -> Result<usize> {
    let default = json!({"height": 224, "width": 224});
    let value = section.get("size").unwrap_or(&default);
    let side = |key: &str| value.get(key).and_then(Value::as_u64);
    let (height, width) = match value.as_u64() {
        Some(side) => (Some(side), Some(side)),
        None => (side("height"), side("width")),
    };
    if height == Some(image_size as u64) && width == height {
        return Ok(image_size);
    }
    let expected = format!("{image_size} by {image_size}, the `image_size` of {}", checkpoint::CONFIG);
    Err(section.wrong("size", &expected, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &Value) -> Result<Preprocess> {
        Preprocess::parse(&Section::new(Path::new("p.json"), "", Some(value)), 224, Background::Drop)
    }

    #[test]
    fn the_size_is_the_towers() {
        let default = parse(&json!({})).expect("224");
        assert_eq!(parse(&json!({"size": 224, "resample": 3})), Ok(default.clone()));
        assert_eq!(parse(&json!({"size": {"height": 224, "width": 224}})), Ok(default));
        for wrong in [json!({"height": 384, "width": 384}), json!({"shortest_edge": 224}), json!(384)] {
            let message = parse(&json!({ "size": wrong })).expect_err("another size").to_string();
            assert!(message.contains("`size`"), "{message}");
        }
    }

    #[test]
    fn processors_of_other_models_are_refused_by_name() {
        let class = |name: &str| parse(&json!({"image_processor_type": name}));
        assert!(PROCESSORS.iter().all(|name| class(name) == parse(&json!({}))));
        let error = class("CLIPImageProcessor").expect_err("it crops");
        assert!(error.to_string().contains("CLIPImageProcessor"), "{error}");
    }
}
