//! The files around one output, and the durable renaming of them.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// One output and what stands beside it while the job runs.
#[derive(Clone, Debug)]
pub struct OutputPaths {
    /// The sealed file: complete and verified whenever it exists.
    pub output: PathBuf,
    /// The stage: raw rows at their final offsets.
    pub partial: PathBuf,
    /// The spool of the input.
    pub plan: PathBuf,
    /// A spool that has not become the run's yet.
    pub plan_new: PathBuf,
    /// Which blocks are committed, with their digests.
    pub journal: PathBuf,
    /// Who works on it.
    pub lock: PathBuf,
    /// The file being sealed.
    pub tmp: PathBuf,
}

impl OutputPaths {
    pub fn new(output: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = OsString::from(output);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            output: output.to_owned(),
            partial: beside(".partial"),
            plan: beside(".plan"),
            plan_new: beside(".plan.new"),
            journal: beside(".journal"),
            lock: beside(".lock"),
            tmp: beside(".tmp"),
        }
    }

    /// Removes what a finished or overwritten job leaves. The journal goes first: without it the rest
    /// counts for nothing, so dying in between leaves no state that looks resumable.
    ///
    /// # Errors
    /// A file that is there and cannot be removed.
    pub fn remove_leftovers(&self) -> Result<()> {
        [&self.journal, &self.partial, &self.plan, &self.plan_new, &self.tmp]
            .into_iter()
            .try_for_each(|path| remove(path))
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.context(|| format!("cannot remove {}", path.display())),
    }
}

/// Gives a complete, synced file its name, and makes the name durable.
///
/// # Errors
/// The rename or the sync of the folder fails.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot rename {} to {}", from.display(), to.display());
    File::open(from).and_then(|file| file.sync_all()).context(what)?;
    std::fs::rename(from, to).context(what)?;
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .context(|| format!("cannot sync folder {}", folder.display()))
}
