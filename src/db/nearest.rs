//! Searching in the database: what its sessions are set to, the function that merges an asset's views, and queries.

use std::collections::HashMap;

use ndarray::ArrayView1;
use pgvector::{HalfVector, Vector};
use sqlx::Row;

use super::index::Index;
use super::row::cut;
use super::table::{Target, VectorType, Vectors};
use super::{Session, literal, quoted};
use crate::error::{Context, Error, Exit, Result};
use crate::store::QueryVectors;

/// Candidates that a search keeps. The service asks for the nearest 100.
const EF_SEARCH: usize = 200;
/// What pgvector takes for it at most.
const EF_SEARCH_MAX: usize = 1000;

/// An asset that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct NearAsset {
    pub asset_id: String,
    /// Which of its views is the nearest, where each has a row.
    pub view: Option<u64>,
    pub score: f32,
}

/// What `nearest_assets` returns, as PostgreSQL writes it.
pub const RESULT: &str =
    "TABLE(asset_id character varying, viewpoint_idx integer, similarity double precision)";

/// Sets what new sessions of a database begin with, where it does not say so itself: enough candidates for the
/// service's queries, and scans that go on until they have found as many as were asked for. (Those of IVFFlat could go
/// on only out of order.) `indexes` are those of its tables.
///
/// # Errors
/// The role is not the database's owner.
pub fn set_defaults(
    session: &mut Session,
    database: &str,
    indexes: &[Index],
    pgvector: (u32, u32),
) -> Result<()> {
    let what = "to set the database's defaults for searches";
    let mut settings = Vec::new();
    let lists = indexes
        .iter()
        .filter_map(|index| if let Index::IvfFlat { lists } = index { Some(*lists) } else { None });
    if let Some(lists) = lists.max() {
        let probes = f64::from(lists).sqrt().ceil().max(10.0).min(f64::from(lists));
        settings.push(("ivfflat.probes", probes.to_string()));
    }
    if indexes.iter().any(|index| matches!(index, Index::Hnsw { .. })) {
        settings.push(("hnsw.ef_search", EF_SEARCH.to_string()));
        if pgvector >= (0, 8) {
            settings.push(("hnsw.iterative_scan", "strict_order".to_owned()));
        }
    }
    let there = "SELECT array_to_string(setconfig, ' ') FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase \
                 WHERE setrole = 0 AND datname = current_database()";
    let there: String = session.value(what, there)?.unwrap_or_default();
    let database = quoted(database);
    let missing = settings.iter().filter(|(name, _)| !there.contains(&format!("{name}=")));
    let alter: Vec<String> =
        missing.map(|(name, value)| format!("ALTER DATABASE {database} SET {name} = {value}")).collect();
    if !alter.is_empty() {
        // A session knows these settings once it has used the extension.
        session.run(what, &format!("SELECT '[1]'::vector; {}", alter.join("; ")))?;
    }
    Ok(())
}

/// SQL that makes `nearest_assets(query, k)`: the `k` assets nearest to a vector, each once, with the nearest of its
/// views. It takes rows from the index, the nearest first, until it has seen so many assets. No asset has more than
/// `views_max` rows: `k` times as many hold `k` assets for certain, and with that limit PostgreSQL uses the index.
pub fn function_sql(target: &Target, vectors: Vectors, views_max: u64, pgvector: (u32, u32)) -> String {
    let view = if target.layout.has_views { "viewpoint_idx" } else { "NULL::integer" };
    // Before 0.8 a scan gives its candidates and no more: as many as it can hold, for the views that they are of.
    let (iterative, wanted) = if pgvector >= (0, 8) {
        ("SET hnsw.iterative_scan = strict_order SET hnsw.max_scan_tuples = 2147483647 ", "k".to_owned())
    } else {
        ("", format!("k::bigint * {views_max}"))
    };
    let body = format!(
        "DECLARE near record; seen varchar[] := '{{}}'; \
         BEGIN \
         PERFORM set_config('hnsw.ef_search', greatest({EF_SEARCH}, least({wanted}, {EF_SEARCH_MAX}))::text, true); \
         FOR near IN EXECUTE format('SELECT t.asset_id AS id, {view} AS view, t.embedding <=> $1 AS distance \
         FROM %s t WHERE t.embedding IS NOT NULL ORDER BY t.embedding <=> $1 LIMIT %s', \
         {table}, greatest(k, 0)::bigint * {views_max}) USING query::{vectors} \
         LOOP \
         CONTINUE WHEN near.id = ANY (seen); \
         seen := seen || near.id::varchar; \
         asset_id := near.id; viewpoint_idx := near.view; similarity := 1 - near.distance; \
         RETURN NEXT; \
         EXIT WHEN cardinality(seen) >= k; \
         END LOOP; \
         END",
        table = literal(&target.sql()),
    );
    format!(
        "SELECT '[1]'::vector; CREATE OR REPLACE FUNCTION {}(query vector, k integer DEFAULT 10) RETURNS {RESULT} \
         LANGUAGE plpgsql STABLE STRICT SET search_path FROM CURRENT SET hnsw.ef_search = {EF_SEARCH} {iterative}AS {}",
        target.name_of("nearest_assets"),
        literal(&body)
    )
}

/// The `k` assets nearest to each query, the nearest first, by the table's column number `column`.
///
/// # Errors
/// A table that is not there, or holds vectors of another length; a failed query.
pub fn search(
    session: &mut Session,
    target: &Target,
    column: usize,
    queries: &[QueryVectors],
    k: usize,
) -> Result<Vec<Vec<NearAsset>>> {
    let name = target.layout.name;
    let Some(vectors) = target.vectors(session)? else {
        return Err(Error::new(format!("the database has no table {name}"))
            .hint("`hyperslab populate` makes and fills it"));
    };
    for len in queries.iter().flat_map(QueryVectors::vectors).map(|vector| vector.len()) {
        if len < vectors.dim {
            return Err(Error::new(format!(
                "{name} holds {vectors}, and the query has {len} components: it was filled from another file"
            )));
        }
        if len > vectors.dim {
            tracing::warn!("{name} holds {vectors}: of the query's {len} components the first are compared");
            break;
        }
    }
    let ef = k.clamp(EF_SEARCH, EF_SEARCH_MAX);
    session.run(WHAT, &format!("SELECT '[1]'::vector; SET hnsw.ef_search = {ef}"))?;
    let (column, _) =
        target.layout.vectors.get(column).ok_or_else(|| Error::new("no such column").exit(Exit::Bug))?;
    let asked = Asked { target, column, vectors, k };
    let each = |query: &QueryVectors| {
        let mut found = Vec::new();
        for vector in query.vectors() {
            found.extend(asked.nearest_to(session, &vector)?);
        }
        Ok(nearest(found, k))
    };
    queries.iter().map(each).collect()
}

const WHAT: &str = "to search in the database";

/// Where is searched, and for how many.
struct Asked<'a> {
    target: &'a Target,
    column: &'a str,
    vectors: Vectors,
    k: usize,
}

impl Asked<'_> {
    fn nearest_to(&self, session: &mut Session, vector: &ArrayView1<'_, f32>) -> Result<Vec<NearAsset>> {
        let Some(vector) = cut(&vector.to_vec(), self.vectors.dim) else { return Ok(Vec::new()) };
        let column = self.column;
        // Views are merged by the function, to which a query is of float32, always.
        let is_merged = column == "embedding";
        let sql = if is_merged {
            let function = self.target.name_of("nearest_assets");
            format!("SELECT asset_id::text, viewpoint_idx, similarity FROM {function}($1, $2)")
        } else {
            format!(
                "SELECT asset_id::text, NULL::integer, 1 - ({column} <=> $1) FROM {} WHERE {column} IS NOT NULL \
                 ORDER BY {column} <=> $1 LIMIT $2",
                self.target.sql()
            )
        };
        let query = sqlx::query(&sql);
        let query = if is_merged || self.vectors.stored == VectorType::Vector {
            query.bind(Vector::from(vector))
        } else {
            query.bind(HalfVector::from_f32_slice(&vector))
        };
        let limit = self.k.min(i32::MAX as usize) as i32;
        session.rows(WHAT, query.bind(limit))?.iter().map(near_asset).collect()
    }
}

fn near_asset(row: &sqlx::postgres::PgRow) -> Result<NearAsset> {
    let what = || "what the database found";
    let view: Option<i32> = row.try_get(1).context(what)?;
    let score: f64 = row.try_get(2).context(what)?;
    Ok(NearAsset {
        asset_id: row.try_get(0).context(what)?,
        view: view.map(|view| view as u64),
        score: score as f32,
    })
}

/// Each asset once, as near as it was to any vector of the query.
fn nearest(found: Vec<NearAsset>, k: usize) -> Vec<NearAsset> {
    let mut best: HashMap<String, NearAsset> = HashMap::new();
    for asset in found {
        match best.get(&asset.asset_id) {
            Some(other) if other.score >= asset.score => {}
            _ => {
                best.insert(asset.asset_id.clone(), asset);
            }
        }
    }
    let mut all: Vec<NearAsset> = best.into_values().collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.asset_id.cmp(&b.asset_id)));
    all.truncate(k);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_as_near_as_its_nearest_vector() {
        let asset = |id: &str, score| NearAsset { asset_id: id.to_owned(), view: None, score };
        let found = vec![asset("b", 0.5), asset("a", 0.4), asset("a", 0.5), asset("c", 0.9), asset("d", 0.1)];
        let near = nearest(found, 3);
        assert_eq!(near, [asset("c", 0.9), asset("a", 0.5), asset("b", 0.5)]);
    }
}
