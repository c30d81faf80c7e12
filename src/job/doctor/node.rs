//! What the operating system gives this rank: cores, memory, shared memory, open files.

use std::fs;
use std::path::Path;

use indicatif::HumanBytes;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::job::cores::{Cpus, cores_of, too_few_for_gpu};

/// Below this a rank may be killed for memory: libtorch, rounds that wait for their write, queues.
const MEMORY_MIN: u64 = 3 << 30;
/// What Open MPI maps of shared memory per rank, with room.
const SHARED_PER_RANK: u64 = 16 << 20;
/// A rank opens its libraries, weights and pictures; MPI a socket per rank that it talks to.
const OPEN_FILES_MIN: u64 = 1024;
/// Up to where cgroup v1 means no limit: the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// The cores of a rank, and whether they keep up with its device.
pub fn cores(node: &[Cpus], local_rank: usize, is_gpu: bool) -> (usize, Finding) {
    let cores = cores_of(node, local_rank);
    let mine = node.get(local_rank).cloned().unwrap_or_default();
    let quota = mine.quota.map(|quota| format!(", a quota of {quota}")).unwrap_or_default();
    let ranks = node.len();
    let what =
        format!("{cores} for this rank: {} in its mask{quota}, {ranks} ranks on the host", mine.mask.len());
    let finding = match too_few_for_gpu(cores).filter(|_| is_gpu) {
        Some(why) => Finding::warning("cores", what, why),
        None => Finding::ok("cores", what),
    };
    (cores, finding)
}

/// Memory, shared memory and open files, for the ranks of one host.
pub fn limits(local_size: usize, weights_bytes: u64) -> (u64, Vec<Finding>) {
    let ranks = local_size.max(1) as u64;
    let (memory, by) = memory_limit();
    let each = memory / ranks;
    let wanted = MEMORY_MIN + weights_bytes;
    let what = format!("{} by {by}, {} for each rank", HumanBytes(memory), HumanBytes(each));
    let memory_finding = if each < wanted {
        Finding::warning(
            "memory",
            what,
            format!(
                "a rank wants about {}: ask for more (Slurm: --mem-per-cpu or --mem), or start fewer ranks per node",
                HumanBytes(wanted)
            ),
        )
    } else {
        Finding::ok("memory", what)
    };
    (memory, vec![memory_finding, shared_memory(ranks), open_files()])
}

fn shared_memory(ranks: u64) -> Finding {
    let Ok(stat) = rustix::fs::statvfs("/dev/shm") else {
        return Finding::warning(
            "shm",
            "there is no /dev/shm",
            "MPI talks more slowly within this host; a container wants --ipc=host or --shm-size=1g",
        );
    };
    let (size, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    if free < ranks * SHARED_PER_RANK {
        return Finding::warning(
            "shm",
            format!("/dev/shm: {} of {} free", HumanBytes(free), HumanBytes(size)),
            "MPI may fail to start or crash: remove what others left there, or give the container --shm-size=1g",
        );
    }
    Finding::ok("shm", format!("/dev/shm of {}", HumanBytes(size)))
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Finding::warning(
            "files",
            format!("at most {limit} open files"),
            format!("raise it before the job: ulimit -n {OPEN_FILES_MIN}"),
        ),
        Some(limit) => Finding::ok("files", format!("at most {limit} open files")),
        None => Finding::ok("files", "no limit of open files"),
    }
}

/// The least of what this host has, its control group allows, and `ulimit` allows; and which it is.
fn memory_limit() -> (u64, &'static str) {
    let host = host_memory().unwrap_or(u64::MAX);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(&groups, Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX);
    let address_space = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    let candidates = [(host, "this host"), (group, "its control group"), (address_space, "ulimit -v")];
    candidates.into_iter().min_by_key(|(bytes, _)| *bytes).unwrap_or((host, "this host"))
}

fn host_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The least limit of the control groups that `/proc/self/cgroup` names and of those above them: `memory.max`
/// in version 2, `memory/.../memory.limit_in_bytes` in version 1.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let folder = root.join(path.trim_start_matches('/'));
        let above = folder.ancestors().take_while(|folder| folder.starts_with(&root));
        let read = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        above.filter_map(read).min()
    });
    limits.min().filter(|bytes| *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("job/memory.max", "4096\n");
        write("job/step/memory.max", "max\n");
        assert_eq!(group_limit("0::/job/step\n", root.path()), Some(4096));
        assert_eq!(group_limit("0::/other\n", root.path()), None);
        write("memory/slurm/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group_limit("5:cpu,memory:/slurm\n4:pids:/x\n", root.path()), None);
        write("memory/slurm/memory.limit_in_bytes", "2048\n");
        assert_eq!(group_limit("5:cpu,memory:/slurm\n0::/job\n", root.path()), Some(2048));
    }

    #[test]
    fn few_cores_beside_a_gpu_are_a_warning() {
        let cpus = Cpus { mask: vec![0, 1], quota: None };
        assert_eq!(cores(std::slice::from_ref(&cpus), 0, false).1.next, None);
        assert!(cores(&[cpus], 0, true).1.next.unwrap().contains("cpus-per-task"));
    }
}
