//! A file that is being made by one process.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::SystemTime;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::paths::{OutputPaths, rename_durably};
use crate::error::{Error, Result};

/// Drafts of this process that are being made.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that gets its name when it is whole; before that, and if that never happens, nothing has.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    overwrite: bool,
}

impl Draft {
    /// A draft of `path`. What is there already is replaced at the end where `overwrite` allows it.
    ///
    /// # Errors
    /// There is something by that name that may not be replaced, or a job is at work on it.
    pub fn new(path: &Path, overwrite: bool) -> Result<Self> {
        let shown = path.display();
        let Some(file_name) = path.file_name() else {
            return Err(Error::new(format!("'{shown}' is no name of a file")));
        };
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => {
                return Err(Error::new(format!("{shown} is there and is not a plain file"))
                    .hint("name a file to make, or one to replace"));
            }
            Ok(_) if !overwrite => {
                return Err(Error::new(format!("{shown} is there already")).hint("--overwrite replaces it"));
            }
            _ => {}
        }
        if OutputPaths::new(path).partial.exists() {
            return Err(Error::new(format!("a job that makes {shown} is running or was stopped"))
                .hint("choose another name, or let that job end"));
        }
        let mut name = OsString::from(".");
        name.push(file_name);
        // Two hosts may have processes of one number.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        name.push(format!(".{}-{now:x}", std::process::id()));
        let temporary = path.with_file_name(name);
        remove_at_signals();
        open_drafts().push(temporary.clone());
        Ok(Self { path: path.to_owned(), temporary, overwrite })
    }

    /// The name that the file gets.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is while it is being made.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// A failed sync or rename; a file that has come to be there since, and may not be replaced.
    pub fn publish(self) -> Result<()> {
        if !self.overwrite && fs::symlink_metadata(&self.path).is_ok() {
            return Err(Error::new(format!("{} has come to be there meanwhile", self.path.display()))
                .hint("another process made it; --overwrite replaces it"));
        }
        rename_durably(&self.temporary, &self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is published there is nothing by this name.
        let _ = fs::remove_file(&self.temporary);
        open_drafts().retain(|open| *open != self.temporary);
    }
}

fn open_drafts() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the first draft on, a signal that ends this process takes what is half made with it.
fn remove_at_signals() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        // Where that cannot be, a signal leaves a draft behind, and no more.
        let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                for draft in open_drafts().drain(..) {
                    let _ = fs::remove_file(draft);
                }
                let _ = emulate_default_handler(signal);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_leaves_its_file_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let draft = Draft::new(&path, false).unwrap();
        fs::write(draft.temporary(), "half").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let draft = Draft::new(&path, false).unwrap();
        fs::write(draft.temporary(), "whole").unwrap();
        draft.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(Draft::new(&path, false).unwrap_err().to_string().contains("--overwrite"));
        assert!(Draft::new(&path, true).is_ok());

        fs::write(folder.path().join("a.h5.partial"), "").unwrap();
        assert!(Draft::new(&path, true).unwrap_err().message.contains("a job"));
        assert!(Draft::new(folder.path(), true).is_err());
        assert!(Draft::new(Path::new("/"), true).is_err());
    }
}
