//! The files around one output, and the durable renaming of them.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::plan::Shard;

/// One output and what stands beside it while the job runs. The shards of an array have all of their own but the
/// spool.
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
    /// Which shards of an array read the spool.
    pub plan_lock: PathBuf,
    /// Which blocks are committed, with their digests.
    pub journal: PathBuf,
    /// Who works on it.
    pub lock: PathBuf,
    /// The file being sealed.
    pub tmp: PathBuf,
}

impl OutputPaths {
    /// Those of a job that makes the whole output.
    pub fn new(output: &Path) -> Self {
        Self::named(output, "")
    }

    /// Those of one shard of the output, or of the whole where there is none.
    pub fn of_shard(output: &Path, shard: Option<Shard>) -> Self {
        let part = |Shard { number, of }| format!(".shard-{number}-of-{of}");
        Self::named(output, &shard.map(part).unwrap_or_default())
    }

    fn named(output: &Path, part: &str) -> Self {
        let beside = |part: &str, suffix: &str| {
            let mut name = OsString::from(output);
            name.push(part);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            output: output.to_owned(),
            partial: beside(part, ".partial"),
            plan: beside("", ".plan"),
            plan_new: beside(part, ".plan.new"),
            plan_lock: beside("", ".plan.lock"),
            journal: beside(part, ".journal"),
            lock: beside(part, ".lock"),
            tmp: beside(part, ".tmp"),
        }
    }

    /// The shards of this output that have a journal, by how many they are and by number.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn shards(&self) -> Result<Vec<Shard>> {
        let folder = folder_of(&self.output);
        let name = self.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shard = |file: &str| {
            let rest = file.strip_prefix(&name)?.strip_prefix(".shard-")?.strip_suffix(".journal")?;
            let (number, of) = rest.split_once("-of-")?;
            let shard = Shard::new(number.parse().ok()?, of.parse().ok()?).ok()?;
            // A name in another spelling, e.g. with zeros before, is none of ours.
            (rest == format!("{}-of-{}", shard.number, shard.of)).then_some(shard)
        };
        let mut shards = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(shards),
            entries => entries.context(|| format!("cannot read folder {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry.context(|| format!("cannot read folder {}", folder.display()))?;
            shards.extend(shard(&entry.file_name().to_string_lossy()));
        }
        shards.sort_unstable_by_key(|shard| (shard.of, shard.number));
        Ok(shards)
    }

    /// Removes what a finished or overwritten job leaves, and all shards. A journal goes before its rows:
    /// without it the rest counts for nothing, so dying in between leaves no state that looks resumable.
    ///
    /// # Errors
    /// A file that is there and cannot be removed.
    pub fn remove_leftovers(&self) -> Result<()> {
        for shard in self.shards()? {
            Self::of_shard(&self.output, Some(shard)).remove_own()?;
        }
        self.remove_own()?;
        [&self.plan, &self.plan_lock].into_iter().try_for_each(|path| remove(path))
    }

    /// Removes what belongs to this job or shard alone.
    ///
    /// # Errors
    /// A file that is there and cannot be removed.
    pub fn remove_own(&self) -> Result<()> {
        [&self.journal, &self.partial, &self.plan_new, &self.tmp]
            .into_iter()
            .try_for_each(|path| remove(path))
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
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
    let folder = folder_of(to);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .context(|| format!("cannot sync folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_their_journals() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("o.h5");
        let whole = OutputPaths::new(&output);
        for (number, of) in [(10, 12), (2, 12), (1, 3)] {
            let paths = OutputPaths::of_shard(&output, Shard::new(number, of).ok());
            assert_eq!(paths.plan, whole.plan);
            std::fs::write(&paths.journal, "").unwrap();
            std::fs::write(&paths.partial, "").unwrap();
        }
        for name in [
            "o.h5.journal",
            "o.h5.shard-0-of-3.journal",
            "o.h5.shard-02-of-3.journal",
            "p.h5.shard-1-of-2.journal",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let shards: Vec<_> = whole.shards().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shards, ["1 of 3", "2 of 12", "10 of 12"]);
        whole.remove_leftovers().unwrap();
        assert_eq!(whole.shards(), Ok(vec![]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
