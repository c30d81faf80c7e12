//! One vector from an asset's views: which of them are taken, of what size they are, and what becomes of an
//! asset some of whose views are broken.

use std::path::PathBuf;

use hyperslab::Exit;

use super::{
    Contents, Dir, IMAGE_ROWS, assert_near, copy_views, distance, embed_views, image_of, made, refused,
    report, small, vectors, views_of,
};
use crate::util::{Run, assert_same, repository};

/// The view number `n` of the small data set's first two assets, sixteen in all.
fn view(n: usize) -> PathBuf {
    small(["renders/0/10002", "renders/0/10017"][n / 8]).join(format!("{:05}.png", n % 8))
}

fn picture(name: &str) -> PathBuf {
    repository("tests/fixtures/pictures").join(name)
}

/// Assets with these of the sixteen views.
fn assets_of(dir: &Dir, root: &str, assets: &[(&'static str, &[usize])]) {
    copy_views(dir, root, assets.iter().map(|(id, views)| (*id, views.iter().map(|&n| view(n)).collect())));
}

fn embedded(assets: &[(&'static str, &[usize])], change: impl FnOnce(Run) -> Run) -> Contents {
    let dir = Dir::new();
    assets_of(&dir, "renders", assets);
    let job = change(embed_views(&dir, "renders"));
    views_of(&dir, job)
}

#[test]
fn of_many_views_those_of_linspace_are_taken() {
    let all: Vec<usize> = (0..16).collect();
    let counts = [("a", 12), ("b", 9), ("c", 16), ("d", 8), ("e", 3), ("f", 1)];
    let many: Vec<_> = counts.iter().map(|&(id, n)| (id, &all[..n])).collect();
    // numpy.linspace(0, n - 1, views).astype(int), and all where there are no more than that.
    let eight: [&[usize]; 6] = [
        &[0, 1, 3, 4, 6, 7, 9, 11],
        &[0, 1, 2, 3, 4, 5, 6, 8],
        &[0, 2, 4, 6, 8, 10, 12, 15],
        &all[..8],
        &all[..3],
        &[0],
    ];
    let three: [&[usize]; 6] = [&[0, 5, 11], &[0, 4, 8], &[0, 7, 15], &[0, 3, 7], &[0, 1, 2], &[0]];
    let one: [&[usize]; 6] = [&[0]; 6];
    let every: [&[usize]; 6] = [&[0, 5, 10], &[0, 5], &[0, 5, 10, 15], &[0, 5], &[0], &[0]];
    for (views, picked) in [("", eight), ("8", eight), ("3", three), ("1", one), ("every:5", every)] {
        let set = |job: Run| if views.is_empty() { job } else { job.set("--views", views) };
        let taken = embedded(&many, set);
        let exactly: Vec<_> = counts.iter().zip(picked).map(|(&(id, _), views)| (id, views)).collect();
        let expected = embedded(&exactly, |job| job.set("--views", "all"));
        let sizes: Vec<i32> = picked.iter().map(|views| views.len() as i32).collect();
        assert_eq!((&taken.num_images, &expected.num_images), (&sizes, &sizes), "--views {views}");
        assert_eq!((&taken.assets, &taken.rows), (&expected.assets, &expected.rows), "--views {views}");
        assert!(taken.failures.is_empty());
    }
}

#[test]
fn views_that_are_mended_and_embedded_again_give_the_file_in_which_nothing_failed() {
    let (dir, undisturbed) = (Dir::new(), Dir::new());
    let sets: [(&str, &[usize]); 5] =
        [("a", &[0, 1, 8]), ("b", &[2]), ("c", &[8, 1, 0]), ("d", &[0, 1]), ("e", &[3, 8])];
    for dir in [&dir, &undisturbed] {
        assets_of(dir, "renders", &sets);
    }
    // One asset without any view, one without some.
    let bad = ["renders/b/00000.png", "renders/d/00001.png"].map(|path| dir.join(path));
    let whole = bad.clone().map(|path| std::fs::read(path).unwrap());
    for path in &bad {
        std::fs::write(path, "no picture").unwrap();
    }
    let job = |dir: &Dir| embed_views(dir, "renders").set("--max-failures", "3");
    job(&dir).run().exits(Exit::Success);
    for (path, whole) in bad.iter().zip(whole) {
        std::fs::write(path, whole).unwrap();
    }
    job(&dir)
        .arg("--retry-failed")
        .ranks(2)
        .run()
        .exits(Exit::Success)
        .says("2 failed items are embedded again");
    job(&undisturbed).run().exits(Exit::Success);
    assert_same(&image_of(&undisturbed), &image_of(&dir));
}

#[test]
fn views_and_their_order_make_the_vector() {
    let sets: [(&str, &[usize]); 5] =
        [("a", &[0, 1, 8]), ("b", &[0, 1, 8]), ("c", &[8, 1, 0]), ("d", &[0, 1]), ("e", &[0, 8])];
    let contents = embedded(&sets, |job| job);
    let vectors = vectors(&contents);
    assert!(distance(&vectors[0].1, &vectors[1].1) <= super::NEAR);
    for (one, other) in [(0, 2), (0, 3), (0, 4), (3, 4)] {
        assert!(distance(&vectors[one].1, &vectors[other].1) > 1e-4, "{one} and {other}");
    }
}

/// Sets of pictures of different sizes and kinds of colour.
const MIXED: [(&str, &[&str]); 6] = [
    ("a", &["downscaled.png", "rgba8.png", "palette8.png"]),
    ("b", &["rgb8.png"]),
    ("c", &["palette8-alpha.png", "grey1.png", "rgba16.png", "lossy-alpha.webp", "progressive.jpg"]),
    ("d", &["three-rows.png", "downscaled.png"]),
    ("e", &["cmyk.jpg", "orientation.jpg", "grey-alpha8.png"]),
    ("f", &["animated.webp", "interlaced.png"]),
];

fn mixed(dir: &Dir) {
    copy_views(
        dir,
        "renders",
        MIXED.map(|(id, names)| (id, names.iter().map(|name| picture(name)).collect())),
    );
}

#[test]
fn pictures_of_any_size_and_colour_stand_together() {
    let [together, each] = ["2048", "1"].map(|tokens| {
        let dir = Dir::new();
        mixed(&dir);
        let job = embed_views(&dir, "renders").set("--block-rows", "16");
        views_of(&dir, job.set("--max-tokens-per-batch", tokens))
    });
    assert!(together.failures.is_empty(), "{:?}", together.failures);
    assert_eq!(together.num_images, MIXED.map(|(_, names)| names.len() as i32));
    assert_near(&together, &each);
    // Each in a run of its own.
    for (row, (id, names)) in MIXED.iter().enumerate().take(3) {
        let dir = Dir::new();
        copy_views(&dir, "renders", [(*id, names.iter().map(|name| picture(name)).collect())]);
        let job = embed_views(&dir, "renders");
        assert_eq!(views_of(&dir, job).rows[0], each.rows[row], "{id}");
    }
}

#[test]
fn the_background_is_what_transparency_becomes() {
    let embedded = |background: &str| {
        let dir = Dir::new();
        mixed(&dir);
        let job = embed_views(&dir, "renders").set("--background", background);
        views_of(&dir, job)
    };
    let (qwen, black) = (embedded("qwen"), embedded("black"));
    // Without transparency; with.
    assert_eq!(qwen.rows[1], black.rows[1]);
    assert_ne!(qwen.rows[0], black.rows[0]);
}

/// Sets of views with broken ones among them, the same without those, and how many are left of each.
fn broken(dir: &Dir) -> Run {
    let bad = || vec![picture("broken/half.png"), picture("one-row.png"), picture("too-large/claim.png")];
    let with = |views: &[usize], bad: Vec<PathBuf>| views.iter().map(|&n| view(n)).chain(bad).collect();
    copy_views(
        dir,
        "renders",
        [
            ("all/bad", bad()),
            ("good/1", with(&[0, 1, 2], vec![])),
            ("good/2", with(&[3], vec![])),
            ("some/1", with(&[0, 9], bad().into_iter().take(1).collect())),
            ("some/2", with(&[5], bad())),
        ],
    );
    // In the middle: the views after it keep their order.
    dir.write("renders/some/3/00000.png", std::fs::read(view(2)).unwrap());
    dir.write("renders/some/3/00001.png", "not a picture");
    dir.write("renders/some/3/00002.png", std::fs::read(view(4)).unwrap());
    embed_views(dir, "renders").set("--max-failures", "100%")
}

#[test]
fn an_asset_is_embedded_from_the_views_that_are_whole() {
    let dir = Dir::new();
    let job = broken(&dir);
    let contents = views_of(&dir, job);
    let whole = embedded(
        &[
            ("good/1", &[0, 1, 2]),
            ("good/2", &[3]),
            ("some/1", &[0, 9]),
            ("some/2", &[5]),
            ("some/3", &[2, 4]),
        ],
        |job| job,
    );
    assert_near(&contents, &whole);
    assert_eq!(contents.num_images, [0, 3, 1, 2, 1, 2]);
    let failures: Vec<_> = contents.failures.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
    let expected = [
        (0, "no view left: 3 of 3: 00000.png: broken picture: "),
        (3, "views left out: 1 of 3: 00002.png: broken picture: "),
        (4, "views left out: 3 of 4: 00001.png: broken picture: "),
        (5, "views left out: 1 of 3: 00001.png: broken picture: "),
    ];
    assert_eq!(failures.len(), expected.len(), "{failures:?}");
    for ((row, reason), (expected_row, begins)) in failures.iter().zip(expected) {
        assert!(*row == expected_row && reason.starts_with(begins), "row {row}: {reason}");
    }
    let report = report(&image_of(&dir));
    assert_eq!((&report["failed_items"], &report["partly_failed_items"]), (&1.into(), &3.into()));
    assert_eq!(
        (&report["failures"]["views left out"], &report["failures"]["no view left"]),
        (&3.into(), &1.into())
    );
    for ranks in [2, 5] {
        let again = Dir::new();
        broken(&again).ranks(ranks).run().exits(Exit::Success);
        assert_same(&image_of(&dir), &image_of(&again));
    }
}

#[test]
fn commands_that_read_tell_what_is_left_of_a_set() {
    let dir = Dir::new();
    broken(&dir).run().exits(Exit::Success).prints("views left out: 3").prints("no view left: 1");
    let read = |command: &str| dir.hyperslab([command]).arg(image_of(&dir));
    let get = read("get").args("all/bad good/1 some/2").run().exits(Exit::Success);
    let lines: Vec<&str> = get.stdout.lines().collect();
    assert!(lines[0].contains("failed: no view left: 3 of 3: 00000.png"), "{get}");
    assert!(lines[1].contains("3 views  norm 1.0000") && lines[1].ends_with(']'), "{get}");
    assert!(lines[2].contains("1 view  norm 1.0000"), "{get}");
    assert!(lines[2].contains("views left out: 3 of 4: 00001.png"), "{get}");
    let get = read("get").args("some/1 --json").run().exits(Exit::Success);
    let row: serde_json::Value = serde_json::from_str(&get.stdout).unwrap();
    assert_eq!((&row["num_images"], row["vector"].as_array().map(Vec::len)), (&2.into(), Some(48)));
    assert!(row["left_out"].as_str().is_some_and(|text| text.starts_with("views left out: 1 of 3")), "{row}");
    assert!(row.get("failed").is_none(), "{row}");
    read("list").run().exits(Exit::Success).prints("all/bad\ngood/1\ngood/2\nsome/1\nsome/2\nsome/3\n");
    let info = read("info").run().exits(Exit::Success).prints("9 views (1.5 per asset)");
    info.prints("3 views left out").prints("1 no view left");
    read("verify")
        .run()
        .exits(Exit::Success)
        .prints("sound (6 assets, 6 rows, 2 blocks, 4 lines in /failures)");
}

#[test]
fn an_asset_that_has_a_vector_does_not_count_against_what_may_fail() {
    let dir = Dir::new();
    let job = || broken(&dir).ranks(2);
    let says = ["failed items: 1, more than --max-failures allows (0)", "no view left"];
    refused(job().set("--max-failures", "0"), Exit::Failure, &says);
    job().set("--max-failures", "1").run().exits(Exit::Success).prints("failed     1, 3 without some views");
    let undisturbed = Dir::new();
    broken(&undisturbed).run().exits(Exit::Success);
    assert_same(&image_of(&undisturbed), &image_of(&dir));
}

#[test]
fn the_small_data_set_has_one_view_less_where_one_is_truncated() {
    let contents = Contents::of(&image_of(&made("image", |job| job)));
    assert_eq!(contents.assets.len(), IMAGE_ROWS);
    let row = contents.assets.iter().position(|(id, _)| id == "1/10255").unwrap();
    let expected: Vec<i32> = (0..IMAGE_ROWS).map(|other| if other == row { 7 } else { 8 }).collect();
    assert_eq!(contents.num_images, expected);
    let [(failed, reason)] = &contents.failures[..] else { panic!("{:?}", contents.failures) };
    assert_eq!(*failed, row as u64);
    assert!(reason.starts_with("views left out: 1 of 8: 00005.png: broken picture"), "{reason}");
}
