//! A new file out of the rows of others: a part of one, or several joined.

use std::collections::BTreeMap;
use std::path::Path;

use super::reader::Reader;
use super::schema::{Compression, StoredType, attr};
use super::table::Asset;
use super::walk::RowWalk;
use super::writer::{NewFile, Writer};
use crate::error::{Error, Result};
use crate::plan::{Kind, Table, TableBuilder};

/// What has to be the same in files that are joined, where they say it.
const SAME: [&str; 4] = ["weights_sha256", "tokenizer_sha256", "preprocessing", "precision"];
/// What speaks of a run and its input, and is no longer true of some of its rows or of more.
const OF_ONE_RUN: [&str; 3] = [attr::FINGERPRINT, "plan_sha256", attr::EMBEDDED_INPUT_SHA256];
/// Fingerprints that are named one by one; of more only some are.
const NAMED_MAX: usize = 100;

/// Assets of one group of the new file, in order, and where their rows are.
#[derive(Default)]
pub struct Picks {
    table: TableBuilder,
    from: Vec<Place>,
}

/// Where an asset's rows are: the number of the source, and in it the first row and how many there are.
pub type Place = (u32, u64, u32);

/// What a copy is to be like.
pub struct CopySettings<'a> {
    pub path: &'a Path,
    pub overwrite: bool,
    /// As in the source, where it is not given.
    pub stored: Option<StoredType>,
    pub compression: Compression,
    /// Leaves out the rows without a vector.
    pub drop_failed: bool,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub assets: u64,
    pub rows: u64,
    /// Rows without a vector among them.
    pub failed: u64,
    /// Rows that were left out.
    pub dropped: u64,
}

impl Picks {
    /// The next asset, of source number `source`: its id must come after those before.
    ///
    /// # Errors
    /// It does not, or has more rows than an asset can have.
    pub fn push(&mut self, source: usize, asset: &Asset) -> Result<()> {
        let rows = asset.rows.end - asset.rows.start;
        let count = u32::try_from(rows).map_err(|_| Error::new(format!("'{}': {rows} rows", asset.id)))?;
        self.table.push(&asset.id, count)?;
        self.from.push((source as u32, asset.rows.start, count));
        Ok(())
    }

    /// The table of what was picked, and where each asset's rows are.
    pub fn finish(self) -> (Table, Vec<Place>) {
        (self.table.finish(), self.from)
    }

    /// All assets of some readers, whose ids must differ.
    ///
    /// # Errors
    /// An id that two of them have, with the files; a failed read.
    pub fn all_of(readers: &[&Reader]) -> Result<Self> {
        let mut picks = Self::default();
        let mut heads = Vec::new();
        for reader in readers {
            let mut assets = reader.iter_prefix("")?;
            heads.push((assets.next().transpose()?, assets));
        }
        // The next asset of each, by id: with a few files a look at all of them is quick.
        loop {
            let ids = heads.iter().enumerate().filter_map(|(n, (head, _))| Some((&head.as_ref()?.id, n)));
            let Some((_, first)) = ids.min() else { return Ok(picks) };
            let next = heads[first].1.next().transpose()?;
            let Some(asset) = std::mem::replace(&mut heads[first].0, next) else { return Ok(picks) };
            if let Some(other) =
                heads.iter().position(|(head, _)| head.as_ref().is_some_and(|head| head.id == asset.id))
            {
                let (one, other) = (readers[first].path().display(), readers[other].path().display());
                return Err(Error::new(format!("the asset '{}' is in {one} and in {other}", asset.id)).hint(
                    "files that are joined must have different assets: export those that are wanted first",
                ));
            }
            picks.push(first, &asset)?;
        }
    }
}

/// Writes a file of picked assets. Each group has a name, its sources and what was picked of them; all sources are of
/// one kind. `progress` is told rows done, and rows in all.
///
/// # Errors
/// A source of the old pipeline, a failed read or write, a name that is taken.
pub fn copy(
    groups: Vec<(String, Vec<&Reader>, Picks)>,
    settings: &CopySettings<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Copied> {
    let readers: Vec<&Reader> = groups.iter().flat_map(|(_, readers, _)| readers).copied().collect();
    readers.iter().try_for_each(|reader| refuse_old(reader))?;
    let Some(first) = readers.first() else { return Err(Error::new("there is nothing to copy")) };
    let kind = kind(first);
    let stored = settings.stored.unwrap_or(first.stored());
    let mut copied = Copied::default();
    let mut kept = Vec::new();
    for (name, readers, picks) in groups {
        let (table, from) = picks.finish();
        let (table, from) = if settings.drop_failed {
            without_failed(kind, &readers, &table, &from, &mut copied)?
        } else {
            (table, from)
        };
        kept.push((name, readers, table, from));
    }
    let n_assets = |readers: &[&Reader]| readers.iter().map(|reader| reader.assets().n()).sum::<u64>();
    let is_whole = copied.dropped == 0
        && kept.iter().all(|(_, readers, table, _)| table.len() as u64 == n_assets(readers));
    let n_rows = kept.iter().map(|(_, _, table, _)| kind.rows(table)).sum();
    let mut writer = Writer::create(NewFile {
        path: settings.path,
        overwrite: settings.overwrite,
        kind,
        name: &first.kind(),
        groups: kept.iter().map(|(name, _, table, _)| (name.clone(), table.clone())).collect(),
        dim: first.dim(),
        stored,
        compression: settings.compression,
        block_rows: None,
        attributes: joined_attributes(&readers, stored),
        truncated: if is_whole { truncated(&readers) } else { None },
    })?;
    for (_, readers, table, from) in &kept {
        copied.assets += table.len() as u64;
        let walks = readers.iter().map(|reader| RowWalk::new(reader, settings.path));
        let mut walks: Vec<RowWalk<'_>> = walks.collect::<Result<_>>()?;
        for (source, start, count) in from {
            let walk = &mut walks[*source as usize];
            for row in *start..start + u64::from(*count) {
                let row = walk.row(row)?;
                if settings.drop_failed && row.vector.is_none() {
                    continue;
                }
                copied.failed += u64::from(row.vector.is_none());
                writer.push(&row)?;
                copied.rows += 1;
                progress(copied.rows, n_rows);
            }
        }
    }
    writer.finish()?;
    Ok(copied)
}

/// The assets that have a row with a vector, and only these rows counted. The rows to read stay the same.
fn without_failed(
    kind: Kind,
    readers: &[&Reader],
    table: &Table,
    from: &[Place],
    copied: &mut Copied,
) -> Result<(Table, Vec<Place>)> {
    let (mut left, mut from_left) = (TableBuilder::default(), Vec::new());
    for ((id, _), place) in table.iter().zip(from) {
        let (source, start, count) = *place;
        let reader = readers[source as usize];
        let rows = start..start + u64::from(count);
        let lost = if reader.failures().n() == 0 { 0 } else { reader.without_vector(rows)? };
        copied.dropped += lost;
        let good = count - lost as u32;
        if good > 0 {
            left.push(id, if kind.has_row_per_view() { good } else { 1 })?;
            from_left.push(*place);
        }
    }
    Ok((left.finish(), from_left))
}

/// Texts of whole files that had more tokens than the model took, where all of the files say it. The groups of one
/// file say it together.
fn truncated(readers: &[&Reader]) -> Option<u64> {
    let counts: BTreeMap<&Path, Option<i64>> = readers
        .iter()
        .map(|reader| (reader.path(), reader.root_integer(attr::TRUNCATED_ITEMS).ok()))
        .collect();
    counts.into_values().map(|n| u64::try_from(n?).ok()).sum()
}

/// Refuses a file of the old pipeline: it says neither what its vectors are, nor which items failed.
///
/// # Errors
/// It is one.
pub fn refuse_old(reader: &Reader) -> Result<()> {
    if !reader.is_old() {
        return Ok(());
    }
    let path = reader.path().display();
    Err(Error::new(format!(
        "{path} is of the old pipeline, and does not say what its vectors are or what failed"
    ))
    .hint("make a new file of it first: hyperslab import"))
}

/// What a file's rows are made from.
fn kind(reader: &Reader) -> Kind {
    if reader.assets().has_views() {
        Kind::Image
    } else if reader.num_images().is_some() {
        Kind::ViewSet
    } else {
        Kind::Text
    }
}

/// Whether the rows of these readers may stand in one file.
///
/// # Errors
/// What differs, with the files.
pub fn check_alike(readers: &[&Reader]) -> Result<()> {
    let Some((first, others)) = readers.split_first() else { return Ok(()) };
    // A name alone says it where no file has digests.
    let has_weights = |reader: &&Reader| reader.provenance().iter().any(|(name, _)| name == "weights_sha256");
    let by_name = !readers.iter().any(has_weights);
    let about = |reader: &Reader| {
        let mut about: BTreeMap<String, String> = reader.provenance().into_iter().collect();
        about.retain(|name, _| SAME.contains(&name.as_str()) || (by_name && name == attr::MODEL_NAME));
        about.insert("kind".to_owned(), reader.kind());
        about.insert("length of a vector".to_owned(), reader.dim().to_string());
        about.insert("stored type".to_owned(), reader.stored().to_string());
        about.insert("what a row is made from".to_owned(), format!("{:?}", kind(reader)));
        about
    };
    let expected = about(first);
    for other in others {
        let found = about(other);
        let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
        if let Some(name) = names.into_iter().find(|name| expected.get(*name) != found.get(*name)) {
            let told = |about: &BTreeMap<String, String>| {
                about.get(name).map_or_else(|| "nothing".to_owned(), |text| format!("'{text}'"))
            };
            return Err(Error::new(format!(
                "{} and {} do not belong together: {name} is {} and {}",
                first.path().display(),
                other.path().display(),
                told(&expected),
                told(&found)
            ))
            .hint("files that are joined must be made with the same model and settings"));
        }
    }
    Ok(())
}

/// What all sources say alike of their vectors, and whose they are.
fn joined_attributes(readers: &[&Reader], stored: StoredType) -> Vec<(String, String)> {
    let mut joined: Option<BTreeMap<String, String>> = None;
    let mut sources = std::collections::BTreeSet::new();
    for reader in readers {
        let mut about: BTreeMap<String, String> = reader.provenance().into_iter().collect();
        let own = about.remove(attr::FINGERPRINT).into_iter();
        let earlier = about.remove(attr::SOURCE_FINGERPRINTS).unwrap_or_default();
        sources.extend(own.chain(earlier.split(' ').filter(|text| !text.is_empty()).map(str::to_owned)));
        about.retain(|name, _| !OF_ONE_RUN.contains(&name.as_str()));
        match &mut joined {
            None => joined = Some(about),
            Some(joined) => joined.retain(|name, text| about.get(name) == Some(text)),
        }
    }
    let mut joined = joined.unwrap_or_default();
    joined.insert("stored_type".to_owned(), stored.to_string());
    let sources: Vec<String> = sources.into_iter().take(NAMED_MAX).collect();
    if !sources.is_empty() {
        joined.insert(attr::SOURCE_FINGERPRINTS.to_owned(), sources.join(" "));
    }
    joined.into_iter().collect()
}
