//! The program one types: answers by itself what needs no model, and starts the engine for the rest.

use std::process::ExitCode;

use hyperslab::cli;

fn main() -> ExitCode {
    cli::main(cli::exec_engine)
}
