//! The same searches in the database that `hyperslab populate` has filled from the file.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::Hit;
use crate::cli::DatabaseArgs;
use crate::cli::out::note;
use crate::db::{self, NearAsset, Server, Target, family_of};
use crate::error::{Error, Exit, Result};
use crate::store::{QueryVectors, Reader};

/// Where else is searched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct SearchDatabaseArgs {
    /// Search in the database that `hyperslab populate` has filled from the file
    #[command(flatten)]
    pub server: DatabaseArgs,
    /// Name of the database [default: siglip_embeddings or qwen_embeddings]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), requires = "database_url")]
    pub database: Option<String>,
    /// Search in the file too, and say how much of what it finds the database's index has found
    #[arg(long, requires = "database_url")]
    pub recall_check: bool,
}

impl SearchDatabaseArgs {
    /// The server to search on, if it is not the file.
    ///
    /// # Errors
    /// As [`DatabaseArgs::server`].
    pub fn server(&self, config: Option<&Path>) -> Result<Option<Server>> {
        self.server.database_url.is_some().then(|| self.server.server(config)).transpose()
    }
}

/// The assets nearest to each query, as the database finds them.
///
/// # Errors
/// No connection, a file whose kind goes into no table, a table that is not there or was filled from another file.
pub fn search(
    server: &Server,
    name: Option<&str>,
    reader: &Reader,
    queries: &[QueryVectors],
    k: usize,
) -> Result<Vec<Vec<Hit>>> {
    let Some((family, layout)) = family_of(&reader.kind()) else {
        return Err(Error::new(format!(
            "{}: no database is filled from files of its kind",
            reader.path().display()
        ))
        .hint("leave out --database-url to search in the file"));
    };
    let default = format!("{family}_embeddings");
    let mut session = db::open(server, name.unwrap_or(&default))?;
    let target = Target::new(&mut session, layout)?;
    let column = layout.vectors.iter().position(|(_, group)| *group == reader.group());
    let column = column.ok_or_else(|| Error::new("a group without a column").exit(Exit::Bug))?;
    let found = db::search(&mut session, &target, column, queries, k)?;
    let hits =
        |assets: Vec<NearAsset>| (1..).zip(assets).map(|(rank, asset)| hit(reader, rank, asset)).collect();
    let found: Vec<Vec<Hit>> = found.into_iter().map(hits).collect::<Result<_>>()?;
    let is_strange =
        found.iter().any(|hits| !hits.is_empty()) && found.iter().flatten().all(|hit| hit.row.is_none());
    if is_strange {
        note(format_args!(
            "warning: {} has none of the assets that were found: the database was filled from another file",
            reader.path().display()
        ));
    }
    Ok(found)
}

/// A hit with its row in the file, if it is there: the database may have been filled from others, too.
fn hit(reader: &Reader, rank: usize, asset: NearAsset) -> Result<Hit> {
    let NearAsset { asset_id, view, score } = asset;
    let rows = reader.find(&asset_id)?;
    let row = rows.and_then(|rows| rows.clone().nth(view.unwrap_or(0) as usize));
    Ok(Hit { rank, score, asset_id, row, view, caption: None })
}

/// How many of the assets that the file finds are among those found, from 0 to 1.
pub fn recall(found: &[Hit], expected: &[Hit]) -> f64 {
    let ids: BTreeSet<&str> = found.iter().map(|hit| hit.asset_id.as_str()).collect();
    let n = expected.iter().filter(|hit| ids.contains(hit.asset_id.as_str())).count();
    if expected.is_empty() { 1.0 } else { n as f64 / expected.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_the_share_of_what_the_file_finds() {
        let hit = |id: &str| Hit {
            rank: 1,
            score: 0.5,
            asset_id: id.to_owned(),
            row: None,
            view: None,
            caption: None,
        };
        let hits = |ids: &str| ids.chars().map(|id| hit(&id.to_string())).collect::<Vec<_>>();
        for (found, expected, share) in
            [("abcd", "dcba", 1.0), ("abxy", "abcd", 0.5), ("", "ab", 0.0), ("", "", 1.0)]
        {
            assert!((recall(&hits(found), &hits(expected)) - share).abs() < 1e-9, "{found} {expected}");
        }
    }
}
