//! The model a sealed file was made with, found by what the file says of it, and proven to be that one: what
//! is embedded with it afterwards (queries, a sample for a check) lies in the same space as the file's rows.

use std::path::Path;

use serde_json::{Map, Value};

use crate::comm::shielded;
use crate::error::{Error, Result};
use crate::hub::{self, ModelFolder, ModelName};
use crate::model::checkpoint::{self, Digests};
use crate::model::device::{Device, Precision};
use crate::model::{self, Description, Modality, Options, Settings, TextForm};
use crate::store::Reader;

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

/// A file's model, and how the file's vectors were made with it.
#[derive(Clone, Debug)]
pub struct OwnModel {
    pub folder: ModelFolder,
    pub description: Description,
    /// What the file's rows are made from.
    pub modality: Modality,
    /// Those that the file's rows were made with. Of what concerns the other modality alone the file says
    /// nothing, and they are `None`: of a file of captions, background, patches and pixels.
    pub options: Options,
    /// What the model computed in, where the file says so.
    pub precision: Option<Precision>,
    /// Whether the file says which model it was made with, and this is that one.
    pub is_proven: bool,
}

impl OwnModel {
    /// Finds the model of a file: `typed`, a folder or a name in the cache, or else what the cache has under the
    /// name that the file gives.
    ///
    /// Reads every byte of the weights, for their digest. A file that does not say what it was made with is
    /// taken to be made with `typed`; a warning is logged.
    ///
    /// # Errors
    /// It is not there; weights, tokenizer or preprocessing are others than the file's, with both; vectors of
    /// another length.
    pub fn find(reader: &Reader, typed: Option<&Path>) -> Result<Self> {
        let made_with = MadeWith::of(reader);
        let folder = match typed {
            Some(typed) => hub::find(typed)?,
            None => made_with.cached(reader)?,
        };
        let description = model::describe(&folder.path)?;
        let is_proven = made_with.weights_sha256.is_some();
        if is_proven {
            made_with.check_digests(reader, &folder)?;
        } else {
            tracing::warn!(
                "{} does not say which model it was made with: that it was {} is taken on trust",
                reader.path().display(),
                folder.path.display()
            );
        }
        let dim = description.family.has_dim().then_some(reader.dim());
        let options = Options { dim, ..options(&made_with.preprocessing, reader.path())? };
        let modality = made_with.modality;
        let own = Self { folder, description, modality, options, precision: made_with.precision, is_proven };
        own.check_dim(reader)?;
        own.check_preprocessing(reader, &made_with.preprocessing)?;
        Ok(own)
    }

    /// How to load it, on a device and in a precision if one is asked for.
    pub fn settings(&self, device: Device, precision: Option<Precision>, threads: usize) -> Settings {
        let precision = precision_on(device, precision, self.precision);
        Settings { device, precision, options: self.options.clone(), threads }
    }

    fn check_dim(&self, reader: &Reader) -> Result<()> {
        // What may be cut is at least as long as what was kept of it.
        let fits = |full: usize| {
            if self.options.dim.is_some() { full >= reader.dim() } else { full == reader.dim() }
        };
        match self.description.dim(self.modality) {
            Some(full) if fits(full) => Ok(()),
            full => Err(Error::new(format!(
                "{} has vectors of {} components, the model {} makes {}",
                reader.path().display(),
                reader.dim(),
                self.folder.path.display(),
                full.map_or_else(|| "none of pictures".to_owned(), |full| format!("those of {full}"))
            ))
            .hint("--model must name the model that the file was made with")),
        }
    }

    /// Settings that stand neither in the weights nor in the tokenizer decide vectors too: those that the file was
    /// made with must be the folder's. What only a newer program tells is no difference.
    fn check_preprocessing(&self, reader: &Reader, expected: &Map<String, Value>) -> Result<()> {
        let folder = self.folder.path.display();
        let read = || model::preprocessing(&self.folder.path, self.modality, &self.options);
        // The tokenizers crate panics on some broken files.
        let found = shielded(read).unwrap_or_else(|panic| {
            Err(Error::new(format!("cannot read the preprocessing of {folder}: {panic}"))
                .hint("its tokenizer.json or spiece.model is broken: copy or download it again"))
        })?;
        let found: Map<String, Value> = serde_json::from_str(&found.provenance).unwrap_or_default();
        let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let differs = expected.iter().find(|(key, value)| found.get(*key) != Some(*value));
        let Some((key, value)) = differs else { return Ok(()) };
        Err(Error::new(format!(
            "{} was made with another preprocessing than that of {folder}: {key} is {value} in the file, {} in the \
             folder",
            reader.path().display(),
            told(found.get(key))
        ))
        .hint("its preprocessor_config.json, or config.json, has changed since: restore it"))
    }
}

/// What to compute in: what is asked for, or as the rows were that it is compared with; but on a CPU f32, which is
/// nearer to what any precision rounds, and faster there.
pub fn precision_on(device: Device, asked: Option<Precision>, of_rows: Option<Precision>) -> Precision {
    let of_rows = of_rows.filter(|_| device != Device::Cpu);
    asked.or(of_rows).unwrap_or_else(|| Precision::default_for(device))
}

/// What a file says of its model.
struct MadeWith {
    name: Option<String>,
    commit: Option<String>,
    weights_sha256: Option<String>,
    tokenizer_sha256: Option<String>,
    preprocessing: Map<String, Value>,
    precision: Option<Precision>,
    modality: Modality,
}

impl MadeWith {
    fn of(reader: &Reader) -> Self {
        let preprocessing = reader.provenance_of("preprocessing");
        let has_views = reader.assets().has_views() || reader.kind().ends_with("_image");
        let precision = reader.provenance_of("precision");
        Self {
            name: reader.provenance_of("model_name"),
            commit: reader.provenance_of("model_commit"),
            weights_sha256: reader.provenance_of("weights_sha256"),
            tokenizer_sha256: reader.provenance_of("tokenizer_sha256"),
            preprocessing: preprocessing
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            precision: PRECISIONS.into_iter().find(|known| Some(known.to_string()) == precision),
            modality: Modality::from_views(has_views),
        }
    }

    /// What the cache has under the file's name: at the file's commit, or else at the newest fetched, which may be
    /// the same.
    fn cached(&self, reader: &Reader) -> Result<ModelFolder> {
        let file = reader.path().display();
        let Some(name) = &self.name else {
            return Err(Error::new(format!("{file} does not say which model it was made with"))
                .hint("--model names its folder"));
        };
        let at_commit = self.commit.as_ref().map(|commit| format!("{name}@{commit}"));
        let names = at_commit.iter().chain([name]).map(|name| name.parse::<ModelName>());
        let mut absent = None;
        for name in names {
            match name.and_then(|name| hub::find_cached(&name)) {
                Ok(folder) => return Ok(folder),
                Err(error) => absent = absent.or(Some(error)),
            }
        }
        let why = absent.map(|error| error.message).unwrap_or_default();
        let fetch =
            at_commit.map(|name| format!(", or fetch it: hyperslab fetch {name}")).unwrap_or_default();
        Err(Error::new(format!("{file} was made with the model '{name}': {why}"))
            .hint(format!("--model names its folder{fetch}")))
    }

    fn check_digests(&self, reader: &Reader, folder: &ModelFolder) -> Result<()> {
        let Digests { weights, tokenizer } = checkpoint::digests(&folder.path)?;
        let (path, file) = (folder.path.display(), reader.path().display());
        let all =
            [("weights", &self.weights_sha256, weights), ("tokenizer", &self.tokenizer_sha256, tokenizer)];
        for (what, expected, found) in all {
            let Some(expected) = expected.as_ref().filter(|expected| **expected != found) else { continue };
            let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            return Err(Error::new(format!(
                "{path} is not the model that {file} was made with{name}: the SHA-256 of the {what} is {expected} in the \
                 file, {found} in the folder"
            ))
            .hint("vectors of two models cannot be compared: --model must name the one that the file was made with"));
        }
        Ok(())
    }
}

/// The options that a file's preprocessing stands for, all but the vectors' length.
fn options(preprocessing: &Map<String, Value>, file: &Path) -> Result<Options> {
    let text = |key: &str| preprocessing.get(key).and_then(Value::as_str);
    let number = |key: &str| preprocessing.get(key).and_then(Value::as_u64).map(|number| number as usize);
    let background = text("background").map(str::parse).transpose().map_err(|error: Error| {
        Error::new(format!("{}: its preprocessing has a {}", file.display(), error.message))
    })?;
    // Documents are what texts are where nothing is said; chats have no form.
    let form = text("form").filter(|form| *form == "query").map(|_| TextForm::Query);
    Ok(Options {
        background,
        max_num_patches: number("max_num_patches"),
        max_pixels: number("pixels_max"),
        instruction: text("instruction").map(str::to_owned),
        form,
        dim: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Background;

    fn of(preprocessing: &Value) -> Result<Options> {
        let all = preprocessing.as_object().cloned().unwrap_or_default();
        options(&all, Path::new("f.h5"))
    }

    #[test]
    fn options_are_those_that_the_preprocessing_tells_of() {
        let siglip = json!({"background": "#0aff01", "filter": "bicubic", "size": 384});
        let expected = Options { background: Some(Background::Colour([10, 255, 1])), ..Options::default() };
        assert_eq!(of(&siglip), Ok(expected));
        let naflex = json!({"background": "drop", "max_num_patches": 64, "patch_size": 16});
        let expected =
            Options { background: Some(Background::Drop), max_num_patches: Some(64), ..Options::default() };
        assert_eq!(of(&naflex), Ok(expected));
        let vl = json!({"background": "qwen", "form": "chat", "instruction": "Find.", "pixels_max": 65_536});
        let expected = Options {
            background: Some(Background::Qwen),
            max_pixels: Some(65_536),
            instruction: Some("Find.".to_owned()),
            ..Options::default()
        };
        assert_eq!(of(&vl), Ok(expected));
        let document = json!({"form": "document", "instruction": null, "length": 8192});
        assert_eq!(of(&document), Ok(Options::default()));
        let query = json!({"form": "query", "instruction": "Find.", "length": 8192});
        let instruction = Some("Find.".to_owned());
        assert_eq!(
            of(&query),
            Ok(Options { form: Some(TextForm::Query), instruction, ..Options::default() })
        );
        assert_eq!(of(&json!({"tokenizer": "gemma", "length": 64})), Ok(Options::default()));
        assert!(of(&json!({"background": "plaid"})).is_err_and(|error| error.message.starts_with("f.h5: ")));
    }
}
