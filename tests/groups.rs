//! Files with groups, and with one vector for an asset's views: staged by ranks, sealed by `hyperslab seal`.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyperslab::comm::World;
use hyperslab::input::{Catalog, Input, Keep, Source, Spool, View, views, write_spool};
use hyperslab::plan::{Runs, Views, pending, share};
use hyperslab::store::{
    Digest, Entry, Failure, Fingerprint, Header, Journal, OutputPaths, Reader, Record, Replaces, Stage,
    StageReader, StoredRows, StoredType,
};
use hyperslab::{Exit, ItemError, ItemErrorKind};
use ndarray::Array2;

use crate::util::{Dir, assert_sound, names, repository, sha256};

const DIM: usize = 8;
const BLOCK_ROWS: u64 = 4;
/// Tells the ranks of [`stage_as_a_rank`] which outputs to make.
const OUTPUTS: &str = "STAGE_OUTPUTS";

/// Captions of so many assets in English and in Chinese, of which the first has one that failed.
fn plan_text(output: &Path, english: usize, chinese: usize) {
    let captions = |name: &str, n: usize| {
        let mut catalog = Catalog::new(Keep::Everything);
        for asset in 0..n {
            // Each language has ids that the other has not.
            catalog
                .push(&format!("{}/{asset:03}", if asset % 3 == 0 { name } else { "both" }), 1, b"x")
                .unwrap();
        }
        Input::text(catalog, None).unwrap().named(name)
    };
    let groups = [captions("english", english), captions("chinese", chinese)];
    write_spool(&OutputPaths::new(output).plan, &groups, Some(BLOCK_ROWS), Source::default()).unwrap();
}

/// Sets of the views of `assets` assets: 1 to 10 of each, of which 8 are taken.
fn plan_views(output: &Path, assets: usize) {
    let list = output.with_extension("tsv");
    let line = |asset: usize, view: usize| format!("{}/{asset}/{view:05}.png\t{}\n", asset % 3, 100 + view);
    let lines = (0..assets).flat_map(|asset| (0..=asset * 7 % 10).map(move |view| line(asset, view)));
    fs::write(&list, lines.collect::<String>()).unwrap();
    let (_, listing) = views::read_list(&list, 1, Keep::Everything, &views::Rule::default()).unwrap();
    let input = Input::view_sets(listing.catalog, Views::Evenly(8), None).unwrap();
    input.write_spool(&OutputPaths::new(output).plan, Some(BLOCK_ROWS), Source::default()).unwrap();
}

/// What failed of a row: of every 7th caption all, of view sets with several views one or all.
fn failure(spool: &Spool, row: u64) -> Option<ItemError> {
    let broken = || ItemError::new(ItemErrorKind::BrokenPicture, "ends early");
    match views_of(spool, row) {
        None => (row % 7 == 3).then(|| ItemError::new(ItemErrorKind::EmptyCaption, "")),
        Some(views) if row % 5 == 2 => {
            let failed = if row.is_multiple_of(2) { &views[..1] } else { &views[..] };
            let failed: Vec<_> = failed.iter().map(|view| (view.path.as_str(), broken())).collect();
            Some(ItemError::of_views(views.len(), &failed))
        }
        Some(_) => None,
    }
}

fn views_of(spool: &Spool, row: u64) -> Option<Vec<View>> {
    use hyperslab::input::Row;
    let block =
        (0..spool.blocks().count()).find(|block| spool.blocks().range(*block).contains(&row)).unwrap();
    let place = (row - spool.blocks().range(block).start) as usize;
    if let Row::ViewSet(views) = spool.block(block).unwrap().swap_remove(place) { Some(views) } else { None }
}

/// A unit vector that no other row has.
fn vector(row: u64) -> [f32; DIM] {
    let mut vector = [0.0; DIM];
    let angle = 0.01 + row as f32 * 0.02;
    (vector[row as usize % DIM], vector[(row as usize + 3) % DIM]) = (angle.cos(), angle.sin());
    vector
}

fn stored(spool: &Spool, rows: Range<u64>) -> StoredRows {
    let all: Vec<f32> = rows.clone().flat_map(vector).collect();
    let all = Array2::from_shape_vec((all.len() / DIM, DIM), all).unwrap();
    let failed =
        rows.clone().enumerate().filter(|(_, row)| failure(spool, *row).is_some_and(|e| !e.has_vector()));
    let failed: Vec<usize> = failed.map(|(place, _)| place).collect();
    StoredRows::encode(rows.start, &all.view(), &failed, StoredType::F32)
}

/// Leaves outputs as `embed --no-seal` does.
#[test]
#[ignore = "started on ranks by the tests below"]
fn stage_as_a_rank() {
    let world = World::init().unwrap();
    for output in std::env::var(OUTPUTS).unwrap().split_whitespace() {
        stage(&world, Path::new(output));
    }
    world.finish();
}

fn stage(world: &World, output: &Path) {
    let paths = OutputPaths::new(output);
    let spool = Spool::open(&paths.plan).unwrap();
    let kind = if spool.header().kind.has_views() { "qwen_image" } else { "qwen_text" };
    let parts = [("kind", kind.to_owned()), ("plan_sha256", Digest(spool.digest()).to_string())];
    let header = Header {
        fingerprint: Fingerprint {
            parts: parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            about: [].into(),
        },
        groups: spool.header().groups.clone(),
        block_rows: BLOCK_ROWS,
        dim: DIM as u64,
        stored: StoredType::F32,
        shard: None,
        replaces: Replaces::Nothing,
    };
    let blocks = header.blocks();
    let stage = Stage::create(&paths.partial, &header.shape(), world.raw(), world.is_root()).unwrap();
    // One run each: with one rank it spans the groups.
    let mine = share(&pending(0..blocks.count(), &[]), world.rank() as u64, world.size() as u64);
    let run = Runs::new(mine).next_run(u64::MAX).unwrap_or_default();
    stage.write(&stored(&spool, blocks.rows_of(run))).unwrap();
    stage.flush().unwrap();
    for rows in [0..blocks.rows(), 0..1, blocks.rows() - 1..blocks.rows(), 3..blocks.rows().clamp(3, 6)] {
        assert_eq!(stage.read(rows.clone()).unwrap(), stored(&spool, rows));
    }
    stage.finish().unwrap();
    let reopened = Stage::open(&paths.partial, &header.shape(), world.raw()).unwrap();
    reopened.finish().unwrap();
    let reader = StageReader::open(&paths.partial, &header.shape()).unwrap();
    assert_eq!(reader.extents().count(), header.groups.len());
    if world.is_root() {
        let digests: Vec<_> =
            (0..blocks.count()).map(|block| stored(&spool, blocks.range(block)).digest()).collect();
        let failures =
            (0..blocks.rows()).filter_map(|row| Some(Failure { row, error: failure(&spool, row)? }));
        let truncated = vec![0; digests.len()];
        let record = Record { first_block: 0, digests, failures: failures.collect(), truncated };
        let mut journal = Journal::create(&paths.journal, &header).unwrap();
        journal.append(&[Entry::Committed(record)]).unwrap();
    }
    world.agree(Ok(())).unwrap();
}

/// Plans, stages and seals on so many ranks, each output with and without compression.
fn made(ranks: usize) -> (Dir, Vec<PathBuf>) {
    let dir = Dir::new();
    let mut outputs = Vec::new();
    for compression in ["gzip:4", "none"] {
        let output = |name: &str| dir.join(format!("{name}-{}.h5", compression.replace(':', "")));
        let here = ["text", "english", "chinese", "views"].map(output);
        plan_text(&here[0], 37, 6);
        plan_text(&here[1], 5, 0);
        plan_text(&here[2], 0, 1);
        plan_views(&here[3], 19);
        let names: Vec<_> = here.iter().map(|path| path.to_str().unwrap()).collect();
        let staged = dir.test("groups::stage_as_a_rank").env(OUTPUTS, names.join(" ")).ranks(ranks).run();
        staged.exits(Exit::Success).prints("1 passed");
        let seal = dir.hyperslab(["seal", "--compression", compression]);
        let sealed = names.iter().fold(seal, |seal, name| seal.arg(*name)).ranks(ranks).run();
        sealed.exits(Exit::Success);
        outputs.extend(here);
    }
    (dir, outputs)
}

#[test]
fn one_rank_and_three_make_the_same_sound_files() {
    let ((one, outputs), (three, others)) = (made(1), made(3));
    for (output, other) in outputs.iter().zip(&others) {
        assert_sound(output);
        assert_eq!(sha256(output), sha256(other), "{}", output.display());
    }
    // The list of views beside each of two.
    assert_eq!(names(one.path()).len(), outputs.len() + 2);
    assert_eq!(names(three.path()), names(one.path()));
    for output in &outputs {
        h5py(output);
    }
    // Both languages have those with a number that 3 does not divide.
    let ids = |group: &str| {
        let reader = Reader::open(&outputs[0], Some(group)).unwrap();
        let ids: Result<Vec<_>, _> =
            reader.iter_prefix("").unwrap().map(|asset| asset.map(|a| a.id)).collect();
        (ids.unwrap(), reader)
    };
    let ((english, _), (chinese, reader)) = (ids("english"), ids("chinese"));
    assert_eq!((english.len(), chinese.len()), (37, 6));
    assert_eq!(chinese[4..], ["chinese/000", "chinese/003"]);
    // Rows of the second group follow those of the first in the plan, and begin anew in the file.
    assert_eq!(reader.rows(2..3).unwrap().as_slice().unwrap(), vector(39));
    assert_eq!(reader.failures_of(0..6).unwrap()[0].row, 1, "row 38 of the plan");
    let only = Reader::open(&outputs[2], None).unwrap();
    assert_eq!((only.group(), only.n_rows()), ("chinese", 1));
    assert!(!hdf5::File::open(&outputs[2]).unwrap().link_exists("english"));
}

/// Runs `tests/groups.py FILE` with the system's Python, which has Debian's h5py.
#[track_caller]
fn h5py(file: &Path) {
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let output = Command::new(python).arg(repository("tests/groups.py")).arg(file).output().unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_set_of_views_counts_those_that_its_vector_is_made_from() {
    let dir = Dir::new();
    let output = dir.join("views.h5");
    plan_views(&output, 19);
    let spool = Spool::open(&OutputPaths::new(&output).plan).unwrap();
    let staged = dir.test("groups::stage_as_a_rank").env(OUTPUTS, output.to_str().unwrap()).ranks(2).run();
    staged.exits(Exit::Success);
    dir.hyperslab(["seal", "views.h5"]).run().exits(Exit::Success);
    let reader = Reader::open(&output, None).unwrap();
    assert_eq!((reader.n_rows(), reader.assets().n()), (19, 19));
    let num_images = reader.num_images().unwrap().of_rows(0..19).unwrap();
    for (row, found) in (0..).zip(num_images) {
        let planned = views_of(&spool, row).unwrap();
        assert!((1..=8).contains(&planned.len()));
        let listed = reader.failures_of(row..row + 1).unwrap().pop().map(|item| item.reason);
        let is_nan = reader.rows(row..row + 1).unwrap().iter().all(|value| value.is_nan());
        let error = failure(&spool, row);
        assert_eq!(listed, error.as_ref().map(ToString::to_string), "row {row}");
        let left = match error {
            None => planned.len(),
            Some(error) if error.has_vector() => planned.len() - 1,
            Some(_) => 0,
        };
        assert_eq!((found as usize, is_nan), (left, left == 0), "row {row}");
    }
    let summary = reader.summary().unwrap();
    assert!(summary.failures["views left out"] > 0 && summary.failures["no view left"] > 0);
    assert_eq!(summary.failures.values().sum::<u64>(), reader.failures().n());
}

#[test]
fn damage_in_the_second_group_of_a_stage_is_found_and_named() {
    let dir = Dir::new();
    for compression in ["gzip:4", "none"] {
        let output = dir.join("text.h5");
        let paths = OutputPaths::new(&output);
        plan_text(&output, 10, 9);
        let staged =
            dir.test("groups::stage_as_a_rank").env(OUTPUTS, output.to_str().unwrap()).ranks(2).run();
        staged.exits(Exit::Success);
        // Blocks 0 to 2 are English.
        let dataset = hdf5::File::open(&paths.partial).unwrap().dataset("chinese/embeddings").unwrap();
        let at = dataset.offset().unwrap() + 5 * 4 * DIM as u64 + 2;
        drop(dataset);
        let stage = fs::File::options().write(true).open(&paths.partial).unwrap();
        stage.write_all_at(&[0x55], at).unwrap();
        let seal = || dir.hyperslab(["seal", "text.h5", "--compression", compression]).ranks(3);
        let refused = seal().run().exits(Exit::Damaged).tells_one_error();
        refused.says("block 4 (rows 14 to 17) of").says("text.h5.partial");
        assert!(!output.exists());
        let row = stored(&Spool::open(&paths.plan).unwrap(), 15..16).bytes;
        stage.write_all_at(&row, at - 2).unwrap();
        seal().run().exits(Exit::Success);
        assert_sound(&output);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_seal_of_groups_may_be_killed_before_any_write_to_the_stage() {
    let dir = Dir::new();
    let output = dir.join("text.h5");
    plan_text(&output, 10, 9);
    let staged = dir.test("groups::stage_as_a_rank").env(OUTPUTS, output.to_str().unwrap()).ranks(2).run();
    staged.exits(Exit::Success);
    let left: Vec<_> = names(dir.path());
    let left: Vec<_> = left.iter().map(|name| (name, fs::read(dir.join(name)).unwrap())).collect();
    let seal = || dir.hyperslab(["seal", "text.h5", "--compression", "none"]);
    seal().run().exits(Exit::Success);
    let undisturbed = sha256(&output);
    for calls in (0..).step_by(2) {
        fs::remove_file(&output).unwrap();
        for (name, bytes) in &left {
            fs::write(dir.join(name), bytes).unwrap();
        }
        let killed = seal().fault(&format!("FAULT=kill PATH=.partial AFTER_CALLS={calls}")).run();
        if killed.status.success() {
            assert!(calls > 10, "{calls}: {killed}");
            return;
        }
        assert!(killed.stderr.contains("shim: rank 0: kill") && !output.exists(), "{killed}");
        seal().ranks(2).run().exits(Exit::Success);
        assert_eq!(sha256(&output), undisturbed, "killed before write {calls}");
    }
}
