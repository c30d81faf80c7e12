//! The table `asset_id, start_idx, count`: what every rank knows of the input.
//!
//! It counts captions or views. Which rows they have, [`Kind`](super::Kind) says.

use super::bytes::Reader;
use crate::error::{Error, Result};

/// The longest id that a table takes.
pub const MAX_ID_BYTES: usize = 255;

/// Assets sorted by the bytes of their unique ids, each with a count: its captions or views.
///
/// Costs 16 bytes an asset and the bytes of its id, whatever the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// All ids, one after the other.
    ids: String,
    /// Where each id ends in `ids`.
    ends: Vec<u64>,
    /// The counts before each asset summed up, and after the last one all of them: `len() + 1` values.
    starts: Vec<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Self { ids: String::new(), ends: Vec::new(), starts: vec![0] }
    }
}

impl Table {
    /// Number of assets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// The id of asset `i`; `i` must be below `len()`.
    pub fn id(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start as usize..self.ends[i] as usize]
    }

    /// The `start_idx` of asset `i`: the sum of the counts of the assets before it.
    pub fn start(&self, i: usize) -> u64 {
        self.starts[i]
    }

    /// The count of asset `i`.
    pub fn count(&self, i: usize) -> u32 {
        (self.starts[i + 1] - self.starts[i]) as u32
    }

    /// Every asset's id and count, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        (0..self.len()).map(|i| (self.id(i), self.count(i)))
    }

    /// The asset with this id, by binary search.
    pub fn find(&self, id: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id(middle).cmp(id) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The asset to which the one number `place` of all that are counted belongs, and its place within the
    /// asset, by binary search; `None` past the end.
    pub fn asset_at(&self, place: u64) -> Option<(usize, u32)> {
        if place >= self.total() {
            return None;
        }
        let asset = self.starts.partition_point(|&start| start <= place) - 1;
        Some((asset, (place - self.starts[asset]) as u32))
    }

    /// Bytes of the longest id, 0 without assets.
    pub fn longest_id(&self) -> usize {
        (0..self.len()).map(|i| self.id(i).len()).max().unwrap_or(0)
    }

    /// The table as bytes for a broadcast and the spool: the number of assets and of id bytes (u64), all
    /// ids, their lengths (u8), their counts (u32), little-endian. 5 bytes an asset and its id.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.ids.len() + 5 * self.len());
        out.extend((self.len() as u64).to_le_bytes());
        out.extend((self.ids.len() as u64).to_le_bytes());
        out.extend(self.ids.as_bytes());
        out.extend((0..self.len()).map(|i| self.id(i).len() as u8));
        out.extend((0..self.len()).flat_map(|i| self.count(i).to_le_bytes()));
        out
    }

    /// The table that [`Table::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a table: cut, left over, or with ids that are not sorted, unique UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: Error| Error::new(format!("the table of assets: {}", error.message));
        let mut reader = Reader::new(bytes);
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let len = size(reader.u64().map_err(damaged)?);
        let id_bytes = size(reader.u64().map_err(damaged)?);
        let mut ids = reader.take(id_bytes).map_err(damaged)?;
        let id_lens = reader.take(len).map_err(damaged)?;
        let mut counts = Reader::new(reader.take(len.saturating_mul(4)).map_err(damaged)?);
        reader.finish().map_err(damaged)?;
        let mut table = TableBuilder::with_capacity(len, id_bytes);
        for &id_len in id_lens {
            let (id, rest) = ids
                .split_at_checked(usize::from(id_len))
                .ok_or_else(|| damaged(Error::new("lengths of ids that exceed the ids")))?;
            let id = std::str::from_utf8(id).map_err(|_| damaged(Error::new("an id that is not UTF-8")))?;
            table.push(id, counts.u32()?).map_err(damaged)?;
            ids = rest;
        }
        if ids.is_empty() { Ok(table.finish()) } else { Err(damaged(Error::new("ids without lengths"))) }
    }
}

/// Makes a [`Table`] out of assets that come in order.
#[derive(Clone, Debug, Default)]
pub struct TableBuilder {
    table: Table,
}

impl TableBuilder {
    pub fn with_capacity(assets: usize, id_bytes: usize) -> Self {
        let mut starts = Vec::with_capacity(assets.saturating_add(1));
        starts.push(0);
        let table = Table { ids: String::with_capacity(id_bytes), ends: Vec::with_capacity(assets), starts };
        Self { table }
    }

    /// Adds the next asset.
    ///
    /// # Errors
    /// The id may not be one ([`check_id`]), or does not come after the one before it.
    pub fn push(&mut self, id: &str, count: u32) -> Result<()> {
        check_id(id)?;
        let table = &mut self.table;
        if let Some(last) = table.len().checked_sub(1)
            && table.id(last) >= id
        {
            let what = if table.id(last) == id { "comes twice" } else { "is out of order" };
            return Err(Error::new(format!("asset id '{id}' {what}")));
        }
        table.ids.push_str(id);
        table.ends.push(table.ids.len() as u64);
        table.starts.push(table.total() + u64::from(count));
        Ok(())
    }

    pub fn finish(self) -> Table {
        self.table
    }
}

/// Checks that `id` can stand in a file: not empty, at most 255 bytes, no NUL (which ends a string there).
///
/// # Errors
/// Names the id and what is wrong with it.
pub fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::new("an asset id is empty").hint("give every asset a name"));
    }
    if id.len() > MAX_ID_BYTES {
        let start: String = id.chars().take(40).collect();
        return Err(Error::new(format!(
            "asset id '{start}…' has {} bytes; at most {MAX_ID_BYTES} are possible",
            id.len()
        )));
    }
    if id.contains('\0') {
        return Err(Error::new(format!("asset id '{}' holds a NUL character", id.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` assets with a count of 0 to 4 each.
    fn table(n: usize) -> Table {
        let mut ids: Vec<_> = (0..n).map(|i| format!("{}/é{i}", i % 7)).collect();
        ids.sort();
        let mut builder = TableBuilder::default();
        for (i, id) in ids.iter().enumerate() {
            builder.push(id, (i * 3 % 5) as u32).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn places_and_ids_are_found() {
        for n in [0, 1, 2, 3, 10, 257] {
            let table = table(n);
            assert_eq!(table.len(), n);
            let mut place = 0;
            for (i, (id, count)) in table.iter().enumerate() {
                assert_eq!(table.find(id), Some(i));
                assert_eq!(table.start(i), place);
                for k in 0..count {
                    assert_eq!(table.asset_at(place), Some((i, k)));
                    place += 1;
                }
                assert_eq!(table.start(i) + u64::from(count), place);
            }
            assert_eq!(table.total(), place);
            assert_eq!(table.asset_at(place), None);
            assert_eq!(table.find("0/"), None);
            assert_eq!(table.find("~"), None);
            assert_eq!(table.longest_id(), table.iter().map(|(id, _)| id.len()).max().unwrap_or(0));
        }
    }

    #[test]
    fn bytes_come_back_and_damage_never_passes_as_another_size() {
        for n in [0, 1, 5, 100] {
            let table = table(n);
            let bytes = table.to_bytes();
            assert_eq!(Table::from_bytes(&bytes), Ok(table.clone()));
            for cut in 0..bytes.len() {
                assert!(Table::from_bytes(&bytes[..cut]).is_err(), "{n} assets cut at {cut}");
            }
            assert!(Table::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
            for at in 0..16 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x81;
                assert!(Table::from_bytes(&flipped).is_err(), "{n} assets, byte {at}");
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let bytes = table(20).to_bytes();
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= flip;
                if let Ok(table) = Table::from_bytes(&flipped) {
                    assert!(table.iter().map(|(id, _)| id).is_sorted());
                }
            }
        }
        assert!(Table::from_bytes(&[0xff; 64]).is_err());
    }

    #[test]
    fn ids_that_cannot_stand_in_a_file_are_refused_by_name() {
        let mut builder = TableBuilder::default();
        assert!(builder.push("", 1).is_err());
        assert!(builder.push("a\0b", 1).unwrap_err().message.contains("a\\0b"));
        assert!(builder.push(&"x".repeat(256), 1).unwrap_err().message.contains("256 bytes"));
        assert_eq!(builder.push(&"x".repeat(255), 1), Ok(()));
        assert!(builder.push(&"x".repeat(255), 1).unwrap_err().message.contains("comes twice"));
        assert!(builder.push("a", 1).unwrap_err().message.contains("out of order"));
    }
}
