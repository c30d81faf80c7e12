//! How the ranks of either kind of MPI are started.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The launcher of the MPI that the program was built with.
pub const LAUNCHER: &str = env!("HYPERSLAB_BUILD_LAUNCHER");

/// Whether that is Open MPI; else it is of MPICH's family.
pub fn is_open_mpi() -> bool {
    env!("HYPERSLAB_BUILD_MPI").starts_with("Open MPI")
}

/// The launcher of the other kind of MPI, where Debian's package of it is installed.
pub fn foreign_launcher() -> Option<&'static str> {
    let name = if is_open_mpi() { "mpirun.mpich" } else { "mpirun.openmpi" };
    let found = Command::new(name).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no {name}");
    }
    found.then_some(name)
}

/// Asks `launcher` for ranks that have these variables; what they leave goes to `tmp`.
pub fn ask(
    command: &mut Command,
    launcher: &str,
    ranks: usize,
    variables: &[(String, OsString)],
    tmp: &Path,
) {
    if is_open_mpi() == (launcher == LAUNCHER) {
        ask_open_mpi(command, ranks, variables, tmp);
    } else {
        ask_hydra(command, ranks, variables);
    }
}

/// Options of Open MPI's `mpirun`: ranks, each with these variables.
fn ask_open_mpi(command: &mut Command, ranks: usize, variables: &[(String, OsString)], tmp: &Path) {
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    // What killed ranks leave of their shared memory goes with the folder; version 5 has renamed vader.
    for transport in ["vader", "sm"] {
        command.env(format!("OMPI_MCA_btl_{transport}_backing_directory"), tmp);
    }
    // Version 5.0.7 complains of each rank where a host has addresses of IPv6.
    command.env("OMPI_MCA_btl_tcp_disable_family", "6");
    command.arg("-n").arg(ranks.to_string()).args(["--oversubscribe", "--bind-to", "none"]);
    for (name, value) in variables {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        command.arg("-x").arg(setting);
    }
}

/// Options of Hydra, the `mpiexec` of MPICH and its kin.
fn ask_hydra(command: &mut Command, ranks: usize, variables: &[(String, OsString)]) {
    command.arg("-n").arg(ranks.to_string());
    for (name, value) in variables {
        command.arg("-genv").arg(name).arg(value);
    }
}
