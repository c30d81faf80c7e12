//! Chunks as they lie in a file, before any filter is undone: the one thing about them that has to be done under
//! HDF5's lock. Undoing the filters is work for many threads.

use hdf5::Dataset;
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::H5Dread_chunk1;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;

use crate::error::{Context, Error, Result};

unsafe extern "C" {
    // Part of HDF5's public interface (H5Dpublic.h), missing from hdf5-sys.
    fn H5Dget_chunk_storage_size(dataset: hid_t, offset: *const hsize_t, bytes: *mut hsize_t) -> i32;
}

/// More than any chunk of a sound file has: HDF5 allows no chunk of 4 GiB or more.
const CHUNK_BYTES_MAX: hsize_t = u32::MAX as hsize_t;

/// Reads the chunk whose first element is at `offset`, one number for each dimension, in the place of what `bytes`
/// holds. Returns which filters were not applied to it: bit `i` stands for the filter number `i` of the dataset.
///
/// # Errors
/// It is not stored, or what HDF5 reports.
pub fn read_chunk(dataset: &Dataset, offset: &[u64], bytes: &mut Vec<u8>) -> Result<u32> {
    if offset.len() != dataset.ndim() {
        return Err(Error::new(format!("a chunk at {offset:?} of {} dimensions", dataset.ndim())));
    }
    // One lock for both calls: nothing comes between the size and the bytes.
    hdf5::sync::sync(|| {
        let mut size: hsize_t = 0;
        // SAFETY: the id is alive for the call, `offset` has one number for each dimension, and `size` is a live
        // place for one.
        let sized = unsafe { H5Dget_chunk_storage_size(dataset.id(), offset.as_ptr(), &raw mut size) };
        hdf5::h5check(sized).context(|| "H5Dget_chunk_storage_size")?;
        if size == 0 || size > CHUNK_BYTES_MAX {
            return Err(Error::new(format!("the chunk at {offset:?} has {size} bytes")));
        }
        bytes.resize(size as usize, 0);
        let mut skipped_filters = 0;
        // SAFETY: as above; `bytes` has the room that HDF5 has just asked for, and `skipped_filters` is live.
        let read = unsafe {
            H5Dread_chunk1(
                dataset.id(),
                H5P_DEFAULT,
                offset.as_ptr(),
                &raw mut skipped_filters,
                bytes.as_mut_ptr().cast(),
            )
        };
        hdf5::h5check(read).context(|| "H5Dread_chunk")?;
        Ok(skipped_filters)
    })
}
