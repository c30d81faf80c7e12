//! `<output>.lock`: one job at a time on an output.
//!
//! The lock is `flock`, which the kernel releases when its holder dies, however it dies. File systems
//! that keep it per host (Lustre mounted with `localflock`) are covered by what the file says: host,
//! pid and Slurm job of the holder.
//!
//! `<output>.plan.lock` is for the shards of an array, which share the plan: the first one makes it, the
//! others wait for that and read it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// Who works on an output, as the lock file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: String,
    pub pid: u32,
    pub slurm_job: Option<String>,
    /// How often Slurm has requeued the job before.
    pub slurm_restarts: u32,
}

impl Holder {
    /// This process.
    pub fn this() -> Self {
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            slurm_job: std::env::var("SLURM_JOB_ID").ok(),
            slurm_restarts: std::env::var("SLURM_RESTART_COUNT")
                .ok()
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} on {}", self.pid, self.host)?;
        self.slurm_job.iter().try_for_each(|job| write!(f, " (Slurm job {job})"))
    }
}

/// The held lock; released and its file removed on drop.
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock at `path`, also one left by a job that is gone.
    ///
    /// # Errors
    /// Another job holds it, or may still hold it on another host.
    pub fn acquire(path: &Path) -> Result<Self> {
        loop {
            let file = open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(held(path, read_holder(&file)?.as_ref())),
                Err(Errno::INTR) => continue,
                // A file system without flock: what the file says has to do.
                Err(error) => tracing::debug!("{}: flock: {error}", path.display()),
            }
            // The previous holder may have removed the file between our open and our flock: then this
            // lock is on a file without a name, and the next job would lock another.
            if !is_still_named(&file, path)? {
                continue;
            }
            if let Some(holder) = read_holder(&file)? {
                if !is_gone(&holder, &Holder::this()) {
                    return Err(held(path, Some(&holder)));
                }
                tracing::info!("took over {} from {holder}, which is gone", path.display());
            }
            write_holder(&file, path)?;
            return Ok(Self { path: path.to_owned(), file });
        }
    }
}

/// A shard's use of the plan that it shares with others; over when dropped.
pub struct PlanUse {
    file: File,
    /// Whether others use the plan at this moment: then it is made, and of this array.
    pub with_others: bool,
}

impl PlanUse {
    /// Waits until nobody makes the plan. Where nobody uses it either, this shard alone may make it, until
    /// [`share`](Self::share).
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(path: &Path) -> Result<Self> {
        const LOOK_EVERY: Duration = Duration::from_millis(200);
        let file = open(path)?;
        let mut is_told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {}
                // Without locks every shard makes the plan, under the same name; `seal` compares them.
                _ => return Ok(Self { file, with_others: false }),
            }
            if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
                return Ok(Self { file, with_others: true });
            }
            if !is_told {
                tracing::info!("waiting for the plan, which another shard makes ({})", path.display());
                is_told = true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The plan is made: others may use it too.
    pub fn share(&self) {
        // Where locks do not work there is nobody to let in.
        let _ = flock(&self.file, FlockOperation::LockShared);
    }
}

/// A shard's hold on the lock of the whole output, which it shares with the other shards: a job that makes or
/// seals the whole does not run meanwhile. Released on drop.
pub struct SharedLock {
    _file: File,
}

impl SharedLock {
    /// Takes part in the lock at `path`.
    ///
    /// # Errors
    /// A job of the whole output holds it, or may still hold it on another host.
    pub fn acquire(path: &Path) -> Result<Self> {
        loop {
            let file = open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => return Err(held(path, read_holder(&file)?.as_ref())),
                Err(Errno::INTR) => continue,
                Ok(()) => {}
                Err(error) => tracing::debug!("{}: flock: {error}", path.display()),
            }
            if !is_still_named(&file, path)? {
                continue;
            }
            return match read_holder(&file)? {
                Some(holder) if !is_gone(&holder, &Holder::this()) => Err(held(path, Some(&holder))),
                _ => Ok(Self { _file: file }),
            };
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Somebody may have deleted the file, and another job made its own.
        if is_still_named(&self.file, &self.path).is_ok_and(|named| named)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .context(|| format!("cannot create the lock file {}", path.display()))
        .map_err(|error| error.hint("the output directory must be writable for this user"))
}

fn is_still_named(file: &File, path: &Path) -> Result<bool> {
    let opened = file.metadata().context(|| format!("cannot examine {}", path.display()))?;
    Ok(std::fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())))
}

/// What the file says; nothing, if it is new or was torn while being written.
fn read_holder(mut file: &File) -> Result<Option<Holder>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).context(|| "cannot read the lock file")?;
    file.read_to_string(&mut text).context(|| "cannot read the lock file")?;
    Ok(serde_json::from_str(&text).ok())
}

fn write_holder(mut file: &File, path: &Path) -> Result<()> {
    let text = serde_json::to_string(&Holder::this()).context(|| "cannot describe this process")?;
    let write = |file: &mut &File| -> std::io::Result<()> {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    };
    write(&mut file).context(|| format!("cannot write {}", path.display()))
}

/// Whether a holder whose `flock` we could take is gone. On our own host the kernel has said so; on
/// another host `flock` may not reach that far, and Slurm is asked about its job.
fn is_gone(holder: &Holder, this: &Holder) -> bool {
    holder.host == this.host
        || holder.slurm_job.as_ref().is_some_and(|job| {
            let is_requeued =
                this.slurm_job.as_ref() == Some(job) && this.slurm_restarts > holder.slurm_restarts;
            is_requeued || slurm_says_gone(job)
        })
}

fn slurm_says_gone(job: &str) -> bool {
    // One task of an array has the array's own id, by which squeue names all of them.
    let output = std::process::Command::new("squeue").args(["-h", "-o", "%A", "-j", job]).output();
    match output {
        Ok(output) if output.status.success() => {
            !String::from_utf8_lossy(&output.stdout).lines().any(|id| id.trim() == job)
        }
        // squeue fails with this message for a job that has left the queue's memory.
        Ok(output) => String::from_utf8_lossy(&output.stderr).contains("Invalid job id"),
        Err(_) => false,
    }
}

fn held(path: &Path, holder: Option<&Holder>) -> Error {
    let who = holder.map_or_else(|| "another process".to_owned(), ToString::to_string);
    Error::new(format!("{who} works on this output (lock file {})", path.display()))
        .hint(format!("wait for it or end it; if you know that it is gone, delete {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(host: &str, job: Option<&str>) -> Holder {
        Holder { host: host.into(), pid: 7, slurm_job: job.map(Into::into), slurm_restarts: 0 }
    }

    #[test]
    fn a_second_job_is_refused_and_a_released_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.h5.lock");
        let lock = Lock::acquire(&path).unwrap();
        let error = Lock::acquire(&path).err().unwrap();
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(lock);
        assert!(!path.exists());
        assert!(Lock::acquire(&path).is_ok());
    }

    #[test]
    fn a_lock_left_on_this_host_is_taken_over_and_one_elsewhere_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.h5.lock");
        let left = Holder { pid: 1, ..Holder::this() };
        std::fs::write(&path, serde_json::to_string(&left).unwrap()).unwrap();
        assert!(Lock::acquire(&path).is_ok());
        std::fs::write(&path, serde_json::to_string(&holder("far-away", None)).unwrap()).unwrap();
        let error = Lock::acquire(&path).err().unwrap();
        assert!(error.message.contains("far-away"), "{error}");
    }

    #[test]
    fn a_requeued_slurm_job_takes_over_its_own_lock() {
        let requeued = Holder { slurm_restarts: 1, ..holder("n2", Some("42")) };
        assert!(is_gone(&holder("n1", Some("42")), &requeued));
        // Another step of the same job, on another node, is alive.
        assert!(!is_gone(&holder("n1", Some("42")), &holder("n2", Some("42"))));
        assert!(!is_gone(&holder("n1", None), &holder("n2", Some("42"))));
    }

    #[test]
    fn shards_share_the_lock_of_the_output_and_keep_a_whole_job_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.lock");
        let shards = [SharedLock::acquire(&path).unwrap(), SharedLock::acquire(&path).unwrap()];
        assert!(Lock::acquire(&path).is_err());
        drop(shards);
        let whole = Lock::acquire(&path).unwrap();
        assert!(SharedLock::acquire(&path).is_err());
        drop(whole);
        std::fs::write(&path, serde_json::to_string(&holder("far-away", None)).unwrap()).unwrap();
        assert!(SharedLock::acquire(&path).is_err(), "its holder may be alive there");
    }

    #[test]
    fn one_shard_makes_the_plan_and_the_others_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.h5.plan.lock");
        let first = PlanUse::begin(&path).unwrap();
        assert!(!first.with_others);
        let second = std::thread::spawn({
            let path = path.clone();
            move || PlanUse::begin(&path).unwrap()
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        first.share();
        let second = second.join().unwrap();
        assert!(second.with_others);
        drop(first);
        assert!(PlanUse::begin(&path).unwrap().with_others, "the second uses it still");
        drop(second);
        assert!(!PlanUse::begin(&path).unwrap().with_others);
    }

    #[test]
    fn a_torn_lock_file_holds_nobody_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.h5.lock");
        std::fs::write(&path, "{\"host\":\"n").unwrap();
        assert!(Lock::acquire(&path).is_ok());
    }
}
