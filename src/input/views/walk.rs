//! The walk over the folders of views.

use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::{Listing, encode_view, is_picture};
use crate::error::{Context, Error, Result};
use crate::input::Keep;
use crate::plan::bytes::{Reader, put_bytes};

/// Threads of one rank's walk: it waits for the file system, not for the processor.
const THREADS: usize = 8;
/// [`split`] goes down until there are this many folders for each part, so that parts weigh about alike.
const FOLDERS_PER_PART: usize = 64;
/// [`split`] goes down no further than this.
const SPLIT_LEVELS: usize = 4;

/// Folders to walk, relative to the root, with all that lies below them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    folders: Vec<String>,
}

impl Part {
    /// The part as bytes for another rank.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.folders.iter().for_each(|folder| put_bytes(&mut out, folder.as_bytes()));
        out
    }

    /// The part that [`Part::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a part.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut folders = Vec::new();
        while !reader.is_empty() {
            folders.push(reader.str()?.to_owned());
        }
        Ok(Self { folders })
    }
}

/// Cuts the walk over `root` into `parts` parts for as many ranks. Also returns what was found on the way
/// down, which no part holds.
///
/// # Errors
/// A folder cannot be read, or a name in it is not UTF-8.
pub fn split(root: &Path, parts: usize, keep: Keep) -> Result<(Vec<Part>, Listing)> {
    if !root.is_dir() {
        return Err(Error::new(format!("'{}' is not a folder", root.display()))
            .hint("--renders takes the folder that holds a folder for each asset"));
    }
    let parts = parts.max(1);
    let mut found = Listing::new(keep);
    let mut folders = vec![String::new()];
    for _ in 0..SPLIT_LEVELS {
        if folders.is_empty() || folders.len() >= parts * FOLDERS_PER_PART {
            break;
        }
        let level = std::mem::take(&mut folders);
        for folder in level {
            list_folder(root, &folder, &mut found, &mut folders)?;
        }
    }
    folders.sort_unstable();
    let bound = |part: usize| folders.len() * part / parts;
    let cut = (0..parts).map(|part| Part { folders: folders[bound(part)..bound(part + 1)].to_vec() });
    Ok((cut.collect(), found))
}

/// Walks over one part with several threads.
///
/// # Errors
/// A folder cannot be read, or a name in it is not UTF-8.
pub fn walk(root: &Path, part: &Part, keep: Keep) -> Result<Listing> {
    let queue = Queue::new(part.folders.clone());
    let listings: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(root, &queue, keep))).collect();
        workers.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut merged = Listing::new(keep);
    for listing in listings {
        merged.merge(listing.map_err(|_| Error::new("a thread of the walk over the views panicked"))??);
    }
    Ok(merged)
}

fn work(root: &Path, queue: &Queue, keep: Keep) -> Result<Listing> {
    let mut listing = Listing::new(keep);
    while let Some(mut taken) = queue.take() {
        let listed = list_folder(root, &taken.folder, &mut listing, &mut taken.below);
        if listed.is_err() {
            queue.stop();
        }
        listed?;
    }
    Ok(listing)
}

/// Adds the pictures that lie directly in `folder` to `listing`, and the folders in it to `below`.
fn list_folder(root: &Path, folder: &str, listing: &mut Listing, below: &mut Vec<String>) -> Result<()> {
    let path = root.join(folder);
    let about = || format!("reading the folder '{}'", path.display());
    let folders_before = below.len();
    let (mut views, mut data) = (0, Vec::new());
    for entry in fs::read_dir(&path).context(about)? {
        match sort_out(root, folder, &entry.context(about)?)? {
            Found::Folder(name) => below.push(child(folder, &name)),
            Found::Picture(name, _) if folder.is_empty() => listing.odd.outside_assets.add(&name),
            Found::Picture(name, bytes) => {
                views += 1;
                encode_view(&name, bytes, &mut data);
            }
            Found::Loop(name) => listing.odd.loops.add(&child(folder, &name)),
            Found::Ignored(name) => listing.odd.ignored.add(&child(folder, &name)),
            Found::Hidden => listing.odd.hidden += 1,
        }
    }
    if views > 0 {
        listing.catalog.push(folder, views, &data)?;
    } else if below.len() == folders_before && !folder.is_empty() {
        listing.odd.without_pictures.add(folder);
    }
    Ok(())
}

/// What an entry of a folder is.
enum Found {
    Folder(String),
    /// Name and size.
    Picture(String, u64),
    Loop(String),
    Ignored(String),
    Hidden,
}

fn sort_out(root: &Path, folder: &str, entry: &DirEntry) -> Result<Found> {
    let os_name = entry.file_name();
    let name = os_name.to_string_lossy();
    if name.starts_with('.') {
        return Ok(Found::Hidden);
    }
    let about = || format!("'{}'", entry.path().display());
    let kind = entry.file_type().context(about)?;
    let is_link = kind.is_symlink();
    if !is_link && !kind.is_dir() && !is_picture(&name) {
        return Ok(Found::Ignored(name.into_owned()));
    }
    let Some(name) = os_name.to_str().map(str::to_owned) else {
        return Err(Error::new(format!("the name of '{}' is not UTF-8", entry.path().display()))
            .hint("rename it: ids in the output are UTF-8"));
    };
    // Only a link or a picture has to be examined; a folder's own entry says enough.
    if kind.is_dir() {
        return Ok(Found::Folder(name));
    }
    let metadata = if is_link { fs::metadata(entry.path()) } else { entry.metadata() };
    let metadata = match metadata {
        Ok(metadata) => metadata,
        // A link to nothing: if it is named as a picture, its item fails when it is read.
        Err(_) if is_link && is_picture(&name) => return Ok(Found::Picture(name, 0)),
        Err(_) if is_link => return Ok(Found::Ignored(name)),
        Err(error) => return Err(error).context(about),
    };
    if metadata.is_dir() {
        let inside_itself = is_above(root, folder, (metadata.dev(), metadata.ino())).context(about)?;
        return Ok(if inside_itself { Found::Loop(name) } else { Found::Folder(name) });
    }
    Ok(if is_picture(&name) { Found::Picture(name, metadata.len()) } else { Found::Ignored(name) })
}

/// Whether `target` (device and inode) is `folder` or one above it, up to the root.
fn is_above(root: &Path, folder: &str, target: (u64, u64)) -> std::io::Result<bool> {
    for above in Path::new(folder).ancestors() {
        let metadata = fs::metadata(root.join(above))?;
        if (metadata.dev(), metadata.ino()) == target {
            return Ok(true);
        }
    }
    Ok(false)
}

fn child(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The folders that wait, shared by the threads of a walk. It ends when none waits and none is being read.
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    folders: Vec<String>,
    being_read: usize,
    stopped: bool,
}

/// A folder that is being read; dropping it says that it has been, and hands over what lies below it.
struct Taken<'a> {
    queue: &'a Queue,
    folder: String,
    below: Vec<String>,
}

impl Queue {
    fn new(folders: Vec<String>) -> Self {
        let waiting = Waiting { folders, being_read: 0, stopped: false };
        Self { state: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// The next folder; `None` when the walk has ended.
    fn take(&self) -> Option<Taken<'_>> {
        let mut waiting = self.lock();
        while !waiting.stopped {
            if let Some(folder) = waiting.folders.pop() {
                waiting.being_read += 1;
                return Some(Taken { queue: self, folder, below: Vec::new() });
            }
            if waiting.being_read == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Nothing more is to be read.
    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.being_read -= 1;
        waiting.folders.append(&mut self.below);
        if waiting.being_read == 0 || !waiting.folders.is_empty() {
            self.queue.changed.notify_all();
        }
    }
}
