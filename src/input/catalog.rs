//! Ids with what belongs to them, in the order they came, then sorted.

use crate::error::{Error, Result};
use crate::plan::bytes::{Reader, put_bytes, put_varint};
use crate::plan::check_id;

/// Without what belongs to the ids, equal ids are merged once there are twice as many entries as after
/// the last merge, and at least so many: memory stays proportional to the ids, whatever their order.
const MERGE_ENTRIES_MIN: usize = 1 << 18;

/// What is kept of an input while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Ids and counts: enough for the table and for `plan`. 32 bytes an asset and its id.
    Counts,
    /// Also captions, or names and sizes of views: what a spool needs. About 14 bytes a view more.
    Everything,
}

/// Assets with their number of items and, if kept, the items' data. An id may come several times until
/// the catalog is read through [`Sorted`].
#[derive(Clone, Debug)]
pub struct Catalog {
    keep: Keep,
    ids: String,
    entries: Vec<Entry>,
    data: Vec<u8>,
    /// Bytes of all data that came, kept or not.
    data_bytes: u64,
    merge_at: usize,
}

/// One id as it came, with a run of items.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id_start: u64,
    data_start: u64,
    data_len: u32,
    count: u32,
    id_len: u8,
}

impl Catalog {
    pub fn new(keep: Keep) -> Self {
        let (ids, entries, data) = (String::new(), Vec::new(), Vec::new());
        Self { keep, ids, entries, data, data_bytes: 0, merge_at: MERGE_ENTRIES_MIN }
    }

    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// Adds `count` items of the asset `id`; `data` is dropped where only counts are kept.
    ///
    /// # Errors
    /// The id cannot stand in a file, or an asset has more than 4 GiB of data.
    pub fn push(&mut self, id: &str, count: u32, data: &[u8]) -> Result<()> {
        check_id(id)?;
        self.data_bytes += data.len() as u64;
        let data = if self.keep == Keep::Counts { &[] } else { data };
        let data_len = u32::try_from(data.len())
            .map_err(|_| Error::new(format!("asset '{id}' has over 4 GiB of captions or names")))?;
        let (id_start, data_start) = (self.ids.len() as u64, self.data.len() as u64);
        self.entries.push(Entry { id_start, data_start, data_len, count, id_len: id.len() as u8 });
        self.ids.push_str(id);
        self.data.extend_from_slice(data);
        if self.keep == Keep::Counts && self.entries.len() >= self.merge_at {
            self.merge_counts();
        }
        Ok(())
    }

    /// Adds all of another catalog, read with the same [`Keep`].
    pub fn merge(&mut self, other: &Self) {
        let (ids, data) = (self.ids.len() as u64, self.data.len() as u64);
        self.ids.push_str(&other.ids);
        self.data_bytes += other.data_bytes;
        self.data.extend_from_slice(&other.data);
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            id_start: entry.id_start + ids,
            data_start: entry.data_start + data,
            ..*entry
        }));
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.keep == Keep::Everything));
        put_varint(out, self.data_bytes);
        put_varint(out, self.entries.len() as u64);
        for entry in &self.entries {
            put_bytes(out, self.id(entry).as_bytes());
            put_varint(out, u64::from(entry.count));
            put_bytes(out, self.data(entry));
        }
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self> {
        let keep = if reader.varint()? == 0 { Keep::Counts } else { Keep::Everything };
        let mut catalog = Self::new(keep);
        let data_bytes = reader.varint()?;
        for _ in 0..reader.varint()? {
            let (id, count, data) = (reader.str()?, reader.varint()?, reader.bytes()?);
            let count = u32::try_from(count).map_err(|_| Error::new("damaged bytes: a count over 2^32"))?;
            catalog.push(id, count, data)?;
        }
        catalog.data_bytes = data_bytes;
        Ok(catalog)
    }

    fn id(&self, entry: &Entry) -> &str {
        let start = entry.id_start as usize;
        &self.ids[start..start + usize::from(entry.id_len)]
    }

    fn data(&self, entry: &Entry) -> &[u8] {
        let start = entry.data_start as usize;
        &self.data[start..start + entry.data_len as usize]
    }

    fn merge_counts(&mut self) {
        let sorted = Sorted::new(std::mem::replace(self, Self::new(self.keep)));
        self.data_bytes = sorted.data_bytes();
        self.entries.reserve_exact(sorted.len() * 2);
        for asset in sorted.assets() {
            let count = asset.count().min(u64::from(u32::MAX)) as u32;
            let id_start = self.ids.len() as u64;
            let id_len = asset.id().len() as u8;
            self.entries.push(Entry { id_start, data_start: 0, data_len: 0, count, id_len });
            self.ids.push_str(asset.id());
        }
        self.merge_at = MERGE_ENTRIES_MIN.max(self.entries.len() * 2);
    }
}

/// A catalog in order of ids, each met once.
#[derive(Clone, Debug)]
pub struct Sorted {
    catalog: Catalog,
    assets: usize,
}

impl Sorted {
    pub fn new(mut catalog: Catalog) -> Self {
        if !catalog.entries.is_sorted_by(|a, b| catalog.id(a) <= catalog.id(b)) {
            catalog.entries = by_id(&catalog);
        }
        let runs = catalog.entries.chunk_by(|a, b| catalog.id(a) == catalog.id(b));
        let assets = runs.count();
        Self { catalog, assets }
    }

    /// Number of assets.
    pub fn len(&self) -> usize {
        self.assets
    }

    pub fn is_empty(&self) -> bool {
        self.assets == 0
    }

    pub fn keep(&self) -> Keep {
        self.catalog.keep
    }

    /// Bytes of all captions, or of all names and sizes of views.
    pub fn data_bytes(&self) -> u64 {
        self.catalog.data_bytes
    }

    /// The assets in order of id.
    pub fn assets(&self) -> impl Iterator<Item = Asset<'_>> {
        let catalog = &self.catalog;
        let runs = catalog.entries.chunk_by(|a, b| catalog.id(a) == catalog.id(b));
        runs.map(move |entries| Asset { catalog, entries })
    }
}

/// One asset of a [`Sorted`] catalog.
#[derive(Clone, Copy, Debug)]
pub struct Asset<'a> {
    catalog: &'a Catalog,
    /// Every entry of this id, in the order they came; never empty.
    entries: &'a [Entry],
}

impl<'a> Asset<'a> {
    pub fn id(&self) -> &'a str {
        self.entries.first().map_or("", |entry| self.catalog.id(entry))
    }

    /// Number of items, over all times the id came.
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.count)).sum()
    }

    /// What was kept with the id, each time it came.
    pub fn data(&self) -> impl Iterator<Item = &'a [u8]> {
        let catalog = self.catalog;
        self.entries.iter().map(move |entry| catalog.data(entry))
    }
}

/// The entries in order of id, those of one id in the order they came. The first 8 bytes of each id are
/// laid beside it: comparing those decides nearly always, and touches no other memory.
fn by_id(catalog: &Catalog) -> Vec<Entry> {
    let first_bytes = |id: &str| {
        let mut bytes = [0; 8];
        id.bytes().zip(&mut bytes).for_each(|(from, to)| *to = from);
        u64::from_be_bytes(bytes)
    };
    let mut order: Vec<_> = (0_u64..)
        .zip(&catalog.entries)
        .map(|(place, entry)| (first_bytes(catalog.id(entry)), place))
        .collect();
    let entry = |place: u64| &catalog.entries[place as usize];
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| catalog.id(entry(a.1)).cmp(catalog.id(entry(b.1)))).then(a.1.cmp(&b.1))
    });
    order.into_iter().map(|(_, place)| *entry(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(keep: Keep, items: &[(&str, u32, &str)]) -> Catalog {
        let mut catalog = Catalog::new(keep);
        for (id, count, data) in items {
            catalog.push(id, *count, data.as_bytes()).unwrap();
        }
        catalog
    }

    fn flat(sorted: &Sorted) -> Vec<(String, u64, Vec<u8>)> {
        sorted
            .assets()
            .map(|a| (a.id().to_owned(), a.count(), a.data().collect::<Vec<_>>().concat()))
            .collect()
    }

    const ITEMS: [(&str, u32, &str); 6] = [
        ("same-start-2", 1, "d"),
        ("b", 2, "x"),
        ("same-start-1", 1, "c"),
        ("a\u{e9}", 1, ""),
        ("b", 3, "y"),
        ("a", 1, "A"),
    ];

    #[test]
    fn assets_come_in_order_of_bytes_each_once() {
        let sorted = Sorted::new(catalog(Keep::Everything, &ITEMS));
        let ids: Vec<_> = sorted.assets().map(|asset| asset.id().to_owned()).collect();
        assert_eq!(ids, ["a", "aé", "b", "same-start-1", "same-start-2"]);
        assert_eq!(sorted.len(), 5);
        assert_eq!(flat(&sorted)[2], ("b".to_owned(), 5, b"xy".to_vec()));
    }

    #[test]
    fn merged_and_sent_catalogs_are_the_same() {
        let whole = Sorted::new(catalog(Keep::Everything, &ITEMS));
        let mut merged = Catalog::new(Keep::Everything);
        for part in ITEMS.chunks(2) {
            let mut bytes = Vec::new();
            catalog(Keep::Everything, part).put(&mut bytes);
            merged.merge(&Catalog::get(&mut Reader::new(&bytes)).unwrap());
            for cut in 0..bytes.len() {
                assert!(Catalog::get(&mut Reader::new(&bytes[..cut])).is_err());
            }
        }
        assert_eq!(flat(&Sorted::new(merged)), flat(&whole));
    }

    #[test]
    fn counts_alone_stay_small_in_any_order() {
        let mut catalog = Catalog::new(Keep::Counts);
        let rounds = 2 * MERGE_ENTRIES_MIN as u32 / 1000;
        for _ in 0..rounds {
            for asset in 0..1000_u32 {
                catalog.push(&format!("{}", asset * 7919 % 1000), 1, b"dropped").unwrap();
            }
        }
        assert!(catalog.entries.len() <= MERGE_ENTRIES_MIN && catalog.data.is_empty());
        let sorted = Sorted::new(catalog);
        assert_eq!(sorted.len(), 1000);
        assert!(sorted.assets().all(|asset| asset.count() == u64::from(rounds)));
    }
}
