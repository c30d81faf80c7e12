//! Archives below a root, as a walk finds them: what it lists goes through bytes and a spool unchanged, and a view
//! that can be read has the size it was listed with. The first byte of an input chooses the format.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hyperslab::input::views::{self, Listing, Rule};
use hyperslab::input::{Input, Keep, ReadError, Row, Source, ViewReader};
use hyperslab::plan::Views;
use hyperslab_fuzz::{scratch, write};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["a.tar", "b.zip", "d/7.tar", "d/7.zip"];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(scratch);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, archive)) = data.split_first() else { return };
    let root = FOLDER.join("root");
    let path = root.join(NAMES[usize::from(choice) % NAMES.len()]);
    fs::create_dir_all(path.parent().expect("below the root")).expect("room for temporary files");
    write(&path, archive);
    look(&root, archive.len());
    fs::remove_file(&path).expect("written before");
});

fn look(root: &Path, archive_bytes: usize) {
    let listing = list(root);
    let input = Input::image(listing.catalog, Views::All, None).expect("few views");
    let spool = match input.write_spool(&FOLDER.join("plan"), Some(5), Source::default()) {
        Ok(spool) => spool,
        // A path that is too long, or comes twice, is an error of the whole input.
        Err(_) => return,
    };
    let reader = ViewReader::new(root);
    for block in 0..spool.blocks().count() {
        for row in spool.block(block).expect("a block that was just written") {
            let Row::View(view) = row else { panic!("{row:?} among views") };
            match reader.read(&view) {
                Ok(bytes) => assert!(view.bytes == 0 || bytes.len() as u64 == view.bytes),
                Err(ReadError::Item(_)) => {}
                Err(ReadError::Machine(error)) => panic!("{view:?} of {archive_bytes} bytes: {error}"),
            }
        }
    }
}

/// What is below a root, sent as between ranks.
fn list(root: &Path) -> Listing {
    let rule = Rule::default();
    let (parts, mut all) = views::split(root, 1, Keep::Everything, &rule).expect("a folder");
    for part in parts {
        let listing = views::walk(root, &part, Keep::Everything, &rule).expect("what is odd is data");
        let bytes = listing.to_bytes().expect("a listing");
        all.merge(Listing::from_bytes(&bytes).expect("what was written"));
    }
    all
}
