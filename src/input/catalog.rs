//! Ids with what belongs to them, in the order they came, then sorted.

use super::Odd;
use crate::error::{Error, Result};
use crate::plan::bytes::{Reader, put_bytes, put_varint};
use crate::plan::check_id;

/// Without what belongs to the ids, equal ids are merged once there are twice as many entries as after
/// the last merge, and at least so many: memory stays proportional to the ids, whatever their order.
const MERGE_ENTRIES_MIN: usize = 1 << 18;

/// The data of a sample are made fewer once there is more than this.
const SAMPLE_BYTES_MAX: usize = 1 << 20;

/// What is kept of an input while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Ids and counts: enough for the table and for `plan`. 32 bytes an asset and its id.
    Counts,
    /// Also captions or views of some assets, chosen by their ids: enough to look at a sample.
    Sample,
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
    /// Of a sample, the data of ids with a checksum up to this are kept.
    sampled_up_to: u32,
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
        let (merge_at, sampled_up_to) = (MERGE_ENTRIES_MIN, u32::MAX);
        Self { keep, ids, entries, data, data_bytes: 0, merge_at, sampled_up_to }
    }

    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `count` items of the asset `id`; `data` is dropped where only counts are kept.
    ///
    /// # Errors
    /// The id cannot stand in a file, or an asset has more than 4 GiB of data.
    pub fn push(&mut self, id: &str, count: u32, data: &[u8]) -> Result<()> {
        check_id(id)?;
        self.data_bytes += data.len() as u64;
        let is_kept = match self.keep {
            Keep::Counts => false,
            Keep::Sample => crc32fast::hash(id.as_bytes()) <= self.sampled_up_to,
            Keep::Everything => true,
        };
        let data = if is_kept { data } else { &[] };
        let data_len = u32::try_from(data.len())
            .map_err(|_| Error::new(format!("asset '{id}' has over 4 GiB of captions or names")))?;
        let (id_start, data_start) = (self.ids.len() as u64, self.data.len() as u64);
        self.entries.push(Entry { id_start, data_start, data_len, count, id_len: id.len() as u8 });
        self.ids.push_str(id);
        self.data.extend_from_slice(data);
        if self.keep != Keep::Everything && self.entries.len() >= self.merge_at {
            self.merge_counts();
        }
        self.shrink_sample();
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
        self.sampled_up_to = self.sampled_up_to.min(other.sampled_up_to);
        self.shrink_sample();
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.keep as u64);
        put_varint(out, self.data_bytes);
        put_varint(out, self.entries.len() as u64);
        for entry in &self.entries {
            put_bytes(out, self.id(entry).as_bytes());
            put_varint(out, u64::from(entry.count));
            put_bytes(out, self.data(entry));
        }
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self> {
        let known = [Keep::Counts, Keep::Sample, Keep::Everything];
        let keep = usize::try_from(reader.varint()?).ok().and_then(|keep| known.get(keep).copied());
        let keep = keep.ok_or_else(|| Error::new("damaged bytes: a catalog of no known kind"))?;
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

    /// Halves the sample until it is small enough.
    fn shrink_sample(&mut self) {
        while self.keep == Keep::Sample && self.data.len() > SAMPLE_BYTES_MAX && self.sampled_up_to > 0 {
            self.sampled_up_to /= 2;
            let mut data = Vec::new();
            let mut entries = std::mem::take(&mut self.entries);
            for entry in &mut entries {
                let start = data.len() as u64;
                if crc32fast::hash(self.id(entry).as_bytes()) <= self.sampled_up_to {
                    data.extend_from_slice(self.data(entry));
                } else {
                    entry.data_len = 0;
                }
                // Also of an entry without data: it may not point behind the data that are left.
                entry.data_start = start;
            }
            (self.entries, self.data) = (entries, data);
        }
    }

    fn merge_counts(&mut self) {
        let fresh = Self { sampled_up_to: self.sampled_up_to, ..Self::new(self.keep) };
        let sorted = Sorted::new(std::mem::replace(self, fresh));
        self.data_bytes = sorted.data_bytes();
        self.entries.reserve_exact(sorted.len() * 2);
        for asset in sorted.assets() {
            let count = asset.count().min(u64::from(u32::MAX)) as u32;
            let id_start = self.ids.len() as u64;
            let id_len = asset.id().len() as u8;
            // Of an asset in a sample, the first of the data will do.
            let data = asset.data().find(|data| !data.is_empty()).unwrap_or_default();
            let (data_start, data_len) = (self.data.len() as u64, data.len() as u32);
            self.entries.push(Entry { id_start, data_start, data_len, count, id_len });
            self.ids.push_str(asset.id());
            self.data.extend_from_slice(data);
        }
        self.merge_at = MERGE_ENTRIES_MIN.max(self.entries.len() * 2);
    }
}

/// A catalog in order of ids, each met once.
#[derive(Clone, Debug)]
pub struct Sorted {
    catalog: Catalog,
    assets: usize,
    /// The assets' ids where they are others than those that came, in this order.
    renamed: Option<Vec<Box<str>>>,
    left_out: Odd,
}

impl From<Catalog> for Sorted {
    fn from(catalog: Catalog) -> Self {
        Self::new(catalog)
    }
}

impl Sorted {
    pub fn new(mut catalog: Catalog) -> Self {
        if !catalog.entries.is_sorted_by(|a, b| catalog.id(a) <= catalog.id(b)) {
            catalog.entries = by_id(&catalog);
        }
        let runs = catalog.entries.chunk_by(|a, b| catalog.id(a) == catalog.id(b));
        let assets = runs.count();
        Self { catalog, assets, renamed: None, left_out: Odd::default() }
    }

    /// The same assets under the ids that `rename` gives them, in the order of those; assets that it gives
    /// none are left out.
    ///
    /// # Errors
    /// Those of `rename`; two assets that get one id.
    pub fn renamed(self, mut rename: impl FnMut(&str) -> Result<Option<Box<str>>>) -> Result<Self> {
        let Self { mut catalog, mut left_out, .. } = self;
        let mut assets: Vec<(Box<str>, &[Entry])> = Vec::new();
        for entries in catalog.entries.chunk_by(|a, b| catalog.id(a) == catalog.id(b)) {
            let id = entries.first().map_or("", |entry| catalog.id(entry));
            match rename(id)? {
                Some(new) => assets.push((new, entries)),
                None => left_out.add(id),
            }
        }
        assets.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let same = assets.windows(2).find(|pair| pair.first().map(|a| &a.0) == pair.last().map(|b| &b.0));
        if let Some([(new, one), (_, other)]) = same {
            let ids = [one, other].map(|entries| entries.first().map_or("", |entry| catalog.id(entry)));
            return Err(Error::new(format!("'{}' and '{}' are both the asset '{new}'", ids[0], ids[1])));
        }
        let entries: Vec<Entry> = assets.iter().flat_map(|(_, entries)| *entries).copied().collect();
        let ids: Vec<_> = assets.into_iter().map(|(id, _)| id).collect();
        let items = |entries: &[Entry]| entries.iter().map(|entry| u64::from(entry.count)).sum::<u64>();
        let share = items(&entries) as f64 / items(&catalog.entries).max(1) as f64;
        catalog.data_bytes = (catalog.data_bytes as f64 * share).ceil() as u64;
        catalog.entries = entries;
        Ok(Self { catalog, assets: ids.len(), renamed: Some(ids), left_out })
    }

    /// Assets that a renaming left out.
    pub fn left_out(&self) -> &Odd {
        &self.left_out
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
        runs.enumerate().map(move |(place, entries)| {
            let renamed = self.renamed.as_ref().and_then(|ids| ids.get(place)).map(AsRef::as_ref);
            Asset { catalog, renamed, entries }
        })
    }
}

/// One asset of a [`Sorted`] catalog.
#[derive(Clone, Copy, Debug)]
pub struct Asset<'a> {
    catalog: &'a Catalog,
    renamed: Option<&'a str>,
    /// Every entry of this id, in the order they came; never empty.
    entries: &'a [Entry],
}

impl<'a> Asset<'a> {
    /// The id that is stored.
    pub fn id(&self) -> &'a str {
        self.renamed.unwrap_or_else(|| self.id_of_input())
    }

    /// The id that the input has.
    pub fn id_of_input(&self) -> &'a str {
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

    #[test]
    fn a_sample_stays_small_and_holds_what_came() {
        let data = |asset: u32| asset.to_string().repeat(60).into_bytes();
        let mut halves = [Catalog::new(Keep::Sample), Catalog::new(Keep::Sample)];
        for asset in 0..20_000_u32 {
            halves[asset as usize % 2].push(&asset.to_string(), 2, &data(asset)).unwrap();
        }
        let [mut all, other] = halves;
        all.merge(&other);
        assert!((SAMPLE_BYTES_MAX / 4..=SAMPLE_BYTES_MAX).contains(&all.data.len()), "{}", all.data.len());
        // Twice as often as entries are merged.
        for asset in 0..2 * MERGE_ENTRIES_MIN as u32 {
            all.push(&(asset % 20_000).to_string(), 1, b"").unwrap();
        }
        let sorted = Sorted::new(all);
        assert_eq!(sorted.len(), 20_000);
        let mut sampled = 0;
        for asset in sorted.assets() {
            let number: u32 = asset.id().parse().unwrap();
            assert!(asset.count() > 2 * MERGE_ENTRIES_MIN as u64 / 20_000);
            for kept in asset.data().filter(|kept| !kept.is_empty()) {
                assert_eq!(kept, data(number));
                sampled += 1;
            }
        }
        assert!(sampled > 500, "{sampled}");
    }
}
