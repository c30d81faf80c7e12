//! Files that the old Python pipeline wrote: variable-length ids in any order, compressed, which have to be read all
//! to find one; no digests, no list of failures, no provenance.

use std::path::Path;
use std::sync::Arc;

use hdf5::types::{VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, Group, H5Type};
use ndarray::s;

use super::schema::{self, AssetRecord, TableLayout, attr};
use super::table::{Assets, Place, Records};
use crate::error::{Context, Error, Result};
use crate::plan::check_id;

/// Records that are read together.
const WINDOW: usize = 1 << 16;

/// An entry of an old `/metadata`.
#[derive(H5Type, Clone, Debug)]
#[repr(C)]
struct Entry {
    asset_id: VarLenUnicode,
    start_idx: i64,
    count: i32,
}

/// Whether a group is of an old file: vectors with ids, and nothing that every file of ours has.
pub(super) fn is_old(file: &hdf5::File, name: &str) -> bool {
    let Ok(group) = file.group(&format!("/{name}")) else { return false };
    let has = |name: &str| group.link_exists(name);
    has(schema::EMBEDDINGS)
        && (has(schema::ASSET_IDS) || has(schema::METADATA))
        && !has(schema::DIGESTS)
        && !has(schema::FAILURES)
        && file.attr(attr::FORMAT_VERSION).is_err()
}

/// The table of a group of an old file, sorted in memory.
///
/// # Errors
/// Ids of another type, a failed read, an id that stands there twice.
pub(super) fn assets(path: &Path, group: &Group, n_rows: u64) -> Result<Assets> {
    let has_views = group.link_exists(schema::METADATA);
    let name = if has_views { schema::METADATA } else { schema::ASSET_IDS };
    let dataset = group.dataset(name).context(|| format!("{}: /{name}", path.display()))?;
    let mut entries = if has_views { metadata(&dataset) } else { asset_ids(&dataset) }
        .context(|| format!("{}: {}", path.display(), dataset.name()))?;
    let bad = entries.iter().find_map(|(id, ..)| check_id(id).err());
    if let Some(error) = bad {
        return Err(Error::new(format!("{}: {}", path.display(), error.message)));
    }
    entries.sort_unstable();
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::new(format!("{}: the id '{}' stands there twice", path.display(), pair[0].0)));
    }
    let id_bytes = entries.iter().map(|(id, ..)| id.len()).max().unwrap_or(0).max(1);
    let layout =
        if has_views { TableLayout::RowPerView { id_bytes } } else { TableLayout::Sorted { id_bytes } };
    let mut bytes = Vec::with_capacity(entries.len() * layout.record_bytes());
    for (id, start_idx, count) in &entries {
        layout.encode(AssetRecord { id: id.as_bytes(), start_idx: *start_idx, count: *count }, &mut bytes);
    }
    let records = Records {
        place: Place::Memory(Arc::from(bytes)),
        path: path.to_owned(),
        name: dataset.name(),
        record_bytes: layout.record_bytes(),
        n: entries.len() as u64,
    };
    Ok(Assets { records, layout, n_rows })
}

/// Id, first row, number of rows.
type Entries = Vec<(String, i64, i32)>;

fn asset_ids(dataset: &Dataset) -> Result<Entries> {
    let ids = strings::<VarLenUnicode>(dataset).or_else(|_| strings::<VarLenAscii>(dataset))?;
    Ok(ids.into_iter().zip(0..).map(|(id, row)| (id, row, 1)).collect())
}

fn strings<T: H5Type + AsRef<str>>(dataset: &Dataset) -> Result<Vec<String>> {
    let mut strings = Vec::new();
    each::<T>(dataset, |text| strings.push(text.as_ref().to_owned()))?;
    Ok(strings)
}

fn metadata(dataset: &Dataset) -> Result<Entries> {
    let mut rows = Vec::new();
    each::<Entry>(dataset, |entry| {
        rows.push((entry.asset_id.as_str().to_owned(), entry.start_idx, entry.count));
    })?;
    // Assets without views have no rows.
    rows.retain(|(.., count)| *count != 0);
    Ok(rows)
}

/// All elements of a dataset of one dimension, some of them in memory at a time.
fn each<T: H5Type>(dataset: &Dataset, mut take: impl FnMut(&T)) -> Result<()> {
    let n = dataset.size();
    for start in (0..n).step_by(WINDOW) {
        let window = dataset.read_slice_1d::<T, _>(s![start..n.min(start + WINDOW)]);
        window.context(|| "its elements")?.iter().for_each(&mut take);
    }
    Ok(())
}
