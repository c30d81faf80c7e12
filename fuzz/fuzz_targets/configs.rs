//! The small files of a model folder: configs, settings of preprocessing, tokenizers. An input is a folder, its
//! files [`parts`], each with its name in the first line. What is read also prepares texts and a picture. The
//! tokenizers crate may panic, where the program is prepared for it.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hyperslab::comm::shielded;
use hyperslab::model::checkpoint::{CONFIG, SMALL_FILES};
use hyperslab::model::{Item, Modality, Options, describe, device, preprocessing};
use hyperslab_fuzz::{parts, scratch, spare_foreign_panics, write};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// A folder that holds a larger number may ask for anything, and be given it: pictures and texts of any size.
const NUMBER_MAX: f64 = 5000.0;
/// Of this alone no size depends.
const NO_SIZE: &str = "rope_theta";

const TEXTS: [&str; 4] = ["a chair", " \n", "椅子 </s><|im_start|> É", "\u{2581}\u{1f600}e\u{301}\0"];
const PICTURE: &[u8] = include_bytes!("../../tests/fixtures/pictures/rgb8.png");

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    device::set_model_threads(1);
    spare_foreign_panics();
    scratch().join("model")
});

fuzz_target!(|data: &[u8]| {
    let folder: &Path = &FOLDER;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir(folder).expect("room for temporary files");
    let mut is_large = false;
    for part in parts(data) {
        let end = part.iter().position(|&byte| byte == b'\n').unwrap_or(part.len());
        let (name, content) = (&part[..end], part.get(end + 1..).unwrap_or_default());
        if let Some(name) = SMALL_FILES.iter().find(|known| known.as_bytes() == name) {
            write(&folder.join(name), content);
            is_large |= serde_json::from_slice(content).is_ok_and(|value| largest(&value) > NUMBER_MAX);
        }
    }
    let described = describe(folder);
    for modality in [Modality::Text, Modality::Image] {
        let read = shielded(|| preprocessing(folder, modality, &Options::default()));
        let Ok(Ok(read)) = read else { continue };
        let described = described.as_ref().expect("a folder that was read");
        assert!(described.dim(modality).is_some() && folder.join(CONFIG).exists());
        let _: Value = serde_json::from_str(&read.provenance).expect("provenance is JSON");
        if is_large {
            continue;
        }
        let items = match modality {
            Modality::Text => TEXTS.map(Item::Caption).to_vec(),
            Modality::Image => vec![Item::View(PICTURE)],
        };
        for item in items {
            // An item that is refused is data.
            let _ = shielded(|| read.preparer.prepare(item));
        }
    }
});

fn largest(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::INFINITY).abs(),
        Value::Array(values) => values.iter().map(largest).fold(0.0, f64::max),
        Value::Object(values) => values
            .iter()
            .filter(|(key, _)| *key != NO_SIZE)
            .map(|(_, value)| largest(value))
            .fold(0.0, f64::max),
        _ => 0.0,
    }
}
