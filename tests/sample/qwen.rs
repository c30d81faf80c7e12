//! The model of Qwen's kind: one vector for the views of an asset that training never saw.

use std::path::Path;

use hyperslab::Exit;

use super::{Vectors, share_right, shuffled};
use crate::util::{Dir, repository};

/// The held-out views by their names: see `HELD_OUT` of the parent.
const HELD_OUT_NAMES: [&str; 3] = ["00003.*", "00007.*", "00011.*"];

/// Embeds captions in two languages, and of each asset the views of these names together.
fn embed(dir: &Dir, model: &Path, names: &[&str], output_dir: &str) {
    let sample = |name: &str| repository("sample").join(name);
    let mut job = dir.hyperslab(["embed", "qwen", "--device", "cpu", "--output-dir", output_dir, "--model"]);
    job = job.arg(model).arg("--captions").arg(sample("captions.json"));
    job = job.arg("--captions-zh").arg(sample("captions_zh.json")).arg("--renders").arg(sample("renders"));
    for name in names {
        job = job.arg("--view-glob").arg(name);
    }
    job.ranks(2).run().exits(Exit::Success);
}

/// How many captions in a hundred are nearest to their own asset.
fn found(dir: &Dir, output_dir: &str, language: &str) -> f64 {
    let folder = dir.join(output_dir);
    let texts = Vectors::of(&folder.join("qwen_text_embeddings.h5"), Some(language));
    let images = Vectors::of(&folder.join("qwen_image_embeddings.h5"), None);
    let shown: Vec<(&str, u64)> = images.assets.iter().map(|(id, rows)| (id.as_str(), rows.start)).collect();
    share_right(&texts, &images, &shown)
}

#[test]
fn captions_find_their_assets_by_held_out_sets_of_views() {
    let dir = Dir::new();
    let model = repository("sample/model-qwen");
    embed(&dir, &model, &HELD_OUT_NAMES, "three");
    // 3/10651 has four views: of the held-out ones the first alone.
    for (output_dir, names) in [("one", &HELD_OUT_NAMES[..1]), ("last", &HELD_OUT_NAMES[2..])] {
        embed(&dir, &model, names, output_dir);
    }
    for output_dir in ["three", "one", "last"] {
        for language in ["english", "chinese"] {
            let share = found(&dir, output_dir, language);
            assert!(share >= 90.0, "{language}, {output_dir}: {share:.0} %");
        }
    }
}

#[test]
fn a_model_that_has_learnt_nothing_does_not_find_them() {
    let dir = Dir::new();
    shuffled(&dir, "sample/model-qwen");
    embed(&dir, &dir.join("shuffled"), &HELD_OUT_NAMES, "three");
    for language in ["english", "chinese"] {
        let share = found(&dir, "three", language);
        assert!(share < 30.0, "{language}: {share:.0} %");
    }
}
