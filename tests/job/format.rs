//! The files as others see them: stock h5py and the HDF5 tools.

use std::path::Path;
use std::process::{Command, Output};

use hyperslab::Exit;

use super::{embed, image_of, text_of};
use crate::util::{Dir, repository};

#[track_caller]
fn h5py(check: &str, file: &Path) {
    h5py_of("tests/job/format.py", check, file);
}

/// Runs `SCRIPT CHECK FILE` with the system's Python, which has Debian's h5py.
#[track_caller]
pub fn h5py_of(script: &str, check: &str, file: &Path) {
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let output = Command::new(python).arg(repository(script)).arg(check).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[track_caller]
pub fn h5dump(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("h5dump").args(arguments).arg(file).output().expect("h5dump is in hdf5-tools");
    assert!(output.status.success(), "{}", told(&output));
    assert!(output.stderr.is_empty(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn stock_h5py_and_h5dump_read_everything() {
    for (compression, dtype) in [("gzip:4", "f32"), ("none", "f32"), ("gzip:4", "f16"), ("none", "f16")] {
        let dir = Dir::new();
        let job = embed(&dir, "text image").set("--compression", compression).set("--dtype", dtype);
        job.ranks(3).run().exits(Exit::Success);
        for (check, file) in [("text", text_of(&dir)), ("image", image_of(&dir))] {
            h5py(&format!("{check} {compression} {dtype}"), &file);
            let header = h5dump(&["-H", "-p"], &file);
            assert_eq!(
                header.contains("COMPRESSION DEFLATE { LEVEL 4 }"),
                compression == "gzip:4",
                "{header}"
            );
            assert_eq!(
                header.contains("PREPROCESSING SHUFFLE") || header.contains("SHUFFLE"),
                compression == "gzip:4"
            );
            let all = h5dump(&[], &file);
            assert!(all.contains("\"0/10002\"") && all.contains("failures") && all.contains("digests"));
        }
    }
}
