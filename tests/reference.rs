//! Against the reference: transformers, torchvision and Pillow, by fixtures that `fixtures/make.py` made.
//!
//! Pixels and ids must be equal; vectors within 2e-5 in f32, stage by stage; in bf16 as close to the
//! reference's f32 as the reference's own bf16 is, within half of that.

mod bad_models;
mod bad_qwen;
mod naflex;
mod pictures;
mod qwen_sets;
mod qwen_texts;
mod texts;
mod towers;
mod wide;
mod wide_qwen;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hyperslab::model::device::{Device, Precision};
use hyperslab::model::{Modality, Model, Options, Settings, load};
use safetensors::{Dtype, SafeTensors};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn settings(precision: Precision) -> Settings {
    Settings { device: Device::Cpu, precision, options: Options::default(), threads: 1 }
}

pub fn model(name: &str, modality: Modality) -> Model {
    load(&fixtures().join(name), modality, &settings(Precision::F32)).expect("a fixture loads")
}

/// One array of a fixture, its values as f64, which holds all of u8, i64 of ids, and f32.
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        let width = self.shape.last().copied().expect("not a scalar");
        self.values.chunks(width)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.values.iter().map(|&value| value as u8).collect()
    }
}

pub fn expected(path: &str) -> HashMap<String, Array> {
    let bytes = std::fs::read(fixtures().join(path)).expect("a fixture");
    let file = SafeTensors::deserialize(&bytes).expect("sound");
    let array = |view: &safetensors::tensor::TensorView<'_>| {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::U8 => data.iter().map(|&byte| f64::from(byte)).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
            Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            other => panic!("fixtures have no {other:?}"),
        };
        Array { shape: view.shape().to_vec(), values }
    };
    file.iter().map(|(name, view)| (name.to_owned(), array(&view))).collect()
}

/// What the models' fixtures were made from.
pub struct Inputs {
    pub texts: Vec<String>,
    pub batch_texts: Vec<usize>,
    pub batch_pictures: Vec<String>,
    pub naflex_pictures: Vec<String>,
}

pub fn inputs() -> Inputs {
    let text = std::fs::read_to_string(fixtures().join("inputs.json")).expect("a fixture");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = |key: &str| json[key].as_array().expect("a list").clone();
    let strings = |key: &str| list(key).iter().map(|v| v.as_str().expect("a string").to_owned()).collect();
    Inputs {
        texts: strings("texts"),
        batch_texts: list("batch_texts").iter().map(|v| v.as_u64().expect("a number") as usize).collect(),
        batch_pictures: strings("batch_pictures"),
        naflex_pictures: strings("naflex_pictures"),
    }
}

pub fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "number of values");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Cosine of the angle between two vectors, whatever their lengths.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn flat(rows: &ndarray::Array2<f32>) -> Vec<f64> {
    rows.iter().map(|&value| f64::from(value)).collect()
}

/// The demands on vectors computed in bf16: `found` against the reference's bf16, and against its f32.
pub fn check_bf16(what: &str, found: &ndarray::Array2<f32>, in_bf16: &Array, in_f32: &Array) {
    for (i, row) in in_bf16.rows().enumerate() {
        let found: Vec<f64> = found.row(i).iter().map(|&value| f64::from(value)).collect();
        let alike = cosine(&found, row);
        assert!(alike >= 0.999, "{what}, row {i}: cosine {alike} to the reference in bf16");
        let length = found.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{what}, row {i}: length {length}, normalised in f32");
    }
    // Over the whole batch, because one row's rounding errors are a matter of luck.
    let distance =
        |rows: &[f64]| rows.iter().zip(&in_f32.values).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let (own, reference) = (distance(&flat(found)), distance(&in_bf16.values));
    assert!(own <= 1.5 * reference, "{what}: {own} from f32, the reference's own bf16 {reference}");
}
