//! Captions of very different lengths in one block: in what company a caption is computed changes nothing that
//! matters.

use hyperslab::Exit;
use serde_json::{Map, Value};

use super::{CHINESE_ROWS, assert_near, distance, embed, groups, made, report, text_of, vectors};
use crate::util::{Contents, Dir, assert_same, assert_sound};

/// From one letter to about a thousand tokens, in an order that is none of length.
const WORDS: [usize; 9] = [40, 1, 330, 2, 7, 120, 3, 11, 1];

fn caption(i: usize) -> String {
    let words = ["chair", "oak", "a", "snow-covered", "of", "lamp", "red", "tiny", "with"];
    if i == 1 {
        return "x".to_owned();
    }
    (0..WORDS[i]).map(|k| words[(k * 5 + i) % words.len()]).collect::<Vec<_>>().join(" ")
}

/// The vectors of some of the captions, in one block.
fn embedded(picked: &[usize], tokens: &str) -> Contents {
    let dir = Dir::new();
    let captions: Map<String, Value> = picked.iter().map(|&i| (format!("c{i}"), caption(i).into())).collect();
    let captions = dir.write("captions.json", serde_json::to_vec(&captions).unwrap());
    let job = embed(&dir, "").arg("--captions").arg(captions).set("--block-rows", "64");
    job.set("--max-tokens-per-batch", tokens).run().exits(Exit::Success);
    assert_sound(&text_of(&dir));
    assert_eq!(groups(&text_of(&dir)), ["english"]);
    Contents::of(&text_of(&dir))
}

#[test]
fn a_caption_has_the_vector_that_it_has_alone() {
    let all: Vec<usize> = (0..WORDS.len()).collect();
    // Many of every length in a batch, padded to the longest; a few; each alone.
    let [together, few, each] = ["100000", "400", "1"].map(|tokens| embedded(&all, tokens));
    assert_eq!(vectors(&together).len(), WORDS.len());
    assert_near(&few, &together);
    assert_near(&each, &together);
    for i in [1, 2, 5] {
        let alone = embedded(&[i], "2048");
        assert_eq!(alone.rows[0], each.rows[i], "caption {i}: the same batch of one");
        assert!(distance(&vectors(&alone)[0].1, &vectors(&together)[i].1) <= super::NEAR);
    }
}

#[test]
fn a_text_beyond_what_the_model_takes_is_cut_and_its_neighbours_stay() {
    let dir = Dir::new();
    let text = |words: usize| "a red chair ".repeat(words);
    // The limit of this model is 512 tokens.
    let captions = serde_json::json!({"a": "a lamp", "b": text(300), "c": text(200), "d": "椅子"});
    let captions = dir.write("captions.json", captions.to_string());
    let job = |dir: &Dir| {
        let job = embed(dir, "").arg("--captions").arg(&captions);
        job.set("--model", super::model("qwen3")).set("--block-rows", "1")
    };
    job(&dir).run().exits(Exit::Success).prints("cut        2 texts at the model's limit");
    assert_sound(&text_of(&dir));
    assert_eq!(report(&text_of(&dir))["truncated_items"], 2);
    let contents = Contents::of(&text_of(&dir));
    assert_eq!((vectors(&contents).len(), contents.failures.len()), (4, 0));
    assert!(distance(&vectors(&contents)[1].1, &vectors(&contents)[2].1) <= super::NEAR);
    assert!(distance(&vectors(&contents)[0].1, &vectors(&contents)[3].1) > 1e-3);
    // The count is in the file as well, whoever cut them.
    let three = Dir::new();
    job(&three).args("--no-seal").ranks(3).run().exits(Exit::Success);
    three.hyperslab(["seal"]).arg(text_of(&three)).ranks(2).run().exits(Exit::Success);
    assert_same(&text_of(&dir), &text_of(&three));
}

#[test]
fn a_language_has_the_vectors_that_it_has_alone() {
    let (both, alone) = (made("english chinese", |job| job), made("chinese", |job| job));
    let both = Contents::of_group(&text_of(&both), "chinese");
    let alone = Contents::of(&text_of(&alone));
    assert_eq!(both.rows.len(), CHINESE_ROWS);
    // Groups are cut into blocks each by itself.
    assert_eq!((both.assets, both.rows, both.failures), (alone.assets, alone.rows, alone.failures));
}
