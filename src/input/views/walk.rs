//! The walk over folders and archives of views.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use super::gather::{Gatherer, Mount, Picture, child};
use super::layout::Layout;
use super::mount::add_archive;
use super::queue::{Queue, Taken};
use super::rule::{Rule, is_picture};
use super::view::Place;
use super::{Listing, OddViews};
use crate::error::{Context, Error, Result};
use crate::input::Keep;
use crate::input::archive::Format;
use crate::plan::bytes::{Reader, put_bytes};

/// Threads of one rank's walk: it waits for the file system, not for the processor.
const THREADS: usize = 8;
/// [`split`] goes down until there is this much for each part, so that parts weigh about alike.
const STEPS_PER_PART: usize = 64;
/// [`split`] goes down no further than this.
const SPLIT_LEVELS: usize = 4;

/// Folders to walk, relative to the root, with all that lies below them, and archives to index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    folders: Vec<String>,
    archives: Vec<String>,
}

impl Part {
    /// Cuts what is to be looked into into `parts` parts, in order of path.
    pub(super) fn cut(mut folders: Vec<String>, mut archives: Vec<String>, parts: usize) -> Vec<Self> {
        folders.sort_unstable();
        archives.sort_unstable();
        let part_of = |all: &[String], part: usize| {
            let bound = |part: usize| all.len() * part / parts;
            all.get(bound(part)..bound(part + 1)).unwrap_or_default().to_vec()
        };
        let part = |part| Self { folders: part_of(&folders, part), archives: part_of(&archives, part) };
        (0..parts).map(part).collect()
    }

    /// What lies where views of these assets usually do: folders of their names, and archives of theirs or of a
    /// folder's above. It takes a few looks for each, whatever else there is below `root`.
    pub(super) fn of_assets<'a>(root: &Path, ids: impl Iterator<Item = &'a str>) -> Self {
        let (mut folders, mut archives) = (BTreeSet::new(), BTreeSet::new());
        // An id may come from anywhere, and hidden folders hold no views.
        for id in ids.filter(|id| !id.split('/').any(|step| step.is_empty() || step.starts_with('.'))) {
            if root.join(id).is_dir() {
                folders.insert(id.to_owned());
            }
            for named in folders_above(id).chain([id]) {
                let paths = ["tar", "zip"].map(|ending| format!("{named}.{ending}"));
                archives.extend(paths.into_iter().filter(|path| root.join(path).is_file()));
            }
        }
        // What lies in a folder that is walked is found there.
        let is_outside = |path: &String| !folders_above(path).any(|above| folders.contains(above));
        Self {
            folders: folders.iter().filter(|path| is_outside(path)).cloned().collect(),
            archives: archives.into_iter().filter(is_outside).collect(),
        }
    }

    pub fn archives(&self) -> &[String] {
        &self.archives
    }

    /// The part as bytes for another rank.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for paths in [&self.folders, &self.archives] {
            let mut packed = Vec::new();
            for path in paths {
                put_bytes(&mut packed, path.as_bytes());
            }
            put_bytes(&mut out, &packed);
        }
        out
    }

    /// The part that [`Part::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a part.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut paths = || -> Result<Vec<String>> {
            let mut packed = Reader::new(reader.bytes()?);
            let mut paths = Vec::new();
            while !packed.is_empty() {
                paths.push(packed.str()?.to_owned());
            }
            Ok(paths)
        };
        let part = Self { folders: paths()?, archives: paths()? };
        reader.finish()?;
        Ok(part)
    }

    /// What threads take from each other: views of one asset in folders of their own come together.
    fn steps(&self, layout: Layout) -> Vec<Step> {
        let mut steps = Vec::new();
        group(layout, self.folders.clone(), &mut steps);
        steps.extend(self.archives.iter().cloned().map(Step::Archive));
        steps
    }
}

/// The folders above a path, from the outermost on.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(end, _)| path.get(..end))
}

/// Cuts the walk over `root` into `parts` parts for as many ranks. Also returns what was found on the way
/// down, which no part holds.
///
/// # Errors
/// A folder cannot be read, or a name in it is not UTF-8.
pub fn split(root: &Path, parts: usize, keep: Keep, rule: &Rule) -> Result<(Vec<Part>, Listing)> {
    if !root.is_dir() {
        return Err(Error::new(format!("'{}' is not a folder", root.display()))
            .hint("--renders takes the folder that holds a folder or an archive for each asset"));
    }
    let parts = parts.max(1);
    let mut walker = Walker { root, gatherer: Gatherer::new(rule, keep) };
    let (mut folders, mut archives) = (vec![String::new()], Vec::new());
    for _ in 0..SPLIT_LEVELS {
        if folders.is_empty() || folders.len() + archives.len() >= parts * STEPS_PER_PART {
            break;
        }
        for folder in std::mem::take(&mut folders) {
            let mut below = walker.list(&folder)?;
            folders.append(&mut below.folders);
            archives.append(&mut below.archives);
        }
    }
    Ok((Part::cut(folders, archives, parts), walker.gatherer.finish()?))
}

/// Walks over one part with several threads.
///
/// # Errors
/// A folder or an archive cannot be read, or a name is not UTF-8.
pub fn walk(root: &Path, part: &Part, keep: Keep, rule: &Rule) -> Result<Listing> {
    let queue = Queue::new(part.steps(rule.layout));
    // What lies in an archive is no further step: without folders there is one for each thread, or none.
    let threads = if part.folders.is_empty() { part.archives.len().min(THREADS) } else { THREADS };
    let listings: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(root, &queue, keep, rule))).collect();
        workers.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut merged = Listing::new(keep);
    for listing in listings {
        merged.merge(listing.map_err(|_| Error::new("a thread of the walk over the views panicked"))??);
    }
    Ok(merged)
}

/// What one thread looks into at a time.
enum Step {
    /// Folders whose pictures belong to one asset, or a single folder.
    Folders(Vec<String>),
    Archive(String),
}

fn work(root: &Path, queue: &Queue<Step>, keep: Keep, rule: &Rule) -> Result<Listing> {
    let mut walker = Walker { root, gatherer: Gatherer::new(rule, keep) };
    while let Some(mut taken) = queue.take() {
        let looked = walker.look_into(&mut taken);
        if looked.is_err() {
            queue.stop();
        }
        looked?;
    }
    walker.gatherer.finish()
}

/// Makes steps of folders: those that are views of one asset together, others alone.
fn group(layout: Layout, folders: Vec<String>, steps: &mut Vec<Step>) {
    let mut views: Vec<String> = Vec::new();
    for folder in folders {
        let placing = layout.place(&folder);
        let joins = views.last().is_some_and(|last| layout.place(last).asset == placing.asset);
        if !joins && !views.is_empty() {
            steps.push(Step::Folders(std::mem::take(&mut views)));
        }
        if placing.one_view {
            views.push(folder);
        } else {
            steps.push(Step::Folders(vec![folder]));
        }
    }
    if !views.is_empty() {
        steps.push(Step::Folders(views));
    }
}

struct Walker<'a> {
    root: &'a Path,
    gatherer: Gatherer<'a>,
}

/// What lies below a folder.
#[derive(Default)]
struct Below {
    folders: Vec<String>,
    archives: Vec<String>,
}

impl Walker<'_> {
    fn look_into(&mut self, taken: &mut Taken<'_, Step>) -> Result<()> {
        match &mut taken.thing {
            Step::Archive(path) => add_archive(self.root, path, &mut self.gatherer),
            Step::Folders(folders) => {
                let layout = self.gatherer.rule.layout;
                let mut waiting = std::mem::take(folders);
                let one_asset =
                    waiting.first().map(|first| layout.place(first)).filter(|first| first.one_view);
                let one_asset = one_asset.map(|first| first.asset.to_owned());
                while let Some(folder) = waiting.pop() {
                    let below = self.list(&folder)?;
                    // Folders of the same asset are looked into at once, so that its views come together.
                    let (same, others) = below.folders.into_iter().partition(|folder| {
                        let placing = layout.place(folder);
                        placing.one_view && one_asset.as_deref() == Some(placing.asset)
                    });
                    let mut same: Vec<String> = same;
                    waiting.append(&mut same);
                    group(layout, others, &mut taken.below);
                    taken.below.extend(below.archives.into_iter().map(Step::Archive));
                }
                self.gatherer.end()
            }
        }
    }

    /// Takes the pictures that lie directly in `folder`; returns what lies below it.
    fn list(&mut self, folder: &str) -> Result<Below> {
        let path = self.root.join(folder);
        let about = || format!("reading the folder '{}'", path.display());
        let mut below = Below::default();
        let mut pictures = Vec::new();
        for entry in fs::read_dir(&path).context(about)? {
            let found = sort_out(self.root, folder, &entry.context(about)?)?;
            note(found, folder, &mut below, &mut pictures, self.gatherer.odd());
        }
        let is_empty = pictures.is_empty() && below.folders.is_empty() && below.archives.is_empty();
        if is_empty && !folder.is_empty() {
            self.gatherer.odd().without_pictures.add(folder);
        }
        self.gatherer.folder(Mount::ROOT, folder, &mut pictures)?;
        Ok(below)
    }
}

/// What an entry of a folder is.
enum Found {
    Folder(String),
    Archive(String),
    Picture(Picture),
    Loop(String),
    Ignored(String),
    Hidden,
}

fn note(found: Found, folder: &str, below: &mut Below, pictures: &mut Vec<Picture>, odd: &mut OddViews) {
    match found {
        Found::Folder(name) => below.folders.push(child(folder, &name)),
        Found::Archive(name) => below.archives.push(child(folder, &name)),
        Found::Picture(picture) => pictures.push(picture),
        Found::Loop(name) => odd.loops.add(&child(folder, &name)),
        Found::Ignored(name) => odd.no_picture(folder, &name),
        Found::Hidden => odd.hidden += 1,
    }
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
    let (is_picture, is_archive) = (is_picture(&name), Format::of(&name).is_some());
    if !is_link && !kind.is_dir() && !is_picture && !is_archive {
        return Ok(Found::Ignored(name.into_owned()));
    }
    let Some(name) = os_name.to_str().map(str::to_owned) else {
        return Err(Error::new(format!("the name of '{}' is not UTF-8", entry.path().display()))
            .hint("rename it: ids in the output are UTF-8"));
    };
    let file = |name: String, bytes| match (is_picture, is_archive) {
        (true, _) => Found::Picture(Picture { name, bytes, place: Place::File }),
        (_, true) => Found::Archive(name),
        _ => Found::Ignored(name),
    };
    // Only a link or a picture has to be examined; a folder's own entry says enough, and an archive is
    // opened later.
    if kind.is_dir() {
        return Ok(Found::Folder(name));
    }
    if is_archive && !is_link {
        return Ok(Found::Archive(name));
    }
    let metadata = if is_link { fs::metadata(entry.path()) } else { entry.metadata() };
    let metadata = match metadata {
        Ok(metadata) => metadata,
        // A link to nothing: if it is named as a picture or an archive, that fails when it is read.
        Err(_) if is_link => return Ok(file(name, 0)),
        Err(error) => return Err(error).context(about),
    };
    if metadata.is_dir() {
        let inside_itself = is_above(root, folder, (metadata.dev(), metadata.ino())).context(about)?;
        return Ok(if inside_itself { Found::Loop(name) } else { Found::Folder(name) });
    }
    Ok(file(name, metadata.len()))
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
