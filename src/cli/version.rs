//! `--version`, with what the program was built with.

use std::sync::LazyLock;

/// What `build.rs` found, each if it found it.
const BUILD: [(&str, Option<&str>); 6] = [
    ("commit", option_env!("HYPERSLAB_BUILD_COMMIT")),
    ("rustc", option_env!("HYPERSLAB_BUILD_RUSTC")),
    ("HDF5", option_env!("HYPERSLAB_BUILD_HDF5")),
    ("MPI", option_env!("HYPERSLAB_BUILD_MPI")),
    ("launcher", option_env!("HYPERSLAB_BUILD_LAUNCHER")),
    ("libtorch", option_env!("HYPERSLAB_BUILD_LIBTORCH")),
];

/// For `-V`.
pub fn short() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// For `--version`.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let known =
            BUILD.iter().filter_map(|(name, found)| found.map(|found| format!("\n{name:<8}  {found}")));
        short().to_owned() + &known.collect::<String>()
    });
    &LONG
}
