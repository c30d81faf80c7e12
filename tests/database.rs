//! `hyperslab populate`, and `search` in what it has filled, with a real PostgreSQL and pgvector that each test starts
//! and stops (`sample/postgres.sh`).

mod connect;
mod faults;
mod fill;
mod nearest;
mod server;
mod vectors;

use std::path::{Path, PathBuf};

use hyperslab::Exit;
use hyperslab::plan::{Kind, TableBuilder};
use hyperslab::store::{Compression, NewFile, NewRow, StoredType, Writer};
use server::Postgres;

use crate::util::{Dir, Outcome, Run, repository};

/// A sealed file that failed items are in.
fn fixture(name: &str) -> PathBuf {
    repository("tests/fixtures_h5").join(name)
}

/// Captions' vectors, pseudo-random and of length 1, by asset `a000000`, `a000001`, ...
fn captions(path: &Path, rows: usize, dim: usize, seed: u64) -> PathBuf {
    let ids: Vec<String> = (0..rows).map(|row| format!("a{row:06}")).collect();
    let mut table = TableBuilder::default();
    for id in &ids {
        table.push(id, 1).unwrap();
    }
    let file = new_file(path, "siglip_text", Kind::Text, vec![(String::new(), table.finish())], dim);
    write(file, rows, dim, seed)
}

fn new_file<'a>(
    path: &'a Path,
    name: &'a str,
    kind: Kind,
    groups: Vec<(String, hyperslab::plan::Table)>,
    dim: usize,
) -> NewFile<'a> {
    NewFile {
        path,
        overwrite: true,
        kind,
        name,
        groups,
        dim,
        stored: StoredType::F32,
        compression: Compression::None,
        block_rows: None,
        attributes: Vec::new(),
        truncated: None,
    }
}

fn write(file: NewFile<'_>, rows: usize, dim: usize, seed: u64) -> PathBuf {
    let path = file.path.to_owned();
    let num_images = i32::from(file.kind == Kind::ViewSet);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut writer = Writer::create(file).unwrap();
    for _ in 0..rows {
        let vector: Vec<f32> = (0..dim).map(|_| random.f32() - 0.5).collect();
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        let vector: Vec<f32> = vector.iter().map(|value| value / norm).collect();
        writer.push(&NewRow { vector: Some(&vector), num_images, ..NewRow::default() }).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// Not yet started: a load of files into the family's database.
fn populate(dir: &Dir, postgres: &Postgres, family: &str, files: &[&Path]) -> Run {
    let files = files.iter().map(|file| file.to_str().unwrap());
    postgres.reached_by(dir.hyperslab(["populate", family].into_iter().chain(files)))
}

/// Runs a load that has to be done.
#[track_caller]
fn fills(run: Run) -> Outcome {
    run.run().exits(Exit::Success)
}
