//! From a decoded picture to what a vision tower takes, as transformers 5's default (torchvision-backed) image
//! processors do it by `processor_config.json` or `preprocessor_config.json`. What is absent takes their defaults.
//!
//! Resizing gives 8-bit pixels, on the CPU and exactly equal to the reference's; the rest is arithmetic in
//! f32 on the model's device.

use std::path::Path;

use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::Background;
use super::json::{self as files, Section};
use super::layers::Computed;
use super::picture::{self, Rgb};
use super::{checkpoint, weights};
use crate::error::{Error, ItemError, ItemErrorKind, Result};

/// What happens to pixels beside their number.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    filter: Filter,
    rescale: Option<f64>,
    normalise: Option<([f32; 3], [f32; 3])>,
    background: Background,
}

/// What the reference's class takes where the file says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    pub filter: Filter,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Defaults {
    /// Mean and deviation 0.5, as SigLIP's processors have them.
    pub const fn half(filter: Filter) -> Self {
        Self { filter, mean: [0.5; 3], std: [0.5; 3] }
    }
}

/// An antialiased resize by a separable kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Bilinear,
    Bicubic,
}

/// Steps of other processors, which a SigLIP checkpoint does not use, and the value that leaves them out.
const ABSENT_STEPS: [&str; 4] = ["do_center_crop", "do_pad", "do_reduce_labels", "do_flip_channel_order"];

/// Reads the settings of image processing of the folder `dir`: a processor's own, which transformers 5 writes
/// within a larger file, go before those of a file of their own.
///
/// # Errors
/// No such settings, or what `parse` reports.
pub fn read<T>(dir: &Path, parse: impl FnOnce(&Section<'_>) -> Result<T>) -> Result<T> {
    let path = dir.join(checkpoint::PROCESSOR);
    if let Some(value) = files::optional(&path)?
        && value.get("image_processor").is_some_and(|part| !part.is_null())
    {
        return parse(&Section::part(&path, "image_processor.", &value)?);
    }
    let path = dir.join(checkpoint::PREPROCESSOR);
    let value = files::optional(&path)?.ok_or_else(|| {
        Error::new(format!("{}: no {}", dir.display(), checkpoint::PREPROCESSOR))
            .hint("views need the model's preprocessing: copy preprocessor_config.json")
    })?;
    parse(&Section::new(&path, "", Some(&value)))
}

/// Refuses settings of a class that is none of `classes`, those that prepare pictures as `model` takes them.
///
/// # Errors
/// Such settings.
pub fn check_class(section: &Section<'_>, model: &str, classes: &[&str]) -> Result<()> {
    let key = "image_processor_type";
    let class = section.text(key, classes[0])?;
    if classes.contains(&class) {
        return Ok(());
    }
    Err(section.unsupported(key, &class.into()).hint(format!("{model} has: {}", classes.join(", "))))
}

impl Pixels {
    /// Reads the settings.
    ///
    /// # Errors
    /// Settings that are wrong or not supported, by name.
    pub fn parse(section: &Section<'_>, defaults: &Defaults, background: Background) -> Result<Self> {
        for key in ABSENT_STEPS {
            if section.flag(key, false)? {
                return Err(section.unsupported(key, &true.into()));
            }
        }
        // A view must always be brought to the tower's size. It is RGB before, whatever `do_convert_rgb` says.
        if !section.flag("do_resize", true)? {
            return Err(section.unsupported("do_resize", &false.into()));
        }
        let factor = section.number("rescale_factor", 1.0 / 255.0)?;
        if factor <= 0.0 {
            return Err(section.wrong("rescale_factor", "positive", &factor.into()));
        }
        let normalise = section.flag("do_normalize", true)?;
        let mean = channels(section, "image_mean", defaults.mean)?;
        let std = channels(section, "image_std", defaults.std)?;
        Ok(Self {
            filter: parse_filter(section, defaults.filter)?,
            rescale: section.flag("do_rescale", true)?.then_some(factor),
            normalise: normalise.then_some((mean, std)),
            background,
        })
    }

    /// Decodes a picture file, and hands it to what gives it its size and shape.
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn decode<T>(
        &self,
        bytes: &[u8],
        shape: impl FnOnce(&Rgb) -> std::result::Result<T, tch::TchError>,
    ) -> std::result::Result<T, ItemError> {
        let picture = picture::decode(bytes, self.background)?;
        shape(&picture).map_err(|error| {
            let detail = weights::torch("resizing", &error).message;
            ItemError::new(ItemErrorKind::Unreadable, detail)
        })
    }

    /// The picture in so many pixels, (height, width, 3) in 8 bits.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn resize(&self, picture: &Rgb, height: usize, width: usize) -> Computed {
        let _no_grad = tch::no_grad_guard();
        let shape = [picture.height as i64, picture.width as i64, 3];
        let pixels = Tensor::f_from_data_size(&picture.data, &shape, Kind::Uint8)?;
        if picture.height == height && picture.width == width {
            return Ok(pixels);
        }
        // (1, 3, H, W) in the order of memory that torchvision's call has: the channels of a pixel together.
        let pixels = pixels.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
        let size = [height as i64, width as i64];
        let resized = match self.filter {
            Filter::Bilinear => pixels.f_internal_upsample_bilinear2d_aa(size, false, None, None)?,
            Filter::Bicubic => pixels.f_internal_upsample_bicubic2d_aa(size, false, None, None)?,
        };
        resized.f_squeeze_dim(0)?.f_permute([1, 2, 0])?.f_contiguous()
    }

    /// Pixels (…, 3) in 8 bits to what the tower takes, in f32 on the same device, by the
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

    /// What decides the pixels beside their number, for provenance.
    pub fn provenance(&self) -> Map<String, Value> {
        let entries = [
            (
                "filter",
                json!(match self.filter {
                    Filter::Bilinear => "bilinear",
                    Filter::Bicubic => "bicubic",
                }),
            ),
            ("rescale_factor", json!(self.rescale)),
            ("mean", json!(self.normalise.map(|(mean, _)| mean))),
            ("std", json!(self.normalise.map(|(_, std)| std))),
            ("background", json!(self.background.to_string())),
        ];
        entries.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

/// `resample`, by Pillow's numbers.
fn parse_filter(section: &Section<'_>, default: Filter) -> Result<Filter> {
    match section.get("resample").map(|value| (value.as_u64(), value)) {
        None => Ok(default),
        Some((Some(3), _)) => Ok(Filter::Bicubic),
        Some((Some(2), _)) => Ok(Filter::Bilinear),
        Some((_, value)) => {
            Err(section.unsupported("resample", value).hint("supported: 2 (bilinear), 3 (bicubic)"))
        }
    }
}

/// Three numbers, or one for all channels.
fn channels(section: &Section<'_>, key: &str, default: [f32; 3]) -> Result<[f32; 3]> {
    let Some(value) = section.get(key) else { return Ok(default) };
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

    fn parse(value: &Value) -> Result<Pixels> {
        let section = Section::new(Path::new("p.json"), "", Some(value));
        Pixels::parse(&section, &Defaults::half(Filter::Bicubic), Background::Drop)
    }

    #[test]
    fn absent_settings_take_the_defaults() {
        let expected = Pixels {
            filter: Filter::Bicubic,
            rescale: Some(1.0 / 255.0),
            normalise: Some(([0.5; 3], [0.5; 3])),
            background: Background::Drop,
        };
        assert_eq!(parse(&json!({})), Ok(expected.clone()));
        assert_eq!(parse(&json!({"resample": 3, "do_center_crop": null})), Ok(expected.clone()));
        let expected = Pixels { filter: Filter::Bilinear, ..expected };
        assert_eq!(parse(&json!({"resample": 2, "do_convert_rgb": true})), Ok(expected));
    }

    #[test]
    fn settings_within_the_processors_go_before_a_file_of_their_own() {
        let dir = tempfile::tempdir().expect("a folder");
        let filter = |file: Option<(&str, &str)>| {
            if let Some((name, text)) = file {
                std::fs::write(dir.path().join(name), text).expect("written");
            }
            let defaults = Defaults::half(Filter::Bicubic);
            read(dir.path(), |section| Pixels::parse(section, &defaults, Background::Drop))
                .map(|pixels| pixels.filter)
        };
        assert!(filter(None).expect_err("no settings").to_string().contains(checkpoint::PREPROCESSOR));
        assert_eq!(filter(Some((checkpoint::PREPROCESSOR, "{}"))), Ok(Filter::Bicubic));
        for processor in ["{}", r#"{"image_processor": null}"#] {
            assert_eq!(filter(Some((checkpoint::PROCESSOR, processor))), Ok(Filter::Bicubic));
        }
        let own = r#"{"image_processor": {"resample": 2}}"#;
        assert_eq!(filter(Some((checkpoint::PROCESSOR, own))), Ok(Filter::Bilinear));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (value, key) in [
            (json!({"do_center_crop": true}), "do_center_crop"),
            (json!({"do_resize": false}), "do_resize"),
            (json!({"do_resize": "yes"}), "do_resize"),
            (json!({"do_normalize": 1}), "do_normalize"),
            (json!({"resample": 0}), "resample"),
            (json!({"resample": "bilinear"}), "resample"),
            (json!({"image_std": [0.5, 0.0, 0.5]}), "image_std"),
            (json!({"image_mean": [0.5]}), "image_mean"),
            (json!({"rescale_factor": 0}), "rescale_factor"),
        ] {
            let message = parse(&value).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }
}
