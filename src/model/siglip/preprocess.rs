//! Pictures as transformers 5's default (torchvision-backed) `SiglipImageProcessor` prepares them, by
//! `preprocessor_config.json`; what is absent takes that class's defaults.
//!
//! Resizing gives 8-bit pixels, on the CPU and exactly equal to the reference's; the rest is arithmetic in
//! f32 on the model's device.

use std::path::Path;

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::json::{self as files, Section};
use crate::model::layers::Computed;
use crate::model::picture::{self, Background, Rgb};
use crate::model::{checkpoint, weights};

/// How pixels become what the tower takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Side of the square, in pixels.
    size: usize,
    filter: Filter,
    rescale: Option<f64>,
    normalise: Option<([f32; 3], [f32; 3])>,
    background: Background,
}

/// An antialiased resize by a separable kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Bilinear,
    Bicubic,
}

/// Steps of other processors, which a SigLIP checkpoint does not use, and the value that leaves them out.
const ABSENT_STEPS: [&str; 4] = ["do_center_crop", "do_pad", "do_reduce_labels", "do_flip_channel_order"];

impl Preprocess {
    /// Reads the settings of the folder `dir` for a tower that takes `image_size` pixels a side.
    ///
    /// # Errors
    /// Settings that are missing, wrong or not supported, by name; a size that is not the tower's.
    pub fn load(dir: &Path, image_size: usize, background: Background) -> Result<Self> {
        let path = dir.join(checkpoint::PREPROCESSOR);
        if let Some(value) = files::optional(&path)? {
            return Self::parse(&Section::new(&path, "", Some(&value)), image_size, background);
        }
        let path = dir.join(checkpoint::PROCESSOR);
        let value = files::optional(&path)?;
        let Some(section) = value.as_ref().and_then(|value| value.get("image_processor")) else {
            return Err(Error::new(format!("{}: no {}", dir.display(), checkpoint::PREPROCESSOR))
                .hint("views need the model's preprocessing: copy preprocessor_config.json"));
        };
        Self::parse(&Section::new(&path, "image_processor.", Some(section)), image_size, background)
    }

    fn parse(section: &Section<'_>, image_size: usize, background: Background) -> Result<Self> {
        for key in ABSENT_STEPS {
            if section.flag(key, false)? {
                return Err(section.unsupported(key, &true.into()));
            }
        }
        // A view is always made RGB, and must always be brought to the tower's size.
        for key in ["do_resize", "do_convert_rgb"] {
            if !section.flag(key, true)? {
                return Err(section.unsupported(key, &false.into()));
            }
        }
        let factor = section.number("rescale_factor", 1.0 / 255.0)?;
        if factor <= 0.0 {
            return Err(section.wrong("rescale_factor", "positive", &factor.into()));
        }
        let normalise = section.flag("do_normalize", true)?;
        let (mean, std) = (channels(section, "image_mean")?, channels(section, "image_std")?);
        Ok(Self {
            size: size(section, image_size)?,
            filter: filter(section)?,
            rescale: section.flag("do_rescale", true)?.then_some(factor),
            normalise: normalise.then_some((mean, std)),
            background,
        })
    }

    /// A picture file as pixels (side, side, 3) in 8 bits.
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn pixels(&self, bytes: &[u8]) -> std::result::Result<Tensor, ItemError> {
        let picture = picture::decode(bytes, self.background)?;
        self.resize(&picture).map_err(|error| {
            let detail = weights::torch("resizing", &error).message;
            ItemError::new(ItemErrorKind::Unreadable, detail)
        })
    }

    fn resize(&self, picture: &Rgb) -> Computed {
        let _no_grad = tch::no_grad_guard();
        let shape = [picture.height as i64, picture.width as i64, 3];
        let pixels = Tensor::f_from_data_size(&picture.data, &shape, Kind::Uint8)?;
        if picture.height == self.size && picture.width == self.size {
            return Ok(pixels);
        }
        // (1, 3, H, W) in the order of memory that torchvision's call has: the channels of a pixel together.
        let pixels = pixels.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
        let side = [self.size as i64; 2];
        let resized = match self.filter {
            Filter::Bilinear => pixels.f_internal_upsample_bilinear2d_aa(side, false, None, None)?,
            Filter::Bicubic => pixels.f_internal_upsample_bicubic2d_aa(side, false, None, None)?,
        };
        resized.f_squeeze_dim(0)?.f_permute([1, 2, 0])?.f_contiguous()
    }

    /// Grey pixels (side, side, 3), for a slot without a picture.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn grey(&self) -> Computed {
        let side = self.size as i64;
        Tensor::f_full([side, side, 3], 128, (Kind::Uint8, tch::Device::Cpu))
    }

    /// Pixels (B, side, side, 3) in 8 bits to what the tower takes, in f32 on the same device, by the
    /// arithmetic of `rescale_and_normalize`: rescaling is folded into mean and deviation.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn normalise(&self, pixels: &Tensor) -> Computed {
        let mut x = pixels.f_to_kind(Kind::Float)?;
        let Some((mean, std)) = &self.normalise else {
            return match self.rescale {
                Some(factor) => x.f_mul_scalar(factor),
                None => Ok(x),
            };
        };
        let levels = |values: &[f32; 3]| -> Computed {
            let values = Tensor::f_from_slice(values)?;
            let values =
                if let Some(factor) = self.rescale { values.f_mul_scalar(1.0 / factor)? } else { values };
            values.f_to_device(x.device())
        };
        let (mean, std) = (levels(mean)?, levels(std)?);
        x.f_sub_(&mean)?.f_div_(&std)
    }

    /// What decides the pixels, for provenance.
    pub fn provenance(&self) -> Value {
        json!({
            "size": self.size,
            "filter": match self.filter { Filter::Bilinear => "bilinear", Filter::Bicubic => "bicubic" },
            "rescale_factor": self.rescale,
            "mean": self.normalise.map(|(mean, _)| mean),
            "std": self.normalise.map(|(_, std)| std),
            "background": self.background.to_string(),
        })
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

/// `resample`, by Pillow's numbers.
fn filter(section: &Section<'_>) -> Result<Filter> {
    match section.get("resample").map(|value| (value.as_u64(), value)) {
        None | Some((Some(3), _)) => Ok(Filter::Bicubic),
        Some((Some(2), _)) => Ok(Filter::Bilinear),
        Some((_, value)) => {
            Err(section.unsupported("resample", value).hint("supported: 2 (bilinear), 3 (bicubic)"))
        }
    }
}

/// Three numbers, or one for all channels; the default of mean and deviation is 0.5.
fn channels(section: &Section<'_>, key: &str) -> Result<[f32; 3]> {
    let Some(value) = section.get(key) else { return Ok([0.5; 3]) };
    let number =
        |value: &Value| value.as_f64().filter(|number| number.is_finite()).map(|number| number as f32);
    let numbers = match value {
        Value::Array(values) => values.iter().map(number).collect::<Option<Vec<_>>>(),
        single => number(single).map(|number| vec![number; 3]),
    };
    let numbers: Option<[f32; 3]> = numbers.and_then(|numbers| numbers.try_into().ok());
    let zero = key == "image_std" && numbers.is_some_and(|numbers| numbers.contains(&0.0));
    numbers.filter(|_| !zero).ok_or_else(|| section.wrong(key, "three numbers (deviations not 0)", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &Value) -> Result<Preprocess> {
        Preprocess::parse(&Section::new(Path::new("p.json"), "", Some(value)), 224, Background::Drop)
    }

    #[test]
    fn absent_settings_take_the_defaults() {
        let expected = Preprocess {
            size: 224,
            filter: Filter::Bicubic,
            rescale: Some(1.0 / 255.0),
            normalise: Some(([0.5; 3], [0.5; 3])),
            background: Background::Drop,
        };
        assert_eq!(parse(&json!({})), Ok(expected.clone()));
        assert_eq!(parse(&json!({"size": 224, "resample": 3, "do_center_crop": null})), Ok(expected));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (value, key) in [
            (json!({"do_center_crop": true}), "do_center_crop"),
            (json!({"do_resize": false}), "do_resize"),
            (json!({"resample": 0}), "resample"),
            (json!({"size": {"height": 384, "width": 384}}), "size"),
            (json!({"size": {"shortest_edge": 224}}), "size"),
            (json!({"image_std": [0.5, 0.0, 0.5]}), "image_std"),
            (json!({"image_mean": [0.5]}), "image_mean"),
            (json!({"rescale_factor": 0}), "rescale_factor"),
        ] {
            let message = parse(&value).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }
}
