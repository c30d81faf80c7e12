//! What can be asked for, and what the run says of itself.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hyperslab::Exit;
use hyperslab::store::{Reader, StoredType};
use serde_json::Value;

use super::{IMAGE, IMAGE_ROWS, TEXT, embed, image_of, report, small, text_of};
use crate::util::{Contents, Dir, Run, assert_same, assert_sound, committed_blocks, names};

fn made(input: &str, change: impl FnOnce(Run) -> Run) -> Dir {
    let dir = Dir::new();
    change(embed(&dir, input)).ranks(2).run().exits(Exit::Success);
    dir
}

fn summary(path: &Path) -> hyperslab::store::Summary {
    Reader::open(path, None).unwrap().summary().unwrap()
}

fn rows_by_asset(path: &Path) -> Vec<(String, Vec<Vec<u32>>)> {
    let contents = Contents::of(path);
    let rows = |range: std::ops::Range<u64>| contents.rows[range.start as usize..range.end as usize].to_vec();
    contents.assets.iter().map(|(id, range)| (id.clone(), rows(range.clone()))).collect()
}

fn sum(spans: &Value) -> f64 {
    spans.as_object().unwrap().values().map(|span| span.as_f64().unwrap()).sum()
}

#[test]
fn spans_add_up_to_the_wall_time() {
    for ranks in [1, 3] {
        let dir = Dir::new();
        embed(&dir, "many image").ranks(ranks).run().exits(Exit::Success);
        for output in [text_of(&dir), image_of(&dir)] {
            let report = report(&output);
            let adds_up = |told: &Value| {
                let wall_s = told["wall_s"].as_f64().unwrap();
                (sum(&told["spans"]) - wall_s).abs() < 0.02 * wall_s
            };
            assert!(adds_up(&report), "{report}");
            for rank in report["ranks"].as_array().unwrap() {
                assert!(adds_up(rank), "{report}");
            }
            for span in ["start_s", "decode_s", "model_s", "write_s", "seal_s"] {
                assert!(report["spans"][span].as_f64().unwrap() > 0.0, "{span}: {report}");
            }
        }
    }
}

#[test]
fn the_summary_tells_what_run_json_holds() {
    let dir = Dir::new();
    let outcome = embed(&dir, "text image").ranks(2).run().exits(Exit::Success);
    let outcome = outcome
        .prints(TEXT)
        .prints(IMAGE)
        .prints("17 computed now, 0 before")
        .prints("136 computed now, 0 before");
    outcome.prints("empty caption: 1").prints("broken picture: 1").prints("rows/s");
    let report = report(&text_of(&dir));
    assert_eq!(
        (&report["rows"], &report["rows_computed"], &report["blocks_computed"]),
        (&17.into(), &17.into(), &5.into())
    );
    assert_eq!((&report["sealed"], &report["failed_items"]), (&true.into(), &1.into()));
    assert_eq!(report["output_bytes"], fs::metadata(text_of(&dir)).unwrap().len());
}

#[test]
fn what_is_not_sealed_is_sealed_later() {
    let dir = Dir::new();
    let output = text_of(&dir);
    embed(&dir, "text").args("--no-seal").ranks(2).run().exits(Exit::Success).prints("hyperslab seal");
    assert_eq!(report(&output)["sealed"], false);
    assert!(!output.exists() && committed_blocks(&output) == 5);
    dir.hyperslab(["seal"]).arg(&output).ranks(3).run().exits(Exit::Success).prints("sealed");
    assert_same(&text_of(&made("text", |run| run)), &output);
    assert_eq!(names(&dir.join("out")), ["run.json", TEXT]);
    let again = dir.hyperslab(["seal"]).arg(&output).ranks(2).run().exits(Exit::Success);
    again.prints("is complete; nothing to do");
    assert_sound(&output);
}

#[test]
fn an_unfinished_output_is_not_sealed() {
    let dir = Dir::new();
    embed(&dir, "text").set("--max-failures", "0").ranks(3).run().exits(Exit::Failure);
    let refused = dir.hyperslab(["seal"]).arg(text_of(&dir)).ranks(3).run().exits(Exit::Failure);
    refused.tells_one_error().says("2 of 5 blocks").says("not committed yet").says("hyperslab embed");
}

#[test]
fn stored_types_hold_the_same_vectors() {
    let (single, half) = (made("text", |run| run), made("text", |run| run.set("--dtype", "f16")));
    assert_eq!(summary(&text_of(&single)).stored, StoredType::F32);
    assert_eq!(summary(&text_of(&half)).stored, StoredType::F16);
    assert_sound(&text_of(&half));
    let (single, half) = (Contents::of(&text_of(&single)), Contents::of(&text_of(&half)));
    assert_eq!((&single.assets, &single.failures), (&half.assets, &half.failures));
    for (one, other) in single.vectors().zip(half.vectors()) {
        let near = one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 5e-4 || (a.is_nan() && b.is_nan()));
        assert!(near, "{one:?}\n{other:?}");
    }
}

#[test]
fn compression_changes_the_file_and_not_what_it_holds() {
    let default = made("image", |run| run);
    assert_eq!(summary(&image_of(&default)).compression, "shuffle + gzip 4");
    for (compression, told) in
        [("none", "none"), ("gzip:1", "shuffle + gzip 1"), ("gzip:9", "shuffle + gzip 9")]
    {
        let dir = made("image", |run| run.set("--compression", compression));
        assert_eq!(summary(&image_of(&dir)).compression, told);
        assert_sound(&image_of(&dir));
        assert_eq!(Contents::of(&image_of(&dir)), Contents::of(&image_of(&default)));
    }
}

#[test]
fn only_one_file_is_made_where_that_is_asked_for() {
    let text = made("text image", |run| run.set("--only", "text"));
    assert_eq!(names(&text.join("out")), ["run.json", TEXT]);
    let image = made("text image", |run| run.set("--only", "image"));
    assert_eq!(names(&image.join("out")), ["run.json", IMAGE]);
    let dir = Dir::new();
    embed(&dir, "text").set("--only", "image").run().exits(Exit::Usage).says("--renders").tells_one_error();
    embed(&dir, "").run().exits(Exit::Usage).says("--captions").says("--renders").tells_one_error();
}

#[test]
fn some_views_or_assets_have_the_vectors_they_have_among_all() {
    let batch_of_one = |run: Run| run.set("--batch-size", "1");
    let all = rows_by_asset(&image_of(&made("image", batch_of_one)));
    assert_eq!(all.iter().map(|(_, rows)| rows.len()).sum::<usize>(), IMAGE_ROWS);
    for (views, picked) in
        [("3", &[0, 3, 7][..]), ("every:2", &[0, 2, 4, 6]), ("1", &[0]), ("all", &[0, 1, 2, 3, 4, 5, 6, 7])]
    {
        let dir = made("image", |run| batch_of_one(run).set("--views", views));
        let some = rows_by_asset(&image_of(&dir));
        assert_sound(&image_of(&dir));
        for ((id, some), (all_id, all)) in some.iter().zip(&all) {
            assert_eq!(id, all_id);
            let expected: Vec<_> = picked.iter().map(|&view: &usize| all[view].clone()).collect();
            assert_eq!(*some, expected, "--views {views} of {id}");
        }
    }
    let dir = made("image", |run| batch_of_one(run).set("--max-assets", "5"));
    assert_eq!(rows_by_asset(&image_of(&dir)), all[..5]);
    assert_sound(&image_of(&dir));
}

#[test]
fn a_list_of_views_makes_what_the_walk_makes() {
    let dir = Dir::new();
    let renders = small("renders");
    let mut list = String::new();
    for (asset, _) in Contents::of(&image_of(&made("image", |run| run))).assets {
        for name in names(&renders.join(&asset)) {
            let bytes = fs::metadata(renders.join(&asset).join(&name)).unwrap().len();
            writeln!(list, "{asset}/{name}\t{bytes}").unwrap();
        }
    }
    let list = dir.write("views.tsv", list);
    embed(&dir, "image").arg("--renders-list").arg(list).ranks(3).run().exits(Exit::Success);
    assert_same(&image_of(&made("image", |run| run)), &image_of(&dir));
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let dir = Dir::new();
    let model = small("model");
    let captions = small("captions.json");
    let config = format!(
        "[model]\nmodel = {model:?}\n[input]\ncaptions = {captions:?}\nblock-rows = 4\nmax-assets = 3\n\
         [output]\noutput-dir = 'from-file'\ndtype = 'f16'\ncompression = 'gzip:1'\nsiglip-text = 't.h5'\n\
         [run]\ndevice = 'cpu'\nmax-failures = '50%'\n"
    );
    dir.write("hyperslab.toml", &config);
    let run = || dir.hyperslab(["embed", "siglip"]);
    run().ranks(2).run().exits(Exit::Success);
    let from_file = summary(&dir.join("from-file/t.h5"));
    assert_eq!(
        (from_file.n_rows, from_file.stored, from_file.compression.as_str()),
        (3, StoredType::F16, "shuffle + gzip 1")
    );

    let with_variables = || {
        run()
            .env("HYPERSLAB_OUTPUT_DIR", "from-variable")
            .env("HYPERSLAB_COMPRESSION", "gzip:2")
            .env("HYPERSLAB_MAX_ASSETS", "4")
    };
    with_variables().ranks(2).run().exits(Exit::Success);
    let from_variables = summary(&dir.join("from-variable/t.h5"));
    assert_eq!((from_variables.n_rows, from_variables.stored), (4, StoredType::F16));
    assert_eq!(from_variables.compression, "shuffle + gzip 2");

    with_variables().args("--output-dir from-flag --max-assets 5").ranks(2).run().exits(Exit::Success);
    let from_flags = summary(&dir.join("from-flag/t.h5"));
    assert_eq!((from_flags.n_rows, from_flags.compression.as_str()), (5, "shuffle + gzip 2"));

    let other = dir.write("other.toml", config.replace("from-file", "from-other"));
    run().arg("--config").arg(other).run().exits(Exit::Success);
    assert!(dir.join("from-other/t.h5").exists());
    dir.write("hyperslab.toml", "[output]\ndtyp = 'f16'\n");
    run()
        .ranks(2)
        .run()
        .says("hyperslab.toml', line 2, column 1")
        .says("did you mean 'dtype'?")
        .tells_one_error();
}
