//! The file system of the outputs: what it is, how much it holds, and whether it keeps the promises that
//! staging, locking and sealing rely on.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use rustix::io::Errno;

use super::finding::Finding;
use super::{lustre, quota};
use crate::error::{Context, Result};

/// Free files below which a folder of outputs may not take a job's.
const FILES_MIN: u64 = 100;
/// What is reserved to see whether reserving works.
const RESERVED_BYTES: u64 = 4 << 20;

/// What a job's other probes need to know of the target.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// As the kernel names it: `lustre`, `nfs4`, `ext4`.
    pub file_system: String,
    pub free_bytes: u64,
    pub findings: Vec<Finding>,
}

/// Looks at the folder of the outputs; `thoroughly` on one rank of each host, the others only see whether
/// they can write.
pub fn examine(output_dir: &Path, thoroughly: bool) -> Target {
    let folder = folder_of(output_dir);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mount_of(&mounts, &folder).unwrap_or_default();
    let mut findings = vec![writable(&folder, output_dir)];
    let mut free_bytes = 0;
    if thoroughly {
        findings.push(kind(&mount, &folder));
        findings.extend(space(&folder).map(|(free, finding)| {
            free_bytes = free;
            finding
        }));
        findings.extend(quota::examine(&folder, &mount.kind));
        if mount.kind == "lustre" {
            findings.push(lustre::striping(&folder));
        }
        findings.extend(promises(&folder));
    }
    Target { file_system: mount.kind, free_bytes, findings }
}

/// The output folder, or where that is not there yet, the nearest one above it.
pub fn folder_of(output_dir: &Path) -> PathBuf {
    let there = output_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    fs::canonicalize(there).unwrap_or_else(|_| there.to_owned())
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mount {
    point: String,
    kind: String,
    options: String,
}

/// The mount that holds `path`, from the text of `/proc/self/mountinfo` (proc(5)): of the mount points above
/// it the longest, of equal ones the last, which lies on top.
fn mount_of(text: &str, path: &Path) -> Option<Mount> {
    let mounts = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = unescape(left.split(' ').nth(4)?);
        let options = left.split(' ').nth(5)?;
        let mut right = right.split(' ');
        let (kind, super_options) = (right.next()?, right.nth(1).unwrap_or_default());
        Some(Mount { point, kind: kind.to_owned(), options: format!("{options},{super_options}") })
    });
    mounts.filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.len())
}

/// Spaces and the like are octal in mountinfo: `\040`.
fn unescape(text: &str) -> String {
    let known = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    known.iter().fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// What a file system of this kind means for a job.
fn kind(mount: &Mount, folder: &Path) -> Finding {
    let what = format!("{} is on {} ({})", folder.display(), mount.kind, mount.point);
    let has = |option: &str| mount.options.split(',').any(|one| one == option);
    match mount.kind.as_str() {
        "tmpfs" | "ramfs" | "devtmpfs" => Finding::warning(
            "folder",
            format!("{what}, which is this host's memory"),
            "results are gone when the host restarts, and other hosts do not see them: choose another --output-dir",
        ),
        "overlay" | "aufs" => Finding::warning(
            "folder",
            format!("{what}, the inside of a container"),
            "results may go with the container: bind a folder of the host and name that as --output-dir",
        ),
        "nfs" | "nfs4" => Finding::warning(
            "folder",
            format!("{what}; parallel writing is slow there, and hosts may see each other's bytes late"),
            "use the parallel file system (scratch) where there is one; each round is read back on another rank \
             before it counts",
        ),
        "lustre" if has("localflock") || has("noflock") => Finding::warning(
            "folder",
            format!("{what}, mounted without locks between hosts"),
            "two jobs on one output are told apart by the text of the lock file alone: do not start a second one \
             by hand",
        ),
        _ => Finding::ok("folder", what),
    }
}

fn space(folder: &Path) -> Option<(u64, Finding)> {
    let stat = statvfs(folder).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems (btrfs, some of FUSE) count no files at all.
    let files_short = stat.f_files > 0 && stat.f_favail < FILES_MIN;
    let what = format!("{} free, room for {} files", HumanBytes(free), stat.f_favail);
    let finding = if files_short {
        Finding::error(
            "space",
            what,
            "delete files, raise the quota of files (inodes), or choose another --output-dir",
        )
    } else {
        // Coarse, so that hosts that ask one after the other say the same.
        let coarse =
            if free < 10 << 30 { HumanBytes(free).to_string() } else { format!("{} GiB", free >> 30) };
        Finding::ok("space", format!("{coarse} free"))
    };
    Some((free, finding))
}

fn writable(folder: &Path, output_dir: &Path) -> Finding {
    let test = || -> Result<()> {
        let mut file = TestFile::create(folder, "write")?;
        let about = || format!("cannot write to {}", folder.display());
        file.file.write_all(&[1; 4096]).and_then(|()| file.file.sync_all()).context(about)
    };
    match test() {
        Ok(()) if fs::canonicalize(output_dir).is_ok_and(|there| there == folder) => {
            Finding::ok("folder", format!("{} is writable", folder.display()))
        }
        Ok(()) => Finding::ok(
            "folder",
            format!("{} is not there yet; {} is writable", output_dir.display(), folder.display()),
        ),
        Err(error) => Finding::of_error(
            "folder",
            error
                .hint("every rank must see the output directory under the same path, writable: --output-dir"),
        ),
    }
}

/// Locks, renaming and reserving, each on a file of its own. Where none can be made, that is said already.
fn promises(folder: &Path) -> Vec<Finding> {
    let test =
        |what, check: fn(&TestFile) -> Finding| TestFile::create(folder, what).ok().map(|file| check(&file));
    [test("lock", locks), test("rename", renames), test("reserve", reserves)].into_iter().flatten().collect()
}

fn locks(file: &TestFile) -> Finding {
    match flock(&file.file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Finding::ok("locks", "files can be locked"),
        Err(error) => Finding::warning(
            "locks",
            format!("the file system refuses locks ({error})"),
            "a job runs; readers with HDF5 (h5py, `hyperslab get`) fail there with 'unable to lock file' unless \
             HDF5_USE_FILE_LOCKING=FALSE is set",
        ),
    }
}

fn renames(file: &TestFile) -> Finding {
    let other = file.path.with_extension("other");
    let rename = || -> std::io::Result<bool> {
        fs::write(&other, b"new")?;
        fs::rename(&other, &file.path)?;
        Ok(fs::read(&file.path)? == b"new" && !other.exists())
    };
    match rename() {
        Ok(true) => Finding::ok("rename", "a file can be renamed over another"),
        outcome => {
            let _ = fs::remove_file(&other);
            let why =
                outcome.err().map_or_else(|| "the old one stayed".to_owned(), |error| error.to_string());
            Finding::error(
                "rename",
                format!("a file cannot be renamed over another: {why}"),
                "outputs get their names by renaming: choose another --output-dir",
            )
        }
    }
}

/// Whether space that is reserved is taken at once, so that a disk cannot fill up under a running job.
fn reserves(file: &TestFile) -> Finding {
    const NEXT: &str = "keep the space that `hyperslab plan` names free while the job runs";
    match fallocate(&file.file, FallocateFlags::empty(), 0, RESERVED_BYTES) {
        Ok(()) => {
            let taken = file.file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
            if taken >= RESERVED_BYTES {
                return Finding::ok("reserve", "space can be reserved");
            }
            Finding::warning("reserve", "space that is reserved is not really taken", NEXT)
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            Finding::warning("reserve", "this file system cannot reserve space", NEXT)
        }
        Err(error) => Finding::error(
            "reserve",
            format!("cannot reserve {}: {error}", HumanBytes(RESERVED_BYTES)),
            "free space on the target, raise its quota, or choose another --output-dir",
        ),
    }
}

/// A file for a test, gone with the test.
struct TestFile {
    file: File,
    path: PathBuf,
}

impl TestFile {
    fn create(folder: &Path, what: &str) -> Result<Self> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let path = folder.join(format!(".hyperslab-doctor.{host}.{}.{what}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .context(|| format!("cannot create a file in {}", folder.display()))?;
        Ok(Self { file, path })
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/l
30 22 8:1 / /data rw,noatime shared:1 - ext4 /dev/sda1 rw
31 22 0:44 / /data/my\\040scratch rw - lustre 10.0.0.1@tcp:/fs rw,flock,lazystatfs
32 22 0:45 / /home rw - nfs4 server:/home rw,vers=4.2
33 22 0:46 / /fast rw - lustre 10.0.0.1@tcp:/fast rw,localflock
";

    #[test]
    fn a_path_is_on_the_longest_mount_above_it() {
        let kind = |path: &str| mount_of(MOUNTS, Path::new(path)).unwrap().kind;
        assert_eq!(kind("/data/x"), "ext4");
        assert_eq!(kind("/data/my scratch/out"), "lustre");
        assert_eq!(kind("/database"), "overlay");
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn file_systems_that_need_care_are_explained() {
        let verdict = |path: &str| {
            let path = Path::new(path);
            kind(&mount_of(MOUNTS, path).unwrap(), path)
        };
        assert_eq!(verdict("/data/my scratch").verdict, Verdict::Ok);
        assert_eq!(verdict("/data").verdict, Verdict::Ok);
        assert!(verdict("/home/me").what.contains("nfs4"));
        assert!(verdict("/fast").what.contains("without locks between hosts"));
        assert!(verdict("/").next.unwrap().contains("bind a folder"));
    }

    #[test]
    fn a_local_folder_keeps_its_promises_and_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let target = examine(&folder.path().join("not/yet"), true);
        assert!(target.free_bytes > 0 && !target.file_system.is_empty());
        let topics = ["locks", "rename", "reserve"];
        let kept = target.findings.iter().filter(|finding| topics.contains(&finding.topic.as_str()));
        assert_eq!(kept.count(), 3, "{:?}", target.findings);
        assert!(target.findings[0].what.contains("is not there yet"), "{:?}", target.findings);
        assert!(
            target.findings.iter().all(|finding| finding.verdict != Verdict::Error),
            "{:?}",
            target.findings
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
