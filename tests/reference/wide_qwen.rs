//! The true widths of Qwen3-Embedding 0.6B and Qwen3-VL-Embedding 2B, two layers deep. Weights come from a
//! counter, as in `make_qwen.py`.

use std::path::Path;

use hyperslab::model::Background;
use hyperslab::model::device::Precision;
use hyperslab::model::grid::Grid;
use hyperslab::model::qwen3::config::DecoderConfig;
use hyperslab::model::qwen3::text::prepared as prepared_text;
use hyperslab::model::qwen3_vl::config::VisionConfig;
use hyperslab::model::qwen3_vl::image::{prepared, prepared_view};
use hyperslab::model::qwen3_vl::{Preprocess, places::places};
use hyperslab::model::weights::Weights;
use hyperslab::model::{Embedder, Prepared, json, qwen3, qwen3_vl};
use ndarray::Array2;

use super::wide::{TOLERANCE, uniform, write_weights};
use super::{Array, check_bf16, expected, fixtures, flat, largest_difference, settings};

const IMAGE_TOKEN: i64 = 499;
const GRID: Grid = Grid { rows: 6, columns: 10 };

type Shapes = Vec<(String, Vec<usize>)>;

/// Every tensor of a decoder with its shape, written down once more, apart from the code under test.
fn decoder_shapes(prefix: &str, config: &DecoderConfig) -> Shapes {
    let (d, inner, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (q, kv) = (config.num_heads * head, config.num_kv_heads * head);
    let mut all = vec![
        (format!("{prefix}embed_tokens.weight"), vec![config.vocab_size, d]),
        (format!("{prefix}norm.weight"), vec![d]),
    ];
    for i in 0..config.num_layers {
        let parts: [(&str, Vec<usize>); 11] = [
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
            ("self_attn.q_proj", vec![q, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, q]),
            ("self_attn.q_norm", vec![head]),
            ("self_attn.k_norm", vec![head]),
            ("mlp.gate_proj", vec![inner, d]),
            ("mlp.up_proj", vec![inner, d]),
            ("mlp.down_proj", vec![d, inner]),
        ];
        all.extend(parts.map(|(part, shape)| (format!("{prefix}layers.{i}.{part}.weight"), shape)));
    }
    all
}

fn vision_shapes(config: &VisionConfig) -> Shapes {
    let (d, inner, out) = (config.hidden_size, config.intermediate_size, config.out_hidden_size);
    let mut all = vec![("visual.pos_embed.weight".to_owned(), vec![2304, d])];
    let mut both = |name: String, shape: &[usize]| {
        all.push((format!("visual.{name}.weight"), shape.to_vec()));
        all.push((format!("visual.{name}.bias"), shape[..1].to_vec()));
    };
    both("patch_embed.proj".into(), &[d, 3, 2, 16, 16]);
    for i in 0..config.num_layers {
        both(format!("blocks.{i}.norm1"), &[d]);
        both(format!("blocks.{i}.norm2"), &[d]);
        both(format!("blocks.{i}.attn.qkv"), &[3 * d, d]);
        both(format!("blocks.{i}.attn.proj"), &[d, d]);
        both(format!("blocks.{i}.mlp.linear_fc1"), &[inner, d]);
        both(format!("blocks.{i}.mlp.linear_fc2"), &[d, inner]);
    }
    for (name, normed) in
        [("merger", d), ("deepstack_merger_list.0", 4 * d), ("deepstack_merger_list.1", 4 * d)]
    {
        both(format!("{name}.norm"), &[normed]);
        both(format!("{name}.linear_fc1"), &[4 * d, 4 * d]);
        both(format!("{name}.linear_fc2"), &[out, 4 * d]);
    }
    all
}

fn ids(name: &str, count: usize, modulo: i64) -> Vec<i64> {
    uniform(name, count).map(|u| (f64::midpoint(u, 1.0) * 500.0) as i64 % modulo).collect()
}

/// The two texts, as they are prepared.
fn texts(modulo: i64) -> [Option<Prepared>; 2] {
    let ids = ids("ids", 53, modulo);
    [&ids[..20], &ids[20..]].map(|ids| Some(prepared_text(ids).expect("prepared")))
}

fn check(what: &str, precision: Precision, rows: &Array2<f32>) {
    let expected = expected("wide/expected-qwen.safetensors");
    let of = |kind: &str| -> &Array { &expected[&format!("{what}.{kind}")] };
    if precision == Precision::F32 {
        let off = largest_difference(&flat(rows), &of("f32").values);
        assert!(off <= TOLERANCE, "{what}: off by {off}");
    } else {
        check_bf16(what, rows, of("bf16"), of("f32"));
    }
}

fn weights_of(shapes: &Shapes) -> (tempfile::TempDir, Weights) {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = write_weights(shapes, folder.path());
    (folder, weights)
}

#[test]
fn qwen3_of_0_6b() {
    let json = json::read(&fixtures().join("wide/qwen3-0.6b.json")).expect("read");
    let config = qwen3::config::Config::parse(Path::new("qwen3"), &json).expect("parsed");
    let (_folder, weights) = weights_of(&decoder_shapes("", &config.decoder));
    for precision in [Precision::F32, Precision::Bf16] {
        let mut tower = qwen3::text_embedder(&weights, &config, &settings(precision)).expect("loads");
        check("qwen3-0.6b.text", precision, &tower.embed(&texts(500)).expect("embeds"));
    }
}

#[test]
fn qwen3_vl_of_2b() {
    let json = json::read(&fixtures().join("wide/qwen3-vl-2b.json")).expect("read");
    let config = qwen3_vl::config::Config::parse(Path::new("qwen3-vl"), &json).expect("parsed");
    let shapes = [decoder_shapes("language_model.", &config.text), vision_shapes(&config.vision)].concat();
    let (folder, weights) = weights_of(&shapes);
    let processor = r#"{"patch_size": 16, "image_mean": 0.5, "image_std": 0.5}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), processor).expect("written");
    let preprocess =
        Preprocess::load(folder.path(), &config.vision, None, Background::Qwen).expect("supported");
    for precision in [Precision::F32, Precision::Bf16] {
        let settings = settings(precision);
        let mut tower = qwen3_vl::text_embedder(&weights, &config, &settings).expect("loads");
        check("qwen3-vl-2b.text", precision, &tower.embed(&texts(IMAGE_TOKEN)).expect("embeds"));
        let mut tower = qwen3_vl::image_embedder(&weights, &config, &preprocess, &settings).expect("loads");
        check("qwen3-vl-2b.image", precision, &tower.embed(&[Some(picture())]).expect("embeds"));
    }
}

/// One picture of 96 x 160 pixels between ids.
fn picture() -> Prepared {
    let bytes: Vec<u8> =
        uniform("pixels", 96 * 160 * 3).map(|u| (f64::midpoint(u, 1.0) * 256.0) as u8).collect();
    let pixels = tch::Tensor::from_slice(&bytes).view([3, 2, 16, 5, 2, 16 * 3]);
    let patches = pixels.permute([0, 3, 1, 4, 2, 5]).reshape([60, 768]);
    let view = prepared_view(patches, GRID, 15).expect("prepared");
    let around = ids("around", 9, IMAGE_TOKEN);
    let ids = [&around[..5], &[IMAGE_TOKEN; 15], &around[5..]].concat();
    let places = places(&ids, IMAGE_TOKEN, &[Grid { rows: 3, columns: 5 }]);
    prepared(&qwen3_vl::Sequence { ids, places }, &[view]).expect("prepared")
}
