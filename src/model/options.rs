//! What may be asked of a model beside what its own files say.

use std::path::Path;
use std::str::FromStr;

use super::{Background, Family, qwen3, qwen3_vl, siglip2};
use crate::error::{Error, Result};

/// Far more than a sentence; the attributes of a file hold it.
const INSTRUCTION_BYTES_MAX: usize = 4096;

/// What may be asked of a model; `None` is its reference's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub background: Option<Background>,
    /// The most patches a picture becomes, for models of variable resolution.
    pub max_num_patches: Option<usize>,
    /// The most pixels that are kept of a picture, for models that take it in its own size.
    pub max_pixels: Option<usize>,
    /// What the vectors are for, in words, for models that are told.
    pub instruction: Option<String>,
    pub form: Option<TextForm>,
    /// Components that are kept of a vector.
    pub dim: Option<usize>,
}

/// What a text is, for models that treat the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// What is searched.
    Document,
    /// What is searched for.
    Query,
}

impl FromStr for TextForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "document" => Ok(Self::Document),
            "query" => Ok(Self::Query),
            _ => Err(Error::new(format!("text form `{text}`: expected document or query"))),
        }
    }
}

impl Options {
    /// Each option of `self`, and where nothing is asked for, that of `below`.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            background: self.background.or(below.background),
            max_num_patches: self.max_num_patches.or(below.max_num_patches),
            max_pixels: self.max_pixels.or(below.max_pixels),
            instruction: self.instruction.or(below.instruction),
            form: self.form.or(below.form),
            dim: self.dim.or(below.dim),
        }
    }

    /// Refuses what a family does not have, and lengths that a model of vectors of `dim` does not make.
    ///
    /// # Errors
    /// The option, with the family it belongs to.
    pub fn check(&self, dir: &Path, family: Family, dim: usize) -> Result<()> {
        let alien = |option: &str, why: &str, of: &str| {
            Err(Error::new(format!("{option}: {} {why}", dir.display()))
                .hint(format!("it is a setting of {of}; leave it out here")))
        };
        let is_qwen = matches!(family, Family::Qwen3 | Family::Qwen3Vl);
        if self.max_num_patches.is_some() && family != Family::Siglip2 {
            return alien(
                "--max-num-patches",
                "has no number of patches to set",
                "SigLIP 2 NaFlex (model type `siglip2`)",
            );
        }
        if self.max_pixels.is_some() && family != Family::Qwen3Vl {
            let of = "Qwen3-VL-Embedding (model type `qwen3_vl`)";
            return alien("--max-pixels", "has no number of pixels to set", of);
        }
        if self.instruction.is_some() && !is_qwen {
            return alien("--instruction", "takes no instruction", "Qwen's embedding models");
        }
        if self.form.is_some() && family != Family::Qwen3 {
            let of = "Qwen3-Embedding (model type `qwen3`)";
            return alien("--text-form", "has one form for all texts", of);
        }
        if self.dim.is_some() && !is_qwen {
            return alien("--dim", "was not trained for shorter vectors", "Qwen's embedding models");
        }
        if family == Family::Qwen3 && self.instruction.is_some() && self.form != Some(TextForm::Query) {
            return Err(Error::new("--instruction: Qwen3-Embedding embeds documents as they are")
                .hint("queries have an instruction: add --text-form query, or leave --instruction out"));
        }
        self.check_numbers(family, dim)
    }

    fn check_numbers(&self, family: Family, dim: usize) -> Result<()> {
        let bytes = self.instruction.as_ref().map_or(0, String::len);
        if bytes > INSTRUCTION_BYTES_MAX {
            return Err(Error::new(format!(
                "--instruction has {bytes} bytes; at most {INSTRUCTION_BYTES_MAX} are possible"
            ))
            .hint("it stands before every text, and in the attributes of the file: say it in a sentence"));
        }
        let most = siglip2::MAX_NUM_PATCHES_MAX;
        if let Some(number) = self.max_num_patches.filter(|number| !(1..=most).contains(number)) {
            return Err(Error::new(format!("--max-num-patches is {number}; possible are 1 to {most}")));
        }
        let least = if family == Family::Qwen3 { qwen3::DIM_MIN } else { qwen3_vl::DIM_MIN }.min(dim);
        match self.dim {
            Some(number) if !(least..=dim).contains(&number) => Err(Error::new(format!(
                "--dim is {number}; this model's vectors have {dim} components, of which the first {least} to \
                 {dim} may be kept"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_families_are_refused_by_name() {
        let refusal = |options: Options, family| {
            let refused = options.check(Path::new("/m"), family, 1024);
            refused.err().map(|error| error.message).unwrap_or_default()
        };
        let patches = || Options { max_num_patches: Some(64), ..Options::default() };
        let instruction = || Options { instruction: Some("Find.".into()), ..Options::default() };
        let query = || Options { form: Some(TextForm::Query), ..instruction() };
        let dim = |dim| Options { dim: Some(dim), ..Options::default() };
        for family in [Family::Siglip, Family::Qwen3, Family::Qwen3Vl] {
            assert!(refusal(patches(), family).starts_with("--max-num-patches"), "{family:?}");
        }
        assert!(refusal(instruction(), Family::Siglip2).starts_with("--instruction"));
        assert!(refusal(dim(256), Family::Siglip).starts_with("--dim"));
        assert!(refusal(instruction(), Family::Qwen3).contains("documents as they are"));
        assert!(refusal(query(), Family::Qwen3Vl).starts_with("--text-form"));
        assert!(refusal(dim(31), Family::Qwen3).contains("32 to 1024"));
        assert!(refusal(dim(1025), Family::Qwen3Vl).contains("64 to 1024"));
        for (options, family) in [
            (patches(), Family::Siglip2),
            (query(), Family::Qwen3),
            (instruction(), Family::Qwen3Vl),
            (dim(64), Family::Qwen3Vl),
            (dim(1024), Family::Qwen3),
            (Options::default(), Family::Siglip),
        ] {
            assert_eq!(refusal(options, family), "");
        }
        // A model smaller than the smallest published one keeps at least itself.
        assert!(dim(20).check(Path::new("/m"), Family::Qwen3, 20).is_ok());
    }
}
