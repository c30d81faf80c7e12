//! How rows are transferred between memory and a file that all ranks have open.

use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::{H5FD_mpio_xfer_t, H5P_CLS_DATASET_XFER, H5Pclose, H5Pcreate, H5Pset_dxpl_mpio};

use crate::error::{Context, Error, Result};

unsafe extern "C" {
    // Part of HDF5's public parallel interface (H5Ppublic.h), missing from hdf5-sys.
    fn H5Pget_mpio_no_collective_cause(plist: hid_t, local: *mut u32, global: *mut u32) -> i32;
}

/// A dataset transfer property list that asks for a collective transfer.
pub(super) struct Transfer(hid_t);

impl Transfer {
    pub(super) fn collective() -> Result<Self> {
        // SAFETY: H5P_CLS_DATASET_XFER is the library's own class id, valid once it is open.
        let id = hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Pcreate(*H5P_CLS_DATASET_XFER) }))
            .context(|| "H5Pcreate")?;
        let list = Self(id);
        // SAFETY: the id is alive as long as `list`.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Pset_dxpl_mpio(list.0, H5FD_mpio_xfer_t::H5FD_MPIO_COLLECTIVE)
        }))
        .context(|| "H5Pset_dxpl_mpio")?;
        Ok(list)
    }

    pub(super) fn id(&self) -> hid_t {
        self.0
    }

    /// Whether the last transfer with this list was collective, as HDF5 tells it.
    pub(super) fn check_was_collective(&self) -> Result<()> {
        match self.no_collective_cause()? {
            (0, 0) => Ok(()),
            (local, global) => Err(Error::new(format!(
                "the transfer was not collective (H5Pget_mpio_no_collective_cause: local {local:#x}, global \
                 {global:#x})"
            ))),
        }
    }

    /// Why the last transfer with this list was not collective, on this rank and on any: zero if it was.
    fn no_collective_cause(&self) -> Result<(u32, u32)> {
        let (mut local, mut global) = (0, 0);
        // SAFETY: the id is alive and both pointers are to live u32 values, as the C function asks.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            H5Pget_mpio_no_collective_cause(self.0, &raw mut local, &raw mut global)
        }))
        .context(|| "H5Pget_mpio_no_collective_cause")?;
        Ok((local, global))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // SAFETY: the id was made by H5Pcreate and is closed once.
        hdf5::sync::sync(|| unsafe { H5Pclose(self.0) });
    }
}
