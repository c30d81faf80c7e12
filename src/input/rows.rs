//! What one group of an output file is made from: the table, and the rows for the spool.

use std::path::Path;

use super::catalog::{Asset, Keep, Sorted};
use super::views::{View, decode_views};
use super::{Odd, Source, Spool, SpoolHeader, SpoolWriter};
use crate::error::{Error, Result};
use crate::plan::{Kind, RowGroup, Table, TableBuilder, Views, default_block_rows};

/// At most so much more than the others takes the first view of an archive in a plan, as a rule.
const FIRST_VIEW_BYTES: u64 = 64;

/// The assets of one group of an output file in order of id, of which the first ones are taken.
#[derive(Clone, Debug)]
pub struct Input {
    name: String,
    kind: Kind,
    sorted: Sorted,
    views: Views,
    table: Table,
}

impl Input {
    /// One row for each caption; at most the first `max_assets` ids in sorted order.
    ///
    /// # Errors
    /// None that a catalog made by [`super::captions::read`] can cause.
    pub fn text(captions: impl Into<Sorted>, max_assets: Option<u64>) -> Result<Self> {
        Self::new(Kind::Text, captions.into(), Views::All, max_assets)
    }

    /// One row for each view that `views` takes; at most the first `max_assets` ids in sorted order.
    ///
    /// # Errors
    /// An asset has 2^32 views or more.
    pub fn image(listed: impl Into<Sorted>, views: Views, max_assets: Option<u64>) -> Result<Self> {
        Self::new(Kind::Image, listed.into(), views, max_assets)
    }

    /// One row for each asset, made from those of its views that `views` takes; at most the first
    /// `max_assets` ids in sorted order.
    ///
    /// # Errors
    /// An asset has 2^32 views or more.
    pub fn view_sets(listed: impl Into<Sorted>, views: Views, max_assets: Option<u64>) -> Result<Self> {
        Self::new(Kind::ViewSet, listed.into(), views, max_assets)
    }

    /// The same as the group `name` of a file that has several.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    fn new(kind: Kind, sorted: Sorted, views: Views, max_assets: Option<u64>) -> Result<Self> {
        let assets = max_assets.map_or(sorted.len(), |max| sorted.len().min(max as usize));
        let id_bytes = sorted.assets().take(assets).map(|asset| asset.id().len()).sum();
        let mut table = TableBuilder::with_capacity(assets, id_bytes);
        for asset in sorted.assets().take(assets) {
            let count = if kind.has_views() { views.count(asset.count() as usize) } else { 1 };
            let count = u32::try_from(count)
                .map_err(|_| Error::new(format!("asset '{}' has {count} views", asset.id())))?;
            table.push(asset.id(), count)?;
        }
        Ok(Self { name: String::new(), kind, sorted, views, table: table.finish() })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The group's name; empty for the only group of a file that has its vectors at the root.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.kind.rows(&self.table)
    }

    /// The assets that are taken, with how many captions or views of each.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Everything that was read and not left out, taken or not.
    pub fn all(&self) -> &Sorted {
        &self.sorted
    }

    /// Ids that have several captions: an error for `embed`, which cannot know the right one.
    pub fn duplicates(&self) -> Odd {
        let mut odd = Odd::default();
        if self.kind == Kind::Text {
            let twice = self.sorted.assets().filter(|asset| asset.count() > 1);
            twice.for_each(|asset| odd.add(asset.id()));
        }
        odd
    }

    /// At most so many bytes takes the group in the spool, give or take a few KiB.
    pub fn spool_bytes(&self) -> u64 {
        let table = &self.table;
        let ids: u64 = table.iter().map(|(id, _)| id.len() as u64).sum();
        let found: u64 = self.sorted.assets().map(|asset| asset.count()).sum();
        let taken = self.sorted.data_bytes() as f64 * table.total() as f64 / found.max(1) as f64;
        // The ids in the table and before each asset's first view; 5 bytes an asset; 2 for each length.
        // Where some of an asset's views are taken: the first one of an archive takes more than the others.
        let firsts =
            self.sorted.data_bytes().saturating_sub(taken as u64).min(FIRST_VIEW_BYTES * table.len() as u64);
        4096 + 2 * ids + 5 * table.len() as u64 + 2 * table.total() + self.rows() + taken as u64 + firsts
    }

    /// Writes the spool of a file with this one group: [`write_spool`].
    ///
    /// # Errors
    /// Those of [`write_spool`].
    pub fn write_spool(&self, path: &Path, block_rows: Option<u64>, source: Source) -> Result<Spool> {
        write_spool(path, std::slice::from_ref(self), block_rows, source)
    }

    fn write_rows(&self, writer: &mut SpoolWriter) -> Result<()> {
        for asset in self.taken() {
            match self.kind {
                Kind::Text => write_caption(writer, asset)?,
                Kind::Image => views_of(asset, self.views)?.iter().try_for_each(|view| writer.view(view))?,
                Kind::ViewSet => writer.view_set(&views_of(asset, self.views)?)?,
            }
        }
        Ok(())
    }

    fn taken(&self) -> impl Iterator<Item = Asset<'_>> {
        self.sorted.assets().take(self.table.len())
    }

    /// At most `n` views that are taken, each of another asset, spread over the assets whose views were
    /// kept; one asset's first view, the next one's second, and so on.
    ///
    /// # Errors
    /// A view comes twice.
    pub fn sample(&self, n: usize) -> Result<Vec<View>> {
        if !self.kind.has_views() {
            return Ok(Vec::new());
        }
        let kept: Vec<_> = self.taken().filter(|asset| asset.data().any(|data| !data.is_empty())).collect();
        let chosen = Views::Evenly(n.min(u32::MAX as usize) as u32).pick(kept.len());
        let mut sample = Vec::new();
        for (turn, asset) in chosen.filter_map(|i| kept.get(i)).enumerate() {
            let mut views = views_of(*asset, self.views)?;
            if !views.is_empty() {
                sample.push(views.swap_remove(turn % views.len()));
            }
        }
        Ok(sample)
    }

    fn refuse_duplicates(&self) -> Result<()> {
        if self.sorted.keep() != Keep::Everything {
            return Err(Error::new("a spool cannot be written from counts alone"));
        }
        let odd = self.duplicates();
        if odd.count == 0 {
            return Ok(());
        }
        let names = odd.first.join("', '");
        let more = if odd.count > odd.first.len() as u64 { ", …" } else { "" };
        let of_group = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
        Err(Error::new(format!("{} asset ids have several captions{of_group}: '{names}'{more}", odd.count))
            .hint("leave one caption for each id"))
    }
}

/// Writes the spool at `path` of a file with these groups, without those that have a name and no rows: their
/// rows in this order, in blocks of `block_rows` or of the default for this many rows.
///
/// # Errors
/// An id has several captions, a view comes twice, a catalog was read for counts alone, the groups are of
/// several kinds, or the file cannot be written.
pub fn write_spool(path: &Path, groups: &[Input], block_rows: Option<u64>, source: Source) -> Result<Spool> {
    groups.iter().try_for_each(Input::refuse_duplicates)?;
    let kind = groups.first().map_or(Kind::Text, Input::kind);
    if groups.iter().any(|group| group.kind != kind) {
        return Err(Error::new("the groups of a spool are of several kinds"));
    }
    let assets_left_out = groups.iter().map(|group| group.sorted.left_out().count).sum();
    let has_place = |group: &&Input| group.rows() > 0 || group.name.is_empty();
    let groups: Vec<&Input> = groups.iter().filter(has_place).collect();
    let rows = groups.iter().map(|group| group.rows()).sum();
    let header = SpoolHeader {
        kind,
        block_rows: block_rows.unwrap_or_else(|| default_block_rows(rows)),
        groups: groups
            .iter()
            .map(|group| RowGroup { name: group.name.clone(), rows: group.rows() })
            .collect(),
        assets_left_out,
        source,
    };
    let tables: Vec<&Table> = groups.iter().map(|group| &group.table).collect();
    let mut writer = SpoolWriter::create(path, &header, &tables)?;
    groups.iter().try_for_each(|group| group.write_rows(&mut writer))?;
    writer.finish()
}

fn write_caption(writer: &mut SpoolWriter, asset: Asset<'_>) -> Result<()> {
    let caption = asset.data().next().unwrap_or_default();
    let caption = std::str::from_utf8(caption)
        .map_err(|_| Error::new(format!("the caption of '{}' is not UTF-8", asset.id())))?;
    writer.caption(caption)
}

/// The views of an asset in order of their path below it, those that are taken.
pub(super) fn views_of(asset: Asset<'_>, views: Views) -> Result<Vec<View>> {
    let id = asset.id_of_input();
    let mut all = Vec::with_capacity(asset.count() as usize);
    for data in asset.data() {
        decode_views(data, id, &mut all)?;
    }
    all.sort_unstable_by(|a, b| (&a.key, &a.view.path).cmp(&(&b.key, &b.view.path)));
    let twice = all.windows(2).find_map(|pair| match pair {
        [one, other] if one.key == other.key => Some((one, other)),
        _ => None,
    });
    if let Some((one, other)) = twice {
        let (one, other) = (&one.view.path, &other.view.path);
        if one == other {
            return Err(Error::new(format!("the view '{one}' is listed twice")));
        }
        return Err(Error::new(format!("a view of '{id}' is there twice: '{one}' and '{other}'"))
            .hint("move one of them out of the renders' root"));
    }
    // Those that are not taken go with the rest of `all`.
    let mut all: Vec<_> = all.into_iter().map(|listed| Some(listed.view)).collect();
    Ok(views.pick(all.len()).filter_map(|i| all.get_mut(i)?.take()).collect())
}
