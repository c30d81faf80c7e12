//! The sealed file while it is being made: rows chunk by chunk, then the tables and provenance.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use hdf5::types::{IntSize, TypeDescriptor};
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::embeddings::{Embeddings, RowsShape};
use super::schema::{
    self, AssetRecord, Compression, FailureLayout, FailureRecord, StoredType, TableLayout, attr, path_in,
};
use super::stored_rows::StoredRows;
use crate::error::{Context, Result};
use crate::h5::{Access, Layout, Object, RowFile};
use crate::plan::{Blocks, Kind, RowGroup, Table, chunk_rows};

/// Tables are written in pieces of about this size, to bound memory at tens of millions of assets.
const PIECE_BYTES: usize = 64 << 20;
/// Longest reason in `/failures`, in bytes.
const REASON_BYTES_MAX: usize = 200;

/// What a sealed file holds beside its rows.
pub struct Contents<'a> {
    pub kind: Kind,
    /// In order of their rows.
    pub groups: &'a [RowGroup],
    /// Of each group.
    pub tables: &'a [Table],
    pub blocks: Blocks,
    pub dim: u64,
    pub stored: StoredType,
    /// Of each block.
    pub digests: &'a BTreeMap<u64, Digest>,
    /// What failed, by row.
    pub failures: BTreeMap<u64, String>,
    /// Of how many views the vector of each row is made; of files of view sets.
    pub num_images: Vec<i32>,
    /// Texts that had more tokens than the model takes, if that is known.
    pub truncated: Option<u64>,
    /// Strings of the root: what the vectors depend on.
    pub attributes: Vec<(String, String)>,
}

impl<'a> Contents<'a> {
    /// Which rows the file has, and of which form.
    pub fn shape(&self) -> RowsShape<'a> {
        RowsShape { groups: self.groups, rows: 0..self.blocks.rows(), dim: self.dim, stored: self.stored }
    }

    fn each_group(&self) -> impl Iterator<Item = GroupContents<'_>> {
        let parts = self.groups.iter().zip(self.tables).enumerate();
        parts.map(|(number, (group, table))| {
            let rows = self.blocks.rows_of_group(number);
            let failures = self.failures.range(rows.clone());
            let digests = self.digests.range(self.blocks.blocks_of_group(number));
            GroupContents {
                name: &group.name,
                kind: self.kind,
                table,
                failures: failures.map(|(&row, reason)| (row - rows.start, reason.as_str())).collect(),
                num_images: self.num_images.get(rows.start as usize..rows.end as usize).unwrap_or_default(),
                digests: digests.map(|(_, digest)| digest).collect(),
                rows: group.rows,
            }
        })
    }
}

/// What one group of the file holds beside its rows, which it numbers by itself.
struct GroupContents<'a> {
    name: &'a str,
    kind: Kind,
    table: &'a Table,
    /// By row, in order.
    failures: Vec<(u64, &'a str)>,
    num_images: &'a [i32],
    /// Of each block.
    digests: Vec<&'a Digest>,
    rows: u64,
}

impl GroupContents<'_> {
    fn counts(&self) -> Counts {
        let (assets, failed) = (self.table.len() as u64, self.failures.len() as u64);
        Counts { rows: self.rows, assets, failed }
    }
}

/// What attributes count, of a group or of all.
#[derive(Clone, Copy)]
struct Counts {
    rows: u64,
    assets: u64,
    failed: u64,
}

/// The file that becomes the output.
pub struct SealedFile {
    file: RowFile,
    rows: Embeddings,
    /// Whether this rank writes what exists once.
    is_root: bool,
}

impl SealedFile {
    /// Creates it with room for all rows: chunked, shuffled and deflated, or contiguous. `is_root` on the one rank
    /// that writes what exists once. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn create(
        path: &Path,
        (shape, block_rows): (&RowsShape<'_>, u64),
        compression: Compression,
        access: Access,
        is_root: bool,
    ) -> Result<Self> {
        let layout = match compression {
            Compression::None => Layout::Contiguous,
            Compression::Gzip(gzip) => {
                Layout::Chunked { rows: chunk_rows(block_rows, shape.row_bytes() as u64), gzip }
            }
        };
        let file = RowFile::create(path, access)?;
        let rows = Embeddings::create(&file, shape, layout)?;
        Ok(Self { file, rows, is_root })
    }

    /// Takes a verified stage as it is, for a file without compression. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    #[cfg(feature = "engine")]
    pub fn adopt(stage: &Path, what: &Contents<'_>, access: Access, is_root: bool) -> Result<Self> {
        let file = RowFile::open(stage, access)?;
        let rows = Embeddings::open(&file, &what.shape())?;
        Ok(Self { file, rows, is_root })
    }

    /// Writes whole blocks of rows, possibly none. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk.
    pub fn write(&self, rows: &StoredRows) -> Result<()> {
        self.rows.write(rows)
    }

    /// Writes tables, digests and attributes, and closes the file. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk.
    pub fn complete(self, what: &Contents<'_>) -> Result<()> {
        let mut all = Counts { rows: 0, assets: 0, failed: 0 };
        for group in what.each_group() {
            self.write_group(&group, what)?;
            let counts = group.counts();
            all.rows += counts.rows;
            all.assets += counts.assets;
            all.failed += counts.failed;
        }
        self.write_count(Object::Group(""), attr::FORMAT_VERSION, schema::FORMAT_VERSION as u64)?;
        self.write_counts("", all, what)?;
        if let Some(truncated) = what.truncated.filter(|_| !what.kind.has_views()) {
            self.write_count(Object::Group(""), attr::TRUNCATED_ITEMS, truncated)?;
        }
        for (name, value) in &what.attributes {
            self.write_text(Object::Group(""), name, value)?;
        }
        self.file.flush()?;
        self.rows.close();
        self.file.finish()
    }

    /// Writes the tables and digests of one group, and its counts where it is not the root.
    fn write_group(&self, group: &GroupContents<'_>, what: &Contents<'_>) -> Result<()> {
        let table_digest = self.write_table(group)?;
        let num_images_digest =
            if group.kind == Kind::ViewSet { Some(self.write_num_images(group)?) } else { None };
        let failures_digest = self.write_failures(group)?;
        self.write_digests(group)?;
        let digests = path_in(group.name, schema::DIGESTS);
        let digests = Object::Dataset(&digests);
        self.write_count(digests, attr::BLOCK_ROWS, what.blocks.block_rows())?;
        self.write_text(digests, attr::ALGORITHM, schema::DIGEST_ALGORITHM)?;
        self.write_text(digests, attr::TABLE_SHA256, &table_digest.to_string())?;
        self.write_text(digests, attr::FAILURES_SHA256, &failures_digest.to_string())?;
        if let Some(digest) = num_images_digest {
            self.write_text(digests, attr::NUM_IMAGES_SHA256, &digest.to_string())?;
        }
        if group.name.is_empty() { Ok(()) } else { self.write_counts(group.name, group.counts(), what) }
    }

    fn write_counts(&self, group: &str, counts: Counts, what: &Contents<'_>) -> Result<()> {
        let group = Object::Group(group);
        self.write_count(group, attr::TOTAL_ITEMS, counts.rows)?;
        self.write_count(group, attr::EMBEDDING_DIM, what.dim)?;
        self.write_count(group, attr::TOTAL_ASSETS, counts.assets)?;
        if what.kind.has_row_per_view() {
            self.write_count(group, attr::TOTAL_VIEWPOINTS, counts.rows)?;
        }
        self.write_count(group, attr::FAILED_ITEMS, counts.failed)
    }

    fn write_table(&self, group: &GroupContents<'_>) -> Result<Digest> {
        let table = group.table;
        let id_bytes = table.longest_id().max(1);
        let layout = if group.kind.has_row_per_view() {
            TableLayout::RowPerView { id_bytes }
        } else {
            TableLayout::RowPerAsset { id_bytes }
        };
        let path = path_in(group.name, layout.dataset());
        self.write_records(&path, &layout.descriptor(), table.len() as u64, |asset, out| {
            let asset = asset as usize;
            let record = AssetRecord {
                id: table.id(asset).as_bytes(),
                start_idx: table.start(asset) as i64,
                count: table.count(asset) as i32,
            };
            layout.encode(record, out);
        })
    }

    fn write_num_images(&self, group: &GroupContents<'_>) -> Result<Digest> {
        let path = path_in(group.name, schema::NUM_IMAGES);
        let ty = TypeDescriptor::Integer(IntSize::U4);
        self.write_records(&path, &ty, group.table.len() as u64, |asset, out| {
            out.extend(group.num_images.get(asset as usize).copied().unwrap_or_default().to_le_bytes());
        })
    }

    fn write_failures(&self, group: &GroupContents<'_>) -> Result<Digest> {
        let failures = &group.failures;
        let longest = failures.iter().map(|(_, reason)| reason.len()).max().unwrap_or(0);
        let id_bytes = group.table.longest_id().max(1);
        let layout = FailureLayout { id_bytes, reason_bytes: longest.clamp(1, REASON_BYTES_MAX) };
        let ty = schema::failure_type(layout.id_bytes, layout.reason_bytes);
        let path = path_in(group.name, schema::FAILURES);
        self.write_records(&path, &ty, failures.len() as u64, |index, out| {
            let (row, reason) = &failures[index as usize];
            let id = group.kind.asset_of_row(group.table, *row).map_or("", |asset| group.table.id(asset));
            let (id, reason) = (id.as_bytes(), reason.as_bytes());
            layout.encode(FailureRecord { id, row: *row as i64, reason }, out);
        })
    }

    fn write_digests(&self, group: &GroupContents<'_>) -> Result<Digest> {
        let ty =
            TypeDescriptor::FixedArray(Box::new(TypeDescriptor::Unsigned(IntSize::U1)), schema::DIGEST_BYTES);
        let (path, count) = (path_in(group.name, schema::DIGESTS), group.digests.len() as u64);
        self.write_records(&path, &ty, count, |block, out| {
            out.extend(group.digests[block as usize].0);
        })
    }

    /// Writes `count` records of one type as a contiguous dataset, piece by piece, from the root rank.
    /// An array type becomes a second dimension. Returns the digest of the stored bytes, on every rank.
    fn write_records(
        &self,
        path: &str,
        ty: &TypeDescriptor,
        count: u64,
        encode: impl Fn(u64, &mut Vec<u8>),
    ) -> Result<Digest> {
        let record_bytes = ty.size();
        let dataset = match ty {
            TypeDescriptor::FixedArray(element, length) => {
                self.file.create_rows(path, element, &[count, *length as u64], Layout::Contiguous)?
            }
            _ => self.file.create_rows(path, ty, &[count], Layout::Contiguous)?,
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

    fn write_count(&self, object: Object<'_>, name: &str, value: u64) -> Result<()> {
        let value = i64::try_from(value).context(|| format!("attribute {name}"))?;
        self.file.write_attribute(object, name, &TypeDescriptor::Integer(IntSize::U8), &value.to_ne_bytes())
    }

    fn write_text(&self, object: Object<'_>, name: &str, value: &str) -> Result<()> {
        let mut bytes = value.as_bytes().to_vec();
        // A string type has at least one byte.
        bytes.resize(bytes.len().max(1), 0);
        self.file.write_attribute(object, name, &TypeDescriptor::FixedUnicode(bytes.len()), &bytes)
    }
}
