//! Ids, exactly as the reference's tokenizers give them.

use std::path::Path;

use hyperslab::error::ItemErrorKind;
use hyperslab::model::siglip::Tokens;
use hyperslab::model::siglip::tokens::SIGLIP2_CLASS;

use super::{Array, expected, fixtures, inputs};

fn check(what: &str, tokens: &Tokens, ids: &Array) {
    let mut wrong = Vec::new();
    for (text, row) in inputs().texts.iter().zip(ids.rows()) {
        let row: Vec<i64> = row.iter().map(|&id| id as i64).collect();
        match tokens.ids(text).map(|found| found.ids) {
            Ok(found) if found == row => {}
            Err(error) if text.trim().is_empty() => assert_eq!(error.kind, ItemErrorKind::EmptyCaption),
            found => wrong.push(format!("{what}: {text:?}\n  expected {row:?}\n  found    {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A copy of a fixture's tokenizer, without the files named.
fn copy(model: &str, without: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let from = fixtures().join(model).join(name);
        if from.exists() && !without.contains(&name) {
            std::fs::copy(from, folder.path().join(name)).expect("copied");
        }
    }
    folder
}

fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join(name);
    let mut value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("written");
}

#[test]
fn siglip() {
    let ids = &expected("siglip/expected.safetensors")["text.ids"];
    let load = |dir: &Path| Tokens::load(dir, "", 16, 380).expect("loads");
    check("spiece.model", &load(&fixtures().join("siglip")), ids);
    check("tokenizer.json", &load(copy("siglip", &["spiece.model"]).path()), ids);
    check("spiece.model alone", &load(copy("siglip", &["tokenizer.json"]).path()), ids);
}

#[test]
fn siglip_as_saved_by_transformers_5() {
    let ids = &expected("siglip-f16/expected.safetensors")["text.ids"];
    check("f16", &Tokens::load(&fixtures().join("siglip-f16"), "", 16, 380).expect("loads"), ids);
}

#[test]
fn siglip2() {
    let ids = &expected("siglip2/expected.safetensors")["text.ids"];
    check("siglip2", &Tokens::load(&fixtures().join("siglip2"), "", 32, 626).expect("loads"), ids);
}

#[test]
fn gemma_as_published() {
    let ids = &expected("naflex/expected.safetensors")["text.ids"];
    let tokens = Tokens::load(&fixtures().join("naflex"), SIGLIP2_CLASS, 24, 640).expect("loads");
    check("naflex", &tokens, ids);
}

#[test]
fn the_class_of_transformers_5_lower_cases_and_pads_by_itself() {
    let expected = expected("naflex/expected-class.safetensors");
    for (name, class) in [("named", SIGLIP2_CLASS.into()), ("unnamed", serde_json::Value::Null)] {
        let folder = copy("naflex", &[]);
        edit(folder.path(), "tokenizer_config.json", |config| {
            config["tokenizer_class"] = class;
            config["padding_side"] = serde_json::Value::Null;
        });
        check(name, &Tokens::load(folder.path(), SIGLIP2_CLASS, 24, 640).expect("loads"), &expected[name]);
    }
}

#[test]
fn qwen_ends_as_its_post_processor_says() {
    let ids = &expected("naflex-qwen/expected.safetensors")["text.ids"];
    let tokens = Tokens::load(&fixtures().join("naflex-qwen"), SIGLIP2_CLASS, 40, 567).expect("loads");
    check("naflex-qwen", &tokens, ids);
    let upper_and_lower = ["A Chair", "a chair"].map(|text| tokens.ids(text).expect("ids"));
    assert!(upper_and_lower[0] != upper_and_lower[1], "nobody lower-cases for it");
}

/// transformers 5 leaves the frame of a text to the post-processor of `tokenizer.json`.
#[test]
fn the_padding_side_of_the_config_is_honoured_and_flags_beside_a_tokenizer_json_are_not() {
    let folder = copy("siglip2", &[]);
    edit(folder.path(), "tokenizer_config.json", |config| {
        config["add_bos_token"] = true.into();
        config["add_eos_token"] = false.into();
        config["padding_side"] = "left".into();
    });
    let ids = &expected("siglip2/expected-flags.safetensors")["text.ids"];
    check("flags", &Tokens::load(folder.path(), "", 32, 626).expect("loads"), ids);
}

#[test]
fn a_unigram_model_is_what_its_class_makes_of_it() {
    let folder = copy("siglip", &[]);
    let named = |class: serde_json::Value| {
        edit(folder.path(), "tokenizer_config.json", |config| config["tokenizer_class"] = class);
        Tokens::load(folder.path(), "", 16, 380)
    };
    let own = &expected("siglip/expected.safetensors")["text.ids"];
    check("no class", &named(serde_json::Value::Null).expect("SigLIP's own"), own);
    let generic = &expected("siglip/expected-generic.safetensors")["text.ids"];
    for class in ["PreTrainedTokenizerFast", "TokenizersBackend"] {
        check(class, &named(class.into()).expect("as it is"), generic);
    }
    for class in ["T5Tokenizer", "XLMRobertaTokenizerFast"] {
        let error = named(class.into()).err().expect("another model's").to_string();
        assert!(error.contains(class.trim_end_matches("Fast")), "{error}");
    }
}

#[test]
fn captions_without_text_are_failures_of_the_item() {
    for model in ["siglip", "siglip2", "naflex-qwen"] {
        let tokens = Tokens::load(&fixtures().join(model), "", 32, 1000).expect("loads");
        for caption in ["", " ", "\t\n\u{3000}\u{1f}"] {
            assert_eq!(tokens.ids(caption).expect_err("empty").kind, ItemErrorKind::EmptyCaption);
        }
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let fails = |dir: &Path, vocabulary: usize| {
        Tokens::load(dir, "", 32, vocabulary).err().expect("refused").to_string()
    };
    assert!(fails(&fixtures().join("siglip"), 379).contains("379"));
    assert!(fails(&fixtures().join("siglip2"), 600).contains("600"));
    let none = copy("siglip", &["spiece.model", "tokenizer.json"]);
    assert!(fails(none.path(), 380).contains("tokenizer.json"));
    let broken = copy("siglip2", &[]);
    std::fs::write(broken.path().join("tokenizer.json"), "{\"model\": {\"type\": \"BPE\"}}")
        .expect("written");
    assert!(fails(broken.path(), 626).contains("tokenizer.json"));
    std::fs::write(broken.path().join("tokenizer.json"), "{\"model\": {\"type\": \"WordPiece\"}}")
        .expect("written");
    assert!(fails(broken.path(), 626).contains("WordPiece"));
    let garbage = copy("siglip", &["tokenizer.json"]);
    std::fs::write(garbage.path().join("spiece.model"), "not a protocol buffer").expect("written");
    assert!(fails(garbage.path(), 380).contains("spiece.model"));
}
