//! The true widths of published models, two layers deep. Weights come from a counter, as in `make.py`.

use std::collections::HashMap;
use std::path::Path;

use half::bf16;
use hyperslab::model::device::Precision;
use hyperslab::model::grid::Grid;
use hyperslab::model::siglip::config::{BlockConfig, TextConfig};
use hyperslab::model::siglip::text::TextTower;
use hyperslab::model::weights::{Loader, Weights};
use hyperslab::model::{json, layers, siglip, siglip2};
use ndarray::Array2;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tch::{Device, Kind, Tensor};

use super::{Array, check_bf16, expected, fixtures, flat, largest_difference};

pub const TOLERANCE: f64 = 2e-5;

/// The output function of `SplitMix64`.
fn splitmix64(counter: u64) -> u64 {
    let z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Numbers in [-1, 1) that depend on the name and their place alone.
pub fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = u64::from(crc32fast::hash(name.as_bytes())) << 32;
    (0..count as u64).map(move |i| (splitmix64(seed.wrapping_add(i)) >> 40) as f64 / f64::from(1 << 23) - 1.0)
}

/// A weight from the counter, as it is stored.
pub fn counted(name: &str, shape: &[usize]) -> Vec<u8> {
    let norm = name.contains("norm") && name.ends_with("weight");
    let table = name.contains("embedding.weight") && !name.contains("patch") || name.contains("probe");
    let fan_in: usize = shape[1..].iter().product();
    let (scale, shift) = match shape.len() {
        1 => (0.1, if norm { 1.0 } else { 0.0 }),
        _ if table => (0.5, 0.0),
        _ => ((3.0 / fan_in as f64).sqrt(), 0.0),
    };
    let values = uniform(name, shape.iter().product()).map(|value| (value * scale + shift) as f32);
    values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect()
}

/// Every tensor of a model with its shape, written down once more, apart from the code under test; `patch` is
/// that of the patch embedding behind its rows.
fn shapes(
    text: &TextConfig,
    vision: &BlockConfig,
    patch: &[usize],
    positions: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    for (tower, blocks) in [("text_model", &text.blocks), ("vision_model", vision)] {
        let (d, inner) = (blocks.hidden_size, blocks.intermediate_size);
        let mut linear = |name: String, outputs: usize, inputs: usize| {
            add(format!("{name}.weight"), &[outputs, inputs]);
            add(format!("{name}.bias"), &[outputs]);
        };
        for i in 0..blocks.num_layers {
            let layer = format!("{tower}.encoder.layers.{i}");
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                linear(format!("{layer}.self_attn.{part}"), d, d);
            }
            linear(format!("{layer}.mlp.fc1"), inner, d);
            linear(format!("{layer}.mlp.fc2"), d, inner);
        }
        if tower == "text_model" {
            linear(format!("{tower}.head"), text.projection_size, d);
        } else {
            linear(format!("{tower}.head.attention.out_proj"), d, d);
            linear(format!("{tower}.head.mlp.fc1"), inner, d);
            linear(format!("{tower}.head.mlp.fc2"), d, inner);
        }
        let layers =
            (0..blocks.num_layers).flat_map(|i| [1, 2].map(|n| format!("encoder.layers.{i}.layer_norm{n}")));
        let last = if tower == "text_model" {
            vec!["final_layer_norm"]
        } else {
            vec!["post_layernorm", "head.layernorm"]
        };
        for norm in layers.chain(last.into_iter().map(str::to_owned)) {
            add(format!("{tower}.{norm}.weight"), &[d]);
            add(format!("{tower}.{norm}.bias"), &[d]);
        }
    }
    let (t, v) = (text.blocks.hidden_size, vision.hidden_size);
    add("text_model.embeddings.token_embedding.weight".into(), &[text.vocab_size, t]);
    add("text_model.embeddings.position_embedding.weight".into(), &[text.max_position_embeddings, t]);
    add("vision_model.embeddings.patch_embedding.weight".into(), &[&[v], patch].concat());
    add("vision_model.embeddings.patch_embedding.bias".into(), &[v]);
    add("vision_model.embeddings.position_embedding.weight".into(), &[positions, v]);
    add("vision_model.head.probe".into(), &[1, 1, v]);
    add("vision_model.head.attention.in_proj_weight".into(), &[3 * v, v]);
    add("vision_model.head.attention.in_proj_bias".into(), &[3 * v]);
    all
}

pub fn write_weights(shapes: &[(String, Vec<usize>)], folder: &Path) -> Weights {
    let data: Vec<_> = shapes.iter().map(|(name, shape)| counted(name, shape)).collect();
    let views = shapes.iter().zip(&data).map(|((name, shape), data)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), data).expect("a view"))
    });
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views.collect::<HashMap<_, _>>(), None, &path).expect("written");
    Weights::open(folder).expect("opens")
}

/// A forward pass of a picture's tower.
type Forward = Box<dyn Fn(&Tensor) -> layers::Computed>;

/// Compares both towers with the reference, in two precisions; `vision` loads the tower of pictures, which
/// takes `pictures`.
fn check(
    size: &str,
    config: &TextConfig,
    weights: &Weights,
    pictures: &Tensor,
    vision: impl Fn(&Loader<'_>) -> Forward,
) {
    let expected = expected("wide/expected.safetensors");
    let of = |part: &str| -> &Array { &expected[&format!("{size}.{part}")] };
    for (precision, kind) in [(Precision::F32, Kind::Float), (Precision::Bf16, Kind::BFloat16)] {
        let loader = Loader::reading(weights, kind, Device::Cpu);
        let text = TextTower::load(&loader, config).expect("loads");
        let vision = vision(&loader);
        loader.finish(|_| false).expect("every tensor is asked for");
        let rows = [
            ("text", embed(&text_inputs(config), |x| text.forward(x, &mut |_, _| {}))),
            ("image", embed(&pictures.to_kind(kind), vision)),
        ];
        for (tower, rows) in rows {
            let exact = of(&format!("{tower}.f32"));
            if precision == Precision::F32 {
                let off = largest_difference(&flat(&rows), &exact.values);
                assert!(off <= TOLERANCE, "{size}, {tower}: off by {off}");
            } else {
                check_bf16(&format!("{size}, {tower}"), &rows, of(&format!("{tower}.bf16")), exact);
            }
        }
    }
}

fn check_fixed(size: &str) {
    let config = json::read(&fixtures().join(format!("wide/{size}.json"))).expect("read");
    let config = siglip::config::Config::parse(Path::new(size), &config).expect("parsed");
    let (vision, folder) = (&config.vision, tempfile::tempdir().expect("a folder"));
    let patch = [3, vision.patch_size, vision.patch_size];
    let shapes = shapes(&config.text, &vision.blocks, &patch, vision.grid() * vision.grid());
    let weights = write_weights(&shapes, folder.path());
    let side = vision.image_size;
    let pictures = pixels(2 * side * side * 3).view([2, side as i64, side as i64, 3]);
    check(size, &config.text, &weights, &pictures, |loader| {
        let tower = siglip::vision::VisionTower::load(loader, vision).expect("loads");
        Box::new(move |x| tower.forward(x, &mut |_, _| {}))
    });
}

fn embed(input: &Tensor, forward: impl Fn(&Tensor) -> layers::Computed) -> Array2<f32> {
    let _no_grad = tch::no_grad_guard();
    layers::to_array(&layers::normalise(&forward(input).expect("computes")).expect("computes"))
        .expect("fetched")
}

fn text_inputs(config: &TextConfig) -> Tensor {
    let (length, vocabulary) = (config.max_position_embeddings, config.vocab_size as f64);
    let ids: Vec<i64> =
        uniform("ids", 2 * length).map(|u| (f64::midpoint(u, 1.0) * vocabulary) as i64).collect();
    Tensor::from_slice(&ids).view([2, length as i64])
}

/// So many normalised samples of pixels.
fn pixels(count: usize) -> Tensor {
    let bytes = uniform("pixels", count).map(|u| (f64::midpoint(u, 1.0) * 256.0) as u8);
    let pixels = Tensor::from_slice(&bytes.collect::<Vec<_>>());
    (pixels.to_kind(Kind::Float) - 127.5).divide_scalar(127.5)
}

#[test]
fn base_at_224() {
    check_fixed("base");
}

#[test]
fn so400m_at_384() {
    check_fixed("so400m");
}

#[test]
fn naflex_of_two_grids() {
    let config = json::read(&fixtures().join("wide/naflex.json")).expect("read");
    let config = siglip2::config::Config::parse(Path::new("naflex"), &config).expect("parsed");
    let (vision, folder) = (&config.vision, tempfile::tempdir().expect("a folder"));
    let weights = write_weights(&shapes(&config.text, &vision.blocks, &[768], 256), folder.path());
    let grids = [Grid { rows: 16, columns: 16 }, Grid { rows: 11, columns: 20 }];
    let pictures = pixels(2 * 256 * 768).view([2, 256, 768]);
    let _ = pictures.get(1).narrow(0, 220, 36).zero_();
    check("naflex", &config.text, &weights, &pictures, |loader| {
        let tower = siglip2::vision::VisionTower::load(loader, vision).expect("loads");
        Box::new(move |x| tower.forward(x, &grids, &mut |_, _| {}))
    });
}
