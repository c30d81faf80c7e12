//! How pictures in folders make views of assets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Folders of G-Objaverse's cameras, `<d>/<n>/campos_512_v4/00000`, begin with this.
const CAMERAS: &str = "campos_";

/// How a data set is laid out. It is decided by paths relative to the root alone, so that ranks that walk
/// through different parts of it agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// [`Layout::Views`] for folders `.../campos_*/...` and `<digits>/<digits>/<digits>`, which are
    /// G-Objaverse's and the old pipeline's; [`Layout::Shards`] for tars whose views do not lie below the
    /// tar's own name, nor any picture below `campos_*`; else [`Layout::Assets`].
    #[default]
    Auto,
    /// A folder with pictures is an asset, and its pictures are the views.
    Assets,
    /// A folder with pictures is one view, the first of them; the asset is what comes before `campos_*`, or
    /// the folder above.
    Views,
    /// Every tar is a webdataset shard, `<key>.<ending>` and `<key>.<digits>.<ending>`; else
    /// [`Layout::Assets`].
    Shards,
}

/// What the pictures of a folder are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing<'a> {
    /// The asset they belong to; empty for pictures that belong to none.
    pub asset: &'a str,
    /// Whether they are one view together, and not one each.
    pub one_view: bool,
}

impl Layout {
    const NAMES: [(&str, Self); 4] =
        [("auto", Self::Auto), ("assets", Self::Assets), ("views", Self::Views), ("shards", Self::Shards)];

    /// What pictures in `folder`, relative to the root, are.
    pub fn place(self, folder: &str) -> Placing<'_> {
        let cameras = cameras(folder);
        let one_view = match self {
            Self::Assets | Self::Shards => false,
            Self::Views => true,
            Self::Auto => cameras.is_some() || is_numbered_view(folder),
        };
        let above = || folder.rsplit_once('/').map_or("", |(above, _)| above);
        let asset = match cameras {
            _ if !one_view => folder,
            Some(asset) => asset,
            None => above(),
        };
        Placing { asset, one_view }
    }
}

/// What comes before a component that names cameras.
pub fn cameras(folder: &str) -> Option<&str> {
    let mut start = 0_usize;
    for step in folder.split('/') {
        if step.starts_with(CAMERAS) {
            return Some(folder.get(..start.saturating_sub(1)).unwrap_or_default());
        }
        start += step.len() + 1;
    }
    None
}

/// Whether a folder is `<digits>/<digits>/<digits>`.
fn is_numbered_view(folder: &str) -> bool {
    folder.split('/').count() == 3 && folder.split('/').all(is_number)
}

/// Whether a text is digits alone.
pub fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find_map(|(name, layout)| (layout == self).then_some(*name));
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find_map(|(name, layout)| (*name == text).then_some(*layout));
        found.ok_or_else(|| format!("'{text}': expected auto, assets, views or shards"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_places_folders_by_their_path() {
        use Layout::{Assets, Auto, Shards, Views};
        for (layout, folder, asset, one_view) in [
            (Auto, "0/10002", "0/10002", false),
            (Auto, "uid-1", "uid-1", false),
            (Auto, "3/44/00007", "3/44", true),
            (Auto, "3/44/00007/x", "3/44/00007/x", false),
            (Auto, "3/44/front", "3/44/front", false),
            (Auto, "0/3/44/00007", "0/3/44/00007", false),
            (Auto, "3/44/campos_512_v4/00000", "3/44", true),
            (Auto, "3/44/campos_512_v4", "3/44", true),
            (Auto, "campos_512_v4/00000", "", true),
            (Auto, "x_campos_/00000", "x_campos_/00000", false),
            (Assets, "3/44/00007", "3/44/00007", false),
            (Assets, "3/44/campos_512_v4/00000", "3/44/campos_512_v4/00000", false),
            (Shards, "3/44/00007", "3/44/00007", false),
            (Views, "a/b/front", "a/b", true),
            (Views, "a/b/campos_1/0/x", "a/b", true),
            (Views, "front", "", true),
            (Auto, "", "", false),
        ] {
            assert_eq!(layout.place(folder), Placing { asset, one_view }, "{layout} {folder}");
        }
    }

    #[test]
    fn names_come_back() {
        for (name, layout) in Layout::NAMES {
            assert_eq!(name.parse(), Ok(layout));
            assert_eq!(layout.to_string(), name);
        }
        assert!("folders".parse::<Layout>().is_err());
    }
}
