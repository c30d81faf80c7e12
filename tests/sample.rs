//! The sample's models, through the program: captions find their assets on views that training never saw, and
//! a model that has learnt nothing does not find them.

mod qwen;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use hyperslab::Exit;
use hyperslab::store::Reader;
use ndarray::{Array2, ArrayView1};
use serde_json::{Map, Value};

use crate::util::{Dir, repository};

/// `HELD_OUT` of `sample/catalogue.py`: a view's place among its asset's, as all but the last have twelve.
const HELD_OUT: [u64; 3] = [3, 7, 11];

/// The vectors of a file, with the rows of each asset.
struct Vectors {
    assets: BTreeMap<String, Range<u64>>,
    rows: Array2<f32>,
}

impl Vectors {
    fn of(path: &Path, group: Option<&str>) -> Self {
        let reader = Reader::open(path, group).unwrap();
        let assets = reader.iter_prefix("").unwrap().map(|asset| asset.map(|asset| (asset.id, asset.rows)));
        let assets = assets.collect::<Result<_, _>>().unwrap();
        Self { assets, rows: reader.rows(0..reader.n_rows()).unwrap() }
    }

    fn row(&self, row: u64) -> ArrayView1<'_, f32> {
        self.rows.row(row as usize)
    }

    /// Ids and rows of the views at these places.
    fn views(&self, places: &[u64]) -> Vec<(&str, u64)> {
        let of_asset = |(id, rows): (_, &Range<u64>)| {
            let all = rows.clone();
            let picked = places.iter().map(|place| all.start + place).filter(|row| all.contains(row));
            picked.map(|row| (id, row)).collect::<Vec<_>>()
        };
        self.assets.iter().flat_map(|(id, rows)| of_asset((id.as_str(), rows))).collect()
    }
}

/// Embeds the sample with a model, in two languages.
fn embed(dir: &Dir, model: &Path) {
    let embed = |captions: &str, output_dir: &str| {
        let job =
            dir.hyperslab(["embed", "siglip", "--device", "cpu", "--output-dir", output_dir, "--model"]);
        job.arg(model).arg("--captions").arg(repository("sample").join(captions))
    };
    let english = embed("captions.json", "en").arg("--renders").arg(repository("sample/renders"));
    english.ranks(2).run().exits(Exit::Success);
    embed("captions_zh.json", "zh").run().exits(Exit::Success);
}

/// How many captions in a hundred are nearest to a view of their own asset, of those at these places.
fn found(dir: &Dir, language: &str, places: &[u64]) -> f64 {
    let texts = Vectors::of(&dir.join(language).join("siglip_text_embeddings.h5"), None);
    let images = Vectors::of(&dir.join("en/siglip_image_embeddings.h5"), None);
    share_right(&texts, &images, &images.views(places))
}

/// How many captions in a hundred are nearest to a row of their own asset, of those shown: ids and rows.
fn share_right(texts: &Vectors, images: &Vectors, shown: &[(&str, u64)]) -> f64 {
    let (mut asked, mut right) = (0, 0);
    for (id, rows) in &texts.assets {
        let caption = texts.row(rows.start);
        if caption.iter().any(|value| value.is_nan()) || !shown.iter().any(|(asset, _)| asset == id) {
            continue;
        }
        let nearness = |row: u64| caption.dot(&images.row(row));
        let nearest = shown.iter().max_by(|a, b| nearness(a.1).total_cmp(&nearness(b.1))).unwrap();
        asked += 1;
        right += usize::from(nearest.0 == id);
    }
    assert!(asked > 60, "{asked} captions of shown assets");
    100.0 * right as f64 / f64::from(asked)
}

/// A copy of one of the sample's models, the numbers of each of its tensors in another order.
fn shuffled(dir: &Dir, model: &str) {
    for entry in fs::read_dir(repository(model)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        if name == "model.safetensors" {
            shuffle_tensors(&mut bytes);
        }
        dir.write(&format!("shuffled/{name}"), bytes);
    }
}

/// A file of weights begins with the length of its header; offsets count from the header's end.
fn shuffle_tensors(file: &mut [u8]) {
    let (length, rest) = file.split_at_mut(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (header, data) = rest.split_at_mut(length);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut state = 1_u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let tensors = header.values().filter(|entry| entry.get("dtype").is_some());
    for tensor in tensors {
        let offset = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
        let data = &mut data[offset(0)..offset(1)];
        let width = if tensor["dtype"] == "F32" { 4 } else { 2 };
        for i in 1..data.len() / width {
            let other = below(i + 1);
            (0..width).for_each(|byte| data.swap(i * width + byte, other * width + byte));
        }
    }
}

#[test]
fn captions_find_their_assets_on_held_out_views() {
    let dir = Dir::new();
    embed(&dir, &repository("sample/model"));
    for language in ["en", "zh"] {
        let share = found(&dir, language, &HELD_OUT);
        assert!(share >= 90.0, "{language}: {share:.0} % among all held-out views");
        for view in HELD_OUT {
            let share = found(&dir, language, &[view]);
            assert!(share >= 90.0, "{language}: {share:.0} % among one view of each asset, the {view}th");
        }
    }
}

#[test]
fn a_model_that_has_learnt_nothing_does_not_find_them() {
    let dir = Dir::new();
    shuffled(&dir, "sample/model");
    embed(&dir, &dir.join("shuffled"));
    for language in ["en", "zh"] {
        let share = found(&dir, language, &HELD_OUT);
        assert!(share < 30.0, "{language}: {share:.0} %");
    }
}
