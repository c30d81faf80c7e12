//! What can be asked of the Qwen models and of their job, and what is refused.

use hyperslab::Exit;

use super::{IMAGE, TEXT, assert_near, distance, embed, image_of, made, model, refused, text_of, vectors};
use crate::job;
use crate::util::{Contents, Dir, Run, assert_same, assert_sound, committed_blocks, names};

/// The English captions' vectors, of a job that a test has changed.
fn english(change: impl FnOnce(Run) -> Run) -> Contents {
    let dir = made("english", change);
    assert_sound(&text_of(&dir));
    Contents::of(&text_of(&dir))
}

/// With the model of texts alone.
fn text_only(job: Run) -> Run {
    job.set("--model", model("qwen3"))
}

#[test]
fn the_budget_of_tokens_changes_nothing_that_matters() {
    let inputs = "english chinese image";
    let default = made(inputs, |job| job);
    for tokens in ["1", "100", "16000000"] {
        let other = made(inputs, |job| job.set("--max-tokens-per-batch", tokens));
        for group in ["english", "chinese"] {
            let [one, other] = [&default, &other].map(|dir| Contents::of_group(&text_of(dir), group));
            assert_near(&one, &other);
            assert_eq!((one.assets, one.failures), (other.assets, other.failures));
        }
        let [one, other] = [&default, &other].map(|dir| Contents::of(&image_of(dir)));
        assert_near(&one, &other);
        assert_eq!((one.num_images, one.failures), (other.num_images, other.failures));
    }
    let dir = Dir::new();
    for tokens in ["0", "many", "99999999999"] {
        let job = embed(&dir, "english").set("--max-tokens-per-batch", tokens);
        job.run().exits(Exit::Usage).says("max-tokens-per-batch");
    }
}

#[test]
fn another_budget_of_tokens_is_another_run() {
    let dir = Dir::new();
    let job = || embed(&dir, "english chinese").set("--max-failures", "0");
    refused(job().ranks(2), Exit::Failure, &["more than --max-failures allows (0)"]);
    let committed = committed_blocks(&text_of(&dir));
    assert!(committed > 0);
    let other = job().set("--max-failures", "9").set("--max-tokens-per-batch", "99");
    let expected = ["an unfinished run of", "max_tokens_per_batch: 99, not 2048", "--overwrite"];
    refused(other.ranks(2), Exit::Failure, &expected);
    assert_eq!(committed_blocks(&text_of(&dir)), committed);
    // The default, asked for, is the same run.
    let same = job().set("--max-failures", "9").set("--max-tokens-per-batch", "2048");
    same.ranks(3).run().exits(Exit::Success);
    assert_same(&text_of(&made("english chinese", |job| job)), &text_of(&dir));
    refused(embed(&dir, "english"), Exit::Failure, &["exists and was made differently", "plan_sha256"]);
}

#[test]
fn shorter_vectors_are_the_first_components_normalised() {
    let full = english(text_only);
    for dim in [32, 33, 39, 40] {
        let cut = english(|job| text_only(job).set("--dim", dim.to_string()));
        for ((id, full), (_, cut)) in vectors(&full).iter().zip(&vectors(&cut)) {
            let norm = full[..dim].iter().map(|value| value * value).sum::<f32>().sqrt();
            let expected: Vec<f32> = full[..dim].iter().map(|value| value / norm).collect();
            assert!(distance(&expected, cut) < 1e-6, "{id} cut to {dim}");
        }
        // All of them, asked for, is what is made unasked, to the file's last bit.
        assert_eq!(cut == full, dim == 40);
    }
    let dir = Dir::new();
    let dim = |job: fn(Run) -> Run, dim: &str| job(embed(&dir, "english").ranks(2)).set("--dim", dim);
    for (number, says) in [("41", "32 to 40"), ("31", "32 to 40"), ("4096", "--dim is 4096")] {
        refused(dim(text_only, number), Exit::Failure, &[says, "40 components"]);
    }
    refused(dim(|job| job, "49"), Exit::Failure, &["--dim is 49", "48 components"]);
    dim(|job| job, "0").run().exits(Exit::Usage).says("--dim");
    let done = made("english", text_only);
    let job = text_only(embed(&done, "english")).set("--dim", "32");
    refused(job, Exit::Failure, &["exists and was made differently", "dim: 32, not 40"]);
}

#[test]
fn an_instruction_changes_vectors_of_texts_and_of_views() {
    let inputs = "english image";
    let default = made(inputs, |job| job);
    let told = made(inputs, |job| job.set("--instruction", "Find the same object."));
    for output in [text_of, image_of] {
        let [default, told] = [&default, &told].map(|dir| Contents::of(&output(dir)));
        for ((id, one), (_, other)) in vectors(&default).iter().zip(&vectors(&told)) {
            assert!(distance(one, other) > 1e-4, "{id}");
        }
        assert!(told.provenance.iter().any(|(_, value)| value.contains("Find the same object.")));
    }
    // The reference's own, said again, is the same run.
    let again = embed(&default, "english image").set("--instruction", "Represent the user's input.");
    assert_eq!(again.run().exits(Exit::Success).stdout.matches("nothing to do").count(), 2);
    let other = embed(&default, "english").set("--instruction", "Another.");
    refused(other, Exit::Failure, &["preprocessing, instruction: \"Another.\", not \"Represent"]);
}

#[test]
fn queries_and_documents_differ_where_the_model_tells_them_apart() {
    let document = english(text_only);
    let query = english(|job| text_only(job).set("--text-form", "query"));
    let told = english(|job| text_only(job).set("--text-form", "query").set("--instruction", "Find a lamp."));
    for (one, other) in [(&document, &query), (&document, &told), (&query, &told)] {
        for ((id, one), (_, other)) in vectors(one).iter().zip(&vectors(other)) {
            assert!(distance(one, other) > 1e-4, "{id}");
        }
    }
    assert_eq!(english(|job| text_only(job).set("--text-form", "document")), document);
    let dir = Dir::new();
    let job = || embed(&dir, "english").ranks(2);
    refused(job().set("--text-form", "query"), Exit::Failure, &["--text-form", "qwen3"]);
    let documents = text_only(job()).set("--instruction", "Find.");
    refused(documents, Exit::Failure, &["--instruction", "--text-form query"]);
    job().set("--text-form", "question").run().exits(Exit::Usage).says("--text-form");
    assert!(!text_of(&dir).exists());
}

#[test]
fn settings_and_models_of_the_other_family_are_refused_by_name() {
    let dir = Dir::new();
    let qwen = || embed(&dir, "english").ranks(2);
    let siglip = || job::embed(&dir, "text").ranks(2);
    for (option, value) in [("--batch-size", "8"), ("--max-num-patches", "8")] {
        let says = format!("{option} is no option of `embed qwen`");
        refused(qwen().set(option, value), Exit::Usage, &[&says]);
    }
    let by_variable = qwen().env("HYPERSLAB_BATCH_SIZE", "8");
    refused(by_variable, Exit::Usage, &["--batch-size", "unset HYPERSLAB_BATCH_SIZE"]);
    for (option, value) in [
        ("--captions-zh", "zh.json"),
        ("--max-tokens-per-batch", "9"),
        ("--instruction", "Find."),
        ("--text-form", "query"),
        ("--dim", "32"),
    ] {
        let says = format!("{option} is no option of `embed siglip`");
        refused(siglip().set(option, value), Exit::Usage, &[&says]);
    }
    for name in ["siglip", "naflex", "small/model"] {
        let alien = qwen().set("--model", model(name));
        refused(alien, Exit::Failure, &["is no model of `embed qwen`", "hyperslab embed siglip"]);
    }
    for name in ["qwen3", "qwen3-causal", "qwen3-vl"] {
        let alien = siglip().set("--model", model(name));
        refused(alien, Exit::Failure, &["is no model of `embed siglip`", "hyperslab embed qwen"]);
    }
    assert!(!dir.join("out").exists());
}

#[test]
fn a_model_of_texts_alone_makes_their_file_alone() {
    for name in ["qwen3", "qwen3-causal"] {
        let dir = Dir::new();
        let job = embed(&dir, "english chinese image").set("--model", model(name)).ranks(2);
        let outcome =
            job.run().exits(Exit::Success).says("is a model of texts alone: the views are left out");
        assert_eq!(outcome.stderr.matches("texts alone").count(), 1, "{outcome}");
        assert_eq!(names(&dir.join("out")), [TEXT, "run.json"]);
        assert_sound(&text_of(&dir));
        let without = made("english chinese", |job| job.set("--model", model(name)));
        assert_same(&text_of(&without), &text_of(&dir));
    }
    let dir = Dir::new();
    refused(
        text_only(embed(&dir, "image")).ranks(2),
        Exit::Failure,
        &["texts alone", "only views", "--captions"],
    );
    let only = text_only(embed(&dir, "english image")).set("--only", "image");
    refused(only, Exit::Failure, &["texts alone", "only views"]);
    assert!(!dir.join("out").exists());
}

#[test]
fn one_file_is_made_where_that_is_asked_for() {
    for (only, file) in [("text", TEXT), ("image", IMAGE)] {
        let dir = made("chinese image", |job| job.set("--only", only));
        assert_eq!(names(&dir.join("out")), [file, "run.json"]);
    }
    let dir = Dir::new();
    refused(embed(&dir, "image").set("--only", "text"), Exit::Usage, &["--captions"]);
    refused(embed(&dir, "chinese").set("--only", "image"), Exit::Usage, &["--renders"]);
    refused(embed(&dir, ""), Exit::Usage, &["there is nothing to embed", "--captions", "--renders"]);
}
