//! What one output file is made from: the table, and the rows for the spool.

use std::path::Path;

use super::catalog::{Asset, Catalog, Keep, Sorted};
use super::views::decode_views;
use super::{Kind, Odd, Source, Spool, SpoolHeader, SpoolWriter};
use crate::error::{Error, Result};
use crate::plan::{Table, TableBuilder, Views, default_block_rows};

/// The assets of one output file in order of id, of which the first ones are taken.
#[derive(Clone, Debug)]
pub struct Input {
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
    pub fn text(captions: Catalog, max_assets: Option<u64>) -> Result<Self> {
        Self::new(Kind::Text, captions, Views::All, max_assets)
    }

    /// One row for each view that `views` takes; at most the first `max_assets` ids in sorted order.
    ///
    /// # Errors
    /// An asset has 2^32 views or more.
    pub fn image(listed: Catalog, views: Views, max_assets: Option<u64>) -> Result<Self> {
        Self::new(Kind::Image, listed, views, max_assets)
    }

    fn new(kind: Kind, catalog: Catalog, views: Views, max_assets: Option<u64>) -> Result<Self> {
        let sorted = Sorted::new(catalog);
        let assets = max_assets.map_or(sorted.len(), |max| sorted.len().min(max as usize));
        let id_bytes = sorted.assets().take(assets).map(|asset| asset.id().len()).sum();
        let mut table = TableBuilder::with_capacity(assets, id_bytes);
        for asset in sorted.assets().take(assets) {
            let rows = match kind {
                Kind::Text => 1,
                Kind::Image => views.count(asset.count() as usize),
            };
            let rows = u32::try_from(rows)
                .map_err(|_| Error::new(format!("asset '{}' has {rows} views", asset.id())))?;
            table.push(asset.id(), rows)?;
        }
        Ok(Self { kind, sorted, views, table: table.finish() })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The assets that are taken, with their rows.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Everything that was read, taken or not.
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

    /// At most so many bytes has the spool, give or take a few KiB.
    pub fn spool_bytes(&self) -> u64 {
        let table = &self.table;
        let ids: u64 = table.iter().map(|(id, _)| id.len() as u64).sum();
        let found: u64 = self.sorted.assets().map(|asset| asset.count()).sum();
        let taken = self.sorted.data_bytes() as f64 * table.rows() as f64 / found.max(1) as f64;
        // The ids in the table and before each asset's first view; 5 bytes an asset; 2 a row for lengths.
        4096 + 2 * ids + 5 * table.len() as u64 + 2 * table.rows() + taken as u64
    }

    /// Writes the spool at `path`, with blocks of `block_rows` or of the default for this many rows.
    ///
    /// # Errors
    /// An id has several captions, a view comes twice, the catalog was read for counts alone, or the file
    /// cannot be written.
    pub fn write_spool(&self, path: &Path, block_rows: Option<u64>, source: Source) -> Result<Spool> {
        self.refuse_duplicates()?;
        let rows = self.table.rows();
        let block_rows = block_rows.unwrap_or_else(|| default_block_rows(rows));
        let header = SpoolHeader { kind: self.kind, block_rows, rows, source };
        let mut writer = SpoolWriter::create(path, &header, &self.table)?;
        for asset in self.sorted.assets().take(self.table.len()) {
            match self.kind {
                Kind::Text => write_caption(&mut writer, asset)?,
                Kind::Image => write_views(&mut writer, asset, self.views)?,
            }
        }
        writer.finish()
    }

    fn refuse_duplicates(&self) -> Result<()> {
        if self.sorted.keep() == Keep::Counts {
            return Err(Error::new("a spool cannot be written from counts alone"));
        }
        let odd = self.duplicates();
        if odd.count == 0 {
            return Ok(());
        }
        let names = odd.first.join("', '");
        let more = if odd.count > odd.first.len() as u64 { ", …" } else { "" };
        Err(Error::new(format!("{} asset ids have several captions: '{names}'{more}", odd.count))
            .hint("leave one caption for each id"))
    }
}

fn write_caption(writer: &mut SpoolWriter, asset: Asset<'_>) -> Result<()> {
    let caption = asset.data().next().unwrap_or_default();
    let caption = std::str::from_utf8(caption)
        .map_err(|_| Error::new(format!("the caption of '{}' is not UTF-8", asset.id())))?;
    writer.caption(caption)
}

/// The views of an asset in order of name, those that are taken.
fn write_views(writer: &mut SpoolWriter, asset: Asset<'_>, views: Views) -> Result<()> {
    let id = asset.id();
    let mut all = Vec::with_capacity(asset.count() as usize);
    for data in asset.data() {
        decode_views(data, &mut all)?;
    }
    all.sort_unstable();
    if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::new(format!("the view '{id}/{}' is listed twice", pair[0].0)));
    }
    let mut path = format!("{id}/");
    for i in views.pick(all.len()) {
        let (name, bytes) = all[i];
        path.truncate(id.len() + 1);
        path.push_str(name);
        writer.view(&path, bytes)?;
    }
    Ok(())
}
