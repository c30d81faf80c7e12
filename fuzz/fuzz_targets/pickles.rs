//! Pickled dictionaries of arrays, and archives of arrays, as what they say by their first bytes: what is opened has
//! the rows that its table says, of one length, and not more of them than bytes. The first byte of an input chooses
//! whether assets have a row for each view.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use hyperslab::input::arrays::{self, Request};
use hyperslab::plan::Kind;
use hyperslab_fuzz::{scratch, write};
use libfuzzer_sys::fuzz_target;

/// What deflated data and references in a pickle can make of a byte.
const ROWS_PER_BYTE: u64 = 2048;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(scratch);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, source)) = data.split_first() else { return };
    let path = FOLDER.join("source");
    write(&path, source);
    let kind = if choice % 2 == 0 { Kind::Text } else { Kind::Image };
    let (files, output) = ([path], FOLDER.join("output"));
    let request = Request { files: &files, metadata: &[], kind, output: &output };
    let Ok(vectors) = arrays::open(&request, &mut |_| {}) else { return };
    let total = vectors.table().total();
    assert!(total <= source.len() as u64 * ROWS_PER_BYTE);
    let (mut rows, mut row) = (vectors.rows(), Vec::new());
    for _ in 0..total {
        assert!(rows.next(&mut row).expect("a row that was located"));
        assert_eq!(row.len(), vectors.dim());
    }
    assert!(!rows.next(&mut row).expect("nothing to read"));
});
