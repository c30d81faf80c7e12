//! Captions of every form: read whole or counted they have the same assets, gzipped too, and a JSON object has
//! those that another parser finds in it. The first byte of an input chooses the file's name, and whether it is read
//! gzipped as well.
#![no_main]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::{Compression, write::GzEncoder};
use hyperslab::input::{Input, Keep, Row, Source, captions};
use hyperslab::plan::Table;
use hyperslab_fuzz::{scratch, write};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["captions.json", "captions.jsonl", "captions.csv", "captions"];
/// A bit of the first byte that the choice of the name leaves.
const GZIPPED_TOO: u8 = 4;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(scratch);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, text)) = data.split_first() else { return };
    let name = NAMES[usize::from(choice) % NAMES.len()];
    let path = FOLDER.join(name);
    write(&path, text);
    let read = input(&path, Keep::Everything);
    let counted = input(&path, Keep::Counts);
    assert_eq!(read.as_ref().map(Input::table), counted.as_ref().map(Input::table));
    if choice & GZIPPED_TOO != 0 && !text.starts_with(b"\x1f\x8b") {
        let zipped = FOLDER.join(format!("{name}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("a Vec takes everything");
        write(&zipped, &encoder.finish().expect("a Vec takes everything"));
        let zipped = input(&zipped, Keep::Counts).map(|input| input.table().clone());
        assert_eq!(zipped.ok(), read.as_ref().map(|input| input.table().clone()).ok());
    }
    let Ok(read) = read else { return };
    let is_unique = read.duplicates().count == 0;
    let spool = read.write_spool(&FOLDER.join("plan"), Some(3), Source::default());
    assert_eq!(spool.is_ok(), is_unique, "{spool:?}");
    let Ok(spool) = spool else { return };
    spool.verify().expect("a spool that was just written");
    let rows: Vec<Row> = (0..spool.blocks().count())
        .flat_map(|block| spool.block(block).expect("a block that was just written"))
        .collect();
    assert_eq!(rows.len(), read.table().len());
    if name == "captions.json" && !text.starts_with(b"\x1f\x8b") {
        compare(text, read.table(), &rows);
    }
});

fn input(path: &Path, keep: Keep) -> hyperslab::Result<Input> {
    Input::text(captions::read(path, keep)?.catalog, None)
}

/// Compares what was read with what serde_json makes of the whole text.
fn compare(text: &[u8], table: &Table, rows: &[Row]) {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let expected: BTreeMap<String, String> = serde_json::from_slice(text).expect("what was read is JSON");
    let read = table.iter().zip(rows).map(|((id, _), row)| match row {
        Row::Caption(caption) => (id, caption.as_str()),
        other => panic!("{other:?} among captions"),
    });
    assert!(read.eq(expected.iter().map(|(id, caption)| (id.as_str(), caption.as_str()))));
}
