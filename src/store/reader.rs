//! Opens a sealed file and reads vectors, ids and failures from it, without loading its tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use hdf5::filters::Filter;
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, Group, H5Type};
use ndarray::Array2;

use super::Digest;
use super::old;
use super::open::{self, Opening, read_integer, read_string};
use super::schema::{self, FailureLayout, StoredType, attr};
use super::table::{Asset, Assets, FailedItem, FailedItems, NumImages, Place, Records};
use super::vectors::Vectors;
use crate::error::{Context, Error, Exit, Result};

/// Rows of an old file without chunks that are read together.
const OLD_BLOCK_ROWS: usize = 1024;

/// A sealed file; of one with groups, one of them: rows are numbered within it.
///
/// Tables are read with positioned reads; of vectors, a chunk that holds wanted rows is all that gets
/// decompressed. Any number of threads may read at once.
pub struct Reader {
    path: PathBuf,
    name: String,
    root: Group,
    group: Group,
    vectors: Vectors,
    assets: Assets,
    num_images: Option<NumImages>,
    failures: FailedItems,
    digests: Records,
    block_rows: u64,
    is_old: bool,
}

/// What `info` shows of a file, or of one of its groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub kind: String,
    /// Empty where the vectors are at the root.
    pub group: String,
    pub n_assets: u64,
    pub n_rows: u64,
    pub has_views: bool,
    /// Views that the vectors are made from, where each is made from an asset's set of views.
    pub n_images: Option<u64>,
    pub dim: usize,
    pub stored: StoredType,
    /// In words, e.g. `shuffle + gzip 4`, or `none`.
    pub compression: String,
    /// Rows of one chunk; none where `/embeddings` is contiguous.
    pub chunk_rows: Option<usize>,
    pub block_rows: u64,
    pub file_bytes: u64,
    /// Bytes of the vectors before and after compression.
    pub vector_bytes: u64,
    pub vector_bytes_stored: u64,
    /// How many items failed, by class of failure (what stands before a reason's first colon).
    pub failures: BTreeMap<String, u64>,
    /// Attributes that say what the vectors depend on: those every file has first.
    pub provenance: Vec<(String, String)>,
}

impl Reader {
    /// Opens a sealed file. Where it has groups, `group` is the name of one; a single one need not be named.
    ///
    /// # Errors
    /// No such file, an unfinished job's file, not HDF5, damaged ([`Exit::Damaged`]), or not one of
    /// ours, with what is missing. No such group, or several and none is named, with their names.
    pub fn open(path: &Path, group: Option<&str>) -> Result<Self> {
        open::refuse_unfinished(path)?;
        let file = OpenFile::open(path)?;
        let names = file.group_names()?;
        file.reader(file.opening().choose(&names, group)?)
    }

    /// Opens every group of a sealed file, in order of their names: a single one without name where the
    /// vectors are at the root.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_all(path: &Path) -> Result<Vec<Self>> {
        open::refuse_unfinished(path)?;
        let file = OpenFile::open(path)?;
        file.group_names()?.iter().map(|name| file.reader(name)).collect()
    }

    /// Opens a group of a file that may not have its final name yet.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(super) fn open_unnamed(path: &Path, group: &str) -> Result<Self> {
        OpenFile::open(path)?.reader(group)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The group's name; empty where the vectors are at the root.
    pub fn group(&self) -> &str {
        &self.name
    }

    /// Rows of `/embeddings`.
    pub fn n_rows(&self) -> u64 {
        self.vectors.shape[0] as u64
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.vectors.shape[1]
    }

    /// How vectors are stored.
    pub fn stored(&self) -> StoredType {
        self.vectors.stored
    }

    /// Whether it is a file of the old Python pipeline: it has no digests, no list of failures and no provenance,
    /// and its ids are all in memory.
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// The table of assets.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// How many views each vector is made from, in files of view sets.
    pub fn num_images(&self) -> Option<&NumImages> {
        self.num_images.as_ref()
    }

    /// The list of failed items.
    pub fn failures(&self) -> &FailedItems {
        &self.failures
    }

    /// The rows of the asset with this id: a binary search with a few small reads.
    ///
    /// # Errors
    /// A failed read, or a record that cannot be right.
    pub fn find(&self, id: &str) -> Result<Option<Range<u64>>> {
        Ok(self.assets.find(id)?.map(|asset| asset.rows))
    }

    /// Vectors of these rows, `[rows.len(), dim]`. A failed item's row is NaN.
    ///
    /// # Errors
    /// Rows that are not there, or a chunk that does not decompress.
    pub fn rows(&self, rows: Range<u64>) -> Result<Array2<f32>> {
        let shape = ((rows.end.saturating_sub(rows.start)) as usize, self.dim());
        let bytes = self.stored_rows(rows)?;
        let values = values(&bytes, self.stored());
        Array2::from_shape_vec(shape, values).map_err(|error| Error::new(error.to_string()).exit(Exit::Bug))
    }

    /// What failed of these rows, those of which something did. They have no vector, unless they are made
    /// from some of an asset's views: then [`num_images`](Self::num_images) is above 0.
    ///
    /// # Errors
    /// A failed read.
    pub fn failures_of(&self, rows: Range<u64>) -> Result<Vec<FailedItem>> {
        self.failures.of_rows(rows)
    }

    /// How many of these rows have no vector.
    ///
    /// # Errors
    /// A failed read.
    pub fn without_vector(&self, rows: Range<u64>) -> Result<u64> {
        Ok(match &self.num_images {
            Some(num_images) => num_images.of_rows(rows)?.iter().filter(|n| **n == 0).count(),
            None => self.failures_of(rows)?.len(),
        } as u64)
    }

    /// Which embeddings the file holds, e.g. `siglip_text`; empty where it does not say.
    pub fn kind(&self) -> String {
        read_string(&self.root, attr::KIND).unwrap_or_default()
    }

    /// The attributes that say what the vectors depend on: those every file has first.
    pub fn provenance(&self) -> Vec<(String, String)> {
        provenance(&self.root)
    }

    /// What the file says of how it was made, by the attribute's name; none where it says nothing.
    pub fn provenance_of(&self, name: &str) -> Option<String> {
        read_string(&self.root, name).ok().filter(|text| !text.is_empty())
    }

    /// A digest of all that the group holds: of its tables, in which the digests of the vectors are.
    ///
    /// # Errors
    /// A failed read.
    pub fn identity(&self) -> Result<Digest> {
        let mut digests = Vec::new();
        let num_images = self.num_images.as_ref().map(|num_images| &num_images.records);
        let tables =
            [Some(&self.assets.records), Some(&self.failures.records), Some(&self.digests), num_images];
        for records in tables.into_iter().flatten() {
            for window in records.windows(0..records.n) {
                digests.extend(Digest::of(&window?.1).0);
            }
        }
        Ok(Digest::of(&digests))
    }

    /// The assets whose ids begin with `prefix` (all, if it is empty), in order, in bounded memory.
    ///
    /// # Errors
    /// A failed read, here or in an item.
    pub fn iter_prefix(&self, prefix: &str) -> Result<impl Iterator<Item = Result<Asset>>> {
        Ok(self.assets.iter(self.assets.with_prefix(prefix)?))
    }

    /// What `info` shows.
    ///
    /// # Errors
    /// A failed read.
    pub fn summary(&self) -> Result<Summary> {
        let mut failures = BTreeMap::new();
        for failure in self.failures.iter(0..self.failures.n()) {
            let reason = failure?.reason;
            let class = reason.split_once(':').map_or(reason.as_str(), |(class, _)| class);
            *failures.entry(class.to_owned()).or_default() += 1;
        }
        let file_bytes =
            std::fs::metadata(&self.path).context(|| format!("cannot read {}", self.path.display()))?.len();
        Ok(Summary {
            kind: self.kind(),
            group: self.name.clone(),
            n_assets: self.assets.n(),
            n_rows: self.n_rows(),
            has_views: self.assets.has_views(),
            n_images: self.num_images.as_ref().map(NumImages::sum).transpose()?,
            dim: self.dim(),
            stored: self.stored(),
            compression: compression(&self.vectors.dataset.filters()),
            chunk_rows: self.vectors.chunk_rows(),
            block_rows: self.block_rows,
            file_bytes,
            vector_bytes: self.n_rows() * (self.dim() * self.stored().size_bytes()) as u64,
            vector_bytes_stored: self.vectors.dataset.storage_size(),
            failures,
            provenance: self.provenance(),
        })
    }

    /// Rows as they are stored, of which digests are made.
    pub(super) fn stored_rows(&self, rows: Range<u64>) -> Result<Vec<u8>> {
        let count = self.n_rows();
        if rows.end > count || rows.start > rows.end {
            let about = self.about();
            return Err(Error::new(format!(
                "{about}: rows {} to {} asked for, of {count}",
                rows.start, rows.end
            )));
        }
        self.vectors.read(rows.clone()).map_err(|error| {
            let path = self.path.display();
            Error::new(format!("{}: rows {} to {} do not read: {error}", self.about(), rows.start, rows.end))
                .hint(format!("`hyperslab verify {path}` lists all that is wrong"))
                .exit(Exit::Damaged)
        })
    }

    /// The file, and the group, in words.
    fn about(&self) -> String {
        let path = self.path.display();
        if self.name.is_empty() { path.to_string() } else { format!("{path}, {}", self.name) }
    }

    /// Rows that are read together: those of a chunk, or 1 where there are none.
    pub fn chunk_rows(&self) -> u64 {
        self.vectors.chunk_rows().unwrap_or(1).max(1) as u64
    }

    /// One digest per block.
    pub(super) fn digests(&self) -> &Records {
        &self.digests
    }

    /// Rows of every block but the last.
    pub fn block_rows(&self) -> u64 {
        self.block_rows
    }

    /// The digest of a block of this group.
    pub(super) fn digest_of_block(&self, block: u64) -> Result<Digest> {
        let record = self.digests.read(block..block + 1)?;
        let digest = record.first_chunk().ok_or_else(|| Error::new("a digest is too short"))?;
        Ok(Digest(*digest))
    }

    /// A string attribute of the root.
    pub(super) fn root_string(&self, name: &str) -> Result<String> {
        read_string(&self.root, name)
    }

    /// An integer attribute of the group.
    pub(super) fn integer(&self, name: &str) -> Result<i64> {
        read_integer(&self.group, name)
    }

    /// An integer attribute of the root.
    pub(super) fn root_integer(&self, name: &str) -> Result<i64> {
        read_integer(&self.root, name)
    }

    /// A string attribute of `/digests`.
    pub(super) fn digest_attribute(&self, name: &str) -> Result<String> {
        let digests = self.group.dataset(schema::DIGESTS).context(|| "/digests")?;
        read_string(&digests, name)
    }
}

/// Stored values as float32.
pub(super) fn values(bytes: &[u8], stored: StoredType) -> Vec<f32> {
    match stored {
        StoredType::F32 => {
            let (values, _) = bytes.as_chunks();
            values.iter().map(|value| f32::from_le_bytes(*value)).collect()
        }
        StoredType::F16 => {
            let (values, _) = bytes.as_chunks();
            values.iter().map(|value| f16::from_le_bytes(*value).to_f32()).collect()
        }
    }
}

/// A file that is being opened, in HDF5 and for positioned reads.
struct OpenFile<'a> {
    path: &'a Path,
    raw: Arc<std::fs::File>,
    bytes: u64,
    hdf5: hdf5::File,
}

impl<'a> OpenFile<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let raw = open::raw(path)?;
        let bytes = raw.metadata().context(|| format!("cannot read {}", path.display()))?.len();
        Ok(Self { path, raw: Arc::new(raw), bytes, hdf5: open::hdf5_file(path)? })
    }

    fn opening(&self) -> Opening<'a> {
        Opening { path: self.path, file_bytes: self.bytes }
    }

    fn group_names(&self) -> Result<Vec<String>> {
        self.opening().group_names(&self.hdf5)
    }

    fn reader(&self, name: &str) -> Result<Reader> {
        if old::is_old(&self.hdf5, name) {
            return self.old_reader(name);
        }
        let opening = self.opening();
        let (root, group) = opening.group(&self.hdf5, name)?;
        let embeddings = opening.dataset(&group, schema::EMBEDDINGS)?;
        let form = opening.vectors(&embeddings)?;
        let vectors = Vectors::new(embeddings, form, &self.raw);

        let (dataset, layout) = opening.table(&group)?;
        let records = self.records(&dataset, &layout.descriptor(), layout.record_bytes())?;
        let assets = Assets { records, layout, n_rows: vectors.shape[0] as u64 };

        let num_images = match opening.num_images(&group)? {
            Some((dataset, element)) => {
                let records = self.records(&dataset, &element, schema::NUM_IMAGES_BYTES)?;
                Some(NumImages { records })
            }
            None => None,
        };
        let (dataset, layout, descriptor) = opening.failures(&group)?;
        let failures =
            FailedItems { records: self.records(&dataset, &descriptor, layout.record_bytes())?, layout };

        let dataset = opening.dataset(&group, schema::DIGESTS)?;
        let digests = self.records(&dataset, &u8::type_descriptor(), schema::DIGEST_BYTES)?;
        let block_rows = opening.block_rows(&dataset)?;

        let (path, name) = (self.path.to_owned(), name.to_owned());
        let is_old = false;
        Ok(Reader {
            path,
            name,
            root,
            group,
            vectors,
            assets,
            num_images,
            failures,
            digests,
            block_rows,
            is_old,
        })
    }

    /// A file of the old Python pipeline, which has vectors and ids alone.
    fn old_reader(&self, name: &str) -> Result<Reader> {
        tracing::warn!(
            "{} is of the old Python pipeline: finding an asset takes reading all ids, and nothing in it can be checked; \
             `hyperslab import` makes a new file of it",
            self.path.display()
        );
        let opening = self.opening();
        let (root, group) = opening.root_and(&self.hdf5, name)?;
        let embeddings = opening.dataset(&group, schema::EMBEDDINGS)?;
        let form = opening.vectors(&embeddings)?;
        let vectors = Vectors::new(embeddings, form, &self.raw);
        let assets = old::assets(self.path, &group, vectors.shape[0] as u64)?;
        let none = |name: &str, record_bytes| Records {
            place: Place::Memory(Arc::from([])),
            path: self.path.to_owned(),
            name: name.to_owned(),
            record_bytes,
            n: 0,
        };
        let layout = FailureLayout { id_bytes: 1, reason_bytes: 1 };
        Ok(Reader {
            path: self.path.to_owned(),
            name: name.to_owned(),
            root,
            group,
            block_rows: vectors.chunk_rows().unwrap_or(OLD_BLOCK_ROWS).max(1) as u64,
            vectors,
            assets,
            num_images: None,
            failures: FailedItems { records: none(schema::FAILURES, layout.record_bytes()), layout },
            digests: none(schema::DIGESTS, schema::DIGEST_BYTES),
            is_old: true,
        })
    }

    /// The records of a contiguous dataset.
    fn records(&self, dataset: &Dataset, element: &TypeDescriptor, record_bytes: usize) -> Result<Records> {
        let (n, offset) = self.opening().contiguous(dataset, element, record_bytes)?;
        let (place, path, name) =
            (Place::File(self.raw.clone(), offset), self.path.to_owned(), dataset.name());
        Ok(Records { place, path, name, record_bytes, n })
    }
}

/// The string attributes but `kind`, known ones first, without empty ones.
fn provenance(group: &Group) -> Vec<(String, String)> {
    let mut names: Vec<String> = attr::PROVENANCE.iter().map(|&name| name.to_owned()).collect();
    let others = group.attr_names().unwrap_or_default();
    names
        .extend(others.into_iter().filter(|name| name != attr::KIND && !attr::PROVENANCE.contains(&&**name)));
    let text = |name: &String| read_string(group, name).ok().filter(|text| !text.is_empty());
    names.into_iter().filter_map(|name| text(&name).map(|text| (name, text))).collect()
}

fn compression(filters: &[Filter]) -> String {
    let words: Vec<String> = filters
        .iter()
        .map(|filter| match filter {
            Filter::Deflate(level) => format!("gzip {level}"),
            Filter::Shuffle => "shuffle".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        })
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" + ") }
}
