//! What the targets have in common.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this process, anew. `TMPDIR` should name one in memory: targets write a file for each input.
pub fn scratch() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hyperslab-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

/// Writes a file of the scratch folder.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("room for temporary files");
}

/// The parts of an input that is several: between lines of a `#` alone.
pub fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n#\n";
    let mut parts = Vec::new();
    while let Some(at) = data.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&data[..at]);
        data = &data[at + BETWEEN.len()..];
    }
    parts.push(data);
    parts
}

/// Lets panics of other crates pass, for what the program runs `comm::shielded`; any other ends the process.
pub fn spare_foreign_panics() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_foreign = panic.location().is_some_and(|place| place.file().contains("/registry/src/"));
        if !is_foreign {
            end(panic);
        }
    }));
}
