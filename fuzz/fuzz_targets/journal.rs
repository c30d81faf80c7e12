//! Journals. The first byte of an input chooses what it is: a whole file, or one frame a line, header and records,
//! which are put together with lengths and checksums that are right. What is read stays when a record is added.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use hyperslab::store::{Digest, Entry, Journal, Record, read_journal};
use hyperslab_fuzz::{scratch, write};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(scratch);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let path = FOLDER.join("journal");
    let file = if choice % 2 == 0 { data.to_vec() } else { put_together(data) };
    write(&path, &file);
    let Ok((header, committed, good_bytes)) = read_journal(&path) else {
        assert!(Journal::open(&path).is_err());
        return;
    };
    assert!(good_bytes <= file.len() as u64);
    let blocks = header.blocks();
    assert!(committed.digests.keys().all(|block| header.own_blocks().contains(block)));
    assert!(committed.rows(&blocks) <= blocks.rows());
    let (mut journal, ..) = Journal::open(&path).expect("read before");
    let own = header.own_blocks();
    if own.is_empty() {
        return;
    }
    let record = Record { first_block: own.start, digests: vec![Digest([7; 32])], ..Record::default() };
    journal.append(&[Entry::Committed(record.clone())]).expect("room for temporary files");
    let mut expected = committed;
    expected.add(record);
    assert_eq!(read_journal(&path).expect("read before").1, expected);
});

/// A journal of its frames, as `store::journal` describes it.
fn put_together(data: &[u8]) -> Vec<u8> {
    let mut file = b"HYPJRNL\x03".to_vec();
    for payload in data.split(|&byte| byte == b'\n') {
        file.extend((payload.len() as u32).to_le_bytes());
        file.extend(crc32fast::hash(payload).to_le_bytes());
        file.extend_from_slice(payload);
    }
    file
}
