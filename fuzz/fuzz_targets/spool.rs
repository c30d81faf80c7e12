//! Spools. The first byte of an input chooses what it is: a whole file, or [`parts`], the header,
//! the tables and the records of each block, which are put together with lengths and checksums that are right. A
//! spool whose blocks can all be read is written anew, and has the same rows.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hyperslab::input::{Row, Spool, SpoolHeader, SpoolWriter};
use hyperslab::plan::Table;
use hyperslab_fuzz::{parts, scratch, write};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(scratch);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let path = FOLDER.join("plan");
    let file = if choice % 2 == 0 { data.to_vec() } else { put_together(data) };
    write(&path, &file);
    let Ok(spool) = Spool::open(&path) else { return };
    let tables = spool.tables();
    // Damaged or not, it ends.
    let _ = spool.verify();
    let blocks: Result<Vec<_>, _> = (0..spool.blocks().count()).map(|block| spool.block(block)).collect();
    let (Ok(tables), Ok(blocks)) = (tables, blocks) else { return };
    for (block, rows) in (0..).zip(&blocks) {
        assert_eq!(spool.blocks().range(block).count(), rows.len());
    }
    let rows = blocks.concat();
    if let Some(again) = write_again(spool.header(), &tables, &rows) {
        again.verify().expect("a spool that was just written");
        let read = (0..again.blocks().count()).map(|block| again.block(block).expect("just written"));
        assert_eq!(read.collect::<Vec<_>>(), blocks);
    }
});

/// The same rows in another file; nothing, where a row cannot be written.
fn write_again(header: &SpoolHeader, tables: &[Table], rows: &[Row]) -> Option<Spool> {
    let path: &Path = &FOLDER.join("again");
    let tables: Vec<&Table> = tables.iter().collect();
    let mut writer = SpoolWriter::create(path, header, &tables).expect("tables that were read with it");
    for row in rows {
        match row {
            Row::Caption(caption) => writer.caption(caption).ok()?,
            Row::View(view) => writer.view(view).ok()?,
            Row::ViewSet(views) => writer.view_set(views).ok()?,
        }
    }
    Some(writer.finish().expect("all rows"))
}

/// A spool of its parts, as `input::spool` describes it, but for the digest.
fn put_together(data: &[u8]) -> Vec<u8> {
    let mut parts = parts(data).into_iter();
    let header = parts.next().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(header).unwrap_or_default();
    let groups = json["groups"].as_array().map_or(0, Vec::len);
    let mut file = b"HYPSPOOL\x03\0\0\0".to_vec();
    put_section(&mut file, header);
    parts.by_ref().take(groups).for_each(|table| put_section(&mut file, table));
    let (mut index, mut records) = (Vec::new(), 0);
    for block in parts {
        file.extend_from_slice(block);
        index.extend((block.len() as u64).to_le_bytes());
        index.extend(crc32fast::hash(block).to_le_bytes());
        records += block.len() as u64;
    }
    put_section(&mut file, &index);
    let mut trailer = records.to_le_bytes().to_vec();
    trailer.extend([0; 32]);
    trailer.extend(crc32fast::hash(&trailer).to_le_bytes());
    file.extend(trailer);
    file
}

fn put_section(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend((bytes.len() as u64).to_le_bytes());
    file.extend(crc32fast::hash(bytes).to_le_bytes());
    file.extend_from_slice(bytes);
}
