//! One process at a time fetches a blob. The lock is `flock` on huggingface_hub's own lock file.
//!
//! It saves work and no more: who fetches without it writes the same bytes to the same places.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::durable::unwritable;
use crate::error::Result;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(20);

/// The held lock; released when dropped, and by the kernel however its holder ends.
pub struct BlobLock {
    _file: File,
}

impl BlobLock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn take(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        // For others of the group, who may share the cache.
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o664).open(path);
        let file = opened.map_err(|error| unwritable(path, &error))?;
        let mut told = Instant::now().checked_sub(TELL_EVERY);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {}
                Err(Errno::INTR) => continue,
                Ok(()) => return Ok(Self { _file: file }),
                // A file system without flock.
                Err(error) => {
                    tracing::debug!("{}: flock: {error}", path.display());
                    return Ok(Self { _file: file });
                }
            }
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                tracing::info!("waiting for another process that fetches this file ({})", path.display());
                told = Some(Instant::now());
            }
            sleep(LOOK_EVERY);
        }
    }
}
