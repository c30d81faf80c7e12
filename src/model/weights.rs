//! Weights in safetensors files: one tensor at a time, straight into the kind and onto the device it
//! is wanted on, by positioned reads, so that loading needs little memory beside the model itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tch::{Kind, Tensor};

use super::{Settings, checkpoint};
use crate::error::{Context, Error, Result};

/// How much of a tensor is read at once; a whole number of elements of every kind.
const PIECE_BYTES: usize = 16 << 20;

/// All tensors of a model folder, by name.
pub struct Weights {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Stored>,
}

/// Where one tensor lies.
struct Stored {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// First byte in the file.
    start: u64,
    length: usize,
}

impl Weights {
    /// Opens the weights of `dir` and reads their headers.
    ///
    /// # Errors
    /// Files that are missing, broken or truncated, by name.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut weights = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for name in checkpoint::weight_files(dir)? {
            weights.add(dir.join(name))?;
        }
        Ok(weights)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let file = File::open(&path).context(|| path.display())?;
        let (data_start, metadata) = checkpoint::header(&path, &file)?;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let stored = Stored {
                file: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data_start + start as u64,
                length: end - start,
            };
            if let Some(other) = self.tensors.insert(name.clone(), stored) {
                let other = self
                    .files
                    .get(other.file)
                    .map_or_else(String::new, |(path, _)| path.display().to_string());
                return Err(Error::new(format!("`{name}` is in both {other} and {}", path.display())));
            }
        }
        self.files.push((path, file));
        Ok(())
    }

    /// Whether a tensor's name begins like this.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }

    /// Reads the tensor that [`Loader`] has checked, piece by piece into its place on the device.
    fn read(&self, stored: &Stored, name: &str, kind: Kind, device: tch::Device) -> Result<Tensor> {
        let (path, file) = self.files.get(stored.file).expect("add() stores an index of `files`");
        let (stored_kind, width) = self.kind(stored, name)?;
        let failed = |error: tch::TchError| torch(&format!("{}: `{name}`", path.display()), &error);
        let shape: Vec<i64> = stored.shape.iter().map(|&side| side as i64).collect();
        let tensor = Tensor::f_empty(&shape, (kind, device)).map_err(failed)?;
        let flat = tensor.f_view([-1]).map_err(failed)?;
        let mut piece = vec![0; PIECE_BYTES.min(stored.length)];
        let mut done = 0;
        while done < stored.length {
            piece.truncate(stored.length - done);
            file.read_exact_at(&mut piece, stored.start + done as u64)
                .context(|| format!("{}: reading `{name}`", path.display()))?;
            let count = (piece.len() / width) as i64;
            Tensor::f_from_data_size(&piece, &[count], stored_kind)
                .and_then(|piece| flat.f_narrow(0, (done / width) as i64, count)?.f_copy_(&piece))
                .map_err(failed)?;
            done += piece.len();
        }
        Ok(tensor)
    }

    /// How a tensor's numbers are stored, and in how many bytes each.
    fn kind(&self, stored: &Stored, name: &str) -> Result<(Kind, usize)> {
        match stored.dtype {
            Dtype::F32 => Ok((Kind::Float, 4)),
            Dtype::BF16 => Ok((Kind::BFloat16, 2)),
            Dtype::F16 => Ok((Kind::Half, 2)),
            other => Err(Error::new(format!(
                "{}: `{name}` is stored as {other:?}; supported: F32, BF16, F16",
                self.path(stored)
            ))
            .hint("quantised models are not supported; take the original one")),
        }
    }

    fn path(&self, stored: &Stored) -> std::path::Display<'_> {
        self.files.get(stored.file).expect("add() stores an index of `files`").0.display()
    }

    fn places(&self) -> String {
        self.files.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// Hands tensors to the layers, and remembers which it was asked for.
///
/// A *dry* loader checks names and shapes without reading data, so that the same loading code proves a
/// whole model sound before the first byte of it is read.
pub struct Loader<'a> {
    weights: &'a Weights,
    target: Option<(Kind, tch::Device)>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    /// Checks only.
    pub fn dry(weights: &'a Weights) -> Self {
        Self { weights, target: None, asked: RefCell::default() }
    }

    /// Reads into `kind` on `device`.
    pub fn reading(weights: &'a Weights, kind: Kind, device: tch::Device) -> Self {
        Self { weights, target: Some((kind, device)), asked: RefCell::default() }
    }

    /// Reads as the settings want it.
    pub fn of(weights: &'a Weights, settings: &Settings) -> Self {
        Self::reading(weights, settings.precision.kind(), settings.device.torch())
    }

    /// The tensor `name` of exactly this shape.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read, by name and file.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(stored) = self.weights.tensors.get(name) else {
            return Err(Error::new(format!("tensor `{name}` is missing from {}", self.weights.places()))
                .hint("the weights do not belong to this config.json, or the download is incomplete"));
        };
        if stored.shape != shape {
            return Err(Error::new(format!(
                "{}: tensor `{name}` has the shape {:?}, config.json asks for {shape:?}",
                self.weights.path(stored),
                stored.shape
            )));
        }
        self.weights.kind(stored, name)?;
        self.asked.borrow_mut().insert(name.to_owned());
        let Some((kind, device)) = self.target else {
            // A stand-in of the right shape and no size.
            let shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
            let scalar = Tensor::f_zeros([1], (Kind::BFloat16, tch::Device::Cpu)).context(|| name)?;
            return scalar.f_expand(&shape, false).context(|| name);
        };
        self.weights.read(stored, name, kind, device)
    }

    /// Fails if the files hold a tensor that no layer asked for and `known` does not excuse.
    ///
    /// # Errors
    /// Such a tensor, by name and file.
    pub fn finish(self, known: impl Fn(&str) -> bool) -> Result<()> {
        let asked = self.asked.into_inner();
        let unknown = self.weights.tensors.iter().filter(|(name, _)| !asked.contains(*name) && !known(name));
        let unknown: Vec<_> = unknown.collect();
        let Some((name, stored)) = unknown.first() else { return Ok(()) };
        let others = match unknown.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Err(Error::new(format!(
            "{}: unknown tensor `{name}` {:?}{others}",
            self.weights.path(stored),
            stored.shape
        ))
        .hint("config.json describes another (perhaps smaller) model than these weights"))
    }
}

/// An error of libtorch in one line: its own first line, without the C++ stack below it.
pub fn torch(what: &str, error: &tch::TchError) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Error::new(format!("{what}: {line}"))
}
