//! Starting the program that computes. It needs MPI and libtorch, which take a second to load, so that the
//! program one types does without them.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::Cli;
use crate::error::{Context, Error, Exit, Result};

const ENGINE: &str = "hyperslab-engine";

/// Becomes the engine that lies beside this program, with the same arguments. Returns only if that fails.
///
/// # Errors
/// The engine is not there or cannot be started.
pub fn exec_engine(_: &Cli) -> Result<Exit> {
    let this = std::env::current_exe().context(|| "cannot tell where this program lies")?;
    let engine = this.parent().unwrap_or(Path::new(".")).join(ENGINE);
    // Devices in the order of the bus, as launchers and nvidia-smi count them; and float32 that is
    // float32. CUDA reads both once, when it is loaded, so they must stand before that.
    let failed = Command::new(&engine)
        .args(std::env::args_os().skip(1))
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .env("NVIDIA_TF32_OVERRIDE", "0")
        .exec();
    Err(Error::new(format!("cannot start '{}': {failed}", engine.display())).hint(
        "this command computes, which takes the engine: build it with `cargo build --release` (needs MPI and \
         libtorch, see docker/setup.sh) and keep both programs in one folder",
    ))
}
