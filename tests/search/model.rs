//! Searches for texts and pictures, with the file's own model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hyperslab::Exit;
use serde_json::Value;

use super::json_lines;
use crate::util::{Dir, Outcome, Run, repository};

/// How far cosines may be apart of vectors that were computed in other company.
const NEAR: f64 = 5e-5;

fn small(name: &str) -> PathBuf {
    repository("tests/fixtures/small").join(name)
}

/// Files of the small data set, made once, with options that the searches must find in them.
fn made() -> &'static Dir {
    static MADE: OnceLock<Dir> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("search");
        let embed = |family: &str, model: PathBuf, options: &str| {
            let run = dir.hyperslab(["embed", family, "--device", "cpu", "--output-dir", "."]);
            let run = run.arg("--model").arg(model).arg("--captions").arg(small("captions.json"));
            run.arg("--renders").arg(small("renders")).args(options)
        };
        let zh = |run: Run| run.arg("--captions-zh").arg(small("captions_zh.json"));
        let jobs = [
            embed("siglip", repository("sample/model"), "--background #204060"),
            zh(embed(
                "qwen",
                repository("sample/model-qwen"),
                "--instruction Tell. --dim 64 --max-pixels 8192 --background black --view-glob 00001.*",
            )),
            embed(
                "siglip",
                repository("tests/fixtures/naflex"),
                "--max-num-patches 6 --siglip-text naflex_text.h5 --siglip-image naflex_image.h5",
            ),
            embed(
                "qwen",
                repository("tests/fixtures/qwen3"),
                "--only text --text-form query --instruction Find. --dim 33 --qwen-text qwen3_text.h5",
            ),
        ];
        for job in jobs {
            job.run().exits(Exit::Success);
        }
        dir
    })
}

fn search(file: &str, model: &str) -> Run {
    let run = made().hyperslab(["search", file, "--device", "cpu", "--json"]);
    run.arg("--model").arg(repository(model))
}

fn json(outcome: &Outcome) -> Vec<Value> {
    json_lines(&outcome.stdout)
}

fn found(run: Run) -> Vec<Value> {
    json(&run.run().exits(Exit::Success))
}

/// A view of the small data set, by its asset and its number.
fn view(asset: &str, number: usize) -> PathBuf {
    let folder = small("renders").join(asset);
    let name = |ending: &str| folder.join(format!("{number:05}.{ending}"));
    ["png", "webp", "jpeg", "jpg"].into_iter().map(name).find(|path| path.exists()).unwrap()
}

fn captions(file: &str) -> serde_json::Map<String, Value> {
    serde_json::from_slice(&fs::read(small(file)).unwrap()).unwrap()
}

/// Asserts that two searches found the same, to rounding: equal assets where scores differ by more.
#[track_caller]
fn assert_same_hits(one: &Value, other: &Value) {
    let [one, other] = [one, other].map(|found| found["hits"].as_array().unwrap());
    assert!(!one.is_empty());
    assert_eq!(one.len(), other.len());
    for (hit, place) in one.iter().zip(0..) {
        let score = |hit: &Value| hit["score"].as_f64().unwrap();
        assert!((score(hit) - score(&other[place])).abs() < NEAR, "{hit} {}", other[place]);
        let same = other.iter().find(|other| other["asset_id"] == hit["asset_id"]);
        if let Some(same) = same {
            assert!((score(hit) - score(same)).abs() < NEAR, "{hit} {same}");
        }
    }
    assert_eq!(one[0]["asset_id"], other[0]["asset_id"]);
}

/// Asserts that the vectors of queries are those of the file's own items, whatever their model and options.
#[track_caller]
fn assert_like_ids(query: Run, file: &str, model: &str, ids: &[(&str, &str)]) {
    let by_query = found(query);
    assert_eq!(by_query.len(), ids.len());
    for (found_by_query, (id, of)) in by_query.iter().zip(ids) {
        let run = search(file, model).arg("--id").arg(*id).args(of);
        assert_same_hits(found_by_query, &found(run)[0]);
    }
}

const TEXT: &str = "siglip_text_embeddings.h5";
const IMAGE: &str = "siglip_image_embeddings.h5";
const QWEN_TEXT: &str = "qwen_text_embeddings.h5";
const QWEN_IMAGE: &str = "qwen_image_embeddings.h5";
const SAMPLE: &str = "sample/model";
const SAMPLE_QWEN: &str = "sample/model-qwen";

/// Ids of assets with a caption and sound views.
fn sound() -> Vec<String> {
    let ids = captions("captions.json").into_iter().filter(|(id, caption)| {
        let is_sound = ["1/10255", "2/10519"].iter().all(|odd| odd != id);
        is_sound
            && caption.as_str().is_some_and(|text| !text.trim().is_empty())
            && small("renders").join(id).is_dir()
    });
    ids.map(|(id, _)| id).take(4).collect()
}

#[test]
fn all_four_directions_find_what_the_files_vectors_find() {
    let (ids, captions) = (sound(), captions("captions.json"));
    let with_texts =
        |run: Run| ids.iter().fold(run, |run, id| run.arg("--text").arg(captions[id].as_str().unwrap()));
    let by = |of: &'static str| ids.iter().map(|id| (id.as_str(), of)).collect::<Vec<_>>();
    // Text to text finds itself.
    let found_texts = found(with_texts(search(TEXT, SAMPLE)));
    for (found, id) in found_texts.iter().zip(&ids) {
        let hit = &found["hits"][0];
        assert_eq!((&hit["asset_id"], hit["score"].as_f64().unwrap() > 0.9999), (&id.as_str().into(), true));
        assert_eq!(found["text"], captions[id]);
    }
    assert_like_ids(with_texts(search(TEXT, SAMPLE)), TEXT, SAMPLE, &by(""));
    let of_text = "--of siglip_text_embeddings.h5";
    assert_like_ids(with_texts(search(IMAGE, SAMPLE)), IMAGE, SAMPLE, &by(of_text));
    let with_views = |run: Run| ids.iter().fold(run, |run, id| run.arg("--image").arg(view(id, 1)));
    let views: Vec<String> = ids.iter().map(|id| format!("{id}#1")).collect();
    let by_view = |of: &'static str| views.iter().map(|id| (id.as_str(), of)).collect::<Vec<_>>();
    let found_views = found(with_views(search(IMAGE, SAMPLE)));
    for (found, id) in found_views.iter().zip(&ids) {
        let hit = &found["hits"][0];
        assert_eq!((&hit["asset_id"], &hit["view"]), (&id.as_str().into(), &1.into()));
        assert!(hit["score"].as_f64().unwrap() > 0.9999, "the file's own background: {hit}");
    }
    assert_like_ids(with_views(search(IMAGE, SAMPLE)), IMAGE, SAMPLE, &by_view(""));
    // Of pictures a file of captions says nothing.
    let run = with_views(search(TEXT, SAMPLE)).args("--background #204060");
    assert_like_ids(run, TEXT, SAMPLE, &by_view("--of siglip_image_embeddings.h5"));
}

#[test]
fn qwens_queries_are_made_as_its_files_were() {
    let (ids, chinese) = (sound(), captions("captions_zh.json"));
    let ids: Vec<&String> = ids.iter().filter(|id| chinese.contains_key(*id)).collect();
    let with_texts =
        |run: Run| ids.iter().fold(run, |run, id| run.arg("--text").arg(chinese[*id].as_str().unwrap()));
    let of = "--of qwen_text_embeddings.h5 --of-group chinese";
    let by: Vec<_> = ids.iter().map(|id| (id.as_str(), of)).collect();
    assert_like_ids(with_texts(search(QWEN_IMAGE, SAMPLE_QWEN)), QWEN_IMAGE, SAMPLE_QWEN, &by);
    for group in ["english", "chinese"] {
        let run = || found(with_texts(search(QWEN_TEXT, SAMPLE_QWEN).args("--group").arg(group)));
        let by_id =
            |id: &str| search(QWEN_TEXT, SAMPLE_QWEN).args(&format!("--group {group} {of} --id {id}"));
        for (one, id) in run().iter().zip(&ids) {
            assert_same_hits(one, &found(by_id(id))[0]);
        }
    }
    // The file was made from one view of each asset.
    for id in ids {
        let hits = found(search(QWEN_IMAGE, SAMPLE_QWEN).arg("--image").arg(view(id, 1)));
        let hit = &hits[0]["hits"][0];
        assert_eq!(hit["asset_id"], id.as_str());
        assert!(hit["score"].as_f64().unwrap() > 0.9999, "{hit}");
        let other = search(QWEN_IMAGE, SAMPLE_QWEN).args("--instruction Other. --image").arg(view(id, 1));
        assert!(found(other)[0]["hits"][0]["score"].as_f64().unwrap() < 0.9999, "what is asked for is done");
    }
}

#[test]
fn other_families_find_themselves_too() {
    let (ids, captions) = (sound(), captions("captions.json"));
    let naflex = "tests/fixtures/naflex";
    for (file, model) in [("naflex_text.h5", naflex), ("qwen3_text.h5", "tests/fixtures/qwen3")] {
        for id in &ids {
            let hit =
                &found(search(file, model).arg("--text").arg(captions[id].as_str().unwrap()))[0]["hits"][0];
            assert!(hit["score"].as_f64().unwrap() > 0.9999, "{file}: {hit}");
        }
    }
    for id in &ids {
        let hit = &found(search("naflex_image.h5", naflex).arg("--image").arg(view(id, 1)))[0]["hits"][0];
        assert!(hit["score"].as_f64().unwrap() > 0.9999, "{hit}");
    }
    let picture = search("qwen3_text.h5", "tests/fixtures/qwen3").arg("--image").arg(view(&ids[0], 1));
    picture.run().exits(Exit::Failure).says("is a model of texts alone");
}

#[test]
fn another_model_is_refused() {
    let text = |model: PathBuf| search(TEXT, SAMPLE).set("--model", model).args("--text chair");
    let refused = |model: PathBuf, words: &[&str]| {
        let outcome = text(model).run().exits(Exit::Failure).tells_one_error();
        assert!(outcome.stdout.is_empty());
        words.iter().fold(outcome, |outcome, word| outcome.says(word));
    };
    let weights =
        hyperslab::store::Reader::open(&made().join(TEXT), None).unwrap().provenance_of("weights_sha256");
    refused(
        repository("tests/fixtures/siglip"),
        &["is not the model that", "weights", &weights.unwrap(), "--model"],
    );
    let dir = Dir::new();
    for entry in fs::read_dir(repository(SAMPLE)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        dir.write(&format!("model/{name}"), fs::read(entry.path()).unwrap());
    }
    let tokenizer = fs::read_to_string(dir.join("model/tokenizer.json")).unwrap();
    dir.write("model/tokenizer.json", tokenizer.clone() + "\n");
    refused(dir.join("model"), &["the SHA-256 of the tokenizer is"]);
    dir.write("model/tokenizer.json", tokenizer);
    let settings = fs::read_to_string(dir.join("model/preprocessor_config.json")).unwrap();
    dir.write("model/preprocessor_config.json", settings.replace("\"resample\": 2", "\"resample\": 3"));
    // What pictures become does not concern captions.
    text(dir.join("model")).run().exits(Exit::Success);
    let views = search(IMAGE, SAMPLE).set("--model", dir.join("model")).args("--text chair");
    views.run().exits(Exit::Failure).says("another preprocessing").says("filter is");
    refused(dir.join("none"), &["there is no model folder"]);
}

/// A cache that has a model under a name.
fn cache(dir: &Dir, model: &Path, commit: &str) {
    let folder = "hub/models--org--sample";
    dir.write(&format!("{folder}/refs/main"), commit);
    for entry in fs::read_dir(model).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        dir.write(&format!("{folder}/snapshots/{commit}/{name}"), fs::read(entry.path()).unwrap());
    }
}

#[test]
fn a_model_of_the_cache_is_found_by_the_files_name_for_it() {
    let dir = Dir::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    cache(&dir, &repository(SAMPLE), commit);
    let embed = dir.hyperslab(["embed", "siglip", "--device", "cpu", "--output-dir", "."]);
    let embed = embed.args("--model org/sample --captions").arg(small("captions.json"));
    embed.env("HF_HOME", dir.path()).run().exits(Exit::Success);
    let search = || dir.hyperslab(["search", TEXT, "--device", "cpu", "--text", "a chair"]);
    let table = search().env("HF_HOME", dir.path()).run().exits(Exit::Success);
    assert!(table.stdout.starts_with("a chair\n   1  "), "{table}");
    let none = search().env("HF_HOME", dir.join("empty")).run().exits(Exit::Failure);
    none.says("org/sample").says(&format!("hyperslab fetch org/sample@{commit}")).says("--model");
    // A folder tells no name that a cache could have.
    let folder = made().hyperslab(["search", TEXT, "--text", "a chair"]).env("HF_HOME", dir.path());
    folder
        .run()
        .exits(Exit::Failure)
        .says("was made with the model 'model'")
        .says("--model names its folder");
}

#[test]
fn a_picture_that_cannot_be_read_leaves_the_others_their_answers() {
    let dir = Dir::new();
    dir.write("broken.png", "no picture");
    let run = search(IMAGE, SAMPLE)
        .arg("--image")
        .arg(dir.join("none.png"))
        .arg("--image")
        .arg(dir.join("broken.png"));
    let run = run.args("--text chair --id 9/9 -k 1");
    let outcome =
        run.run().exits(Exit::Failure).says("none.png").says("broken picture").says("9/9: no such asset");
    let found = json(&outcome);
    // In the order of the options: texts, pictures, ids.
    assert_eq!(found[0]["hits"].as_array().unwrap().len(), 1);
    assert!(found[1..].iter().all(|found| found["error"].is_string()), "{outcome}");
    let empty = search(IMAGE, SAMPLE).arg("--text").arg(" ").run().exits(Exit::Failure);
    empty.says("empty caption");
}

#[test]
fn ranks_of_a_launcher_are_refused() {
    let run = search(TEXT, SAMPLE).args("--text chair").ranks(2).run().exits(Exit::Failure);
    run.says("this command is one process");
}
