//! Reading a spool by block. Every byte is checked before it is believed.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{
    INDEX_ENTRY_BYTES, MAGIC, Row, SECTION_HEAD_BYTES, SpoolHeader, TRAILER_BYTES, VERSION, digest_of_head,
};
use crate::error::{Context, Error, Exit, Result};
use crate::input::views::ViewCodec;
use crate::plan::bytes::Reader;
use crate::plan::{Blocks, Kind, Table};

/// Bytes read at a time where a part of the file is only passed through.
const PIECE_BYTES: u64 = 1 << 20;

/// An open spool. Holds 16 bytes per block; reads are positioned, so threads may share it.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    header: SpoolHeader,
    blocks: Blocks,
    digest: [u8; 32],
    /// Of each group.
    tables: Vec<Range<u64>>,
    records: Range<u64>,
    /// Per block, where its records end in the file, and their CRC-32.
    index: Vec<(u64, u32)>,
}

impl Spool {
    /// Opens the spool at `path`. Header, index, digest and the lengths of all parts are checked here,
    /// the tables and each block when they are read.
    ///
    /// # Errors
    /// The file cannot be read, is no spool, is one of another version, or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).context(|| format!("opening the plan '{}'", path.display()))?;
        let parts = Parts { file: &file, path };
        let len = file.metadata().context(|| parts.about())?.len();
        let head = parts.read(0..12.min(len))?;
        parts.check_magic(&head)?;
        let (json, header_range) = parts.section(12, len)?;
        let header: SpoolHeader =
            serde_json::from_slice(&json).map_err(|error| parts.damaged(&format!("its header: {error}")))?;
        let mut records_start = header_range.end;
        let mut tables = Vec::new();
        for _ in &header.groups {
            let table = parts.section_range(records_start, len)?;
            records_start = table.end;
            tables.push(table);
        }
        let trailer_start = len.saturating_sub(TRAILER_BYTES);
        let (records_bytes, digest) = parts.trailer(trailer_start..len)?;
        let records_end = records_start.saturating_add(records_bytes);
        let (index, index_range) = parts.section(records_end, len)?;
        if index_range.end != trailer_start {
            return Err(parts.damaged("its parts do not add up to its length"));
        }
        let records = records_start..records_end;
        let blocks = header.blocks();
        let index = parts.index(&index, &blocks, &records)?;
        let path = path.to_path_buf();
        Ok(Self { file, path, header, blocks, digest, tables, records, index })
    }

    pub fn header(&self) -> &SpoolHeader {
        &self.header
    }

    /// The rows and how they are cut.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// SHA-256 of groups, ids, counts, captions, paths and sizes of views, kind and block rows, as the
    /// writer noted it; [`Spool::verify`] tells whether the file still has it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The table of each group.
    ///
    /// # Errors
    /// The file cannot be read, or a table is damaged.
    pub fn tables(&self) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        for (group, range) in self.header.groups.iter().zip(&self.tables) {
            let (bytes, _) = self.parts().section(range.start - SECTION_HEAD_BYTES, range.end)?;
            let table = Table::from_bytes(&bytes).map_err(|error| self.parts().damaged(&error.message))?;
            if self.header.kind.rows(&table) != group.rows {
                return Err(self.parts().damaged("a table has another number of rows than its header says"));
            }
            tables.push(table);
        }
        Ok(tables)
    }

    /// The rows of one block.
    ///
    /// # Errors
    /// There is no such block, the file cannot be read, or the block is damaged.
    pub fn block(&self, block: u64) -> Result<Vec<Row>> {
        let entry = |block: u64| usize::try_from(block).ok().and_then(|i| self.index.get(i));
        let Some(&(end, crc)) = entry(block) else {
            let count = self.blocks.count();
            return Err(Error::new(format!("{}: block {block} of {count}", self.parts().about())));
        };
        let start = block.checked_sub(1).and_then(entry).map_or(self.records.start, |&(end, _)| end);
        let bytes = self.parts().read(start..end)?;
        let damaged = |why: &str| self.parts().damaged(&format!("block {block}: {why}"));
        if crc32fast::hash(&bytes) != crc {
            return Err(damaged("its checksum differs"));
        }
        let rows = self.blocks.range(block);
        decode(self.header.kind, &bytes, rows.end - rows.start).map_err(|error| damaged(&error.message))
    }

    /// Reads the whole file and compares it with its digest.
    ///
    /// # Errors
    /// The file cannot be read, or its content is not what was written.
    pub fn verify(&self) -> Result<()> {
        self.tables()?;
        let mut digest = digest_of_head(&self.header);
        for table in &self.tables {
            self.digest_range(&mut digest, table.clone())?;
        }
        self.digest_range(&mut digest, self.records.clone())?;
        let index_start = self.records.end + SECTION_HEAD_BYTES;
        let index_bytes = self.index.len() as u64 * INDEX_ENTRY_BYTES;
        self.digest_range(&mut digest, index_start..index_start + index_bytes)?;
        if digest.finalize()[..] == self.digest {
            return Ok(());
        }
        Err(self.parts().damaged("its content differs from its digest"))
    }

    /// SHA-256 of captions, or of paths and sizes of views, by row, without the rows that `leaves_out` names:
    /// what else there is of the plan does not count, so that it tells whether the others are still the same.
    ///
    /// # Errors
    /// The file cannot be read, or a block is damaged.
    pub fn digest_without(&self, leaves_out: impl Fn(u64) -> bool) -> Result<[u8; 32]> {
        let mut digest = Sha256::new();
        for block in 0..self.blocks.count() {
            let rows = self.blocks.range(block).zip(self.block(block)?);
            for (number, row) in rows.filter(|(number, _)| !leaves_out(*number)) {
                digest.update(number.to_le_bytes());
                row.digest(&mut digest);
            }
        }
        Ok(digest.finalize().into())
    }

    fn digest_range(&self, digest: &mut Sha256, range: Range<u64>) -> Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + PIECE_BYTES);
            digest.update(self.parts().read(start..end)?);
            start = end;
        }
        Ok(())
    }

    fn parts(&self) -> Parts<'_> {
        Parts { file: &self.file, path: &self.path }
    }
}

/// The parts of a spool's file, each read with its checks.
struct Parts<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Parts<'_> {
    fn about(&self) -> String {
        format!("the plan '{}'", self.path.display())
    }

    fn damaged(&self, why: &str) -> Error {
        Error::new(format!("{} is damaged: {why}", self.about()))
            .exit(Exit::Damaged)
            .hint("delete it to have it made anew; a job in progress then begins anew as well")
    }

    /// Reads `range`, which the caller has checked to lie within the file.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start).context(|| format!("reading {}", self.about()))?;
        Ok(bytes)
    }

    fn check_magic(&self, head: &[u8]) -> Result<()> {
        let Some(version) = head.strip_prefix(MAGIC) else {
            return Err(Error::new(format!("'{}' is not a plan of this program", self.path.display())));
        };
        if version == VERSION.to_le_bytes() {
            return Ok(());
        }
        Err(Error::new(format!("{} was written by another version of this program", self.about()))
            .hint("delete it to have it made anew"))
    }

    /// Where the bytes of the section at `start` lie, which must end by `limit`.
    fn section_range(&self, start: u64, limit: u64) -> Result<Range<u64>> {
        let cut = || self.damaged("it ends too early");
        let data = start.checked_add(SECTION_HEAD_BYTES).filter(|&data| data <= limit).ok_or_else(cut)?;
        let len = Reader::new(&self.read(start..data - 4)?).u64()?;
        let end = data.checked_add(len).filter(|&end| end <= limit).ok_or_else(cut)?;
        Ok(data..end)
    }

    /// The bytes of the section at `start`, checked, and where they lie.
    fn section(&self, start: u64, limit: u64) -> Result<(Vec<u8>, Range<u64>)> {
        let range = self.section_range(start, limit)?;
        let crc = Reader::new(&self.read(range.start - 4..range.start)?).u32()?;
        let bytes = self.read(range.clone())?;
        if crc32fast::hash(&bytes) != crc {
            return Err(self.damaged("a checksum differs"));
        }
        Ok((bytes, range))
    }

    /// The length of the records, and the digest.
    fn trailer(&self, range: Range<u64>) -> Result<(u64, [u8; 32])> {
        let trailer = self.read(range)?;
        let (Some((records_bytes, rest)), Some((checked, crc))) =
            (trailer.split_first_chunk::<8>(), trailer.split_last_chunk::<4>())
        else {
            return Err(self.damaged("it ends too early"));
        };
        let digest = rest.first_chunk::<32>().ok_or_else(|| self.damaged("it ends too early"))?;
        if crc32fast::hash(checked) != u32::from_le_bytes(*crc) {
            return Err(self.damaged("the checksum at its end differs"));
        }
        Ok((u64::from_le_bytes(*records_bytes), *digest))
    }

    fn index(&self, bytes: &[u8], blocks: &Blocks, records: &Range<u64>) -> Result<Vec<(u64, u32)>> {
        if blocks.count().checked_mul(INDEX_ENTRY_BYTES) != Some(bytes.len() as u64) {
            return Err(self.damaged("its index has another number of blocks than its header says"));
        }
        let mut end = records.start;
        let mut index = Vec::with_capacity(bytes.len() / INDEX_ENTRY_BYTES as usize);
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            end = end.saturating_add(reader.u64()?);
            if end > records.end {
                return Err(self.damaged("its index points past its records"));
            }
            index.push((end, reader.u32()?));
        }
        if end != records.end {
            return Err(self.damaged("its index does not cover its records"));
        }
        Ok(index)
    }
}

/// The `rows` records of one block.
fn decode(kind: Kind, bytes: &[u8], rows: u64) -> Result<Vec<Row>> {
    let mut reader = Reader::new(bytes);
    let mut views = ViewCodec::default();
    // A record takes a byte at least, which bounds what is reserved.
    let mut decoded = Vec::with_capacity(rows.min(bytes.len() as u64) as usize);
    for _ in 0..rows {
        decoded.push(match kind {
            Kind::Text => Row::Caption(reader.str()?.to_owned()),
            Kind::Image => Row::View(views.get(&mut reader)?),
            Kind::ViewSet => {
                let n = reader.varint()?;
                Row::ViewSet((0..n).map(|_| views.get(&mut reader)).collect::<Result<_>>()?)
            }
        });
    }
    reader.finish()?;
    Ok(decoded)
}
