//! Headers of safetensors files, and the index of several. The first byte of an input chooses what it is: a file,
//! the header of a file that is as long as it says, or an index.
#![no_main]

use std::fs::File;
use std::path::PathBuf;
use std::sync::LazyLock;

use hyperslab::model::checkpoint::{self, INDEX, WEIGHTS};
use hyperslab_fuzz::{scratch, write};
use libfuzzer_sys::fuzz_target;
use safetensors::tensor::Metadata;

/// Longer files are made no longer than this; they are sparse.
const FILE_BYTES_MAX: u64 = 1 << 40;

static FOLDERS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
    let scratch = scratch();
    ["one", "several"].map(|name| {
        let folder = scratch.join(name);
        std::fs::create_dir(&folder).expect("room for temporary files");
        folder
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let [one, several] = &*FOLDERS;
    match choice % 3 {
        0 => {
            write(&one.join(WEIGHTS), data);
            check(one);
        }
        1 => {
            let path = one.join(WEIGHTS);
            write(&path, &[&(data.len() as u64).to_le_bytes()[..], data].concat());
            if let Ok(metadata) = serde_json::from_slice::<Metadata>(data) {
                let bytes = (8 + data.len() as u64).saturating_add(metadata.data_len() as u64);
                let file = File::options().write(true).open(&path).expect("just written");
                file.set_len(bytes.min(FILE_BYTES_MAX)).expect("a sparse file");
                let is_whole = bytes <= FILE_BYTES_MAX;
                assert_eq!(check(one), is_whole, "{metadata:?}");
            } else {
                assert!(!check(one));
            }
        }
        _ => {
            write(&several.join(INDEX), data);
            if let Ok(names) = checkpoint::weight_files(several) {
                assert!(names.is_sorted() && !names.is_empty());
                assert!(names.iter().all(|name| !name.is_empty() && !name.contains('/')), "{names:?}");
            }
        }
    }
});

/// Whether the one file of a folder is sound.
fn check(folder: &std::path::Path) -> bool {
    let parameters = checkpoint::parameters(folder);
    let path = folder.join(WEIGHTS);
    let header = checkpoint::header(&path, &File::open(&path).expect("just written"));
    assert_eq!(parameters.is_ok(), header.is_ok());
    header.is_ok()
}
