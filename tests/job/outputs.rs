//! Outputs and leftovers that are there already.

use std::fs;

use hyperslab::Exit;

use super::{
    TEXT, assert_in_the_middle, captions, embed, image_of, in_mid_run, many, report, started, text_of,
};
use crate::util::{Contents, Dir, assert_same, committed_blocks, names, sha256};

/// Settings and inputs that make other vectors, or others stored, than `embed` makes of captions; and what
/// is said to differ.
const OTHER_TEXT: [(&str, &str, &str); 5] = [
    ("--precision", "bf16", "precision: bf16, not f32"),
    ("--batch-size", "7", "batch_size: 7, not 32"),
    ("--dtype", "f16", "stored_type: "),
    ("--threads", "2", "threads: 2, not 1"),
    ("--background", "white", r##"preprocessing, background: "#ffffff", not "drop""##),
];

#[test]
fn a_complete_output_is_left_as_it_is() {
    let dir = Dir::new();
    embed(&dir, "text image").ranks(2).run().exits(Exit::Success);
    let state = |path: &std::path::Path| (sha256(path), fs::metadata(path).unwrap().modified().unwrap());
    let before = [state(&text_of(&dir)), state(&image_of(&dir))];
    for ranks in [0, 3] {
        let again = embed(&dir, "text image").ranks(ranks).run().exits(Exit::Success);
        assert_eq!(again.stdout.matches("is complete; nothing to do").count(), 2, "{again}");
        assert_eq!([state(&text_of(&dir)), state(&image_of(&dir))], before);
    }
    assert_eq!(names(&dir.join("out")).len(), 3);
}

#[test]
fn an_output_that_was_made_differently_is_refused_and_stays() {
    let dir = Dir::new();
    embed(&dir, "image").run().exits(Exit::Success);
    let before = sha256(&image_of(&dir));
    for (option, value, difference) in OTHER_TEXT {
        let value = if option == "--batch-size" { "9" } else { value };
        let difference = if option == "--batch-size" { "batch_size: 9, not 8" } else { difference };
        let refused = embed(&dir, "image").set(option, value).ranks(2).run().exits(Exit::Failure);
        let refused = refused.says("exists and was made differently").says(difference).tells_one_error();
        assert!(refused.stderr.contains("--overwrite"), "{refused}");
        assert_eq!(sha256(&image_of(&dir)), before);
    }
    for (option, value) in [("--views", "3"), ("--max-assets", "5"), ("--block-rows", "8")] {
        let refused = embed(&dir, "image").set(option, value).run().exits(Exit::Failure);
        refused.tells_one_error().says("plan_sha256: ");
        assert_eq!(sha256(&image_of(&dir)), before);
    }
    // Nothing of what was refused stands in the way of what was there first.
    embed(&dir, "image").run().exits(Exit::Success).prints("is complete; nothing to do");
}

#[test]
fn leftovers_of_other_settings_or_input_are_refused() {
    let dir = Dir::new();
    let captions = dir.write("captions.json", fs::read(&many().captions).unwrap());
    let input = captions.to_str().unwrap();
    started(embed(&dir, input).ranks(3), &text_of(&dir)).kill();
    assert_in_the_middle(&text_of(&dir));
    let committed = committed_blocks(&text_of(&dir));
    for (option, value, difference) in OTHER_TEXT {
        if option == "--background" {
            continue;
        }
        let refused = embed(&dir, input).set(option, value).ranks(2).run().exits(Exit::Failure);
        refused.says("an unfinished run of").says("was made differently").says(difference).tells_one_error();
    }
    let refused = embed(&dir, input).set("--max-assets", "500").run().exits(Exit::Failure);
    refused.says("plan_sha256: ").says("--max-assets").tells_one_error();
    let text = fs::read_to_string(&captions).unwrap();
    fs::write(&captions, text.replace("wooden", "golden")).unwrap();
    let refused = embed(&dir, input).run().exits(Exit::Failure);
    refused.says("plan_sha256: ").says("captions").says("--overwrite").tells_one_error();
    // Refused, and not touched.
    assert_eq!(committed_blocks(&text_of(&dir)), committed);
    embed(&dir, input).args("--overwrite").ranks(2).run().exits(Exit::Success);
    assert_ne!(Contents::of(&text_of(&dir)).rows, Contents::of(&many().output).rows);
}

#[test]
fn overwrite_replaces_an_output_only_once_the_new_one_is_complete() {
    let dir = Dir::new();
    let output = text_of(&dir);
    embed(&dir, "many").set("--precision", "bf16").ranks(2).run().exits(Exit::Success);
    let before = sha256(&output);
    for (ranks, blocks) in [(2, 40), (3, 100)] {
        let mut job = embed(&dir, "many").args("--overwrite").ranks(ranks).start();
        job.until("it has gone on", || committed_blocks(&output) >= blocks);
        job.kill();
        assert_eq!(sha256(&output), before);
        assert!(committed_blocks(&output) < 251);
    }
    // Nor does a job with the settings of the old one touch what was begun.
    let old = embed(&dir, "many").set("--precision", "bf16").ranks(2).run().exits(Exit::Success);
    old.prints("is complete; nothing to do");
    let committed = committed_blocks(&output);
    assert!(committed >= 100);
    embed(&dir, "many").args("--overwrite").ranks(2).run().exits(Exit::Success);
    assert_eq!(report(&output)["blocks_skipped"], committed);
    assert_same(&many().output, &output);
    assert_eq!(names(&dir.join("out")), ["run.json", TEXT]);
}

#[test]
fn overwrite_where_nothing_is_and_over_leftovers_is_a_fresh_start() {
    let dir = Dir::new();
    in_mid_run(&dir, 2).kill();
    let again = embed(&dir, "many").args("--overwrite").ranks(3).run().exits(Exit::Success);
    again.says(": 0 skipped");
    assert_same(&many().output, &text_of(&dir));
    let fresh = Dir::new();
    embed(&fresh, "many").args("--overwrite").ranks(2).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&fresh));
}

#[test]
fn a_stage_without_its_rows_is_not_gone_on_with() {
    let dir = Dir::new();
    in_mid_run(&dir, 2).kill();
    fs::remove_file(text_of(&dir).with_extension("h5.partial")).unwrap();
    let refused = embed(&dir, "many").ranks(2).run().exits(Exit::Damaged);
    refused.says("siglip_text_embeddings.h5.partial is missing").says("--overwrite").tells_one_error();
}

#[test]
fn one_file_that_is_done_does_not_hold_up_the_other() {
    let dir = Dir::new();
    embed(&dir, "text").run().exits(Exit::Success);
    let outcome = embed(&dir, "text image").ranks(2).run().exits(Exit::Success);
    outcome.prints("siglip_text_embeddings.h5 is complete; nothing to do");
    let expected = Dir::new();
    embed(&expected, "image").run().exits(Exit::Success);
    assert_same(&image_of(&expected), &image_of(&dir));
}

#[test]
fn a_plan_of_another_input_without_rows_is_made_anew() {
    // As a job leaves it that was killed while it planned, or refused.
    let dir = Dir::new();
    let other = dir.write("other.json", r#"{"a": "another input"}"#);
    embed(&dir, other.to_str().unwrap()).args("--no-seal").run().exits(Exit::Success);
    for left in ["journal", "partial"] {
        fs::remove_file(text_of(&dir).with_extension(format!("h5.{left}"))).unwrap();
    }
    embed(&dir, captions().to_str().unwrap()).ranks(2).run().exits(Exit::Success);
    assert_eq!(Contents::of(&text_of(&dir)).rows.len(), 17);
}
