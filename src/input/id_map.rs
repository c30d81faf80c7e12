//! The two ids of an asset of G-Objaverse: its index, by which the renders are named, and its uid of
//! Objaverse, by which Cap3D's captions are. A map joins them, and says which assets have views.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};

use super::text_file::{self, json_error};
use super::{Catalog, Odd, Sorted};
use crate::error::{Error, Result};

const WHAT: &str = "id map";
/// What stands behind a uid in a path of Objaverse, `000-001/<uid>.glb`.
const MODEL_ENDING: &str = ".glb";

/// Which of an asset's ids is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    #[default]
    Index,
    Uid,
}

impl FromStr for Ids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "index" => Ok(Self::Index),
            "uid" => Ok(Self::Uid),
            _ => Err(Error::new(format!("'{text}': expected index or uid"))),
        }
    }
}

/// The ids of many assets, each with its index and its uid.
#[derive(Clone, Debug)]
pub struct IdMap {
    path: PathBuf,
    /// Sorted by index.
    pairs: Vec<Pair>,
    /// Places in `pairs`, sorted by uid.
    by_uid: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Pair {
    index: Box<str>,
    /// As the file has it: a path of Objaverse, or a uid.
    path: Box<str>,
}

impl IdMap {
    /// Reads a JSON object `{"0/10002": "000-001/<uid>.glb", ...}`, plain or gzipped; a uid may also stand
    /// there by itself. That an index or a uid comes twice is no error until an input has such an asset.
    ///
    /// # Errors
    /// The file cannot be read, or is not of this form; names line and column.
    pub fn read(path: &Path) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_reader(text_file::open(path, WHAT)?);
        let read = json.deserialize_map(Pairs).and_then(|pairs| json.end().map(|()| pairs));
        let mut pairs = read.map_err(|error| {
            json_error(path, WHAT, &error, "").hint(format!(
                "the file must be one JSON object of indices and paths of Objaverse: \
                 {{\"0/10002\": \"000-001/<uid>{MODEL_ENDING}\", ...}}"
            ))
        })?;
        pairs.sort_unstable_by(|a, b| a.index.cmp(&b.index));
        let mut by_uid: Vec<u32> = (0..pairs.len() as u32).collect();
        by_uid.sort_unstable_by_key(|&place| pairs.get(place as usize).map(Pair::uid));
        Ok(Self { path: path.to_path_buf(), pairs, by_uid })
    }

    /// The id of the wanted kind for an asset that is called `id`, which may be an index, a uid, or a path
    /// of Objaverse; nothing where the map does not name the asset.
    ///
    /// # Errors
    /// The map gives the asset several ids of this kind.
    pub fn translate(&self, id: &str, wanted: Ids) -> Result<Option<&str>> {
        let mut found = self.find(id).map(|pair| pair.id(wanted));
        let first = found.next();
        match found.find(|other| Some(*other) != first) {
            Some(other) => Err(Error::new(format!(
                "the id map '{}' says two things of '{id}': '{}' and '{other}'",
                self.path.display(),
                first.unwrap_or_default()
            ))
            .hint("leave one of them in the map")),
            None => Ok(first),
        }
    }

    /// Every id by which an asset that is called `id` may be stored.
    pub fn names(&self, id: &str) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.find(id).flat_map(|pair| [pair.id(Ids::Index), pair.id(Ids::Uid)]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The pairs that name `id`, by index and by uid.
    fn find(&self, id: &str) -> impl Iterator<Item = &Pair> {
        let of_index = self.pairs.partition_point(|pair| *pair.index < *id);
        let by_index = self.pairs.iter().skip(of_index).take_while(move |pair| *pair.index == *id);
        let uid = if id.ends_with(MODEL_ENDING) { uid_of(id) } else { id };
        let at = |place: &u32| self.pairs.get(*place as usize);
        let of_uid = self.by_uid.partition_point(|place| at(place).is_some_and(|pair| pair.uid() < uid));
        let by_uid = self.by_uid.iter().skip(of_uid).filter_map(at);
        by_index.chain(by_uid.take_while(move |pair| pair.uid() == uid))
    }
}

impl Pair {
    fn uid(&self) -> &str {
        uid_of(&self.path)
    }

    fn id(&self, kind: Ids) -> &str {
        match kind {
            Ids::Index => &self.index,
            Ids::Uid => self.uid(),
        }
    }
}

/// The uid in a path of Objaverse.
pub(super) fn uid_of(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.strip_suffix(MODEL_ENDING).unwrap_or(name)
}

/// Under which ids the assets of an input are stored: their own, or those that a map gives them.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    map: Option<IdMap>,
    ids: Ids,
}

impl Naming {
    /// # Errors
    /// The map cannot be read.
    pub fn read(map: Option<&Path>, ids: Ids) -> Result<Self> {
        Ok(Self { map: map.map(IdMap::read).transpose()?, ids })
    }

    /// Every id by which an asset that is stored as `id` may be called in an input, sorted.
    pub fn names<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        let Some(map) = &self.map else { return vec![id] };
        let mut names = map.names(id);
        names.push(id);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The captions under the ids that are stored. An asset that the map does not name keeps its id; such
    /// assets are also returned.
    ///
    /// # Errors
    /// An asset has several ids, or two assets have one.
    pub fn captions(&self, captions: Catalog) -> Result<(Sorted, Odd)> {
        let Some(map) = &self.map else { return Ok((captions.into(), Odd::default())) };
        let mut unnamed = Odd::default();
        let named = Sorted::new(captions).renamed(|id| {
            let translated = map.translate(id, self.ids)?;
            if translated.is_none() {
                unnamed.add(id);
            }
            Ok(Some(translated.map_or_else(|| id.into(), Into::into)))
        });
        Ok((self.explain("captions", named)?, unnamed))
    }

    /// The views under the ids that are stored, without those of assets that the map does not name:
    /// [`Sorted::left_out`].
    ///
    /// # Errors
    /// An asset has several ids, or two assets have one.
    pub fn views(&self, views: Catalog) -> Result<Sorted> {
        let Some(map) = &self.map else { return Ok(views.into()) };
        self.explain(
            "views",
            Sorted::new(views).renamed(|id| Ok(map.translate(id, self.ids)?.map(Into::into))),
        )
    }

    fn explain(&self, what: &str, named: Result<Sorted>) -> Result<Sorted> {
        named.map_err(|error| {
            let message = format!("the {what}' ids: {}", error.message);
            let hint = error.hint.clone().unwrap_or_else(|| {
                let map = self.map.as_ref().map(|map| map.path.display().to_string()).unwrap_or_default();
                format!("the id map '{map}' says so: leave one of the two out of the input, or mend the map")
            });
            Error { message, ..error }.hint(hint)
        })
    }
}

/// Reads the map as it comes.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<Pair>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of indices and paths")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vec<Pair>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((index, path)) = map.next_entry()? {
            pairs.push(Pair { index, path });
        }
        Ok(pairs)
    }
}
