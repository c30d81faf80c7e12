//! Pictures as `Siglip2ImageProcessor` prepares them: patches, and zeros up to a fixed number of them.

use std::path::Path;

use serde_json::{Value, json};
use tch::{Kind, TchError, Tensor};

use super::MAX_NUM_PATCHES_MAX;
use super::size::target;
use crate::error::{ItemError, ItemErrorKind, Result};
use crate::model::Background;
use crate::model::grid::Grid;
use crate::model::json::Section;
use crate::model::layers::Computed;
use crate::model::picture::Rgb;
use crate::model::pixels::{self, Defaults, Filter, Pixels};
use crate::model::{Prepared, checkpoint};

/// The classes of transformers 4 and 5 that prepare in this way; the reference takes them all for the first.
const PROCESSORS: [&str; 3] =
    ["Siglip2ImageProcessor", "Siglip2ImageProcessorFast", "Siglip2ImageProcessorPil"];

/// How pictures become what the tower takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Side of a patch, in pixels.
    patch_size: usize,
    max_num_patches: usize,
    pixels: Pixels,
}

impl Preprocess {
    /// Reads the settings of the folder `dir` for a tower of patches of `patch_size` pixels a side;
    /// `max_num_patches` goes before theirs.
    ///
    /// # Errors
    /// Settings that are missing, wrong or not supported, by name; patches that are not the tower's.
    pub fn load(
        dir: &Path,
        patch_size: usize,
        max_num_patches: Option<usize>,
        background: Background,
    ) -> Result<Self> {
        let own = pixels::read(dir, |section| Self::parse(section, patch_size, background))?;
        Ok(Self { max_num_patches: max_num_patches.unwrap_or(own.max_num_patches), ..own })
    }

    fn parse(section: &Section<'_>, patch_size: usize, background: Background) -> Result<Self> {
        pixels::check_class(section, "SigLIP 2 NaFlex", &PROCESSORS)?;
        let found = section.count("patch_size", 16)?;
        if found != patch_size {
            let expected = format!("{patch_size}, the `patch_size` of {}", checkpoint::CONFIG);
            return Err(section.wrong("patch_size", &expected, &found.into()));
        }
        let max_num_patches = section.count("max_num_patches", 256)?;
        if max_num_patches > MAX_NUM_PATCHES_MAX {
            let expected = format!("at most {MAX_NUM_PATCHES_MAX}");
            return Err(section.wrong("max_num_patches", &expected, &max_num_patches.into()));
        }
        Ok(Self {
            patch_size,
            max_num_patches,
            pixels: Pixels::parse(section, &Defaults::half(Filter::Bilinear), background)?,
        })
    }

    /// A picture file as patches (`max_num_patches`, `patch_size` x `patch_size` x 3) in 8 bits, row by row
    /// of its grid, each patch flattened as (row, column, channel), and its grid.
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn patches(&self, bytes: &[u8]) -> std::result::Result<(Tensor, Grid), ItemError> {
        let found = self.pixels.decode(bytes, |picture| {
            let grid = target(picture.height, picture.width, self.patch_size, self.max_num_patches);
            grid.map(|(rows, columns)| self.cut(picture, rows, columns)).transpose()
        })?;
        found.ok_or_else(|| {
            let detail = format!("too long and narrow for {} patches", self.max_num_patches);
            ItemError::new(ItemErrorKind::TooLarge, detail)
        })
    }

    fn cut(
        &self,
        picture: &Rgb,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<(Tensor, Grid), TchError> {
        let _no_grad = tch::no_grad_guard();
        let side = self.patch_size as i64;
        let pixels = self.pixels.resize(picture, rows * self.patch_size, columns * self.patch_size)?;
        let grid = Grid { rows: rows as i64, columns: columns as i64 };
        let cut = pixels.f_view([grid.rows, side, grid.columns, side * 3])?.f_transpose(1, 2)?;
        let patches = self.empty()?;
        let target = patches.f_narrow(0, 0, grid.patches())?;
        target.f_view([grid.rows, grid.columns, side, side * 3])?.f_copy_(&cut)?;
        Ok((patches, grid))
    }

    /// Patches of zeros.
    fn empty(&self) -> Computed {
        let shape = [self.max_num_patches as i64, self.patch_bytes()];
        Tensor::f_zeros(shape, (Kind::Uint8, tch::Device::Cpu))
    }

    fn patch_bytes(&self) -> i64 {
        (self.patch_size * self.patch_size * 3) as i64
    }

    /// One patch of zeros, for a slot without a picture: with none at all, attention would not be a number.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn padding(&self) -> std::result::Result<Prepared, TchError> {
        prepared(self.empty()?, Grid { rows: 1, columns: 1 })
    }

    /// Patches (B, T, patch) in 8 bits to what the tower takes, in f32 on the same device: those of the
    /// pictures, of which there are `counts`, normalised, and zeros behind them.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn normalise(&self, patches: &Tensor, counts: &[i64]) -> Computed {
        let (batch, tokens, patch) = patches.size3()?;
        let x = self.pixels.normalise(&patches.f_view([batch, tokens, patch / 3, 3])?)?;
        let counts = Tensor::f_from_slice(counts)?.f_to_device(x.device())?.f_view([-1, 1, 1])?;
        let places = Tensor::f_arange(tokens, (Kind::Int64, x.device()))?.f_view([1, -1, 1])?;
        x.f_view([batch, tokens, patch])?.f_masked_fill_(&places.f_ge_tensor(&counts)?, 0.0)
    }

    /// What decides the patches, for provenance.
    pub fn provenance(&self) -> Value {
        let mut provenance = self.pixels.provenance();
        provenance.insert("patch_size".to_owned(), json!(self.patch_size));
        provenance.insert("max_num_patches".to_owned(), json!(self.max_num_patches));
        provenance.into()
    }
}

/// Patches and their grid on their way to the tower.
///
/// # Errors
/// What libtorch reports.
pub fn prepared(patches: Tensor, grid: Grid) -> std::result::Result<Prepared, TchError> {
    Ok(Prepared::alike(vec![patches, Tensor::f_from_slice(&[grid.rows, grid.columns])?]))
}

/// The grid that [`prepared`] took.
///
/// # Errors
/// An item that was prepared for another tower.
pub fn grid_of(item: &Prepared) -> std::result::Result<Grid, TchError> {
    let wrong = || TchError::Shape("an item prepared for another tower".to_owned());
    let sides = Vec::<i64>::try_from(item.tensor(1)?)?;
    let [rows, columns] = sides[..] else { return Err(wrong()) };
    Ok(Grid { rows, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &Value) -> Result<Preprocess> {
        Preprocess::parse(&Section::new(Path::new("p.json"), "", Some(value)), 16, Background::Drop)
    }

    #[test]
    fn absent_settings_take_the_defaults() {
        let default = parse(&json!({})).expect("all defaults");
        assert_eq!(default.max_num_patches, 256);
        // As google/siglip2-base-patch16-naflex has it.
        let published = json!({
            "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "Siglip2ImageProcessor",
            "image_std": [0.5, 0.5, 0.5], "max_num_patches": 256, "patch_size": 16,
            "processor_class": "Siglip2Processor", "resample": 2, "rescale_factor": 0.003_921_568_627_450_98
        });
        assert_eq!(parse(&published), Ok(default));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (value, key) in [
            (json!({"patch_size": 14}), "patch_size"),
            (json!({"patch_size": "16"}), "patch_size"),
            (json!({"max_num_patches": 0}), "max_num_patches"),
            (json!({"max_num_patches": 12.5}), "max_num_patches"),
            (json!({"max_num_patches": 1_000_000}), "max_num_patches"),
            (json!({"image_processor_type": "SiglipImageProcessor"}), "image_processor_type"),
            (json!({"do_resize": false}), "do_resize"),
            (json!({"resample": 1}), "resample"),
        ] {
            let message = parse(&value).expect_err(key).to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }
}
