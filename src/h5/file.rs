//! A file that all ranks create, open, flush and close together through the mpio driver, or one process alone.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use hdf5::Datatype;
use hdf5::plist::dataset_create::{AllocTime, FillTime};
use hdf5::types::TypeDescriptor;
use hdf5_sys::h5a::H5Awrite;
use hdf5_sys::h5f::{H5F_SCOPE_GLOBAL, H5Fflush};

use super::rows::RowDataset;
#[cfg(feature = "engine")]
use crate::comm::RawComm;
use crate::error::{Context, Error, Result};

/// Attributes that an object's header holds; HDF5's default is 8, and a root has some thirty.
const ATTRIBUTES_IN_HEADER_MAX: u32 = 1024;

/// Who has a file open.
#[derive(Clone, Copy)]
pub enum Access {
    /// This process; nothing is collective.
    Alone,
    /// All ranks of a communicator, through the mpio driver.
    #[cfg(feature = "engine")]
    Together(RawComm),
}

/// How a dataset lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One run of bytes at a fixed offset, allocated at creation and never filled.
    Contiguous,
    /// Chunks of `rows` rows, shuffled and deflated at `gzip` (1 to 9).
    Chunked { rows: u64, gzip: u8 },
}

/// What an attribute is written on, by its path from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// A group; the empty path is the root.
    Group(&'a str),
    Dataset(&'a str),
}

/// An open file. Dropping it leaks the handle on purpose (see the module's words); [`finish`](Self::finish)
/// closes it.
pub struct RowFile {
    file: ManuallyDrop<hdf5::File>,
    path: PathBuf,
    access: Access,
}

impl RowFile {
    /// Creates or truncates `path`. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, with the path.
    pub fn create(path: &Path, access: Access) -> Result<Self> {
        // Object times would make equal work give different files. So would attributes beyond those that an
        // object's header holds: they go to a heap with holes, see `with_access`.
        let file = with_access(access)
            .with_fcpl(|plist| plist.obj_track_times(false).attr_phase_change(ATTRIBUTES_IN_HEADER_MAX, 0))
            .create(path)
            .context(|| format!("cannot create {}", path.display()))?;
        Ok(Self::new(file, path, access))
    }

    /// Opens an existing file for reading and writing. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, with the path.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let file = with_access(access)
            .open_rw(path)
            .context(|| format!("cannot open {} for writing", path.display()))?;
        Ok(Self::new(file, path, access))
    }

    /// Opens an existing file for reading. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, with the path.
    pub fn open_read(path: &Path, access: Access) -> Result<Self> {
        let file = for_reading(access).open(path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Self::new(file, path, access))
    }

    fn new(file: hdf5::File, path: &Path, access: Access) -> Self {
        Self { file: ManuallyDrop::new(file), path: path.to_owned(), access }
    }

    /// Creates a group below the root. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, with path and name.
    pub fn create_group(&self, name: &str) -> Result<()> {
        // As the root is made, see `create`.
        let builder = self.file.create_group_builder().create_intermediate_group(false);
        builder
            .with_gcpl(|plist| plist.obj_track_times(false).attr_phase_change(ATTRIBUTES_IN_HEADER_MAX, 0))
            .create(name)
            .context(|| format!("cannot create group {name} in {}", self.path.display()))
            .map(drop)
    }

    /// Creates a dataset of `shape`, by its path from the root: the group must be there. Its first dimension
    /// counts rows. Collective.
    ///
    /// # Errors
    /// What HDF5 reports, with path and name.
    pub fn create_rows(
        &self,
        name: &str,
        row_type: &TypeDescriptor,
        shape: &[u64],
        layout: Layout,
    ) -> Result<RowDataset> {
        let what = || format!("cannot create dataset {name} in {}", self.path.display());
        let shape_usize: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
        let mut chunk = shape_usize.clone();
        // All by the builder itself: it puts its own chunks in the place of a property list's.
        let builder = self
            .file
            .new_dataset_builder()
            .empty_as(Datatype::from_descriptor(row_type).context(what)?)
            .shape(shape_usize)
            .obj_track_times(false)
            .alloc_time(Some(self.alloc_time(layout)))
            .fill_time(FillTime::Never);
        let builder = match layout {
            // Also an empty dataset, which the builder would cut into chunks of 1.
            Layout::Contiguous => builder.no_chunk(),
            Layout::Chunked { rows, gzip } => {
                if let Some(first) = chunk.first_mut() {
                    *first = (rows as usize).min(*first).max(1);
                }
                builder.chunk(chunk).shuffle().deflate(gzip)
            }
        };
        let dataset = builder.create(name).context(what)?;
        RowDataset::new(dataset, name, &self.path, self.access)
    }

    /// Room for all chunks beforehand is what mpio asks for; alone it would only be filled twice.
    fn alloc_time(&self, layout: Layout) -> AllocTime {
        match (self.access, layout) {
            (Access::Alone, Layout::Chunked { .. }) => AllocTime::Incr,
            _ => AllocTime::Early,
        }
    }

    /// Opens a dataset by its path from the root. Collective.
    ///
    /// # Errors
    /// No such dataset, or what HDF5 reports.
    pub fn open_rows(&self, name: &str) -> Result<RowDataset> {
        let dataset = self
            .file
            .dataset(name)
            .context(|| format!("cannot open dataset {name} in {}", self.path.display()))?;
        RowDataset::new(dataset, name, &self.path, self.access)
    }

    /// Writes a scalar attribute. `bytes` is the value in the memory form of `value_type`. Collective: all
    /// ranks pass the same.
    ///
    /// # Errors
    /// A value of another size than its type, or what HDF5 reports.
    pub fn write_attribute(
        &self,
        object: Object<'_>,
        name: &str,
        value_type: &TypeDescriptor,
        bytes: &[u8],
    ) -> Result<()> {
        let what = || format!("cannot write attribute {name} in {}", self.path.display());
        let datatype = Datatype::from_descriptor(value_type).context(what)?;
        if bytes.len() != datatype.size() {
            return Err(Error::new(format!(
                "{}: {} bytes for a type of {}",
                what(),
                bytes.len(),
                datatype.size()
            )));
        }
        let attribute = match object {
            Object::Group("") => self.file.new_attr_builder().empty_as(&datatype).create(name),
            Object::Group(group) => {
                let group = self.file.group(group).context(what)?;
                group.new_attr_builder().empty_as(&datatype).create(name)
            }
            Object::Dataset(dataset) => {
                let dataset = self.file.dataset(dataset).context(what)?;
                dataset.new_attr_builder().empty_as(&datatype).create(name)
            }
        }
        .context(what)?;
        // SAFETY: both ids are alive for the call, and `bytes` holds exactly one value of the type.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Awrite(attribute.id(), datatype.id(), bytes.as_ptr().cast())
        }))
        .context(what)?;
        Ok(())
    }

    /// Flushes to the storage medium on every rank (`fsync` through the mpio driver). Collective.
    ///
    /// # Errors
    /// What HDF5 reports, e.g. a full disk.
    pub fn flush(&self) -> Result<()> {
        // SAFETY: the file id is alive as long as `self`.
        hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Fflush(self.file.id(), H5F_SCOPE_GLOBAL) }))
            .context(|| format!("cannot flush {}", self.path.display()))
            .map_err(|error| {
                // OpenMPI 4.1.4 may keep a failed write to itself until here, and tells why on standard error alone.
                error.hint(
                    "a write may have failed before, of which MPI then told above (a full disk, a quota, a lost \
                     server): mend that and run the same command again",
                )
            })
            .map(drop)
    }

    /// Closes the file; its datasets must be closed before. Collective.
    ///
    /// # Errors
    /// What HDF5 reports.
    pub fn finish(self) -> Result<()> {
        ManuallyDrop::into_inner(self.file)
            .close()
            .context(|| format!("cannot close {}", self.path.display()))
    }
}

/// A format (1.10) that stock readers of that age can open; and mpio with collective metadata, where ranks share
/// the file.
fn with_access(access: Access) -> hdf5::FileBuilder {
    let mut builder = for_reading(access);
    builder.with_fapl(|plist| {
        #[cfg(feature = "engine")]
        if let Access::Together(_) = access {
            plist.coll_metadata_write(true).all_coll_metadata_ops(true);
        }
        plist
            .libver_bounds(hdf5::file::LibraryVersion::V110, hdf5::file::LibraryVersion::V110)
            // No room set aside for small things to come: what stays unused of it is never written, and
            // ROMIO (MPICH's MPI-IO) fills such holes with whatever its buffer held.
            .meta_block_size(0)
            .small_data_block_size(0)
    });
    builder
}

/// mpio, where ranks share the file. Of its metadata each reads what it needs by itself, as of the rows: to promise
/// here that all read the same together, HDF5 1.14 takes at its word also for the places of chunks. Ranks that read
/// different datasets then get each other's, and one that reads nothing keeps the others waiting.
fn for_reading(access: Access) -> hdf5::FileBuilder {
    match access {
        Access::Alone => hdf5::File::with_options(),
        #[cfg(feature = "engine")]
        Access::Together(comm) => {
            let mut builder = hdf5::File::with_options();
            builder.with_fapl(|plist| plist.mpio(comm.0, None));
            builder
        }
    }
}
