//! The sealed file while it is being made: rows chunk by chunk, then the tables and provenance.

use std::ops::Range;
use std::path::Path;

use hdf5::types::{IntSize, TypeDescriptor};
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::fingerprint::Fingerprint;
use super::journal::Committed;
use super::schema::{self, AssetRecord, FailureLayout, FailureRecord, StoredType, TableLayout, attr};
use super::stage::StoredRows;
use crate::comm::RawComm;
use crate::error::{Context, Result};
use crate::h5::{Layout, ParallelFile, RowDataset};
use crate::plan::{Blocks, Table, chunk_rows};

/// Tables are written in pieces of about this size, to bound memory at tens of millions of assets.
const PIECE_BYTES: usize = 64 << 20;
/// Longest reason in `/failures`, in bytes.
const REASON_BYTES_MAX: usize = 200;

/// What a sealed file holds beside its rows.
pub struct Contents<'a> {
    /// Whether each row is a view (an asset has many) or an asset.
    pub row_per_view: bool,
    pub table: &'a Table,
    pub blocks: Blocks,
    pub dim: u64,
    pub stored: StoredType,
    pub fingerprint: &'a Fingerprint,
    pub committed: &'a Committed,
}

/// The file that becomes the output, open on all ranks.
pub struct SealedFile {
    file: ParallelFile,
    rows: RowDataset,
    /// Whether this rank writes what exists once.
    is_root: bool,
}

impl SealedFile {
    /// Creates it with room for all rows: chunked, shuffled and deflated at `gzip`. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn create(path: &Path, what: &Contents<'_>, gzip: u8, comm: RawComm, is_root: bool) -> Result<Self> {
        let row_bytes = what.dim * what.stored.size_bytes() as u64;
        let layout = Layout::Chunked { rows: chunk_rows(what.blocks.block_rows(), row_bytes), gzip };
        let file = ParallelFile::create(path, comm)?;
        let shape = [what.blocks.rows(), what.dim];
        let rows = file.create_rows(schema::EMBEDDINGS, &what.stored.descriptor(), &shape, layout)?;
        Ok(Self { file, rows, is_root })
    }

    /// Takes a verified stage as it is, for a file without compression. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn adopt(stage: &Path, comm: RawComm, is_root: bool) -> Result<Self> {
        let file = ParallelFile::open(stage, comm)?;
        let rows = file.open_rows(schema::EMBEDDINGS)?;
        Ok(Self { file, rows, is_root })
    }

    /// Writes whole blocks of rows, possibly none. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk.
    pub fn write(&self, rows: &StoredRows) -> Result<()> {
        self.rows.write(rows.start, &rows.bytes)
    }

    /// Writes tables, digests and attributes, and closes the file. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk.
    pub fn complete(self, what: &Contents<'_>) -> Result<()> {
        let table_digest = self.write_table(what)?;
        let failures_digest = self.write_failures(what)?;
        self.write_digests(what)?;
        let text = |object, name, value: &str| self.write_text(object, name, value);
        self.write_count(schema::DIGESTS, attr::BLOCK_ROWS, what.blocks.block_rows())?;
        text(schema::DIGESTS, attr::ALGORITHM, schema::DIGEST_ALGORITHM)?;
        text(schema::DIGESTS, attr::TABLE_SHA256, &table_digest.to_string())?;
        text(schema::DIGESTS, attr::FAILURES_SHA256, &failures_digest.to_string())?;
        self.write_root_attributes(what)?;
        self.file.flush()?;
        self.rows.close();
        self.file.finish()
    }

    fn write_root_attributes(&self, what: &Contents<'_>) -> Result<()> {
        self.write_count("", attr::FORMAT_VERSION, schema::FORMAT_VERSION as u64)?;
        self.write_count("", attr::TOTAL_ITEMS, what.blocks.rows())?;
        self.write_count("", attr::EMBEDDING_DIM, what.dim)?;
        self.write_count("", attr::TOTAL_ASSETS, what.table.len() as u64)?;
        if what.row_per_view {
            self.write_count("", attr::TOTAL_VIEWPOINTS, what.blocks.rows())?;
        }
        self.write_count("", attr::FAILED_ITEMS, what.committed.failures.len() as u64)?;
        for (name, value) in what.fingerprint.about.iter().chain(&what.fingerprint.parts) {
            self.write_text("", name, value)?;
        }
        self.write_text("", "fingerprint", &what.fingerprint.digest().to_string())
    }

    fn write_table(&self, what: &Contents<'_>) -> Result<Digest> {
        let id_bytes = what.table.longest_id().max(1);
        let layout = if what.row_per_view {
            TableLayout::RowPerView { id_bytes }
        } else {
            TableLayout::RowPerAsset { id_bytes }
        };
        let assets = what.table.len() as u64;
        self.write_records(layout.dataset(), &layout.descriptor(), assets, |asset, out| {
            let asset = asset as usize;
            let record = AssetRecord {
                id: what.table.id(asset).as_bytes(),
                start_idx: what.table.start(asset) as i64,
                count: what.table.count(asset) as i32,
            };
            layout.encode(record, out);
        })
    }

    fn write_failures(&self, what: &Contents<'_>) -> Result<Digest> {
        let failures: Vec<(u64, String)> =
            what.committed.failures.iter().map(|(&row, error)| (row, error.to_string())).collect();
        let longest = failures.iter().map(|(_, reason)| reason.len()).max().unwrap_or(0);
        let id_bytes = what.table.longest_id().max(1);
        let layout = FailureLayout { id_bytes, reason_bytes: longest.clamp(1, REASON_BYTES_MAX) };
        let ty = schema::failure_type(layout.id_bytes, layout.reason_bytes);
        self.write_records(schema::FAILURES, &ty, failures.len() as u64, |index, out| {
            let (row, reason) = &failures[index as usize];
            let id = what.table.asset_of_row(*row).map_or("", |(asset, _)| what.table.id(asset));
            let (id, reason) = (id.as_bytes(), reason.as_bytes());
            layout.encode(FailureRecord { id, row: *row as i64, reason }, out);
        })
    }

    fn write_digests(&self, what: &Contents<'_>) -> Result<Digest> {
        let digests: Vec<&Digest> = what.committed.digests.values().collect();
        let ty =
            TypeDescriptor::FixedArray(Box::new(TypeDescriptor::Unsigned(IntSize::U1)), schema::DIGEST_BYTES);
        let count = digests.len() as u64;
        self.write_records(schema::DIGESTS, &ty, count, |block, out| {
            out.extend(digests[block as usize].0);
        })
    }

    /// Writes `count` records of one type as a contiguous dataset, piece by piece, from the root rank.
    /// An array type becomes a second dimension. Returns the digest of the stored bytes, on every rank.
    fn write_records(
        &self,
        name: &str,
        ty: &TypeDescriptor,
        count: u64,
        encode: impl Fn(u64, &mut Vec<u8>),
    ) -> Result<Digest> {
        let record_bytes = ty.size();
        let dataset = match ty {
            TypeDescriptor::FixedArray(element, length) => {
                self.file.create_rows(name, element, &[count, *length as u64], Layout::Contiguous)?
            }
            _ => self.file.create_rows(name, ty, &[count], Layout::Contiguous)?,
        };
        let piece_records = (PIECE_BYTES / record_bytes.max(1)).max(1);
        let mut hash = Sha256::new();
        for start in (0..count).step_by(piece_records) {
            let records: Range<u64> = start..count.min(start + piece_records as u64);
            let mut bytes = Vec::with_capacity((records.end - records.start) as usize * record_bytes);
            records.for_each(|record| encode(record, &mut bytes));
            hash.update(&bytes);
            dataset.write(start, if self.is_root { &bytes } else { &[] })?;
        }
        dataset.close();
        Ok(Digest(hash.finalize().into()))
    }

    fn write_count(&self, object: &str, name: &str, value: u64) -> Result<()> {
        let value = i64::try_from(value).context(|| format!("attribute {name}"))?;
        self.file.write_attribute(object, name, &TypeDescriptor::Integer(IntSize::U8), &value.to_ne_bytes())
    }

    fn write_text(&self, object: &str, name: &str, value: &str) -> Result<()> {
        let mut bytes = value.as_bytes().to_vec();
        // A string type has at least one byte.
        bytes.resize(bytes.len().max(1), 0);
        self.file.write_attribute(object, name, &TypeDescriptor::FixedUnicode(bytes.len()), &bytes)
    }
}

/// Whether `rows`, a run of whole blocks, has the digests that the journal holds for them; the first
/// block that has not, otherwise.
///
/// # Errors
/// The number of the block whose bytes differ.
pub fn check_digests(
    rows: &StoredRows,
    first_block: u64,
    block_bytes: usize,
    committed: &Committed,
) -> std::result::Result<(), u64> {
    for (block, bytes) in (first_block..).zip(rows.bytes.chunks(block_bytes.max(1))) {
        if committed.digests.get(&block) != Some(&Digest::of(bytes)) {
            return Err(block);
        }
    }
    Ok(())
}
