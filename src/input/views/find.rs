//! The views of a few assets out of many, e.g. of those that a search has found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Layout, Listing, Part, Rule, View, read_list, split, walk};
use crate::error::Result;
use crate::input::rows::views_of;
use crate::input::{Keep, Naming, Sorted};
use crate::plan::Views;

const KEEP: Keep = Keep::Everything;

/// The views of assets, by the ids that are stored, in the order of their rows: of each asset one at least.
pub type Found = BTreeMap<String, Vec<View>>;

/// Finds views of assets by the ids under which they are stored.
#[derive(Debug)]
pub struct ViewFinder {
    root: PathBuf,
    list: Option<PathBuf>,
    rule: Rule,
    naming: Naming,
    views: Views,
}

impl ViewFinder {
    /// With all that says which views are embedded, and under which ids: the folder below which they lie, the
    /// list that stands for a walk, the rule, names, and the views that are taken of each asset.
    pub fn new(root: &Path, list: Option<&Path>, rule: Rule, naming: Naming, views: Views) -> Self {
        let list = list.map(Path::to_owned);
        Self { root: root.to_owned(), list, rule, naming, views }
    }

    /// The views of these assets, each with how many it has at least. They are looked for where they usually lie;
    /// where that is too few, all else is walked through, after a call of `walks` with how many assets that is for.
    /// An asset of which there is nothing is not among those found.
    ///
    /// # Errors
    /// A folder, a list or an archive cannot be read; two assets of the input have one id; a view is there twice.
    pub fn find(&self, wanted: &BTreeMap<String, u64>, walks: impl FnOnce(usize)) -> Result<Found> {
        let mut found = Found::new();
        if self.list.is_none() && self.rule.layout != Layout::Shards {
            let ids = self.ids_of_input(wanted.keys());
            let part = Part::of_assets(&self.root, ids.iter().map(String::as_str));
            found = self.sort(walk(&self.root, &part, KEEP, &self.rule.only(ids.clone()))?)?;
        }
        let has_enough =
            |id: &String, least: u64| found.get(id).map_or(0, |views| views.len() as u64) >= least;
        let missing: Vec<&String> =
            wanted.iter().filter(|(id, least)| !has_enough(id, **least)).map(|(id, _)| id).collect();
        if !missing.is_empty() {
            walks(missing.len());
            let everywhere = self.sort(self.walk_all(self.ids_of_input(missing.into_iter()))?)?;
            found.extend(everywhere);
        }
        Ok(found)
    }

    fn ids_of_input<'a>(&self, ids: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        ids.flat_map(|id| self.naming.names(id)).map(str::to_owned).collect()
    }

    /// What there is of these assets anywhere.
    fn walk_all(&self, ids: BTreeSet<String>) -> Result<Listing> {
        let rule = self.rule.only(ids);
        let (parts, mut listing) = match &self.list {
            Some(list) => read_list(list, 1, KEEP, &rule)?,
            None => split(&self.root, 1, KEEP, &rule)?,
        };
        for part in &parts {
            listing.merge(walk(&self.root, part, KEEP, &rule)?);
        }
        Ok(listing)
    }

    fn sort(&self, listing: Listing) -> Result<Found> {
        let sorted: Sorted = self.naming.views(listing.catalog)?;
        sorted.assets().map(|asset| Ok((asset.id().to_owned(), views_of(asset, self.views)?))).collect()
    }
}
