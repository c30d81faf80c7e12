//! What was met beside the views.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule::{ending_of, likes_of};
use crate::input::Odd;
use crate::input::archive::Format;

/// More kinds of names than this are counted by their ending alone.
const KINDS_MAX: usize = 64;

/// What was met beside the views.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddViews {
    /// Folders and archives that hold pictures of which none is taken: assets are probably lost.
    pub none_taken: Odd,
    /// Archives that are damaged, or could not be opened; each has a view that fails.
    pub broken_archives: Odd,
    /// Members of archives that are views by their name and cannot be read; they fail.
    pub unreadable_members: Odd,
    /// Tars that end without an end mark.
    pub without_end: Odd,
    /// Archives that cannot be read in place, by their ending.
    pub unsupported_archives: Kinds,
    /// Members of archives with names that cannot be: absolute, outside, not UTF-8, too long.
    pub bad_names: Odd,
    /// Archives of a list whose root is not known.
    pub archives_without_root: Odd,
    /// Pictures whose names are not taken, by what stands beside the number.
    pub not_taken: Kinds,
    /// Pictures beside the first one of a folder that is one view.
    pub further: Odd,
    /// Pictures beside the folders of assets, which belong to none.
    pub outside_assets: Odd,
    /// Folders and archives that hold neither pictures nor folders.
    pub without_pictures: Odd,
    /// Links to a folder that the link itself lies in: not followed.
    pub loops: Odd,
    /// Files that are no pictures, by their ending.
    pub ignored: Kinds,
    /// Files and folders whose name begins with a dot.
    pub hidden: u64,
}

impl OddViews {
    /// Counts a file that is no picture.
    pub fn no_picture(&mut self, folder: &str, name: &str) {
        match Format::unsupported(name) {
            Some(ending) => self.unsupported_archives.add_as(format!("*{ending}"), folder, name),
            None => self.ignored.add(folder, name),
        }
    }

    /// Adds what another rank or thread met.
    pub fn merge(&mut self, other: Self) {
        self.none_taken.merge(other.none_taken);
        self.broken_archives.merge(other.broken_archives);
        self.unreadable_members.merge(other.unreadable_members);
        self.without_end.merge(other.without_end);
        self.unsupported_archives.merge(other.unsupported_archives);
        self.bad_names.merge(other.bad_names);
        self.archives_without_root.merge(other.archives_without_root);
        self.not_taken.merge(other.not_taken);
        self.further.merge(other.further);
        self.outside_assets.merge(other.outside_assets);
        self.without_pictures.merge(other.without_pictures);
        self.loops.merge(other.loops);
        self.ignored.merge(other.ignored);
        self.hidden += other.hidden;
    }

    /// What probably loses assets or views that were meant, in words: shown before anything else.
    pub fn alarms(&self) -> Vec<(&'static str, Odd)> {
        let all = [
            (
                "folders or archives with pictures of which none is taken (a view's name is digits and the ending; \
                 --view-glob takes others)",
                self.none_taken.clone(),
            ),
            ("archives that are broken (a view of each will fail)", self.broken_archives.clone()),
            ("views in archives that cannot be read (they will fail)", self.unreadable_members.clone()),
            ("tars that end without an end mark (cut off?)", self.without_end.clone()),
            (
                "archives that cannot be read in place (unpack them, or repack as tar or zip)",
                self.unsupported_archives.all(),
            ),
            ("members of archives with names that cannot be taken", self.bad_names.clone()),
            (
                "archives in the list that were not looked into (add --renders ROOT)",
                self.archives_without_root.clone(),
            ),
        ];
        all.into_iter().filter(|(_, odd)| odd.count > 0).collect()
    }
}

/// Oddities counted by the kind of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds(pub BTreeMap<String, Odd>);

impl Kinds {
    /// Adds the file `name` of `folder`.
    pub fn add(&mut self, folder: &str, name: &str) {
        self.add_as(likes_of(name), folder, name);
    }

    /// Adds a file under a kind.
    pub fn add_as(&mut self, kind: String, folder: &str, name: &str) {
        let is_known = self.0.len() < KINDS_MAX || self.0.contains_key(&kind);
        let kind = if is_known { kind } else { ending_of(name) };
        let odd = self.0.entry(kind).or_default();
        // Counted by the million and shown by a handful.
        odd.add_with(|| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") });
    }

    /// All of them as one.
    pub fn all(&self) -> Odd {
        let mut all = Odd::default();
        self.0.values().for_each(|odd| all.merge(odd.clone()));
        all
    }

    fn merge(&mut self, other: Self) {
        for (kind, odd) in other.0 {
            self.0.entry(kind).or_default().merge(odd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_stay_few() {
        let mut kinds = Kinds::default();
        for view in 0..1000 {
            kinds.add("a/b", &format!("{view:05}_albedo.png"));
            kinds.add("", &format!("{view:05}.json"));
        }
        assert_eq!(kinds.0["*_albedo.png"].count, 1000);
        assert_eq!(kinds.0["*.json"].first[..2], ["00000.json", "00001.json"]);
        for letters in 0..500 {
            kinds.add("", &format!("name{}x.png", letters.to_string().replace('1', "a")));
        }
        assert!(kinds.0.len() <= KINDS_MAX + 1);
        assert_eq!(kinds.all().count, 2500);
    }
}
