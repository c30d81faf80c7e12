//! The sealed file's names, types and records, once for writer and reader.
//!
//! A file has its vectors at the root, or in groups below it: each group holds all the datasets and counts
//! as the root does otherwise. Rows and blocks are then numbered within the group.
//!
//! Everything but `/embeddings` is contiguous and uncompressed, so a look-up is a few small reads at
//! a known offset. Strings are UTF-8, of fixed length, padded with NUL. Integers and floats are
//! little-endian.
//!
//! | dataset | shape | element |
//! |---|---|---|
//! | [`EMBEDDINGS`] | `[rows, dim]` | [`StoredType`] |
//! | [`ASSET_IDS`] | `[assets]` | [`asset_id_type`]; files with one row per asset |
//! | [`METADATA`] | `[assets]` | [`metadata_type`]; files with a row per view |
//! | [`NUM_IMAGES`] | `[assets]` | i32: of how many views the vector is made; files of view sets |
//! | [`FAILURES`] | `[failed]` | [`failure_type`], sorted by row |
//! | [`DIGESTS`] | `[blocks, 32]` | u8: SHA-256 of each block's rows as stored |

use std::fmt;
use std::str::FromStr;

use hdf5::types::{CompoundField, CompoundType, FloatSize, IntSize, TypeDescriptor};
use serde::{Deserialize, Serialize};

/// Version of the layout that this program writes and reads.
pub const FORMAT_VERSION: i64 = 1;

pub const EMBEDDINGS: &str = "embeddings";
pub const ASSET_IDS: &str = "asset_ids";
pub const METADATA: &str = "metadata";
pub const NUM_IMAGES: &str = "num_images";
pub const FAILURES: &str = "failures";
pub const DIGESTS: &str = "digests";

/// Path from the root of a dataset of a group; the empty name is the root's.
pub fn path_in(group: &str, dataset: &str) -> String {
    if group.is_empty() { dataset.to_owned() } else { format!("{group}/{dataset}") }
}

/// Bytes of one record of [`NUM_IMAGES`].
pub const NUM_IMAGES_BYTES: usize = 4;

/// Bytes of one digest (SHA-256).
pub const DIGEST_BYTES: usize = 32;
/// The value of [`attr::ALGORITHM`].
pub const DIGEST_ALGORITHM: &str = "sha256";

/// The one NaN that stands for a failed item in a float32 file (quiet, positive, no payload).
pub const FAILED_F32: u32 = 0x7fc0_0000;
/// The same for a float16 file.
pub const FAILED_F16: u16 = 0x7e00;

/// Names of attributes.
pub mod attr {
    /// i64, beside every `/embeddings`: its rows. This and the counts below are sums at the root of a file
    /// with groups.
    pub const TOTAL_ITEMS: &str = "total_items";
    /// i64, beside every `/embeddings` and at the root: the length of a vector.
    pub const EMBEDDING_DIM: &str = "embedding_dim";
    /// i64, beside every `/embeddings`.
    pub const TOTAL_ASSETS: &str = "total_assets";
    /// i64, root, files with a row per view.
    pub const TOTAL_VIEWPOINTS: &str = "total_viewpoints";
    /// i64, beside every `/embeddings`: lines of `/failures`.
    pub const FAILED_ITEMS: &str = "failed_items";
    /// i64, root of files of captions, where it is known: those that had more tokens than the model takes, and lost their ends.
    pub const TRUNCATED_ITEMS: &str = "truncated_items";
    /// i64, root.
    pub const FORMAT_VERSION: &str = "format_version";
    /// String, root: which embeddings the file holds, e.g. `siglip_text`.
    pub const KIND: &str = "kind";
    /// String (hex), root: SHA-256 of the captions, or of the paths and sizes of the views, that the rows outside
    /// `/failures` are made from. It stays the same where failed items alone are mended.
    pub const EMBEDDED_INPUT_SHA256: &str = "embedded_input_sha256";
    /// String (hex), root: see `store::Fingerprint`.
    pub const FINGERPRINT: &str = "fingerprint";
    /// String, root of files made from others': the fingerprints of the runs whose rows they are, with blanks between.
    pub const SOURCE_FINGERPRINTS: &str = "source_fingerprints";
    /// String, root: the model, as people know it.
    pub const MODEL_NAME: &str = "model_name";
    /// Strings, root: what the vectors depend on, in the order `info` shows them.
    pub const PROVENANCE: [&str; 12] = [
        MODEL_NAME,
        "model_commit",
        "weights_sha256",
        "tokenizer_sha256",
        "preprocessing",
        "precision",
        "program",
        "device_model",
        "libtorch",
        FINGERPRINT,
        "plan_sha256",
        EMBEDDED_INPUT_SHA256,
    ];

    /// i64, on `/digests`: rows per block.
    pub const BLOCK_ROWS: &str = "block_rows";
    /// String, on `/digests`.
    pub const ALGORITHM: &str = "algorithm";
    /// String (hex), on `/digests`: SHA-256 of `/asset_ids` or `/metadata` as stored.
    pub const TABLE_SHA256: &str = "table_sha256";
    /// String (hex), on `/digests`: SHA-256 of `/failures` as stored.
    pub const FAILURES_SHA256: &str = "failures_sha256";
    /// String (hex), on `/digests` of files of view sets: SHA-256 of `/num_images` as stored.
    pub const NUM_IMAGES_SHA256: &str = "num_images_sha256";
}

/// How vectors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    F32,
    F16,
}

impl StoredType {
    /// Bytes of one component.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The element of `/embeddings`.
    pub fn descriptor(self) -> TypeDescriptor {
        TypeDescriptor::Float(match self {
            Self::F32 => FloatSize::U4,
            Self::F16 => FloatSize::U2,
        })
    }

    /// How far the norm of a stored unit vector may be from 1: rounding to half precision moves it
    /// by up to 2^-11 per component.
    pub fn norm_tolerance(self) -> f64 {
        match self {
            Self::F32 => 1e-3,
            Self::F16 => 1e-2,
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
        })
    }
}

impl FromStr for StoredType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(format!("'{text}': expected f32 or f16")),
        }
    }
}

/// How the sealed file's vectors are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compression {
    None,
    /// Shuffle and deflate at this level, 1 to 9.
    Gzip(u8),
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = text.strip_prefix("gzip:").and_then(|level| level.parse().ok());
        match level.filter(|level| (1..=9).contains(level)) {
            Some(level) => Ok(Self::Gzip(level)),
            None if text == "none" => Ok(Self::None),
            None => Err(format!("'{text}': expected gzip:1 to gzip:9, or none")),
        }
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

impl TryFrom<String> for Compression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The element of `/asset_ids`: `id_bytes` is the longest id's length, at least 1.
pub fn asset_id_type(id_bytes: usize) -> TypeDescriptor {
    TypeDescriptor::FixedUnicode(id_bytes)
}

/// The element of `/metadata`, packed.
pub fn metadata_type(id_bytes: usize) -> TypeDescriptor {
    packed(&[
        ("asset_id", TypeDescriptor::FixedUnicode(id_bytes)),
        ("start_idx", TypeDescriptor::Integer(IntSize::U8)),
        ("count", TypeDescriptor::Integer(IntSize::U4)),
    ])
}

/// The element of `/failures`, packed; both widths are at least 1.
pub fn failure_type(id_bytes: usize, reason_bytes: usize) -> TypeDescriptor {
    packed(&[
        ("asset_id", TypeDescriptor::FixedUnicode(id_bytes)),
        ("row", TypeDescriptor::Integer(IntSize::U8)),
        ("reason", TypeDescriptor::FixedUnicode(reason_bytes)),
    ])
}

fn packed(fields: &[(&str, TypeDescriptor)]) -> TypeDescriptor {
    let mut size = 0;
    let fields = fields
        .iter()
        .enumerate()
        .map(|(index, (name, ty))| {
            let field = CompoundField::new(name, ty.clone(), size, index);
            size += ty.size();
            field
        })
        .collect();
    TypeDescriptor::Compound(CompoundType { fields, size })
}

/// One record of the table as it lies in the file, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetRecord<'a> {
    /// Without its padding.
    pub id: &'a [u8],
    pub start_idx: i64,
    pub count: i32,
}

/// How one record of the table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableLayout {
    /// `/asset_ids`: row `i` belongs to asset `i`.
    RowPerAsset { id_bytes: usize },
    /// `/metadata`.
    RowPerView { id_bytes: usize },
    /// `/asset_ids` that are not in the order of the rows, sorted in memory, each with its one row: of files of the
    /// old Python pipeline.
    Sorted { id_bytes: usize },
}

impl TableLayout {
    /// Name of the dataset.
    pub fn dataset(self) -> &'static str {
        match self {
            Self::RowPerAsset { .. } | Self::Sorted { .. } => ASSET_IDS,
            Self::RowPerView { .. } => METADATA,
        }
    }

    /// Type of one element.
    pub fn descriptor(self) -> TypeDescriptor {
        match self {
            Self::RowPerAsset { id_bytes } => asset_id_type(id_bytes),
            Self::RowPerView { id_bytes } | Self::Sorted { id_bytes } => metadata_type(id_bytes),
        }
    }

    /// Bytes of one record.
    pub fn record_bytes(self) -> usize {
        match self {
            Self::RowPerAsset { id_bytes } => id_bytes,
            Self::RowPerView { id_bytes } | Self::Sorted { id_bytes } => id_bytes + 12,
        }
    }

    /// Appends one record. An id longer than the layout's width is cut: the width is the longest id's.
    pub fn encode(self, record: AssetRecord<'_>, out: &mut Vec<u8>) {
        match self {
            Self::RowPerAsset { id_bytes } => put_string(record.id, id_bytes, out),
            Self::RowPerView { id_bytes } | Self::Sorted { id_bytes } => {
                put_string(record.id, id_bytes, out);
                out.extend_from_slice(&record.start_idx.to_le_bytes());
                out.extend_from_slice(&record.count.to_le_bytes());
            }
        }
    }

    /// The record number `index`, from its [`Self::record_bytes`] bytes.
    pub fn decode(self, index: u64, bytes: &[u8]) -> AssetRecord<'_> {
        match self {
            Self::RowPerAsset { .. } => {
                AssetRecord { id: unpadded(bytes), start_idx: index as i64, count: 1 }
            }
            Self::RowPerView { id_bytes } | Self::Sorted { id_bytes } => {
                let (id, numbers) = bytes.split_at(id_bytes);
                let (start, count) = numbers.split_at(8);
                AssetRecord { id: unpadded(id), start_idx: i64_le(start), count: i32_le(count) }
            }
        }
    }
}

/// One line of `/failures` as it lies in the file, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRecord<'a> {
    pub id: &'a [u8],
    pub row: i64,
    pub reason: &'a [u8],
}

/// How one line of `/failures` is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLayout {
    pub id_bytes: usize,
    pub reason_bytes: usize,
}

impl FailureLayout {
    /// Bytes of one record.
    pub fn record_bytes(self) -> usize {
        self.id_bytes + 8 + self.reason_bytes
    }

    /// Appends one record; strings longer than their width are cut at a character's end.
    pub fn encode(self, record: FailureRecord<'_>, out: &mut Vec<u8>) {
        put_string(record.id, self.id_bytes, out);
        out.extend_from_slice(&record.row.to_le_bytes());
        put_string(record.reason, self.reason_bytes, out);
    }

    /// A record from its [`Self::record_bytes`] bytes.
    pub fn decode(self, bytes: &[u8]) -> FailureRecord<'_> {
        let (id, rest) = bytes.split_at(self.id_bytes);
        let (row, reason) = rest.split_at(8);
        FailureRecord { id: unpadded(id), row: i64_le(row), reason: unpadded(reason) }
    }
}

/// Appends `text` padded with NUL to `width`, cut before the first character that does not fit.
fn put_string(text: &[u8], width: usize, out: &mut Vec<u8>) {
    let is_continuation = |byte: &u8| byte & 0xc0 == 0x80;
    let mut fits = text.len().min(width);
    while fits < text.len() && fits > 0 && text.get(fits).is_some_and(is_continuation) {
        fits -= 1;
    }
    let end = out.len() + width;
    out.extend_from_slice(text.get(..fits).unwrap_or_default());
    out.resize(end, 0);
}

fn unpadded(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.split_at(end).0
}

fn i64_le(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().expect("record layouts split off exactly 8 bytes"))
}

pub(super) fn i32_le(bytes: &[u8]) -> i32 {
    i32::from_le_bytes(bytes.try_into().expect("record layouts split off exactly 4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went() {
        let mut bytes = Vec::new();
        let layout = TableLayout::RowPerView { id_bytes: 6 };
        let record = AssetRecord { id: "0/é1".as_bytes(), start_idx: -1, count: 12 };
        layout.encode(record, &mut bytes);
        assert_eq!(bytes.len(), layout.record_bytes());
        assert_eq!(bytes.len(), layout.descriptor().size());
        assert_eq!(layout.decode(7, &bytes), record);

        let layout = TableLayout::RowPerAsset { id_bytes: 6 };
        bytes.clear();
        layout.encode(record, &mut bytes);
        assert_eq!(layout.decode(7, &bytes), AssetRecord { start_idx: 7, count: 1, ..record });

        let layout = FailureLayout { id_bytes: 3, reason_bytes: 4 };
        let record = FailureRecord { id: b"abc", row: 1 << 40, reason: b"why" };
        bytes.clear();
        layout.encode(record, &mut bytes);
        assert_eq!(bytes.len(), failure_type(3, 4).size());
        assert_eq!(layout.decode(&bytes), record);
    }

    #[test]
    fn compression_comes_back_and_nonsense_is_refused() {
        for compression in [Compression::None, Compression::Gzip(1), Compression::Gzip(9)] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        for text in ["", "gzip", "gzip:", "gzip:0", "gzip:10", "gzip:256", "lzf", "None"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_string_is_cut_between_characters() {
        let cut = |text: &str, width| {
            let mut out = vec![9];
            put_string(text.as_bytes(), width, &mut out);
            out.split_off(1)
        };
        assert_eq!(cut("aé", 4), b"a\xc3\xa9\0");
        assert_eq!(cut("aé", 3), b"a\xc3\xa9");
        assert_eq!(cut("aé", 2), b"a\0");
        assert_eq!(cut("é", 1), b"\0");
    }

    #[test]
    fn the_marks_of_a_failed_item_are_nan() {
        assert!(f32::from_bits(FAILED_F32).is_nan());
        assert!(half::f16::from_bits(FAILED_F16).is_nan());
        assert_eq!(half::f16::from_f32(f32::from_bits(FAILED_F32)).to_bits(), FAILED_F16);
    }
}
