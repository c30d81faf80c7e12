//! Items that fail are data: a row of NaN and a line in `/failures`, whatever the number of ranks.

use std::fs;

use hyperslab::Exit;

use super::{embed, image_of, report, small, text_of};
use crate::util::{Contents, Dir, Run, assert_same, assert_sound};

/// Eight bytes that every PNG begins with, and a chunk that says it is 100,000 by 100,000 pixels.
fn bomb() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([100_000_u32.to_be_bytes(), 100_000_u32.to_be_bytes()].concat());
    header.extend([8, 6, 0, 0, 0]);
    let chunk = |content: &[u8]| {
        let length = (content.len() as u32 - 4).to_be_bytes();
        [&length, content, &crc32fast::hash(content).to_be_bytes()].concat()
    };
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(&header), &chunk(b"IDAT\x78\x9c\x63\0\0\0\x01\0\x01"), &chunk(b"IEND")]
        .concat()
}

/// Views of one asset of the small data set, then three assets of pictures of which most are bad. Returns the bad
/// rows, in order, with their reasons' beginnings.
fn bad_renders(dir: &Dir) -> [(u64, &'static str); 7] {
    let views = small("renders/0/10002");
    let good = fs::read(views.join("00000.png")).unwrap();
    for view in 0..6 {
        dir.write(&format!("renders/a/{view}.png"), fs::read(views.join(format!("0000{view}.png"))).unwrap());
    }
    dir.write("renders/b/0.png", "not a picture");
    dir.write("renders/b/1.png", &good);
    dir.write("renders/b/2.png", &good[..good.len() / 2]);
    dir.write("renders/b/3.png", "");
    dir.write("renders/c/0.png", bomb());
    dir.write("renders/c/1.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF");
    dir.write("renders/d/0.png", &good);
    dir.write("renders/d/1.png", &good);
    dir.write("renders/d/2.webp", b"RIFF\x10\0\0\0WEBPVP8 ");
    [
        (6, "broken picture"),
        (8, "broken picture"),
        (9, "broken picture"),
        (10, "picture too large"),
        (11, "broken picture"),
        (13, "unreadable file"),
        (14, "broken picture"),
    ]
}

fn embed_bad(dir: &Dir) -> Run {
    let job = embed(dir, "").arg("--renders").arg(dir.join("renders")).set("--max-failures", "100%");
    job.fault("FAULT=eacces PATH=d/1.png RANK=any")
}

#[test]
fn bad_pictures_are_rows_of_nan_with_a_reason() {
    let dir = Dir::new();
    let bad = bad_renders(&dir);
    embed_bad(&dir).run().exits(Exit::Success);
    let contents = Contents::of(&image_of(&dir));
    assert_eq!(contents.rows.len(), 15);
    assert_eq!(contents.failures.len(), bad.len(), "{:?}", contents.failures);
    for ((row, reason), (expected_row, kind)) in contents.failures.iter().zip(bad) {
        assert_eq!(*row, expected_row);
        assert!(reason.starts_with(kind), "row {row}: {reason}");
    }
    for (row, vector) in (0..).zip(contents.vectors()) {
        let failed = bad.iter().any(|(bad, _)| *bad == row);
        assert!(vector.iter().all(|value| value.is_nan() == failed), "row {row}");
    }
    assert_sound(&image_of(&dir));
    let report = report(&image_of(&dir));
    assert_eq!(report["failed_items"], 7);
    assert_eq!(report["failures"]["broken picture"], 5);
    assert_eq!(report["failures"]["picture too large"], 1);
    for ranks in [2, 3] {
        let again = Dir::new();
        // At the same place, since it is part of what is remembered of the input.
        let job = embed_bad(&dir).set("--output-dir", again.join("out"));
        job.ranks(ranks).run().exits(Exit::Success);
        assert_same(&image_of(&dir), &image_of(&again));
    }
}

#[test]
fn neighbours_of_a_bad_picture_have_the_vectors_they_always_have() {
    let (bad, good) = (Dir::new(), Dir::new());
    let rows = bad_renders(&bad);
    bad_renders(&good);
    for name in ["b/0.png", "b/2.png", "b/3.png", "c/0.png", "d/1.png"] {
        let picture = small("renders/0/10017/00003.png");
        fs::copy(picture, good.join("renders").join(name)).unwrap();
    }
    embed_bad(&bad).run().exits(Exit::Success);
    let job = embed(&good, "").arg("--renders").arg(good.join("renders"));
    job.set("--max-failures", "50%").run().exits(Exit::Success);
    let (bad, good) = (Contents::of(&image_of(&bad)), Contents::of(&image_of(&good)));
    let is_bad = |row: usize| rows.iter().any(|(bad, _)| *bad == row as u64);
    for row in (0..bad.rows.len()).filter(|row| !is_bad(*row)) {
        assert_eq!(bad.rows[row], good.rows[row], "row {row}");
    }
}

#[test]
fn more_failures_than_allowed_stop_the_job_which_goes_on_when_more_are_allowed() {
    let dir = Dir::new();
    for (limit, ranks) in [("0", 3), ("0", 2), ("5%", 2)] {
        let stopped =
            embed(&dir, "text").set("--max-failures", limit).ranks(ranks).run().exits(Exit::Failure);
        let stopped =
            stopped.says("failed items: 1, more than --max-failures allows (0)").says("empty caption");
        stopped.says("raise --max-failures").tells_one_error();
        assert!(!text_of(&dir).exists());
    }
    embed(&dir, "text").set("--max-failures", "1").ranks(3).run().exits(Exit::Success);
    assert_ne!(report(&text_of(&dir))["blocks_skipped"], 0);
    let undisturbed = Dir::new();
    embed(&undisturbed, "text").run().exits(Exit::Success);
    assert_same(&text_of(&undisturbed), &text_of(&dir));
    let usage = embed(&dir, "text").set("--max-failures", "many").run().exits(Exit::Usage);
    usage.says("--max-failures").says("'many'");
}

#[test]
fn empty_captions_are_failed_items() {
    let dir = Dir::new();
    let captions = dir.write("captions.json", r#"{"a": "", "b": "a chair", "c": " \t", "d": "椅子"}"#);
    embed(&dir, captions.to_str().unwrap()).set("--max-failures", "2").ranks(2).run().exits(Exit::Success);
    let contents = Contents::of(&text_of(&dir));
    assert_eq!(contents.failures, [(0, "empty caption".to_owned()), (2, "empty caption".to_owned())]);
    assert_sound(&text_of(&dir));
}

#[test]
fn captions_that_cannot_be_read_end_the_job_with_their_place() {
    let dir = Dir::new();
    let broken = dir.write("broken.json", "{\"a\": \"x\",\n \"b\" \"y\"}");
    let failed = embed(&dir, broken.to_str().unwrap()).ranks(3).run().exits(Exit::Failure);
    failed.tells_one_error().says("broken.json").says("line 2, column 6");
    let twice = dir.write("twice.json", "{\"a\": \"x\", \"a\": \"y\"}");
    let failed = embed(&dir, twice.to_str().unwrap()).ranks(2).run().exits(Exit::Failure);
    failed.tells_one_error().says("'a'");
    let failed = embed(&dir, "no/such.json").ranks(2).run().exits(Exit::Failure);
    failed.tells_one_error().says("no/such.json").says("No such file");
    let empty = dir.write("empty.json", "{}");
    let failed = embed(&dir, empty.to_str().unwrap()).ranks(3).run().exits(Exit::Failure);
    failed.tells_one_error().says("there is nothing to embed");
    assert!(!text_of(&dir).exists());
}
