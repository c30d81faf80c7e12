//! Before all ranks open a file together, each makes sure that it can.
//!
//! MPI-IO opens collectively: measured with `OpenMPI` 4.1.4, a rank other than 0 on which `open` fails
//! leaves all ranks waiting in `H5Fcreate` forever. A plain `open` on every rank, agreed on, comes first.

use std::fs::File;
use std::path::Path;

use crate::comm::World;
use crate::error::{Context, Result};

/// Checks that every rank can open an existing file for writing. Collective.
///
/// # Errors
/// Some rank cannot.
pub fn check(world: &World, path: &Path) -> Result<()> {
    let open = File::options().read(true).write(true).open(path);
    world.agree(open.map(drop).context(|| format!("cannot open {} for writing", path.display())))
}

/// Makes an empty file on rank 0, and checks that every rank can open it for writing. Collective.
///
/// # Errors
/// Rank 0 cannot make it, or some rank cannot open it.
pub fn create(world: &World, path: &Path) -> Result<()> {
    let made = if world.is_root() {
        File::create(path).map(drop).context(|| format!("cannot create {}", path.display()))
    } else {
        Ok(())
    };
    world.agree(made)?;
    check(world, path).map_err(|error| {
        error.hint("every node of the job must see the output directory under the same path, writable")
    })
}
