//! Opening a sealed file: is it there, finished, HDF5, whole, and one of ours?

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hdf5::plist::dataset_create::Layout;
use hdf5::types::{FixedUnicode, IntSize, TypeDescriptor};
use hdf5::{Dataset, Datatype, Group};

use super::schema::{self, FailureLayout, StoredType, TableLayout, attr};
use crate::error::{Context, Error, Exit, Result};

/// The first bytes of every HDF5 file (HDF5 File Format Specification, "Superblock").
const HDF5_SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Longer string attributes than any this format has are cut here, in bytes.
const ATTRIBUTE_BYTES: usize = 16 << 10;

/// More components than any model's vectors have.
const DIM_MAX: usize = 1 << 16;

/// A file while it is being opened: what its errors need to know.
pub(super) struct Opening<'a> {
    pub path: &'a Path,
    pub file_bytes: u64,
}

impl Opening<'_> {
    /// The names of the groups that have vectors, by their bytes; one empty name for the root.
    pub fn group_names(&self, file: &hdf5::File) -> Result<Vec<String>> {
        if file.link_exists(schema::EMBEDDINGS) {
            return Ok(vec![String::new()]);
        }
        let groups = file.groups().map_err(|error| self.damaged(error))?;
        let has_vectors = groups.iter().filter(|group| group.link_exists(schema::EMBEDDINGS));
        let mut names: Vec<_> =
            has_vectors.map(|group| group.name().trim_start_matches('/').to_owned()).collect();
        names.sort_unstable();
        // A root that lacks what a group has, is said so.
        if names.is_empty() { Ok(vec![String::new()]) } else { Ok(names) }
    }

    /// Which of the groups `names` is meant by `wanted`: a single one need not be named.
    pub fn choose<'n>(&self, names: &'n [String], wanted: Option<&str>) -> Result<&'n str> {
        let path = self.path.display();
        let all = names.join(", ");
        let at_root = names.iter().any(String::is_empty);
        match (wanted, names) {
            (None, [only]) => Ok(only),
            (Some(_), _) if at_root => {
                Err(Error::new(format!("{path} has no groups, its vectors are at the root"))
                    .hint("leave --group out"))
            }
            (Some(wanted), _) => names
                .iter()
                .find(|name| *name == wanted)
                .map(String::as_str)
                .ok_or_else(|| Error::new(format!("{path} has no group '{wanted}'; its groups: {all}"))),
            (None, _) => {
                let hint =
                    names.iter().map(|name| format!("--group {name}")).collect::<Vec<_>>().join(" or ");
                Err(Error::new(format!("{path} has several groups: {all}")).hint(hint))
            }
        }
    }

    /// The root of the file, and a group that holds all that a reader needs; the empty name is the root.
    pub fn group(&self, file: &hdf5::File, name: &str) -> Result<(Group, Group)> {
        let (root, group) = self.root_and(file, name)?;
        self.check_is_whole(&group, name)?;
        self.check_version(&root)?;
        Ok((root, group))
    }

    /// The root of the file, and a group.
    pub fn root_and(&self, file: &hdf5::File, name: &str) -> Result<(Group, Group)> {
        let open =
            |path: &str| file.group(path).map_err(|error| self.damaged(format!("group {path}: {error}")));
        Ok((open("/")?, open(&format!("/{name}"))?))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::new(format!("{} is damaged: {what}", self.path.display()))
            .hint("take the file from its source again, or compute it again")
            .exit(Exit::Damaged)
    }

    fn foreign(&self, what: impl std::fmt::Display) -> Error {
        Error::new(format!("{} is HDF5, but not a file of this program: {what}", self.path.display()))
    }

    fn check_is_whole(&self, group: &Group, name: &str) -> Result<()> {
        let names = group.member_names().map_err(|error| self.damaged(error))?;
        let has = |name: &str| names.iter().any(|member| member == name);
        let full = |dataset: &str| format!("/{}", schema::path_in(name, dataset));
        let mut missing: Vec<String> = [schema::EMBEDDINGS, schema::FAILURES, schema::DIGESTS]
            .iter()
            .filter(|name| !has(name))
            .map(|name| full(name))
            .collect();
        if !has(schema::ASSET_IDS) && !has(schema::METADATA) {
            missing.push(format!("{} (or {})", full(schema::ASSET_IDS), full(schema::METADATA)));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(self.foreign(format!("it has no {}", missing.join(", no "))))
    }

    fn check_version(&self, root: &Group) -> Result<()> {
        let version = read_integer(root, attr::FORMAT_VERSION)
            .map_err(|_| self.foreign(format!("it has no attribute {}", attr::FORMAT_VERSION)))?;
        if version != schema::FORMAT_VERSION {
            return Err(self
                .foreign(format!("its format version is {version}, expected {}", schema::FORMAT_VERSION))
                .hint("read it with the version of hyperslab that wrote it, or a newer one"));
        }
        Ok(())
    }

    pub fn dataset(&self, group: &Group, name: &str) -> Result<Dataset> {
        let within = group.name();
        let within = within.trim_end_matches('/');
        group.dataset(name).map_err(|error| self.damaged(format!("{within}/{name}: {error}")))
    }

    pub fn vectors(&self, dataset: &Dataset) -> Result<(StoredType, [usize; 2])> {
        let (name, element) = (dataset.name(), self.element(dataset)?);
        let stored =
            [StoredType::F32, StoredType::F16].into_iter().find(|stored| is(&element, &stored.descriptor()));
        let stored = stored
            .ok_or_else(|| self.foreign(format!("{name} is neither float32 nor float16, little-endian")))?;
        match dataset.shape()[..] {
            [_, dim] if dim > DIM_MAX => Err(self
                .foreign(format!("{name} has vectors of {dim} components; at most {DIM_MAX} are possible"))),
            [rows, dim] if dim > 0 => Ok((stored, [rows, dim])),
            ref other => Err(self.foreign(format!("{name} has shape {other:?}, expected [rows, dim]"))),
        }
    }

    pub fn table(&self, group: &Group) -> Result<(Dataset, TableLayout)> {
        if group.link_exists(schema::METADATA) {
            let dataset = self.dataset(group, schema::METADATA)?;
            let id_bytes = self.string_bytes(&dataset, 0)?;
            Ok((dataset, TableLayout::RowPerView { id_bytes }))
        } else {
            let dataset = self.dataset(group, schema::ASSET_IDS)?;
            let id_bytes = self.element(&dataset)?.size();
            Ok((dataset, TableLayout::RowPerAsset { id_bytes }))
        }
    }

    /// How many views each vector is made from, where the file says so.
    pub fn num_images(&self, group: &Group) -> Result<Option<(Dataset, TypeDescriptor)>> {
        if !group.link_exists(schema::NUM_IMAGES) {
            return Ok(None);
        }
        let dataset = self.dataset(group, schema::NUM_IMAGES)?;
        Ok(Some((dataset, TypeDescriptor::Integer(IntSize::U4))))
    }

    pub fn failures(&self, group: &Group) -> Result<(Dataset, FailureLayout, TypeDescriptor)> {
        let dataset = self.dataset(group, schema::FAILURES)?;
        let (id_bytes, reason_bytes) = (self.string_bytes(&dataset, 0)?, self.string_bytes(&dataset, 2)?);
        let descriptor = schema::failure_type(id_bytes, reason_bytes);
        Ok((dataset, FailureLayout { id_bytes, reason_bytes }, descriptor))
    }

    /// Width of the string that is a compound's field number `index`.
    fn string_bytes(&self, dataset: &Dataset, index: usize) -> Result<usize> {
        let descriptor = self.element(dataset)?.to_descriptor().map_err(|error| self.damaged(error))?;
        if let TypeDescriptor::Compound(compound) = &descriptor
            && let Some(TypeDescriptor::FixedUnicode(bytes)) =
                compound.fields.get(index).map(|field| &field.ty)
        {
            return Ok(*bytes);
        }
        Err(self.foreign(format!("{} has elements of type {descriptor}", dataset.name())))
    }

    /// Number of records of a contiguous dataset, and the offset of the first.
    pub fn contiguous(
        &self,
        dataset: &Dataset,
        element: &TypeDescriptor,
        record_bytes: usize,
    ) -> Result<(u64, u64)> {
        let name = dataset.name();
        if !is(&self.element(dataset)?, element) {
            return Err(self.foreign(format!("the elements of {name} are not {element}")));
        }
        let bytes = dataset.shape().iter().try_fold(element.size(), |bytes, &n| bytes.checked_mul(n));
        let bytes =
            bytes.ok_or_else(|| self.damaged(format!("{name} has shape {:?}", dataset.shape())))? as u64;
        if bytes > 0 && dataset.layout() != Layout::Contiguous {
            return Err(self.foreign(format!("{name} is not contiguous")));
        }
        let offset = dataset.offset().unwrap_or(0);
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.file_bytes);
        if !fits || !bytes.is_multiple_of(record_bytes as u64) || (bytes > 0 && offset == 0) {
            let file_bytes = self.file_bytes;
            return Err(self.damaged(format!("{name} has {bytes} bytes at {offset}, of {file_bytes}")));
        }
        Ok((bytes / record_bytes as u64, offset))
    }

    pub fn block_rows(&self, digests: &Dataset) -> Result<u64> {
        let algorithm = read_string(digests, attr::ALGORITHM).map_err(|error| self.damaged(error))?;
        if algorithm != schema::DIGEST_ALGORITHM {
            return Err(
                self.foreign(format!("its digests are {algorithm}, not {}", schema::DIGEST_ALGORITHM))
            );
        }
        let block_rows = read_integer(digests, attr::BLOCK_ROWS).map_err(|error| self.damaged(error))?;
        u64::try_from(block_rows)
            .ok()
            .filter(|&rows| rows > 0)
            .ok_or_else(|| self.damaged(format!("it has {block_rows} rows per block")))
    }

    fn element(&self, dataset: &Dataset) -> Result<Datatype> {
        dataset.dtype().map_err(|error| self.damaged(format!("{}: {error}", dataset.name())))
    }
}

/// Same type to the last detail: byte order, padding and character set too.
fn is(element: &Datatype, descriptor: &TypeDescriptor) -> bool {
    Datatype::from_descriptor(descriptor).is_ok_and(|expected| *element == expected)
}

/// Refuses a file by whose name a job is still at work on it.
pub(super) fn refuse_unfinished(path: &Path) -> Result<()> {
    let is_unfinished = path.extension().is_some_and(|end| end == "partial" || end == "tmp");
    if is_unfinished && path.exists() { Err(unfinished_job(path)) } else { Ok(()) }
}

/// Opens a file for positioned reads.
pub(super) fn raw(path: &Path) -> Result<File> {
    // To open a pipe would wait for its writer.
    match path.metadata() {
        Ok(there) if there.is_dir() => return Err(Error::new(format!("{} is a folder", path.display()))),
        Ok(there) if !there.is_file() => {
            return Err(Error::new(format!("{} is not a plain file", path.display())));
        }
        _ => {}
    }
    let file = File::open(path).context(|| format!("cannot open {}", path.display()));
    file.map_err(|error| missing_file(path, error))
}

fn unfinished_job(path: &Path) -> Error {
    Error::new(format!("{} belongs to a job that is running or was stopped", path.display())).hint(
        "run the same `hyperslab embed` command again to go on where it stopped; \
         `hyperslab seal` finishes one that has computed everything",
    )
}

fn missing_file(path: &Path, error: Error) -> Error {
    if path.exists() {
        return error;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() { unfinished_job(&partial) } else { error }
}

/// Opens a file in HDF5, read-only.
pub(super) fn hdf5_file(path: &Path) -> Result<hdf5::File> {
    hdf5::File::open(path).map_err(|error| {
        let shown = path.display();
        let message = error.to_string();
        if !begins_with_signature(path) {
            return Error::new(format!("{shown} is not an HDF5 file"));
        }
        if message.contains("lock file") {
            return Error::new(format!("cannot open {shown}: {message}"))
                .hint("on a file system without locks, set HDF5_USE_FILE_LOCKING=FALSE");
        }
        Error::new(format!("{shown} is damaged: {message}"))
            .hint("a file cut off by a copy that stopped looks like this: copy it again")
            .exit(Exit::Damaged)
    })
}

fn begins_with_signature(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut head));
    read.is_ok() && head == HDF5_SIGNATURE
}

/// A scalar integer attribute.
pub(super) fn read_integer(location: &hdf5::Location, name: &str) -> Result<i64> {
    location
        .attr(name)
        .and_then(|attribute| attribute.read_scalar())
        .context(|| format!("attribute {name} of {}", location.name()))
}

/// A scalar string attribute of fixed length.
pub(super) fn read_string(location: &hdf5::Location, name: &str) -> Result<String> {
    let read = || location.attr(name)?.read_raw::<FixedUnicode<ATTRIBUTE_BYTES>>();
    let text = read().context(|| format!("attribute {name} of {}", location.name()))?;
    Ok(text.first().map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned()).unwrap_or_default())
}
