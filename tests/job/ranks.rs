//! Whatever the number of ranks and threads, the files are the same to the last bit.

use hyperslab::Exit;

use super::{IMAGE_ROWS, TEXT_ROWS, embed, image_of, many, report, text_of};
use crate::util::{Contents, Dir, assert_same, assert_sound, names};

/// The small data set's two files, made by `ranks`; every rank has computed and written rows.
fn made_by(ranks: usize) -> Dir {
    let dir = Dir::new();
    embed(&dir, "text image").ranks(ranks).run().exits(Exit::Success);
    for (output, rows) in [(text_of(&dir), TEXT_ROWS), (image_of(&dir), IMAGE_ROWS)] {
        let report = report(&output);
        let of_ranks: Vec<usize> = report["ranks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rank| rank["rows"].as_u64().unwrap() as usize)
            .collect();
        assert_eq!(of_ranks.len(), ranks);
        assert_eq!(of_ranks.iter().sum::<usize>(), rows);
        assert!(of_ranks.iter().all(|&rows| rows > 0), "{of_ranks:?}");
    }
    dir
}

#[test]
fn any_number_of_ranks_makes_the_same_files() {
    let alone = Dir::new();
    embed(&alone, "text image").run().exits(Exit::Success);
    for output in [text_of, image_of] {
        assert_sound(&output(&alone));
    }
    assert_eq!(Contents::of(&text_of(&alone)).rows.len(), TEXT_ROWS);
    assert_eq!(Contents::of(&image_of(&alone)).rows.len(), IMAGE_ROWS);
    for ranks in [1, 2, 3, 5] {
        let dir = made_by(ranks);
        assert_same(&text_of(&alone), &text_of(&dir));
        assert_same(&image_of(&alone), &image_of(&dir));
        assert_eq!(
            names(&dir.join("out")),
            ["run.json", "siglip_image_embeddings.h5", "siglip_text_embeddings.h5"]
        );
    }
}

#[test]
fn any_number_of_ranks_makes_the_same_files_of_many_rounds() {
    let dir = Dir::new();
    embed(&dir, "many").ranks(3).run().exits(Exit::Success);
    assert_same(&many().output, &text_of(&dir));
}

#[test]
fn any_number_of_decoding_threads_makes_the_same_files() {
    let reference = made_by(2);
    for threads in ["1", "2", "5"] {
        let dir = Dir::new();
        embed(&dir, "text image").set("--decode-threads", threads).run().exits(Exit::Success);
        assert_same(&text_of(&reference), &text_of(&dir));
        assert_same(&image_of(&reference), &image_of(&dir));
    }
}

#[test]
fn rows_are_those_of_the_settings_and_not_of_rounds() {
    // As few rounds as memory allows, instead of one block each.
    let (small, large) = (Dir::new(), Dir::new());
    embed(&small, "image").ranks(2).run().exits(Exit::Success);
    embed(&large, "image").set("--round-blocks", "1000000").ranks(2).run().exits(Exit::Success);
    assert_same(&image_of(&small), &image_of(&large));
}
