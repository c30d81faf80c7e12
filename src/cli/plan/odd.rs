//! What is odd about the input, in words.

use std::cmp::Ordering;

use serde::Serialize;

use crate::input::views::OddViews;
use crate::input::{Odd, Sorted};

/// One oddity, in words, with how often it was met and the first few names.
#[derive(Clone, Debug, Serialize)]
pub struct OddInput {
    pub what: &'static str,
    #[serde(flatten)]
    pub odd: Odd,
}

/// Oddities of the captions.
pub fn of_captions(empty: Odd, duplicates: Odd) -> Vec<OddInput> {
    met([
        ("empty captions (their rows will fail)", empty),
        ("ids with several captions (an error)", duplicates),
    ])
}

/// Oddities of the views.
pub fn of_views(odd: OddViews) -> Vec<OddInput> {
    met([
        ("folders without pictures", odd.without_pictures),
        ("pictures outside the folders of assets", odd.outside_assets),
        ("links that lead back to a folder above (not followed)", odd.loops),
        ("files that are no pictures", odd.ignored),
        ("hidden files and folders (skipped)", Odd { count: odd.hidden, first: Vec::new() }),
    ])
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
    met([("captions without views", only_text), ("views without captions", only_image)])
}

fn met<const N: usize>(all: [(&'static str, Odd); N]) -> Vec<OddInput> {
    all.into_iter().filter(|(_, odd)| odd.count > 0).map(|(what, odd)| OddInput { what, odd }).collect()
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
        let expected = [("captions without views", "az"), ("views without captions", "ce")];
        assert_eq!(found, expected.map(|(what, ids)| (what, ids.to_owned())));
        assert!(compare_ids(&sorted(&["a"]), &sorted(&["a"])).is_empty());
        assert_eq!(compare_ids(&sorted(&[]), &sorted(&["a"])).len(), 1);
    }
}
