//! MPI, HDF5 and libtorch as they are loaded, compared with what the program was built with, and versions
//! that are known to be bad.

use std::fs;
use std::path::Path;

use super::finding::Finding;

/// A version of three numbers.
type Version = (u32, u32, u32);

const BUILT_MPI: &str = env!("HYPERSLAB_BUILD_MPI");
const BUILT_HDF5: &str = env!("HYPERSLAB_BUILD_HDF5");
const BUILT_LIBTORCH: &str = env!("HYPERSLAB_BUILD_LIBTORCH");

/// Why we can live with an MPI-IO that may write wrong data.
const READ_BACK: &str =
    "here every block is read back on another rank, so damage stops the job and is never kept";

/// MPI: the library that is loaded (`version`, in its own words), its thread level, the value of
/// `OMPI_MCA_io`, and the kind of file system that is written to.
pub fn mpi(version: &str, threads: &str, io: Option<&str>, file_system: &str) -> Vec<Finding> {
    let name = version.lines().next().unwrap_or_default().split(',').next().unwrap_or_default().trim();
    let mut findings = vec![built_with("mpi", BUILT_MPI, name, same_mpi(BUILT_MPI, name))];
    if threads != "multiple" {
        findings.push(Finding::warning(
            "mpi",
            format!("thread level {threads}, not multiple"),
            "a thread that fails may not be able to end the job: use an MPI built with thread support",
        ));
    }
    let Some(open_mpi) = name.strip_prefix("Open MPI v").and_then(parse) else { return findings };
    let component = io_component(open_mpi, io, file_system);
    findings.extend(match component {
        Io::Ompio => bad_ompio(open_mpi),
        Io::Romio => bad_romio(open_mpi),
    });
    if findings.len() == 1 {
        findings.push(Finding::ok("mpi", format!("writes through {component:?}")));
    }
    findings
}

/// HDF5: the library that is loaded.
pub fn hdf5(version: Version) -> Vec<Finding> {
    let (major, minor, patch) = version;
    let name = format!("{major}.{minor}.{patch}");
    let same = parse(BUILT_HDF5).is_some_and(|built| (built.0, built.1) == (major, minor));
    let mut findings = vec![built_with("hdf5", BUILT_HDF5, &name, same)];
    if version <= (1, 10, 8) {
        findings.push(Finding::ok(
            "hdf5",
            format!(
                "{name} compresses fill values when it creates a chunked file, which wastes space: harmless here, \
                 files are never filled"
            ),
        ));
    }
    findings
}

/// libtorch: the one that is loaded, by the version file beside it.
pub fn libtorch() -> Finding {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(library) =
        maps.lines().find_map(|line| line.split_whitespace().find(|p| p.ends_with("/libtorch_cpu.so")))
    else {
        return Finding::ok("libtorch", format!("{BUILT_LIBTORCH}, as built"));
    };
    let root = Path::new(library).parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let Some(found) = version_beside(root) else {
        return Finding::ok("libtorch", format!("built with {BUILT_LIBTORCH}; loaded from {library}"));
    };
    built_with("libtorch", BUILT_LIBTORCH, &found, number(BUILT_LIBTORCH) == number(&found))
}

/// The version of the libtorch in this folder: that of the archive in one file, of the wheel in the other.
fn version_beside(root: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let text = fs::read_to_string(root.join("version.py")).ok()?;
    let quoted = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(quoted.trim_matches(['\'', '"']).to_owned())
}

/// `2.11.0` of `2.11.0+cu130`.
fn number(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

fn built_with(topic: &str, built: &str, loaded: &str, is_same: bool) -> Finding {
    if is_same {
        return Finding::ok(topic, format!("{loaded} (built with {built})"));
    }
    Finding::error(
        topic,
        format!("{loaded} is loaded, the program was built with {built}"),
        "load the modules it was built with, or build it again with these (`cargo build --release`)",
    )
}

/// Whether programs built with one are known to run with the other: same family, same major number.
fn same_mpi(built: &str, loaded: &str) -> bool {
    let family = |text: &str| text.to_lowercase().replace("mpich version:", "mpich");
    let major = |text: &str| parse(text).map(|version| version.0);
    let known = ["open mpi", "mpich"].into_iter().find(|name| family(built).contains(name));
    match known {
        Some(name) => family(loaded).contains(name) && major(built) == major(loaded),
        // A vendor's MPI: its words are its own.
        None => true,
    }
}

/// The first three numbers of a text.
fn parse(text: &str) -> Option<Version> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let mut numbers = text.get(start..)?.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?, next().unwrap_or(0)))
}

/// The part of Open MPI that does MPI-IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Io {
    Ompio,
    Romio,
}

/// OMPIO is the default since 2.0, but left Lustre to ROMIO until 4.x; `OMPI_MCA_io` names one, or excludes
/// one by `^`.
fn io_component(version: Version, setting: Option<&str>, file_system: &str) -> Io {
    match setting {
        Some(list) if list.starts_with('^') => {
            if list.contains("ompio") {
                Io::Romio
            } else {
                Io::Ompio
            }
        }
        Some(list) if list.contains("romio") && !list.contains("ompio") => Io::Romio,
        Some(list) if list.contains("ompio") => Io::Ompio,
        _ if file_system == "lustre" && version.0 <= 4 => Io::Romio,
        _ => Io::Ompio,
    }
}

fn bad_ompio(version: Version) -> Vec<Finding> {
    let mut findings = Vec::new();
    if version < (4, 1, 7) || ((5, 0, 0)..(5, 0, 6)).contains(&version) {
        findings.push(Finding::warning(
            "mpi",
            format!("its OMPIO can silently write wrong data (open-mpi/ompi#12718); {READ_BACK}"),
            "use Open MPI 4.1.7, 5.0.6 or later where you can",
        ));
    }
    if version <= (4, 0, 3) {
        findings.push(Finding::warning(
            "mpi",
            "its collective writes can hang (HDFGroup/hdf5#1227)",
            "use a later Open MPI, or set OMPI_MCA_fcoll=two_phase",
        ));
    }
    findings
}

fn bad_romio(version: Version) -> Vec<Finding> {
    if version.0 != 4 {
        return Vec::new();
    }
    vec![Finding::warning(
        "mpi",
        "writes through ROMIO, which in Open MPI 4 can crash on chunked files (open-mpi/ompi#7795): computing does \
         not meet that, sealing may",
        "where sealing crashes, nothing is lost: seal with `--compression none`, or set OMPI_MCA_io=ompio for \
         `hyperslab seal`",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn warnings(findings: &[Finding]) -> String {
        let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Warning);
        bad.map(|finding| finding.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn bad_versions_are_named() {
        let said = |version: &str, io, system| warnings(&mpi(version, "multiple", io, system));
        for bad in ["Open MPI v4.1.4, package: Debian", "Open MPI v5.0.5", "Open MPI v3.1.0"] {
            assert!(said(bad, None, "ext4").contains("#12718"), "{bad}");
        }
        for good in ["Open MPI v4.1.7", "Open MPI v5.0.6", "MPICH Version:      4.0.2"] {
            assert_eq!(said(good, None, "ext4"), "", "{good}");
        }
        assert!(said("Open MPI v4.0.3", None, "ext4").contains("#1227"));
        assert!(said("Open MPI v4.1.7", None, "lustre").contains("#7795"));
        assert!(said("Open MPI v4.1.7", Some("romio321"), "ext4").contains("#7795"));
        assert_eq!(said("Open MPI v4.1.7", Some("^romio321"), "lustre"), "");
        assert!(warnings(&mpi("Open MPI v4.1.7", "serialized", None, "ext4")).contains("serialized"));
    }

    #[test]
    fn another_library_than_built_with_is_an_error() {
        assert!(same_mpi("Open MPI 4.1.4", "Open MPI v4.1.7"));
        assert!(!same_mpi("Open MPI 4.1.4", "Open MPI v5.0.6"));
        assert!(!same_mpi("Open MPI 4.1.4", "MPICH Version:      4.1.4"));
        assert!(same_mpi("MPICH 4.0.2", "MPICH Version:      4.1"));
        let (major, minor, patch) = parse(BUILT_HDF5).unwrap();
        assert_eq!(hdf5((major, minor, patch + 1))[0].verdict, Verdict::Ok);
        assert_eq!(hdf5((major, minor + 1, 0))[0].verdict, Verdict::Error);
    }

    #[test]
    fn versions_are_read_from_words() {
        assert_eq!(parse("Open MPI v4.1.4rc2"), Some((4, 1, 4)));
        assert_eq!(parse("MPICH 4.2"), Some((4, 2, 0)));
        assert_eq!(parse("none"), None);
    }
}
