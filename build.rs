//! Checks what cargo cannot fetch (MPI, parallel HDF5, libtorch, the linker), says what mends it,
//! sets the run path, and bakes in the versions that `hyperslab --version` and provenance name.
//!
//! The build scripts of mpi-sys, hdf5-metno-sys and torch-sys run before this one. Where a library
//! is missing altogether they fail first, in their own words: `docker/setup.sh` is the remedy for all.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// tch 0.24 binds the C++ interface of exactly this libtorch.
const LIBTORCH_WANTED: &str = "2.11.";
/// The first HDF5 that writes the format of version 1.10 as such (`H5F_LIBVER_V110`).
const HDF5_WANTED_AS_VARIABLE: &str = "DEP_HDF5_VERSION_1_10_2";
/// Accepts an MPI or HDF5 of conda.
const ALLOW_CONDA: &str = "HYPERSLAB_ALLOW_CONDA";
/// Names the commit where there is no checkout, as in an image's build.
const COMMIT: &str = "HYPERSLAB_COMMIT";
/// What mends everything below where one may install packages.
const SETUP: &str = "run docker/setup.sh";

/// What went wrong and what mends it, as one line.
type Problem = String;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let engine = env::var_os("CARGO_FEATURE_ENGINE").is_some();

    let mut problems = Vec::new();
    let mut checked = |name: &str, version: Result<String, Problem>| match version {
        Ok(version) => println!("cargo::rustc-env=HYPERSLAB_BUILD_{name}={version}"),
        Err(problem) => problems.push(problem),
    };
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let commit = env::var(COMMIT).ok().or_else(git_commit);
    checked("COMMIT", Ok(commit.unwrap_or_else(|| "unknown".to_owned())));
    checked("RUSTC", Ok(rustc(&["--version"]).unwrap_or_else(|| "unknown".to_owned())));
    checked("HDF5", hdf5(engine));
    let mpi = if engine { mpi() } else { Ok(Mpi { name: "none".to_owned(), launcher: "none".to_owned() }) };
    checked("LAUNCHER", mpi.clone().map(|mpi| mpi.launcher).or(Ok("none".to_owned())));
    // The reader alone calls no MPI, and reads with any HDF5.
    let fits = |mpi: &Mpi| if engine { hdf5_is_made_with(&mpi.name) } else { Ok(()) };
    checked("MPI", mpi.and_then(|mpi| fits(&mpi).map(|()| mpi.name)));
    checked("LIBTORCH", if engine { libtorch() } else { Ok("none".to_owned()) });
    if engine && let Err(problem) = linker() {
        problems.push(problem);
    }
    for problem in problems {
        println!("cargo::error={problem}");
    }
}

/// The version of the HDF5 that is linked; with the engine it has to be parallel.
fn hdf5(engine: bool) -> Result<String, Problem> {
    let include = PathBuf::from(env::var_os("DEP_HDF5_INCLUDE").unwrap_or_default());
    let place = include.display();
    if engine && env::var_os("DEP_HDF5_HAVE_PARALLEL").is_none() {
        return Err(format!(
            "the HDF5 of {place} is not parallel (no H5_HAVE_PARALLEL in its H5pubconf.h): {SETUP}, or point \
             HDF5_DIR at one built with MPI"
        ));
    }
    if env::var_os(HDF5_WANTED_AS_VARIABLE).is_none() {
        return Err(format!(
            "the HDF5 of {place} is older than 1.10.2: {SETUP}, or point HDF5_DIR at a newer one"
        ));
    }
    let header = include.join("H5public.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .map_err(|e| format!("cannot read {} ({e}): {SETUP}", header.display()))?;
    let version = dotted(&text, ["H5_VERS_MAJOR", "H5_VERS_MINOR", "H5_VERS_RELEASE"])
        .ok_or_else(|| format!("{} names no version: {SETUP}", header.display()))?;

    if engine {
        refuse_conda("HDF5", &include, "HDF5_DIR")?;
    }
    for folder in ["lib", "lib64"] {
        if let Ok(library) = fs::canonicalize(include.with_file_name(folder).join("libhdf5.so")) {
            found_at_run_time(&library);
        }
    }
    Ok(version)
}

/// Refuses a parallel HDF5 that loads an MPI of another family, where its file tells.
fn hdf5_is_made_with(mpi: &str) -> Result<(), Problem> {
    let include = PathBuf::from(env::var_os("DEP_HDF5_INCLUDE").unwrap_or_default());
    let library = fs::read(include.with_file_name("lib").join("libhdf5.so")).unwrap_or_default();
    // Open MPI's name is libmpi.so.40 (or 20); that of MPICH and its kin libmpi*.so.12.
    let names = library.split(|&byte| byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    let Some(name) = names.filter(|name| name.starts_with("libmpi")).find(|name| name.contains(".so."))
    else {
        return Ok(());
    };
    let is_open_mpi = name.ends_with(".so.40") || name.ends_with(".so.20");
    let is_mpich = name.ends_with(".so.12");
    let other = if mpi.starts_with("Open MPI") { is_mpich } else { is_open_mpi };
    if other && !mpi.starts_with("unknown") {
        return Err(format!(
            "the HDF5 of {} is made with another MPI ({name}) than {mpi}: name the fitting one in HDF5_DIR, or \
             its MPI's compiler in MPICC",
            include.display()
        ));
    }
    Ok(())
}

#[derive(Clone)]
struct Mpi {
    /// Name and version.
    name: String,
    /// The command that starts its ranks.
    launcher: String,
}

/// The MPI that the compiler wrapper stands for, as its `mpi.h` has it.
fn mpi() -> Result<Mpi, Problem> {
    for name in ["MPICC", "MPI_PKG_CONFIG", "CRAY_MPICH_DIR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let wrapper = env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned());
    // mpi-sys looks at these two before it looks for a wrapper.
    let found_otherwise =
        ["MPI_PKG_CONFIG", "CRAY_MPICH_DIR"].into_iter().find(|name| env::var_os(name).is_some());
    let arguments = ["-x", "c", "-E", "-dM", "-include", "mpi.h", "/dev/null"];
    let header = match (output(&wrapper, &arguments), found_otherwise) {
        (Ok(header), _) => header,
        (Err(_), Some(name)) => {
            return Ok(Mpi { name: format!("unknown, by {name}"), launcher: "mpiexec".to_owned() });
        }
        (Err(why), None) => {
            return Err(format!(
                "no MPI ({why}): {SETUP}, or load its module, or name its compiler in MPICC"
            ));
        }
    };
    let standard = defined(&header, "MPI_VERSION").and_then(|v| v.parse::<u32>().ok()).unwrap_or(0);
    if standard < 3 {
        return Err(format!(
            "the MPI of {wrapper} is of standard {standard}, 3 or later is needed: name another in MPICC"
        ));
    }
    let name = mpi_name(&header).unwrap_or_else(|| format!("unknown, of standard {standard}"));
    let wrapper = in_path(&wrapper).unwrap_or_else(|| PathBuf::from(wrapper));
    refuse_conda("MPI", &wrapper, "MPICC")?;
    for flag in
        output(wrapper.to_str().unwrap_or_default(), &["-show"]).unwrap_or_default().split_whitespace()
    {
        if let Some(folder) = flag.strip_prefix("-L") {
            found_at_run_time(&Path::new(folder).join("libmpi.so"));
        }
    }
    Ok(Mpi { name, launcher: launcher_beside(&wrapper) })
}

/// The name and version in an `mpi.h`.
fn mpi_name(header: &str) -> Option<String> {
    let open_mpi = dotted(header, ["OMPI_MAJOR_VERSION", "OMPI_MINOR_VERSION", "OMPI_RELEASE_VERSION"]);
    if let Some(version) = open_mpi {
        return Some(format!("Open MPI {version}"));
    }
    // Descendants of MPICH define its version too, beside their own.
    let of_mpich = [
        ("Intel MPI", "I_MPI_VERSION"),
        ("MVAPICH", "MVAPICH2_VERSION"),
        ("MVAPICH", "MVAPICH_VERSION"),
        ("MPICH", "MPICH_VERSION"),
    ];
    of_mpich.into_iter().find_map(|(name, version)| Some(format!("{name} {}", defined(header, version)?)))
}

/// The launcher that belongs to a compiler wrapper: `mpirun` beside `mpicc`, `mpirun.mpich` beside
/// `mpicc.mpich`; without one, as with Cray's, whatever is called `mpiexec` at the time.
fn launcher_beside(wrapper: &Path) -> String {
    let name = wrapper.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = name.find("cc").map_or("", |at| &name[at + 2..]);
    let beside = ["mpirun", "mpiexec"].map(|launcher| wrapper.with_file_name(format!("{launcher}{suffix}")));
    let found = beside.into_iter().find(|launcher| launcher.exists());
    found.map_or_else(|| "mpiexec".to_owned(), |launcher| launcher.display().to_string())
}

/// Refuses what lies in a conda environment, unless that is asked for.
fn refuse_conda(what: &str, path: &Path, variable: &str) -> Result<(), Problem> {
    println!("cargo::rerun-if-env-changed={ALLOW_CONDA}");
    if env::var(ALLOW_CONDA).is_ok_and(|value| value == "1") {
        return Ok(());
    }
    let places = [path.to_owned(), fs::canonicalize(path).unwrap_or_default()];
    let of_conda =
        places.iter().flat_map(|place| place.ancestors()).find(|place| place.join("conda-meta").is_dir());
    match of_conda {
        Some(environment) => Err(format!(
            "the {what} is that of the conda environment {}, which knows neither this machine's network nor its \
             launcher: deactivate it or name another in {variable} (or set {ALLOW_CONDA}=1 to use it all the same)",
            environment.display()
        )),
        None => Ok(()),
    }
}

/// A module's library is found at run time without LD_LIBRARY_PATH, which still goes first; the system's
/// needs no help.
fn found_at_run_time(library: &Path) {
    const SYSTEM: [&str; 5] =
        ["/lib", "/usr/lib", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];
    if let Some(folder) = library.parent()
        && folder.is_absolute()
        && !SYSTEM.iter().any(|system| folder == Path::new(system))
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}

/// The program of this name in PATH, or the name itself where it is a path.
fn in_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The version of libtorch (`2.11.0+cu130`); sets the run path to it.
fn libtorch() -> Result<String, Problem> {
    let lib = PathBuf::from(env::var_os("DEP_TCH_LIBTORCH_LIB").unwrap_or_default());
    let root = lib.parent().unwrap_or(&lib);
    let library = lib.join("libtorch_cpu.so");
    if !library.exists() {
        return Err(format!(
            "no libtorch ({} does not exist): {SETUP}, or point LIBTORCH at one",
            library.display()
        ));
    }
    // The archive from pytorch.org has the one file, the Python wheel the other.
    let (archive, wheel) = (root.join("build-version"), root.join("version.py"));
    let found = if archive.exists() { &archive } else { &wheel };
    println!("cargo::rerun-if-changed={}", found.display());
    let text = fs::read_to_string(found)
        .map_err(|e| format!("libtorch's version is unknown ({}: {e}): {SETUP}", found.display()))?;
    let version = match text.lines().find_map(|line| line.strip_prefix("__version__ = ")) {
        Some(quoted) => quoted.trim_matches(['\'', '"']),
        None => text.trim(),
    };
    if !version.starts_with(LIBTORCH_WANTED) {
        return Err(format!(
            "libtorch in {} is {version}, {LIBTORCH_WANTED}x is needed: unset LIBTORCH and {SETUP}, or \
             point it at that version",
            root.display()
        ));
    }
    // tch sets a run path for itself alone. NVIDIA's libraries need none: libtorch carries their place.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(version.to_owned())
}

/// Sees to it that LLVM's linker is used, and that the small program does not load libtorch.
///
/// GNU ld refuses libtorch where NVIDIA's libraries are not installed, and lists every library that
/// any object names, reached or not: `hyperslab info` would take 0.4 s to load what it never calls.
fn linker() -> Result<(), Problem> {
    // torch's C++ templates are weak symbols that libtorch has too: unless hidden, they are exported,
    // which keeps them, and with them libtorch, in a program that calls none of it.
    println!("cargo::rustc-link-arg-bin=hyperslab=-Wl,--as-needed,--gc-sections,--exclude-libs,ALL");

    let target = env::var("TARGET").unwrap_or_default();
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"]).unwrap_or_default());
    let bundled = sysroot.join("lib/rustlib").join(&target).join("bin/gcc-ld/ld.lld");
    // From Rust 1.90 on, rustup's compilers for this one target use the linker they come with.
    if target == "x86_64-unknown-linux-gnu" && bundled.exists() && rustc_minor() >= 90 {
        return Ok(());
    }
    output("ld.lld", &["--version"]).map_err(|why| {
        format!(
            "this compiler brings no linker of its own, and there is no ld.lld ({why}): {SETUP}, or install \
             LLVM's lld"
        )
    })?;
    println!("cargo::rustc-link-arg=-fuse-ld=lld");
    Ok(())
}

/// The commit this is built from, with `-dirty` where the program's own files differ from it; none
/// outside a checkout of this repository, or where git is missing or refuses.
fn git_commit() -> Option<String> {
    let root = env::var("CARGO_MANIFEST_DIR").ok()?;
    let git =
        |arguments: &[&str]| output("git", &[&["--no-optional-locks", "-C", &root], arguments].concat()).ok();
    // A copy of the sources inside another repository is not a state of that repository.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if fs::canonicalize(top).ok()? != fs::canonicalize(&root).ok()? {
        return None;
    }
    // What makes up the program: changing any of it compiles it anew anyhow.
    let sources = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];
    let mut watched: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    for name in ["HEAD", &branch, "packed-refs"] {
        watched.extend(git(&["rev-parse", "--path-format=absolute", "--git-path", name]).map(PathBuf::from));
    }
    // A watched file that does not exist would mean a rebuild every time.
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&[&["status", "--porcelain", "--"], &sources[..]].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// The value of `#define NAME value` in a C header, without quotes.
fn defined(header: &str, name: &str) -> Option<String> {
    header.lines().find_map(|line| {
        let mut words = line.strip_prefix("#define")?.split_whitespace();
        (words.next()? == name).then(|| words.next().map(|value| value.trim_matches('"').to_owned()))?
    })
}

/// The values of several such lines, joined into a version.
fn dotted(header: &str, names: [&str; 3]) -> Option<String> {
    names
        .into_iter()
        .map(|name| defined(header, name))
        .collect::<Option<Vec<_>>>()
        .map(|parts| parts.join("."))
}

/// The second part of the compiler's version, 0 where it does not say.
fn rustc_minor() -> u32 {
    let version = rustc(&["--version"]).unwrap_or_default();
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

fn rustc(arguments: &[&str]) -> Option<String> {
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    output(Path::new(&compiler).to_str()?, arguments).ok()
}

/// What a command prints on standard output; why not, where it fails.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let run = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if run.status.success() {
        return Ok(said(&run.stdout));
    }
    let complaint = said(&run.stderr);
    Err(format!("{program}: {}", complaint.lines().next().unwrap_or("failed without a word")))
}
