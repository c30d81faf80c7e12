//! MPI and libtorch: the program that `hyperslab` starts for commands that compute.

use std::process::ExitCode;

use hyperslab::cli;

fn main() -> ExitCode {
    cli::main(cli::run_on_ranks)
}
