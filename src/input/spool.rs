//! The spool `<output>.plan`: the plan of one output file, written once by rank 0, read by every rank.
//!
//! ```text
//! "HYPSPOOL" version u32 | header section: JSON | table section of each group | records of each block
//!   | index section: per block, length u64 and CRC-32 u32 | records' length u64, digest 32, CRC-32 u32
//! ```
//! A section is its length (u64), the CRC-32 of its bytes (u32), and the bytes; numbers are
//! little-endian. The digest is the SHA-256 of kind, block rows, names of groups, tables, records and index:
//! it stands for the input. Where the input was found is in the header and out of the digest.

mod read;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::views::{Layout, View};
use crate::error::{Context, Result};
use crate::plan::{Blocks, Kind, RowGroup, Views};

use super::Ids;

pub use read::Spool;
pub use write::SpoolWriter;

const MAGIC: &[u8; 8] = b"HYPSPOOL";
const VERSION: u32 = 3;
/// Length and CRC-32 before a section's bytes.
const SECTION_HEAD_BYTES: u64 = 12;
/// Length and CRC-32 of one block's records.
const INDEX_ENTRY_BYTES: u64 = 12;
/// Length of the records, digest, CRC-32 of both.
const TRAILER_BYTES: u64 = 8 + 32 + 4;

/// What one row is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Caption(String),
    /// A picture.
    View(View),
    /// An asset's pictures, in order; at least one.
    ViewSet(Vec<View>),
}

impl Row {
    /// Adds what it is made from, not where that lies.
    fn digest(&self, digest: &mut Sha256) {
        match self {
            Self::Caption(text) => add_sized(text, digest),
            Self::View(view) => add_views(std::slice::from_ref(view), digest),
            Self::ViewSet(views) => add_views(views, digest),
        }
    }
}

fn add_sized(text: &str, digest: &mut Sha256) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}

fn add_views(views: &[View], digest: &mut Sha256) {
    digest.update((views.len() as u64).to_le_bytes());
    for view in views {
        add_sized(&view.path, digest);
        digest.update(view.bytes.to_le_bytes());
    }
}

/// A file of the input as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    pub path: PathBuf,
    pub bytes: u64,
    /// Last change, in nanoseconds since 1970.
    pub modified_ns: u64,
}

impl FileStamp {
    /// # Errors
    /// The file cannot be examined.
    pub fn of(path: &Path) -> Result<Self> {
        let about = || format!("'{}'", path.display());
        let metadata = path.metadata().context(about)?;
        let modified = metadata.modified().context(about)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = path.canonicalize().context(about)?;
        Ok(Self { path, bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
    }
}

/// What was asked for: where the input was found and which part of it is taken. It tells a resume whether
/// the same is asked again; it is not part of the digest, because a data set may move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// By the group that they make.
    pub captions: BTreeMap<String, FileStamp>,
    pub renders: Option<PathBuf>,
    pub renders_list: Option<FileStamp>,
    pub layout: Layout,
    pub view_glob: Vec<String>,
    pub views: Views,
    pub max_assets: Option<u64>,
    pub id_map: Option<FileStamp>,
    /// With an id map: which of an asset's ids is stored.
    pub ids: Option<Ids>,
}

/// What a spool says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolHeader {
    pub kind: Kind,
    pub block_rows: u64,
    /// In order of their rows.
    pub groups: Vec<RowGroup>,
    /// Assets with views that the id map does not name.
    #[serde(default)]
    pub assets_left_out: u64,
    pub source: Source,
}

impl SpoolHeader {
    /// The rows of all groups, and how they are cut.
    pub fn blocks(&self) -> Blocks {
        Blocks::of_groups(self.groups.iter().map(|group| group.rows), self.block_rows)
    }
}

/// The digest's beginning: what the header holds that decides about vectors and where they stand.
fn digest_of_head(header: &SpoolHeader) -> Sha256 {
    let kind: &[u8] = match header.kind {
        Kind::Text => b"text\0",
        Kind::Image => b"view\0",
        Kind::ViewSet => b"view set\0",
    };
    let head = Sha256::new().chain_update(kind).chain_update(header.block_rows.to_le_bytes());
    let names = header.groups.iter().map(|group| &group.name).filter(|name| !name.is_empty());
    names.fold(head, |digest, name| digest.chain_update(name).chain_update(b"\0"))
}
