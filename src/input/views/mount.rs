//! An archive as if it were folders, or as a shard.
//!
//! An archive `P/X.tar` or `P/X.zip` whose views all lie below `X/` hangs at `P`, any other at `P/X`: ids
//! are those of the unpacked files. A tar of the other kind is a webdataset shard, unless the layout says
//! else or there are G-Objaverse's cameras in it. A zip inside a zip hangs at the root: the name of the outer
//! one counts for nothing.

use std::collections::BTreeMap;
use std::path::Path;

use super::gather::{Gatherer, Mount, Picture, child};
use super::layout::{Layout, cameras};
use super::rule::{Rule, is_picture};
use super::view::{Member, Place};
use crate::error::{Context, Result};
use crate::input::archive::{self, Entry, Format, Index, Inflated};
use crate::plan::check_id;

/// What macOS puts beside the files of an archive.
const FOREIGN: &str = "__MACOSX";

/// Indexes the archive `path` below `root` and takes its views.
///
/// # Errors
/// The file system's trouble. What is wrong with the archive is data.
pub fn add_archive(root: &Path, path: &str, gatherer: &mut Gatherer<'_>) -> Result<()> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some((format, stem)) = Format::of(name) else { return Ok(()) };
    let full = root.join(path);
    let index = archive::index(&full, format).context(|| format!("reading '{}'", full.display()))?;
    let at = Archive { path, bytes: index.bytes, inflated: None, above, stem, real: path };
    if index.inner.is_empty() || !index.members.is_empty() || index.broken.is_some() {
        at.add(&index, format, gatherer)?;
    }
    for inner in &index.inner {
        if is_hidden(&inner.name) {
            gatherer.odd().hidden += 1;
            continue;
        }
        let name = inner.name.rsplit_once('/').map_or(inner.name.as_str(), |(_, name)| name);
        let stem = Format::of(name).map_or(name, |(_, stem)| stem);
        let real = child(path, &inner.name);
        let at = Archive { inflated: inner.inflated, above: "", stem, real: &real, ..at };
        at.add(&inner.index, Format::Zip, gatherer)?;
    }
    Ok(())
}

/// An archive on its way into a catalog.
#[derive(Clone, Copy)]
struct Archive<'a> {
    /// The file, and its size.
    path: &'a str,
    bytes: u64,
    /// The zip inside it that this is, where it has to be inflated.
    inflated: Option<Inflated>,
    /// The folder that layouts see it in, and its name there without ending.
    above: &'a str,
    stem: &'a str,
    /// Its path for people.
    real: &'a str,
}

impl Archive<'_> {
    fn add(&self, index: &Index, format: Format, gatherer: &mut Gatherer<'_>) -> Result<()> {
        gatherer.watch();
        let failed_before = gatherer.odd().unreadable_members.count;
        for name in &index.bad_names {
            gatherer.odd().bad_names.add(&child(self.real, name));
        }
        if index.without_end {
            gatherer.odd().without_end.add(self.real);
        }
        let members: Vec<&Entry> = index.members.iter().filter(|member| !is_hidden(&member.name)).collect();
        gatherer.odd().hidden += (index.members.len() - members.len()) as u64;
        let pictures: Vec<&Entry> =
            members.iter().copied().filter(|member| self.is_picture(&member.name, gatherer)).collect();
        if pictures.is_empty() && index.broken.is_none() {
            gatherer.odd().without_pictures.add(self.real);
        }
        let in_own_folder = self.is_in_own_folder(&pictures, gatherer.rule);
        let hung = if in_own_folder { self.above.to_owned() } else { child(self.above, self.stem) };
        let is_shard = match gatherer.rule.layout {
            Layout::Shards => true,
            Layout::Auto => {
                let has_cameras = |picture: &&Entry| cameras(&child(&hung, &picture.name)).is_some();
                !in_own_folder && !pictures.iter().any(has_cameras)
            }
            Layout::Assets | Layout::Views => false,
        };
        if format == Format::Tar && is_shard {
            self.add_shard(&pictures, gatherer)?;
        } else {
            self.add_folders(&pictures, &hung, gatherer)?;
        }
        gatherer.end()?;
        let Some(why) = &index.broken else { return Ok(()) };
        gatherer.odd().broken_archives.add_with(|| format!("{} ({why})", self.real));
        if gatherer.odd().unreadable_members.count > failed_before {
            // A view that was cut through already tells.
            return Ok(());
        }
        self.add_broken(why, gatherer)
    }

    /// Whether a member is a picture; anything else is counted.
    fn is_picture(&self, path: &str, gatherer: &mut Gatherer<'_>) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if is_picture(name) {
            return true;
        }
        let odd = gatherer.odd();
        let folder = child(self.real, folder);
        if Format::of(name).is_some() {
            odd.unsupported_archives.add_as("archives in archives".to_owned(), &folder, name);
        } else {
            odd.no_picture(&folder, name);
        }
        false
    }

    /// Whether the views all lie below the archive's own name; where there are none, the pictures. A file
    /// that somebody put beside that folder says nothing.
    fn is_in_own_folder(&self, pictures: &[&Entry], rule: &Rule) -> bool {
        let own_folder = format!("{}/", self.stem);
        let is_view = |path: &str| rule.takes(path.rsplit_once('/').map_or(path, |(_, name)| name));
        let has_views = pictures.iter().any(|picture| is_view(&picture.name));
        let mut telling = pictures.iter().filter(|picture| !has_views || is_view(&picture.name));
        telling.all(|picture| picture.name.starts_with(&own_folder))
    }

    fn add_folders(&self, pictures: &[&Entry], hung: &str, gatherer: &mut Gatherer<'_>) -> Result<()> {
        let mut folders: BTreeMap<&str, Vec<Picture>> = BTreeMap::new();
        for member in pictures {
            let (folder, name) = member.name.rsplit_once('/').unwrap_or(("", &member.name));
            folders.entry(folder).or_default().push(self.picture(member, name));
        }
        let mount = Mount { folder: hung, real: self.real };
        folders
            .into_iter()
            .try_for_each(|(folder, mut pictures)| gatherer.folder(mount, folder, &mut pictures))
    }

    /// Members by key: the path up to the first dot of the name. They come sorted, so that those of one key
    /// come together.
    fn add_shard(&self, pictures: &[&Entry], gatherer: &mut Gatherer<'_>) -> Result<()> {
        let rule = gatherer.rule;
        let mut taken = 0;
        for member_of_key in pictures.chunk_by(|a, b| key_of(&a.name) == key_of(&b.name)) {
            let Some(first) = member_of_key.first() else { continue };
            let (folder, _) = first.name.rsplit_once('/').unwrap_or(("", &first.name));
            let (key, real) = (key_of(&first.name), child(self.real, folder));
            let key_name = key.rsplit_once('/').map_or(key, |(_, name)| name);
            let mut views = Vec::new();
            for member in member_of_key {
                let name = member.name.rsplit_once('/').map_or(member.name.as_str(), |(_, name)| name);
                if rule.takes_of_key(name, key_name) {
                    views.push(self.picture(member, name));
                } else {
                    // Keys differ from picture to picture; what follows them tells the kinds apart.
                    let kind = format!("*{}", name.get(key_name.len()..).unwrap_or_default());
                    gatherer.odd().not_taken.add_as(kind, &real, name);
                }
            }
            taken += views.len();
            if !views.is_empty() {
                gatherer.key(key, &real, views)?;
            }
        }
        if taken == 0 && !pictures.is_empty() {
            gatherer.odd().none_taken.add(self.real);
        }
        Ok(())
    }

    fn picture(&self, member: &Entry, name: &str) -> Picture {
        let place = match &member.data {
            Ok(extent) => Place::Member(Member {
                archive_len: self.path.len(),
                archive_bytes: self.bytes,
                inflated: self.inflated,
                extent: *extent,
            }),
            Err(why) => Place::Broken(why.clone()),
        };
        Picture { name: name.to_owned(), bytes: member.bytes, place }
    }

    /// A view that fails for what could not be indexed: of the one asset that was found in the archive, else
    /// of the one that the archive is named as.
    fn add_broken(&self, why: &str, gatherer: &mut Gatherer<'_>) -> Result<()> {
        let named = child(self.above, self.stem);
        let placed = gatherer.rule.layout.place(&named).asset;
        let asset = match gatherer.only_asset() {
            Some(only) => only,
            None if placed.is_empty() => named.clone(),
            None => placed.to_owned(),
        };
        if check_id(&asset).is_err() {
            gatherer.odd().bad_names.add(self.real);
            return Ok(());
        }
        gatherer.broken(&asset, self.real, why)
    }
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|step| step.starts_with('.') || step == FOREIGN)
}

/// webdataset's key: the path up to the first dot of the name.
fn key_of(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let end = path.get(name..).and_then(|name| name.find('.')).map_or(path.len(), |dot| name + dot);
    path.get(..end).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_webdatasets() {
        for (path, key) in [("a.b.png", "a"), ("x.y/a.0.png", "x.y/a"), ("x/a", "x/a"), (".a.png", "")] {
            assert_eq!(key_of(path), key, "{path}");
        }
    }
}
