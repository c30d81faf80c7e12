//! Memory is bounded by the ids, whatever the vectors take.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::memory::peak;

const ROWS: usize = 60_000;
const DIM: usize = 1152;
/// Of the vectors, of 264 MiB, there are never all in memory.
const MOST: u64 = 100 << 20;

fn header(descr: &str, shape: &str) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes()].concat()
}

/// Rows with a single one in them, in a file that is nearly all hole.
fn npy(path: &Path) {
    let file = File::create(path).unwrap();
    let header = header("<f4", &format!("({ROWS}, {DIM})"));
    file.write_all_at(&header, 0).unwrap();
    file.set_len((header.len() + ROWS * DIM * 4) as u64).unwrap();
    for row in 0..ROWS {
        let at = header.len() + (row * DIM + row % DIM) * 4;
        file.write_all_at(&1_f32.to_le_bytes(), at as u64).unwrap();
    }
}

/// Ids in another order than that of their bytes.
fn id(row: usize) -> String {
    format!("{}/{row}", row * 7 % 1000)
}

/// The most memory, in bytes, that the program takes for an import.
fn peak_of(folder: &Path, arguments: &str) -> u64 {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hyperslab"));
    program.current_dir(folder).args(["import", "siglip-text", "out.h5", "--overwrite"]);
    peak(program.args(arguments.split(' ')))
}

#[test]
fn an_import_takes_far_less_memory_than_its_vectors() {
    let folder = TempDir::new().unwrap();
    let array = folder.path().join("a.npy");
    npy(&array);
    let ids: Vec<String> = (0..ROWS).map(id).collect();
    fs::write(folder.path().join("a.json"), serde_json::to_vec(&ids).unwrap()).unwrap();
    let plain = peak_of(folder.path(), "a.npy --metadata a.json --compression none");
    assert!(plain < MOST, "{plain} bytes");

    let file = BufWriter::new(File::create(folder.path().join("a.npz")).unwrap());
    let mut zip = ZipWriter::new(file);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file("embeddings.npy", options.compression_level(Some(1))).unwrap();
    std::io::copy(&mut File::open(&array).unwrap(), &mut zip).unwrap();
    zip.start_file("asset_ids.npy", options).unwrap();
    zip.write_all(&header("|S12", &format!("({ROWS},)"))).unwrap();
    for id in &ids {
        zip.write_all(&[id.as_bytes(), &vec![0; 12 - id.len()]].concat()).unwrap();
    }
    zip.finish().unwrap().flush().unwrap();
    let packed = peak_of(folder.path(), "a.npz --compression gzip:1");
    assert!(packed < MOST, "{packed} bytes");
    eprintln!("at most {} and {} MiB of {} MiB", plain >> 20, packed >> 20, (ROWS * DIM * 4) >> 20);
}
