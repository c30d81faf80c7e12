//! Whatever the number of ranks and threads, the two files are the same to the last bit.

use std::path::Path;

use hyperslab::Exit;

use super::{CHINESE_ROWS, ENGLISH_ROWS, IMAGE, IMAGE_ROWS, TEXT, embed, image_of, made, report, text_of};
use crate::util::{Contents, Dir, assert_same, assert_sound, names};

const ALL: &str = "english chinese image";

#[track_caller]
fn assert_every_rank_wrote(output: &Path, ranks: usize, rows: usize) {
    let report = report(output);
    let of_ranks = report["ranks"].as_array().unwrap();
    let of_ranks: Vec<u64> = of_ranks.iter().map(|rank| rank["rows"].as_u64().unwrap()).collect();
    assert_eq!(of_ranks.len(), ranks);
    assert_eq!(of_ranks.iter().sum::<u64>(), rows as u64);
    assert!(of_ranks.iter().all(|&rows| rows > 0), "{of_ranks:?}");
}

fn any_number_of_ranks_makes_the_same_files(compression: &str) {
    let alone = made(ALL, |job| job.set("--compression", compression));
    for output in [text_of, image_of] {
        assert_sound(&output(&alone));
    }
    for (group, rows) in [("english", ENGLISH_ROWS), ("chinese", CHINESE_ROWS)] {
        assert_eq!(Contents::of_group(&text_of(&alone), group).rows.len(), rows);
    }
    assert_eq!(Contents::of(&image_of(&alone)).rows.len(), IMAGE_ROWS);
    for ranks in [1, 2, 3, 5] {
        let dir = Dir::new();
        embed(&dir, ALL).set("--compression", compression).ranks(ranks).run().exits(Exit::Success);
        assert_every_rank_wrote(&text_of(&dir), ranks, ENGLISH_ROWS + CHINESE_ROWS);
        assert_every_rank_wrote(&image_of(&dir), ranks, IMAGE_ROWS);
        assert_same(&text_of(&alone), &text_of(&dir));
        assert_same(&image_of(&alone), &image_of(&dir));
        assert_eq!(names(&dir.join("out")), [IMAGE, TEXT, "run.json"]);
    }
}

#[test]
fn any_number_of_ranks_makes_the_same_compressed_files() {
    any_number_of_ranks_makes_the_same_files("gzip:4");
}

#[test]
fn any_number_of_ranks_makes_the_same_plain_files() {
    any_number_of_ranks_makes_the_same_files("none");
}

#[test]
fn any_number_of_decoding_threads_and_of_blocks_in_a_round_makes_the_same_files() {
    let expected = made(ALL, |job| job);
    for (threads, blocks, ranks) in [("1", "1", 0), ("5", "3", 2)] {
        let dir = Dir::new();
        let job = embed(&dir, ALL).set("--decode-threads", threads).set("--round-blocks", blocks);
        job.ranks(ranks).run().exits(Exit::Success);
        assert_same(&text_of(&expected), &text_of(&dir));
        assert_same(&image_of(&expected), &image_of(&dir));
    }
}
