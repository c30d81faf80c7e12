//! `hyperslab encode`: lines of JSON into vectors, equal to the files' and to transformers'.

use std::fs;
use std::path::PathBuf;

use hyperslab::Exit;
use hyperslab::store::Reader;
use serde_json::{Value, json};

use crate::reference::{expected, fixtures, inputs};
use crate::util::{Dir, Outcome, Run, repository};

/// As the vectors of every model are held to the reference's.
const NEAR: f64 = 2e-5;

fn small(name: &str) -> PathBuf {
    fixtures().join("small").join(name)
}

fn encode(dir: &Dir, model: PathBuf) -> Run {
    dir.hyperslab(["encode", "--device", "cpu", "--model"]).arg(model)
}

fn answers(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn vector(answer: &Value) -> Vec<f64> {
    let vector = answer["vector"].as_array().unwrap_or_else(|| panic!("{answer}"));
    vector.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: impl IntoIterator<Item = f64>) {
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= NEAR, "{what}: off by {off}");
}

/// The row of an asset in a file.
fn row(reader: &Reader, id: &str) -> Vec<f64> {
    let rows = reader.find(id).unwrap().unwrap_or_else(|| panic!("{id}"));
    reader.rows(rows).unwrap().row(0).iter().map(|&value| f64::from(value)).collect()
}

fn lines_of(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| value.to_string() + "\n").collect()
}

/// Captions as lines, under their ids.
fn lines(captions: &str) -> (Vec<String>, String) {
    let all: serde_json::Map<String, Value> =
        serde_json::from_slice(&fs::read(small(captions)).unwrap()).unwrap();
    let line = |(id, text): (&String, &Value)| format!("{}\n", json!({"id": id, "text": text}));
    (all.keys().cloned().collect(), all.iter().map(line).collect())
}

/// Asserts that answers are the rows of a file, and failures where it has them.
#[track_caller]
fn assert_rows(answers: &[Value], ids: &[String], reader: &Reader) {
    assert_eq!(answers.len(), ids.len());
    for (answer, id) in answers.iter().zip(ids) {
        assert_eq!(answer["id"], id.as_str());
        let row = row(reader, id);
        if row[0].is_nan() {
            assert!(answer["error"].as_str().unwrap().ends_with(": empty caption"), "{answer}");
        } else {
            assert_near(id, &vector(answer), row);
        }
    }
}

#[test]
fn vectors_are_those_of_the_file_that_embed_makes() {
    let dir = Dir::new();
    let (ids, lines) = lines("captions.json");
    let embed =
        dir.hyperslab(["embed", "siglip", "--device", "cpu", "--output-dir", ".", "--background", "white"]);
    let embed =
        embed.arg("--model").arg(repository("sample/model")).arg("--captions").arg(small("captions.json"));
    let view = "0/10017/00002.png";
    dir.write(&format!("renders/{view}"), fs::read(small("renders").join(view)).unwrap());
    embed.args("--renders renders").run().exits(Exit::Success);
    let like = |file: &str| {
        let run = dir.hyperslab(["encode", "--device", "cpu", "--like", file, "--model"]);
        run.arg(repository("sample/model"))
    };
    let texts = Reader::open(&dir.join("siglip_text_embeddings.h5"), None).unwrap();
    for run in [encode(&dir, repository("sample/model")), like("siglip_text_embeddings.h5")] {
        let done = run.input(lines.clone()).run().exits(Exit::Failure).says("1 of 17 lines failed");
        assert_rows(&answers(&done), &ids, &texts);
    }
    // The file's background, where the model's reference has another.
    let views = Reader::open(&dir.join("siglip_image_embeddings.h5"), None).unwrap();
    let line = format!("{}\n", json!({"image": format!("renders/{view}")}));
    let done = like("siglip_image_embeddings.h5").input(line.clone()).run().exits(Exit::Success);
    assert_near(view, &vector(&answers(&done)[0]), row(&views, "0/10017"));
    let done = encode(&dir, repository("sample/model")).args("--background white").input(line.clone());
    assert_near(view, &vector(&answers(&done.run())[0]), row(&views, "0/10017"));
    let other = encode(&dir, repository("sample/model")).input(line).run();
    let off = vector(&answers(&other)[0])
        .iter()
        .zip(row(&views, "0/10017"))
        .map(|(a, b)| (a - b).abs())
        .sum::<f64>();
    assert!(off > 1e-3, "{off}");
    let wrong = like("siglip_text_embeddings.h5").set("--model", fixtures().join("siglip")).run();
    wrong.exits(Exit::Failure).says("is not the model that").tells_one_error();
}

#[test]
fn qwens_vectors_are_those_of_the_file_in_both_languages() {
    let dir = Dir::new();
    let model = || repository("sample/model-qwen");
    let embed = dir.hyperslab(["embed", "qwen", "--device", "cpu", "--output-dir", ".", "--dim", "64"]);
    let embed = embed.args("--instruction Tell.").arg("--model").arg(model());
    let embed = embed
        .arg("--captions")
        .arg(small("captions.json"))
        .arg("--captions-zh")
        .arg(small("captions_zh.json"));
    embed.run().exits(Exit::Success);
    for (captions, group) in [("captions.json", "english"), ("captions_zh.json", "chinese")] {
        let (ids, lines) = lines(captions);
        let reader = Reader::open(&dir.join("qwen_text_embeddings.h5"), Some(group)).unwrap();
        let like = encode(&dir, model()).args("--like qwen_text_embeddings.h5");
        for run in [like, encode(&dir, model()).args("--instruction Tell. --dim 64 --only text")] {
            let done = run.input(lines.clone()).run().exits(Exit::Failure);
            assert_rows(&answers(&done), &ids, &reader);
        }
    }
}

#[test]
fn vectors_equal_the_reference() {
    let (dir, inputs) = (Dir::new(), inputs());
    for (name, options, key) in [
        ("siglip", "", "text.vectors"),
        ("siglip2", "", "text.vectors"),
        ("naflex", "", "text.vectors"),
        ("qwen3", "", "text.vectors"),
        ("qwen3", "--text-form query", "query.vectors"),
        ("qwen3-vl", "", "text.vectors"),
    ] {
        let expected = expected(&format!("{name}/expected.safetensors"));
        let texts = inputs.batch_texts.iter().map(|&place| &inputs.texts[place]);
        let lines = lines_of(texts.map(|text| json!(text)));
        let done = encode(&dir, fixtures().join(name)).args(options).args("--only text").input(lines).run();
        let found = answers(&done.exits(Exit::Success));
        assert_eq!(found.len(), inputs.batch_texts.len());
        // The references of Qwen were cut to fewer tokens than the models take.
        let ids = &expected[&key.replace("vectors", "ids")];
        let mut compared = 0;
        for (i, ((answer, row), &place)) in
            found.iter().zip(expected[key].rows()).zip(&inputs.batch_texts).enumerate()
        {
            let own = ids.rows().nth(if key == "query.vectors" { i } else { place }).unwrap();
            let is_cut = name.starts_with("qwen") && own.iter().all(|&id| id >= 0.0);
            if !is_cut {
                assert_near(name, &vector(answer), row.iter().copied());
                compared += 1;
            }
        }
        assert!(compared >= 3, "{name}, {key}: {compared} compared");
    }
    let pictures = inputs.batch_pictures.iter().map(|name| fixtures().join("pictures").join(name));
    let lines = lines_of(pictures.map(|path| json!({"image": path})));
    let done =
        encode(&dir, fixtures().join("siglip")).args("--only image").input(lines).run().exits(Exit::Success);
    let expected = &expected("siglip/expected.safetensors")["image.vectors"];
    for (answer, row) in answers(&done).iter().zip(expected.rows()) {
        assert_near("pictures", &vector(answer), row.iter().copied());
    }
}

#[test]
fn a_broken_line_is_answered_in_its_place() {
    let dir = Dir::new();
    dir.write("broken.png", "no picture");
    let lines = [
        r#""a chair""#,
        "nonsense",
        "",
        r#"{"id": {"a": [1]}, "text": "a chair", "more": true}"#,
        r#"{"id": 4, "text": 17}"#,
        r#"{"id": "none", "image": "none.png"}"#,
        r#"{"id": "folder", "image": "."}"#,
        r#"{"id": "broken", "image": "broken.png"}"#,
        r#"{"id": 8, "asset_id": "0/1"}"#,
        r#"{"id": 9, "text": " "}"#,
        "[]",
    ];
    let done = encode(&dir, fixtures().join("siglip")).input(lines.join("\n")).run();
    let done = done.exits(Exit::Failure).says("8 of 10 lines failed");
    let found = answers(&done);
    assert_eq!(found.len(), 10);
    assert!(found[0].get("id").is_none());
    assert_eq!(found[2]["id"], json!({"a": [1]}));
    assert_eq!(vector(&found[0]), vector(&found[2]));
    let told = [
        (1, Value::Null, "line 2: column"),
        (3, json!(4), "line 5: `text` is not a string"),
        (4, json!("none"), "line 6: unreadable file: No such file"),
        (5, json!("folder"), "line 7: unreadable file: it is no plain file"),
        (6, json!("broken"), "line 8: broken picture"),
        (7, json!(8), "line 9: neither `text` nor `image` is in it"),
        (8, json!(9), "line 10: empty caption"),
        (9, Value::Null, "line 11: neither an object nor a string"),
    ];
    for (place, id, why) in told {
        assert_eq!(found[place]["id"], id, "{}", found[place]);
        assert!(found[place]["error"].as_str().unwrap().starts_with(why), "{}", found[place]);
    }
    // A text that loses its end says so, and has the vector of its beginning.
    let long = format!("{}\n", json!("a chair and a table ".repeat(40)));
    let done = encode(&dir, fixtures().join("siglip")).input(long).run().exits(Exit::Success);
    assert_eq!(answers(&done)[0]["truncated"], true);
    assert!(found[0].get("truncated").is_none());
}

#[test]
fn what_is_not_loaded_or_not_there_is_refused() {
    let dir = Dir::new();
    let line = r#"{"image": "x.png"}"#;
    let texts =
        encode(&dir, fixtures().join("siglip")).args("--only text").input(line).run().exits(Exit::Failure);
    assert!(answers(&texts)[0]["error"].as_str().unwrap().contains("is loaded for no pictures"), "{texts}");
    let texts = encode(&dir, fixtures().join("qwen3")).input(line).run().exits(Exit::Failure);
    assert!(answers(&texts)[0]["error"].as_str().unwrap().contains("takes no pictures"), "{texts}");
    let only = encode(&dir, fixtures().join("qwen3")).args("--only image").run().exits(Exit::Failure);
    only.says("a model of texts alone").tells_one_error();
    let alien = encode(&dir, fixtures().join("siglip")).args("--dim 32").run().exits(Exit::Failure);
    alien.says("--dim").tells_one_error();
    dir.hyperslab(["encode"]).run().exits(Exit::Usage).says("no model is given").says("--like");
    // What a file of settings has for other models is no obstacle.
    dir.write("hyperslab.toml", "[model]\ndim = 32\ninstruction = \"Find.\"\n");
    encode(&dir, fixtures().join("siglip")).input("\"a chair\"").run().exits(Exit::Success);
    let cut = encode(&dir, fixtures().join("qwen3-vl")).set("--only", "text").input("\"a chair\"").run();
    cut.exits(Exit::Failure).says("--dim is 32");
}

#[test]
fn a_conversation_is_answered_line_by_line() {
    let dir = Dir::new();
    let mut talk = encode(&dir, fixtures().join("siglip")).talk();
    for number in 0..5 {
        talk.write(&format!("{{\"id\": {number}, \"text\": \"a chair\"}}\n"));
        let answer: Value = serde_json::from_str(&talk.hear()).unwrap();
        assert_eq!((&answer["id"], vector(&answer).len()), (&json!(number), 48));
        assert!(talk.is_silent());
    }
    talk.write("{\"id\": \"half");
    assert!(talk.is_silent(), "half a line is none");
    talk.write(" a line\", \"text\": \"x\"}\n\"one\"\n\"two\"\n");
    assert!(talk.hear().contains("half a line"));
    assert!(talk.hear().contains("vector") && talk.hear().contains("vector"));
    assert_eq!(talk.end(), Some(0));
}

#[test]
fn who_turns_away_ends_it_quietly() {
    let dir = Dir::new();
    let mut talk = encode(&dir, fixtures().join("siglip")).talk();
    talk.write("\"a chair\"\n");
    talk.hear();
    talk.turn_away();
    // The first answer that nobody hears closes the pipe behind it, the second finds it closed.
    talk.write("\"a chair\"\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    talk.write("\"a chair\"\n");
    assert_eq!(talk.wait(), Some(0));
}

#[test]
fn many_lines_keep_their_order() {
    let dir = Dir::new();
    let line =
        |number: usize| format!("{}\n", json!({"id": number, "text": format!("chair {}", number % 7)}));
    let run = encode(&dir, fixtures().join("qwen3")).args("--threads 2");
    let done = run.input((0..200).map(line).collect::<String>()).run().exits(Exit::Success);
    let found = answers(&done);
    assert_eq!(found.len(), 200);
    for (number, answer) in found.iter().enumerate() {
        assert_eq!(answer["id"], number);
        assert_near("again", &vector(answer), vector(&found[number % 7]));
    }
    let none = encode(&dir, fixtures().join("qwen3")).run().exits(Exit::Success);
    assert!(none.stdout.is_empty());
}
