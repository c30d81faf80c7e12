//! What is odd about the input, in words.

use std::cmp::Ordering;

use serde::Serialize;

use crate::input::views::{Kinds, OddViews};
use crate::input::{Odd, Sorted};

/// What is said of one, where that is other than what is said of several.
const SINGULARS: [(&str, &str); 20] = [
    ("empty captions (their rows will fail)", "empty caption (its row will fail)"),
    ("ids with several captions (an error)", "id with several captions (an error)"),
    (
        "captions that the id map does not name (they keep their id)",
        "caption that the id map does not name (it keeps its id)",
    ),
    (
        "assets with views that the id map does not name (left out)",
        "asset with views that the id map does not name (left out)",
    ),
    (
        "folders or archives with pictures of which none is taken (a view's name is digits and the ending; \
         --view-glob takes others)",
        "folder or archive with pictures of which none is taken (a view's name is digits and the ending; --view-glob \
         takes others)",
    ),
    (
        "archives that are broken (a view of each will fail)",
        "archive that is broken (a view of it will fail)",
    ),
    (
        "views in archives that cannot be read (they will fail)",
        "view in an archive that cannot be read (it will fail)",
    ),
    ("tars that end without an end mark (cut off?)", "tar that ends without an end mark (cut off?)"),
    (
        "archives that cannot be read in place (unpack them, or repack as tar or zip)",
        "archive that cannot be read in place (unpack it, or repack as tar or zip)",
    ),
    (
        "members of archives with names that cannot be taken",
        "member of an archive with a name that cannot be taken",
    ),
    (
        "archives in the list that were not looked into (add --renders ROOT)",
        "archive in the list that was not looked into (add --renders ROOT)",
    ),
    ("pictures whose names are not taken", "picture whose name is not taken"),
    (
        "pictures beside the first of a folder that is one view",
        "picture beside the first of a folder that is one view",
    ),
    ("folders without pictures", "folder without pictures"),
    ("pictures outside the folders of assets", "picture outside the folders of assets"),
    (
        "links that lead back to a folder above (not followed)",
        "link that leads back to a folder above (not followed)",
    ),
    ("files that are no pictures", "file that is no picture"),
    ("hidden files and folders (skipped)", "hidden file or folder (skipped)"),
    ("assets with a caption but no views", "asset with a caption but no views"),
    ("assets with views but no caption", "asset with views but no caption"),
];

/// One oddity, in words, with how often it was met and the first few names.
#[derive(Clone, Debug, Serialize)]
pub struct OddInput {
    /// In the plural.
    pub what: &'static str,
    /// Which names are counted here, where there are several kinds: a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
    /// Whether it probably loses what was meant to be there.
    pub alarming: bool,
    #[serde(flatten)]
    pub odd: Odd,
}

impl OddInput {
    /// What was met, as it is said of so many.
    pub fn words(&self) -> &'static str {
        let is_it = |(plural, _): &&(&str, &str)| *plural == self.what;
        let singular = SINGULARS.iter().filter(|_| self.odd.count == 1).find(is_it);
        singular.map_or(self.what, |(_, singular)| singular)
    }
}

/// Oddities of the captions.
pub fn of_captions(empty: Odd, duplicates: Odd, unnamed: Odd) -> Vec<OddInput> {
    met([
        ("empty captions (their rows will fail)", empty),
        ("ids with several captions (an error)", duplicates),
        ("captions that the id map does not name (they keep their id)", unnamed),
    ])
}

/// Oddities of the views, the alarming ones first.
pub fn of_views(odd: OddViews, left_out: Odd) -> Vec<OddInput> {
    let alarm = |(what, odd)| OddInput { what, names: None, alarming: true, odd };
    let mut all: Vec<_> = odd.alarms().into_iter().map(alarm).collect();
    all.extend(met([("assets with views that the id map does not name (left out)", left_out)]));
    all.extend(of_kinds("pictures whose names are not taken", odd.not_taken));
    all.extend(met([
        ("pictures beside the first of a folder that is one view", odd.further),
        ("folders without pictures", odd.without_pictures),
        ("pictures outside the folders of assets", odd.outside_assets),
        ("links that lead back to a folder above (not followed)", odd.loops),
    ]));
    all.extend(of_kinds("files that are no pictures", odd.ignored));
    all.extend(met([("hidden files and folders (skipped)", Odd { count: odd.hidden, first: Vec::new() })]));
    all
}

/// Says of which group of captions an oddity is, where there are several.
pub fn of(group: &str) -> impl Fn(OddInput) -> OddInput {
    move |odd| match group {
        "" => odd,
        _ => OddInput { names: Some(group.to_owned()), ..odd },
    }
}

/// One oddity for each kind of name, the most frequent first.
fn of_kinds(what: &'static str, kinds: Kinds) -> Vec<OddInput> {
    let mut all: Vec<_> = kinds.0.into_iter().collect();
    all.sort_by(|(a, m), (b, n)| (n.count, a).cmp(&(m.count, b)));
    let of_kind = |(names, odd)| OddInput { what, names: Some(names), alarming: false, odd };
    all.into_iter().map(of_kind).collect()
}

/// Which assets have captions or views alone.
pub fn compare_ids(text: &Sorted, image: &Sorted) -> Vec<OddInput> {
    let (mut only_text, mut only_image) = (Odd::default(), Odd::default());
    let mut captions = text.assets().map(|asset| asset.id()).peekable();
    let mut views = image.assets().map(|asset| asset.id()).peekable();
    loop {
        let order = match (captions.peek(), views.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(caption), Some(view)) => caption.cmp(view),
        };
        let caption = if order.is_le() { captions.next() } else { None };
        let view = if order.is_ge() { views.next() } else { None };
        match (caption, view) {
            (Some(id), None) => only_text.add(id),
            (None, Some(id)) => only_image.add(id),
            _ => {}
        }
    }
    met([("assets with a caption but no views", only_text), ("assets with views but no caption", only_image)])
}

fn met<const N: usize>(all: [(&'static str, Odd); N]) -> Vec<OddInput> {
    all.into_iter()
        .filter(|(_, odd)| odd.count > 0)
        .map(|(what, odd)| OddInput { what, names: None, alarming: false, odd })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Catalog, Keep};

    fn sorted(ids: &[&str]) -> Sorted {
        let mut catalog = Catalog::new(Keep::Counts);
        for id in ids {
            catalog.push(id, 1, b"").unwrap();
        }
        Sorted::new(catalog)
    }

    #[test]
    fn assets_with_one_of_both_are_named() {
        let odd = compare_ids(&sorted(&["a", "b", "d", "z"]), &sorted(&["b", "c", "d", "e"]));
        let found: Vec<_> = odd.iter().map(|odd| (odd.what, odd.odd.first.concat())).collect();
        let expected =
            [("assets with a caption but no views", "az"), ("assets with views but no caption", "ce")];
        assert_eq!(found, expected.map(|(what, ids)| (what, ids.to_owned())));
        assert!(compare_ids(&sorted(&["a"]), &sorted(&["a"])).is_empty());
        assert_eq!(compare_ids(&sorted(&[]), &sorted(&["a"])).len(), 1);
    }

    #[test]
    fn of_one_it_is_said_in_the_singular() {
        let one = || Odd { count: 1, first: vec!["x".to_owned()] };
        let kinds = || {
            let mut kinds = Kinds::default();
            kinds.add("", "x.png");
            kinds
        };
        let views = OddViews {
            none_taken: one(),
            broken_archives: one(),
            unreadable_members: one(),
            without_end: one(),
            unsupported_archives: kinds(),
            bad_names: one(),
            archives_without_root: one(),
            not_taken: kinds(),
            further: one(),
            outside_assets: one(),
            without_pictures: one(),
            loops: one(),
            ignored: kinds(),
            hidden: 1,
        };
        let all = [of_captions(one(), one(), one()), of_views(views, one())].concat();
        let alone = compare_ids(&sorted(&["a"]), &sorted(&["b"]));
        for mut odd in all.into_iter().chain(alone) {
            assert_ne!(odd.words(), odd.what);
            odd.odd.count = 2;
            assert_eq!(odd.words(), odd.what);
        }
    }
}
