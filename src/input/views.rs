//! Views: pictures in folders, `<root>/<asset id>/*.{png,jpg,jpeg,webp}`, found by a walk over the
//! folders that ranks and threads share, or taken from a ready list.

mod list;
mod walk;

use super::{Catalog, Keep, Odd};
use crate::error::Result;
use crate::plan::bytes::{Reader, put_bytes, put_varint};

pub use list::read_list;
pub use walk::{Part, split, walk};

/// Endings of names that are pictures, in any case.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// The views that were found, and what was odd.
#[derive(Clone, Debug)]
pub struct Listing {
    pub catalog: Catalog,
    pub odd: OddViews,
}

/// What was met beside the views.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OddViews {
    /// Folders that hold neither pictures nor folders.
    pub without_pictures: Odd,
    /// Pictures beside the folders of assets, which belong to none.
    pub outside_assets: Odd,
    /// Links to a folder that the link itself lies in: not followed.
    pub loops: Odd,
    /// Files that are no pictures, by their name.
    pub ignored: Odd,
    /// Files and folders whose name begins with a dot.
    pub hidden: u64,
}

impl Listing {
    pub fn new(keep: Keep) -> Self {
        Self { catalog: Catalog::new(keep), odd: OddViews::default() }
    }

    /// Adds what another rank or thread found.
    pub fn merge(&mut self, other: Self) {
        self.catalog.merge(&other.catalog);
        let odd = other.odd;
        self.odd.without_pictures.merge(odd.without_pictures);
        self.odd.outside_assets.merge(odd.outside_assets);
        self.odd.loops.merge(odd.loops);
        self.odd.ignored.merge(odd.ignored);
        self.odd.hidden += odd.hidden;
    }

    /// The listing as bytes for another rank: about 14 a view.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.catalog.put(&mut out);
        let OddViews { without_pictures, outside_assets, loops, ignored, hidden } = &self.odd;
        for odd in [without_pictures, outside_assets, loops, ignored] {
            odd.put(&mut out);
        }
        put_varint(&mut out, *hidden);
        out
    }

    /// The listing that [`Listing::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a listing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let catalog = Catalog::get(&mut reader)?;
        let mut odd = || Odd::get(&mut reader);
        let (without_pictures, outside_assets, loops, ignored) = (odd()?, odd()?, odd()?, odd()?);
        let hidden = reader.varint()?;
        reader.finish()?;
        Ok(Self { catalog, odd: OddViews { without_pictures, outside_assets, loops, ignored, hidden } })
    }
}

/// Whether a file of this name is taken for a picture.
fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| PICTURES.iter().any(|picture| ending.eq_ignore_ascii_case(picture)))
}

/// Appends a view as a catalog keeps it.
fn encode_view(name: &str, bytes: u64, out: &mut Vec<u8>) {
    put_bytes(out, name.as_bytes());
    put_varint(out, bytes);
}

/// Appends names and sizes of the views that a catalog kept.
pub(super) fn decode_views<'a>(data: &'a [u8], views: &mut Vec<(&'a str, u64)>) -> Result<()> {
    let mut reader = Reader::new(data);
    while !reader.is_empty() {
        views.push((reader.str()?, reader.varint()?));
    }
    Ok(())
}
