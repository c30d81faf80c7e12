//! From pictures in folders, of the file system or of an archive, to assets with views.

use super::codec::ViewCodec;
use super::rule::Rule;
use super::view::{Place, View};
use super::{Listing, OddViews};
use crate::error::Result;
use crate::input::Keep;
use crate::plan::bytes::{Reader, put_bytes, put_varint};
use crate::plan::check_id;

/// A picture in a folder.
#[derive(Debug)]
pub struct Picture {
    pub name: String,
    pub bytes: u64,
    pub place: Place,
}

/// Where a tree of folders hangs below the root.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    /// The folder that layouts see, which ids come from.
    pub folder: &'a str,
    /// The path that people see: that of the archive.
    pub real: &'a str,
}

impl Mount<'_> {
    /// The root itself.
    pub const ROOT: Self = Self { folder: "", real: "" };
}

/// A view and its path below the asset, which views are ordered by.
#[derive(Debug)]
pub struct Ordered {
    pub key: String,
    pub view: View,
}

/// Collects views by asset. Those of one asset should come one after the other: each run of them takes an
/// entry of the catalog.
pub struct Gatherer<'a> {
    pub rule: &'a Rule,
    pub listing: Listing,
    run: Run,
    /// The last assets begun, two at most.
    seen: Vec<String>,
}

/// Views of one asset that came together.
#[derive(Default)]
struct Run {
    asset: String,
    /// What the views' order begins with, before the part of the path that follows `above`.
    lead: String,
    /// Bytes of the paths that come before what is below the asset.
    above: usize,
    views: u32,
    data: Vec<u8>,
    codec: ViewCodec,
}

impl<'a> Gatherer<'a> {
    pub fn new(rule: &'a Rule, keep: Keep) -> Self {
        Self { rule, listing: Listing::new(keep), run: Run::default(), seen: Vec::new() }
    }

    pub fn odd(&mut self) -> &mut OddViews {
        &mut self.listing.odd
    }

    /// Takes the views of the pictures in the folder `below` of `mount`; `pictures` are left empty.
    ///
    /// # Errors
    /// The folder's path cannot be an asset's id. (For one inside an archive that is an oddity.)
    pub fn folder(&mut self, mount: Mount<'_>, below: &str, pictures: &mut Vec<Picture>) -> Result<()> {
        let folder = child(mount.folder, below);
        let real = child(mount.real, below);
        let placing = self.rule.layout.place(&folder);
        if placing.asset.is_empty() {
            pictures
                .drain(..)
                .for_each(|picture| self.odd().outside_assets.add(&child(&real, &picture.name)));
            return Ok(());
        }
        if !self.rule.wants(placing.asset) {
            pictures.clear();
            return Ok(());
        }
        self.leave_out(&real, pictures, placing.one_view);
        if pictures.is_empty() {
            return Ok(());
        }
        let asset = placing.asset;
        if let Err(error) = check_id(asset) {
            if mount.real.is_empty() {
                return Err(error);
            }
            self.odd().bad_names.add(&real);
            pictures.clear();
            return Ok(());
        }
        // What the mount's folder has below the asset is not in the paths, and orders them nonetheless.
        let lead = mount.folder.get(asset.len() + 1..).map(|lead| format!("{lead}/")).unwrap_or_default();
        let above = real.len() + 1 + asset.len() + lead.len() - folder.len();
        self.begin(asset, &lead, above)?;
        pictures.drain(..).try_for_each(|picture| self.add(&real, picture))
    }

    /// Takes views of an asset by name: those of a shard, in its folder `real`.
    ///
    /// # Errors
    /// A path is too long.
    pub fn key(&mut self, asset: &str, real: &str, pictures: Vec<Picture>) -> Result<()> {
        if !self.rule.wants(asset) {
            return Ok(());
        }
        if check_id(asset).is_err() {
            self.odd().bad_names.add(&child(real, asset));
            return Ok(());
        }
        self.begin(asset, "", real.len() + 1)?;
        pictures.into_iter().try_for_each(|picture| self.add(real, picture))
    }

    /// Adds a view of `asset` that will fail, for all that could not be read of the archive `real`.
    ///
    /// # Errors
    /// The id cannot be one.
    pub fn broken(&mut self, asset: &str, real: &str, why: &str) -> Result<()> {
        if !self.rule.wants(asset) {
            return Ok(());
        }
        let (folder, name) = real.rsplit_once('/').unwrap_or(("", real));
        let above = if folder.is_empty() { 0 } else { folder.len() + 1 };
        self.begin(asset, "", above)?;
        let place = Place::Broken(format!("the archive is broken: {why}"));
        let view = View { path: child(folder, name), bytes: 0, place };
        self.run.put(&view)?;
        self.end()
    }

    /// Forgets which assets were begun.
    pub fn watch(&mut self) {
        self.seen.clear();
    }

    /// The asset that was begun since [`Gatherer::watch`], if it is a single one.
    pub fn only_asset(&self) -> Option<String> {
        if let [only] = &self.seen[..] { Some(only.clone()) } else { None }
    }

    /// Ends the run of views, which belong together no longer.
    ///
    /// # Errors
    /// An asset has too many views.
    pub fn end(&mut self) -> Result<()> {
        let run = &mut self.run;
        if run.views > 0 {
            self.listing.catalog.push(&run.asset, run.views, &run.data)?;
        }
        run.asset.clear();
        run.views = 0;
        run.data.clear();
        Ok(())
    }

    /// What was found.
    ///
    /// # Errors
    /// An asset has too many views.
    pub fn finish(mut self) -> Result<Listing> {
        self.end()?;
        Ok(self.listing)
    }

    /// Leaves the pictures that are views.
    fn leave_out(&mut self, real: &str, pictures: &mut Vec<Picture>, one_view: bool) {
        let found = pictures.len();
        let (rule, odd) = (self.rule, &mut self.listing.odd);
        pictures.retain(|picture| {
            let taken = rule.takes(&picture.name);
            if !taken {
                odd.not_taken.add(real, &picture.name);
            }
            taken
        });
        if found > 0 && pictures.is_empty() {
            odd.none_taken.add(real);
        }
        let first = pictures.iter().enumerate().min_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        if let Some((first, _)) = first.filter(|_| one_view) {
            pictures.swap(0, first);
            pictures.drain(1..).for_each(|picture| odd.further.add(&child(real, &picture.name)));
        }
    }

    fn begin(&mut self, asset: &str, lead: &str, above: usize) -> Result<()> {
        let run = &self.run;
        if run.views > 0 && (run.asset.as_str(), run.lead.as_str(), run.above) == (asset, lead, above) {
            return Ok(());
        }
        self.end()?;
        if self.seen.len() < 2 && !self.seen.iter().any(|seen| seen == asset) {
            self.seen.push(asset.to_owned());
        }
        let run = &mut self.run;
        asset.clone_into(&mut run.asset);
        lead.clone_into(&mut run.lead);
        run.above = above;
        put_varint(&mut run.data, above as u64);
        put_bytes(&mut run.data, lead.as_bytes());
        run.codec = ViewCodec::after(asset);
        Ok(())
    }

    fn add(&mut self, real: &str, picture: Picture) -> Result<()> {
        let Picture { name, bytes, place } = picture;
        let view = View { path: child(real, &name), bytes, place };
        if let Place::Broken(why) = &view.place {
            self.odd().unreadable_members.add_with(|| format!("{} ({why})", view.path));
        }
        self.run.put(&view)
    }
}

impl Run {
    fn put(&mut self, view: &View) -> Result<()> {
        self.views += 1;
        self.codec.put(view, &mut self.data)
    }
}

/// Appends the views of the asset `id` that a catalog kept with it.
pub(in crate::input) fn decode_views(data: &[u8], id: &str, views: &mut Vec<Ordered>) -> Result<()> {
    let mut reader = Reader::new(data);
    let (above, lead) = (reader.varint()? as usize, reader.str()?);
    let mut codec = ViewCodec::after(id);
    while !reader.is_empty() {
        let view = codec.get(&mut reader)?;
        let key = format!("{lead}{}", view.path.get(above..).unwrap_or_default());
        views.push(Ordered { key, view });
    }
    Ok(())
}

/// A path below a folder; either may be empty.
pub fn child(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}
