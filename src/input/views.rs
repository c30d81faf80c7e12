//! Views: pictures in folders and archives, found by a walk that ranks and threads share, or taken from a
//! ready list.
//!
//! [`Layout`] says which folders are assets and which are views of one, [`Rule`] also which pictures are
//! taken. Archives are indexed on the way ([`super::archive`]) and hang among the folders as if they were
//! unpacked. [`ViewReader`] reads a [`View`] wherever it lies.

mod codec;
mod find;
mod gather;
mod layout;
mod list;
mod mount;
mod odd;
mod queue;
mod read;
mod rule;
mod view;
mod walk;

use super::{Catalog, Keep};
use crate::error::{Context, Error, Result};
use crate::plan::bytes::{Reader, put_bytes};

pub(super) use codec::ViewCodec;
pub use find::{Found, ViewFinder};
pub(super) use gather::decode_views;
pub use layout::Layout;
pub use list::read_list;
pub use odd::{Kinds, OddViews};
pub use read::{ReadError, ViewReader};
pub use rule::Rule;
pub use view::{Member, Place, View};
pub use walk::{Part, split, walk};

/// The views that were found, and what was odd.
#[derive(Clone, Debug)]
pub struct Listing {
    pub catalog: Catalog,
    pub odd: OddViews,
}

impl Listing {
    pub fn new(keep: Keep) -> Self {
        Self { catalog: Catalog::new(keep), odd: OddViews::default() }
    }

    /// Adds what another rank or thread found.
    pub fn merge(&mut self, other: Self) {
        self.catalog.merge(&other.catalog);
        self.odd.merge(other.odd);
    }

    /// The listing as bytes for another rank: about 16 a view in a folder, 24 in an archive.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.catalog.put(&mut out);
        put_bytes(&mut out, &serde_json::to_vec(&self.odd).context(|| "what is odd, as JSON")?);
        Ok(out)
    }

    /// The listing that [`Listing::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a listing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let catalog = Catalog::get(&mut reader)?;
        let odd = serde_json::from_slice(reader.bytes()?).context(|| "what is odd")?;
        reader.finish()?;
        Ok(Self { catalog, odd })
    }

    /// Says that there are pictures, if there are, where no view was found.
    ///
    /// # Errors
    /// Pictures are there, and none of them is a view.
    pub fn refuse_pictures_alone(&self) -> Result<()> {
        let not_taken = self.odd.not_taken.all();
        if !self.catalog.is_empty() || not_taken.count == 0 {
            return Ok(());
        }
        let kinds: Vec<_> = self.odd.not_taken.0.keys().take(5).map(String::as_str).collect();
        let (count, kinds) = (not_taken.count, kinds.join(", "));
        Err(Error::new(format!("there is nothing to embed: pictures found: {count} ({kinds}), none of them a view"))
            .hint(
                "a view's name is digits and .png, .jpg, .jpeg or .webp; --view-glob GLOB takes pictures of other \
                 names instead, such as --view-glob '*_color.png'",
            ))
    }
}
