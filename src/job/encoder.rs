//! Single texts and pictures to vectors, outside of a job: what is searched for, and what a service asks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::batches;
use super::devices::{self, RankDevice};
use super::own_model::precision_on;
use super::request::EncoderRequest;
use crate::comm::shielded;
use crate::error::{Error, ItemError, ItemErrorKind, Result};
use crate::model::device::set_decode_threads;
use crate::model::{self, Description, Family, Item, Modality, Model, Prepared, Preparer, Settings};
use crate::plan::Batching;

/// A picture larger than this is not read into memory.
const PICTURE_BYTES_MAX: u64 = 1 << 30;

/// What is to become a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    Text(&'a str),
    /// A picture file. To a model that sees several views at once it is a set of one.
    Picture(&'a Path),
}

impl Input<'_> {
    fn modality(self) -> Modality {
        match self {
            Self::Text(_) => Modality::Text,
            Self::Picture(_) => Modality::Image,
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// L2-normalised.
    pub vector: Vec<f32>,
    /// Whether it is a text that had more tokens than the model takes, and lost its end.
    pub is_cut: bool,
}

/// A model in memory. It lives on the thread that loaded it.
pub struct Encoder {
    text: Option<Tower>,
    image: Option<Tower>,
    description: Description,
    device: RankDevice,
}

/// One tower, and how its items are put together.
struct Tower {
    model: Model,
    batching: Batching,
    /// Whether it takes sets of pictures.
    joins: bool,
}

impl Encoder {
    /// Loads what will be needed of a model.
    ///
    /// # Errors
    /// A model that is broken or does not take what is asked of it; options that it does not have; a GPU that
    /// should be there and is not.
    pub fn load(request: &EncoderRequest) -> Result<Self> {
        let folder = &request.folder.path;
        let description = model::describe(folder)?;
        let device = devices::choose_alone(request.device)?;
        let precision = precision_on(device.device, request.precision, request.precision_of_rows);
        let device = RankDevice { precision, ..device };
        let settings = Settings {
            device: device.device,
            precision: device.precision,
            options: request.options.clone(),
            threads: request.threads.unwrap_or(device.decode_threads),
        };
        let tower = |modality: Modality| -> Result<Option<Tower>> {
            if !request.modalities.contains(&modality) {
                return Ok(None);
            }
            // The tokenizers crate panics on some broken files.
            let loaded = shielded(|| model::load(folder, modality, &settings)).unwrap_or_else(|panic| {
                Err(Error::new(format!("cannot load the model {}: {panic}", folder.display()))
                    .hint("its tokenizer.json or spiece.model is broken: copy or download it again"))
            });
            let joins = modality == Modality::Image && description.family == Family::Qwen3Vl;
            let batching = batches::choose_alone(modality, &device, request, &description)?;
            Ok(Some(Tower { model: loaded?, batching, joins }))
        };
        Ok(Self { text: tower(Modality::Text)?, image: tower(Modality::Image)?, description, device })
    }

    /// The model, what it makes, and where, in words.
    pub fn about(&self) -> String {
        let towers = [("texts", &self.text), ("pictures", &self.image)];
        let made: Vec<String> = towers
            .into_iter()
            .filter_map(|(what, tower)| Some((what, tower.as_ref()?.model.embedder.dim())))
            .map(|(what, dim)| format!("vectors of {dim} for {what}"))
            .collect();
        let RankDevice { model, precision, .. } = &self.device;
        format!("{}: {}, in {precision} on {model}", self.description.name, made.join(" and "))
    }

    /// How many items are worth giving at once: more would make the first wait for the last.
    pub fn items_at_once(&self) -> usize {
        if self.device.is_gpu() { 512 } else { 32 }
    }

    /// Encodes items together; each has its own outcome.
    ///
    /// # Errors
    /// What libtorch reports, e.g. that a batch does not fit the device's memory.
    pub fn encode(&mut self, inputs: &[Input<'_>]) -> Result<Vec<std::result::Result<Encoded, ItemError>>> {
        let threads = self.device.decode_threads;
        let mut outcomes = BTreeMap::new();
        for modality in [Modality::Text, Modality::Image] {
            let own = inputs.iter().enumerate().filter(|(_, input)| input.modality() == modality);
            let (places, own): (Vec<usize>, Vec<Input<'_>>) =
                own.map(|(place, input)| (place, *input)).unzip();
            let encoded = match self.tower(modality) {
                Ok(tower) => tower.encode(&own, threads)?,
                Err(error) => own.iter().map(|_| Err(error.clone())).collect(),
            };
            outcomes.extend(places.into_iter().zip(encoded));
        }
        Ok(outcomes.into_values().collect())
    }

    fn tower(&mut self, modality: Modality) -> std::result::Result<&mut Tower, ItemError> {
        let name = &self.description.name;
        let (what, tower) = match modality {
            Modality::Text => ("texts", &mut self.text),
            Modality::Image => ("pictures", &mut self.image),
        };
        let why = if self.description.dim(modality).is_some() { "is loaded for no" } else { "takes no" };
        let none = || ItemError::new(ItemErrorKind::Unreadable, format!("the model {name} {why} {what}"));
        tower.as_mut().ok_or_else(none)
    }
}

impl Tower {
    fn encode(
        &mut self,
        inputs: &[Input<'_>],
        threads: usize,
    ) -> Result<Vec<std::result::Result<Encoded, ItemError>>> {
        let mut outcomes = Vec::new();
        let mut items = Vec::new();
        for (place, prepared) in self.prepare(inputs, threads).into_iter().enumerate() {
            match prepared {
                Ok(item) => {
                    outcomes.push(Ok(Encoded { vector: Vec::new(), is_cut: item.is_cut() }));
                    items.push((place, Some(item)));
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        for window in self.batching.windows(items.len()) {
            let window = items.get_mut(window).unwrap_or_default();
            let tokens: Vec<_> = window.iter().map(|(_, item)| item.as_ref().map(Prepared::tokens)).collect();
            for batch in self.batching.batches(&tokens) {
                let (places, slots): (Vec<_>, Vec<_>) =
                    batch.into_iter().map(|slot| (window[slot].0, window[slot].1.take())).unzip();
                let vectors = self.model.embedder.embed(&slots).map_err(without_overwrite)?;
                for (vector, place) in vectors.outer_iter().zip(places) {
                    put(&mut outcomes[place], vector.to_vec());
                }
            }
        }
        Ok(outcomes)
    }

    /// Prepares items, in their order, on so many threads.
    fn prepare(&self, inputs: &[Input<'_>], threads: usize) -> Vec<std::result::Result<Prepared, ItemError>> {
        let (preparer, joins) = (self.model.preparer.as_ref(), self.joins);
        let next = AtomicUsize::new(0);
        let work = || {
            // On threads of their own: the model's has another number of libtorch's threads, and keeps it.
            set_decode_threads();
            let take = || {
                let place = next.fetch_add(1, Ordering::Relaxed);
                Some((place, prepare(preparer, joins, *inputs.get(place)?)))
            };
            std::iter::from_fn(take).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.min(inputs.len())).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, prepared)| prepared).collect()
    }
}

fn put(outcome: &mut std::result::Result<Encoded, ItemError>, vector: Vec<f32>) {
    if let Ok(encoded) = outcome {
        if vector.iter().all(|value| value.is_finite()) {
            encoded.vector = vector;
        } else {
            *outcome = Err(ItemError::new(ItemErrorKind::NotFinite, ""));
        }
    }
}

fn prepare(
    preparer: &dyn Preparer,
    joins: bool,
    input: Input<'_>,
) -> std::result::Result<Prepared, ItemError> {
    let work = || match input {
        Input::Text(text) => preparer.prepare(Item::Caption(text)),
        Input::Picture(path) => {
            let view = preparer.prepare(Item::View(&read_picture(path)?))?;
            if joins { preparer.join(vec![view]) } else { Ok(view) }
        }
    };
    shielded(work).unwrap_or_else(|panic| {
        // Foreign code that panics on this item.
        let kind = match input {
            Input::Text(_) => ItemErrorKind::Unreadable,
            Input::Picture(_) => ItemErrorKind::BrokenPicture,
        };
        Err(ItemError::new(kind, format!("the decoder gave up: {panic}")))
    })
}

/// The bytes of a picture file.
///
/// # Errors
/// It cannot be read, is no plain file, or too large.
pub fn read_picture(path: &Path) -> std::result::Result<Vec<u8>, ItemError> {
    let unreadable = |why: &dyn std::fmt::Display| ItemError::new(ItemErrorKind::Unreadable, why.to_string());
    // Asked before it is opened: to open a pipe would wait for its writer.
    if !path.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(unreadable(&"it is no plain file"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PICTURE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > PICTURE_BYTES_MAX {
        return Err(ItemError::new(ItemErrorKind::TooLarge, format!("over {PICTURE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn without_overwrite(error: Error) -> Error {
    // What a job says: here nothing is there to be overwritten.
    let hint = error.hint.map(|hint| hint.replace("--overwrite ", ""));
    Error { hint, ..error }
}
