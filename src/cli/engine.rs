//! Starting the program that computes. It needs MPI and libtorch, which take a second to load, so that the
//! program one types does without them.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command as Process;

use super::{Cli, Command};
use crate::error::{Context, Error, Exit, Result};

const ENGINE: &str = "hyperslab-engine";

/// Becomes the engine that lies beside this program, with the same arguments. Returns only if that fails.
///
/// # Errors
/// The engine is not there or cannot be started.
pub fn exec_engine(cli: &Cli) -> Result<Exit> {
    let this = std::env::current_exe().context(|| "cannot tell where this program lies")?;
    let engine = this.parent().unwrap_or(Path::new(".")).join(ENGINE);
    if matches!(cli.command, Command::Doctor(_)) {
        check_libraries(&engine)?;
    }
    // Devices in the order of the bus, as launchers and nvidia-smi count them; and float32 that is
    // float32. CUDA reads both once, when it is loaded, so they must stand before that.
    let failed = Process::new(&engine)
        .args(std::env::args_os().skip(1))
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .env("NVIDIA_TF32_OVERRIDE", "0")
        // Over several hosts Open MPI would keep a shared file pointer, which nothing here uses, in files beside the
        // output; those of a killed job would stay.
        .env("OMPI_MCA_sharedfp", "^lockedfile,individual")
        .exec();
    Err(Error::new(format!("cannot start '{}': {failed}", engine.display())).hint(
        "this command computes, which takes the engine: build it with `cargo build --release` (needs MPI and \
         libtorch, see docker/setup.sh) and keep both programs in one folder",
    ))
}

/// Asks the loader, before the engine becomes this process, which libraries it does not find: its own words
/// stop at the first one.
///
/// # Errors
/// Libraries that are missing, or too old, by name.
fn check_libraries(engine: &Path) -> Result<()> {
    // What `ldd` does: the loader of glibc lists what it would load, and runs nothing (ld.so(8)).
    let Ok(listed) = Process::new(engine).env("LD_TRACE_LOADED_OBJECTS", "1").output() else {
        // It is not there, or is no program, of which starting it tells.
        return Ok(());
    };
    let told = [listed.stdout, listed.stderr].concat();
    let missing = missing_libraries(&String::from_utf8_lossy(&told));
    let Some(first) = missing.first() else { return Ok(()) };
    Err(Error::new(format!("'{}' cannot start on this machine: {}", engine.display(), missing.join("; ")))
        .hint(remedy(first)))
}

/// The complaints of the loader: `libx.so.1 => not found`, and versions that a library lacks.
fn missing_libraries(listed: &str) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for line in listed.lines().map(str::trim) {
        let complaint = match line.strip_suffix("=> not found") {
            Some(name) => format!("{} is missing", name.trim()),
            None if line.contains("version `") && line.contains("not found") => line.to_owned(),
            None => continue,
        };
        if !missing.contains(&complaint) {
            missing.push(complaint);
        }
    }
    missing
}

fn remedy(complaint: &str) -> &'static str {
    let is_of = |names: &[&str]| names.iter().any(|name| complaint.starts_with(name));
    if is_of(&["libtorch", "libc10"]) {
        "libtorch is not where it was when the program was built: put it back there on every node (docker/setup.sh), \
         or name its lib folder in LD_LIBRARY_PATH"
    } else if is_of(&["libcu", "libnv"]) {
        "NVIDIA's libraries come with the libtorch for GPUs: install that one (docker/setup.sh), on every node"
    } else if is_of(&["libmpi", "libopen-", "libhdf5", "libpmi"]) {
        "load the modules of MPI and HDF5 that the program was built with, in the job script too"
    } else {
        "install it on every node, or build the program on the kind of node it is to run on"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_complaints_are_understood() {
        let listed = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibtorch_cpu.so => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                      \tlibtorch_cpu.so => not found\n./e: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ./e)\n";
        let missing = missing_libraries(listed);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert_eq!(missing[0], "libtorch_cpu.so is missing");
        assert!(missing[1].contains("GLIBC_2.38"));
        assert!(missing_libraries("\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n").is_empty());
        assert!(remedy(&missing[0]).contains("LD_LIBRARY_PATH"));
    }
}
