//! The assets of a file nearest to queries: by exact cosine, in bounded memory, on all cores.
//!
//! Threads take runs of whole chunks, one after the other, and keep the best assets of what they have seen. Runs are
//! cut by the file alone, and equal scores are ranked by asset, so that the answer does not depend on the threads.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

use super::Reader;
use super::table::Asset;
use crate::error::{Error, Exit, Result};

/// Bytes of vectors that a thread reads at once, about.
const RUN_BYTES: u64 = 4 << 20;
/// Vectors of queries that are multiplied with a run at once.
const TILE: usize = 256;

/// What is searched for: one vector or, for an asset that has several, all of them; what is found is near to any.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryVectors(Array2<f32>);

impl QueryVectors {
    /// Takes vectors `[n, dim]` of any length, and normalises them. Those that are not finite, or zero, as those of
    /// failed items are, are left out.
    ///
    /// # Errors
    /// None is left.
    pub fn new(vectors: &ArrayView2<'_, f32>) -> Result<Self> {
        let mut normalised = Array2::zeros((0, vectors.ncols()));
        for vector in vectors.outer_iter() {
            let norm = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            if norm.is_finite() && norm > 0.0 {
                let unit = vector.mapv(|value| (f64::from(value) / norm) as f32);
                normalised.push_row(unit.view()).map_err(|error| Error::new(error.to_string()))?;
            }
        }
        if normalised.is_empty() {
            Err(Error::new("there is no vector to search for"))
        } else {
            Ok(Self(normalised))
        }
    }

    /// The vectors, each of length 1.
    pub fn vectors(&self) -> impl Iterator<Item = ArrayView1<'_, f32>> {
        self.0.outer_iter()
    }
}

/// An asset that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub asset_id: String,
    /// Cosine of the angle between the query and the nearest of the asset's rows.
    pub score: f32,
    /// That row.
    pub row: u64,
    /// Its number within the asset, from 0, where assets have a row per view.
    pub view: Option<u64>,
}

/// The `k` assets nearest to each query, the nearest first, those equally near in the order of their rows, which is
/// that of their ids. Assets without any vector (failed items) are never found. `progress` hears of the numbers of
/// rows that were read.
///
/// # Errors
/// Queries of another length than the file's vectors; rows that do not read.
pub fn search(
    reader: &Reader,
    queries: &[QueryVectors],
    k: usize,
    threads: usize,
    progress: impl Fn(u64) + Sync,
) -> Result<Vec<Vec<Hit>>> {
    Search::new(reader, queries, k, &progress)?.run(threads)
}

struct Search<'a> {
    reader: &'a Reader,
    /// The vectors of all queries, `[n, dim]`.
    vectors: Array2<f32>,
    /// Which of them are each query's.
    queries: Vec<Range<usize>>,
    k: usize,
    /// Rows with the places of their assets in the table, by row, where the table is in another order: only that of an
    /// old file is, which is in memory anyway.
    by_row: Option<Vec<(Range<u64>, u64)>>,
    run_rows: u64,
    next_run: AtomicU64,
    has_failed: AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Search<'a> {
    fn new(
        reader: &'a Reader,
        queries: &[QueryVectors],
        k: usize,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Result<Self> {
        if let Some(other) = queries.iter().find(|query| query.0.ncols() != reader.dim()) {
            return Err(Error::new(format!(
                "a query of {} components, {} has vectors of {}",
                other.0.ncols(),
                reader.path().display(),
                reader.dim()
            )));
        }
        let mut ranges = Vec::new();
        let mut n = 0;
        for query in queries {
            ranges.push(n..n + query.0.nrows());
            n += query.0.nrows();
        }
        let views: Vec<_> = queries.iter().map(|query| query.0.view()).collect();
        let vectors = if views.is_empty() {
            Ok(Array2::zeros((0, reader.dim())))
        } else {
            concatenate(Axis(0), &views)
        };
        let by_row = if reader.is_old() { Some(by_row(reader)?) } else { None };
        let chunk = reader.chunk_rows();
        let wanted = RUN_BYTES / (reader.dim() as u64 * 4).max(1);
        Ok(Self {
            reader,
            vectors: vectors.map_err(|error| Error::new(error.to_string()))?,
            queries: ranges,
            k: k.min(reader.assets().n() as usize),
            by_row,
            run_rows: (wanted / chunk).max(1) * chunk,
            next_run: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            progress,
        })
    }

    fn run(&self, threads: usize) -> Result<Vec<Vec<Hit>>> {
        let threads = (threads.max(1) as u64).min(self.n_runs()) as usize;
        let outcomes: Vec<Result<Vec<Nearest>>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
            let own = std::iter::once(self.work());
            let panicked = |_| Err(Error::new("a thread of the search panicked").exit(Exit::Bug));
            own.chain(others.into_iter().map(|thread| thread.join().unwrap_or_else(panicked))).collect()
        });
        let mut all = self.nothing();
        for outcome in outcomes {
            for (all, one) in all.iter_mut().zip(outcome?) {
                one.of.into_iter().for_each(|(asset, (score, row))| all.offer(score, asset, row));
            }
        }
        all.into_iter().map(|nearest| nearest.hits(self.reader)).collect()
    }

    fn n_runs(&self) -> u64 {
        self.reader.n_rows().div_ceil(self.run_rows)
    }

    fn nothing(&self) -> Vec<Nearest> {
        self.queries.iter().map(|_| Nearest::new(self.k)).collect()
    }

    /// One thread's share: runs as long as there are any.
    fn work(&self) -> Result<Vec<Nearest>> {
        let mut nearest = self.nothing();
        while !self.has_failed.load(Ordering::Relaxed) {
            let run = self.next_run.fetch_add(1, Ordering::Relaxed);
            if run >= self.n_runs() {
                break;
            }
            let rows = run * self.run_rows..((run + 1) * self.run_rows).min(self.reader.n_rows());
            let n = rows.end - rows.start;
            if let Err(error) = self.look_at(rows, &mut nearest) {
                self.has_failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
            (self.progress)(n);
        }
        Ok(nearest)
    }

    fn look_at(&self, rows: Range<u64>, nearest: &mut [Nearest]) -> Result<()> {
        let vectors = self.reader.rows(rows.clone())?;
        // Half precision, and other programs' files, are not normalised to the last digit.
        let norms: Vec<f32> = vectors.outer_iter().map(|vector| norm(&vector)).collect();
        let assets = self.assets_of(rows.clone())?;
        for start in (0..self.vectors.nrows()).step_by(TILE) {
            let tile = start..self.vectors.nrows().min(start + TILE);
            let scores = vectors.dot(&self.vectors.slice(s![tile.clone(), ..]).t()); // [rows, tile]
            for (query, nearest) in self.queries.iter().zip(nearest.iter_mut()) {
                let columns = query.start.max(tile.start)..query.end.min(tile.end);
                if columns.is_empty() {
                    continue;
                }
                let columns = columns.start - tile.start..columns.end - tile.start;
                let scores = scores.slice(s![.., columns]);
                for (asset, own) in &assets {
                    if let Some((score, row)) = best(&scores, &norms, own.clone()) {
                        nearest.offer(score, *asset, rows.start + row as u64);
                    }
                }
            }
        }
        Ok(())
    }

    /// The assets that have any of these rows, by their places in the table, with their rows among these.
    fn assets_of(&self, rows: Range<u64>) -> Result<Vec<(u64, Range<usize>)>> {
        let assets = self.reader.assets();
        let own = |asset: u64, own: Range<u64>| {
            let (start, end) = (own.start.max(rows.start), own.end.min(rows.end));
            (asset, (start.saturating_sub(rows.start)) as usize..end.saturating_sub(rows.start) as usize)
        };
        if let Some(all) = &self.by_row {
            let first = all.partition_point(|(own, _)| own.end <= rows.start);
            let all = all.iter().skip(first).take_while(|(own, _)| own.start < rows.end);
            return Ok(all.map(|(of_asset, place)| own(*place, of_asset.clone())).collect());
        }
        if !assets.has_views() {
            return Ok(rows.clone().map(|row| own(row, row..row + 1)).collect());
        }
        let places = assets.of_rows(rows.clone())?;
        let numbered = (places.start..).zip(assets.iter(places));
        numbered.map(|(place, asset)| Ok(own(place, asset?.rows))).collect()
    }
}

/// The rows of every asset with its place in the table, by row.
fn by_row(reader: &Reader) -> Result<Vec<(Range<u64>, u64)>> {
    let assets = reader.assets();
    let numbered = (0..).zip(assets.iter(0..assets.n()));
    let mut all: Vec<_> = numbered.map(|(place, asset)| Ok((asset?.rows, place))).collect::<Result<_>>()?;
    all.sort_unstable_by_key(|(rows, _)| rows.start);
    Ok(all)
}

fn norm(vector: &ArrayView1<'_, f32>) -> f32 {
    vector.dot(vector).sqrt()
}

/// The best score of these rows, and the first row that has it; none where no row has a vector.
fn best(scores: &ArrayView2<'_, f32>, norms: &[f32], rows: Range<usize>) -> Option<(f32, usize)> {
    let mut best: Option<(f32, usize)> = None;
    for row in rows {
        let norm = norms.get(row).copied().unwrap_or(f32::NAN);
        for &score in scores.row(row) {
            // Of a row of zeros or NaN this is no number. Zero has one sign.
            let score = score / norm + 0.0;
            if score.is_finite() && best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, row));
            }
        }
    }
    best
}

/// The best assets seen for one query, `k` at most.
struct Nearest {
    k: usize,
    /// By the asset's place in the table: its best score and the row that has it.
    of: HashMap<u64, (f32, u64)>,
    /// The same, the worst first.
    order: BTreeSet<Rank>,
}

/// Where an asset ranks: by its score, and among equals the first in the table is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(Score, Reverse<u64>);

/// A finite number.
#[derive(Clone, Copy, Debug)]
struct Score(f32);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, of: HashMap::new(), order: BTreeSet::new() }
    }

    /// Keeps an asset if it is among the best. The same asset may come several times, with other rows of its own.
    fn offer(&mut self, score: f32, asset: u64, row: u64) {
        let rank = Rank(Score(score), Reverse(asset));
        if self.of.len() >= self.k && self.order.first().is_none_or(|worst| rank < *worst) {
            return;
        }
        if let Some((known, known_row)) = self.of.get(&asset).copied() {
            if score > known || (score.total_cmp(&known).is_eq() && row < known_row) {
                self.order.remove(&Rank(Score(known), Reverse(asset)));
                self.order.insert(rank);
                self.of.insert(asset, (score, row));
            }
            return;
        }
        if self.of.len() >= self.k
            && let Some(Rank(_, Reverse(worst))) = self.order.pop_first()
        {
            self.of.remove(&worst);
        }
        self.order.insert(rank);
        self.of.insert(asset, (score, row));
    }

    fn hits(self, reader: &Reader) -> Result<Vec<Hit>> {
        let assets = reader.assets();
        let hit = |Rank(_, Reverse(place)): &Rank| {
            let (score, row) = self.of.get(place).copied().unwrap_or_default();
            let missing = || {
                let path = reader.path().display();
                Error::new(format!("{path} is damaged: row {row} belongs to no asset"))
                    .hint(format!("`hyperslab verify {path}` lists all that is wrong"))
                    .exit(Exit::Damaged)
            };
            let Asset { id, rows } = assets.iter(*place..place + 1).next().ok_or_else(missing)??;
            // Rounding may have gone beyond what a cosine is.
            let score = score.clamp(-1.0, 1.0);
            let view = assets.has_views().then(|| row.saturating_sub(rows.start));
            Ok(Hit { asset_id: id, score, row, view })
        };
        self.order.iter().rev().map(hit).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILES: [(&str, Option<&str>); 5] = [
        ("text_f32.h5", None),
        ("text_f16.h5", None),
        ("image_f32.h5", None),
        ("groups.h5", Some("english")),
        ("view_sets.h5", None),
    ];

    fn open(name: &str, group: Option<&str>) -> Reader {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures_h5").join(name);
        Reader::open(&path, group).expect("a fixture")
    }

    /// Every asset that has a vector, with the cosine of its best row in double precision.
    fn all(reader: &Reader, query: &ArrayView1<'_, f32>) -> Vec<(String, f64, u64)> {
        let rows = reader.rows(0..reader.n_rows()).expect("read");
        let length = |v: &ArrayView1<'_, f32>| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let cosine = |row: u64| {
            let v = rows.row(row as usize);
            let dot: f64 = v.iter().zip(query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            dot / length(&v) / length(query)
        };
        let assets = reader.iter_prefix("").expect("read").map(|asset| asset.expect("sound"));
        let best = assets.filter_map(|asset| {
            let scored = asset.rows.map(|row| (cosine(row), row)).filter(|(score, _)| score.is_finite());
            let (score, row) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
            Some((asset.id, score, row))
        });
        let mut all: Vec<_> = best.collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    #[test]
    fn hits_are_those_of_a_plain_walk_whatever_the_runs_and_threads() {
        for (name, group) in FILES {
            let reader = open(name, group);
            let rows = reader.rows(0..reader.n_rows()).expect("read");
            let good = (0..rows.nrows()).filter(|&row| !rows[[row, 0]].is_nan()).take(5);
            let queries: Vec<_> = good.map(|row| rows.row(row).mapv(|value| 3.0 * value)).collect();
            let asked: Vec<_> = queries
                .iter()
                .map(|query| QueryVectors::new(&query.view().insert_axis(Axis(0))).expect("finite"))
                .collect();
            let default = search(&reader, &asked, 7, 1, |_| {}).expect("read");
            for (query, hits) in queries.iter().zip(&default) {
                let expected = all(&reader, &query.view());
                assert_eq!(hits.len(), 7, "{name}");
                for (hit, (id, score, row)) in hits.iter().zip(&expected) {
                    assert_eq!((&hit.asset_id, hit.row), (id, *row), "{name}");
                    assert!((f64::from(hit.score) - score).abs() < 1e-6, "{name}: {hit:?}, not {score}");
                    assert_eq!(hit.view.is_some(), reader.assets().has_views());
                }
                assert!((hits[0].score - 1.0).abs() < 1e-6, "{name}: the query itself");
            }
            for run_rows in [1, 2, 3, 8, 1000] {
                let again = Search { run_rows, ..Search::new(&reader, &asked, 7, &|_| {}).expect("fits") };
                for threads in [1, 2, 5] {
                    again.next_run.store(0, Ordering::Relaxed);
                    assert_eq!(again.run(threads).expect("read"), default, "{name}, {run_rows}, {threads}");
                }
            }
        }
    }

    #[test]
    fn all_assets_with_a_vector_are_found_and_no_other() {
        for (name, group) in FILES {
            let reader = open(name, group);
            let query = Array2::from_elem((1, reader.dim()), 1.0);
            let query = QueryVectors::new(&query.view()).expect("finite");
            let told = AtomicU64::new(0);
            let count = |rows| {
                told.fetch_add(rows, Ordering::Relaxed);
            };
            let hits =
                search(&reader, std::slice::from_ref(&query), usize::MAX, 3, count).expect("read").remove(0);
            let expected = all(&reader, &ArrayView1::from(&vec![1.0; reader.dim()]));
            assert_eq!(hits.len(), expected.len(), "{name}");
            assert!(hits.iter().all(|hit| hit.score.is_finite()));
            assert_eq!(told.into_inner(), reader.n_rows());
            assert!(search(&reader, &[query], 0, 3, |_| {}).expect("read").remove(0).is_empty());
            assert!(search(&reader, &[], 3, 3, |_| {}).expect("read").is_empty());
        }
    }

    #[test]
    fn a_query_of_several_vectors_finds_what_is_near_to_any() {
        let reader = open("image_f32.h5", None);
        let own = reader.find("0/10003").expect("read").expect("there");
        let vectors = reader.rows(own.clone()).expect("read");
        assert_eq!(vectors.nrows(), 4);
        let together = QueryVectors::new(&vectors.view()).expect("finite");
        let single = vectors.axis_chunks_iter(Axis(0), 1).map(|row| QueryVectors::new(&row).expect("finite"));
        let all: Vec<_> = std::iter::once(together).chain(single).collect();
        let mut hits = search(&reader, &all, 100, 2, |_| {}).expect("read");
        let together = hits.remove(0);
        assert_eq!(together[0].asset_id, "0/10003");
        for hit in together {
            let scores = hits.iter().flatten().filter(|other| other.asset_id == hit.asset_id);
            assert_eq!(scores.map(|other| other.score).max_by(f32::total_cmp), Some(hit.score));
        }
    }

    #[test]
    fn equal_scores_rank_by_asset_and_the_best_rows_stay() {
        let mut nearest = Nearest::new(3);
        for (score, asset, row) in
            [(0.5, 9, 90), (0.5, 2, 20), (0.1, 1, 10), (0.5, 4, 41), (0.5, 4, 40), (0.2, 9, 91), (0.5, 7, 70)]
        {
            nearest.offer(score, asset, row);
        }
        let order: Vec<_> = nearest.order.iter().rev().map(|rank| rank.1.0).collect();
        assert_eq!(order, [2, 4, 7]);
        assert_eq!(nearest.of[&4], (0.5, 40));
        assert_eq!(nearest.of.len(), 3);
        nearest.offer(0.6, 7, 71);
        assert_eq!(nearest.order.last().map(|rank| rank.1.0), Some(7));
    }

    #[test]
    fn what_is_no_vector_is_not_searched_for() {
        let rows = Array2::from_shape_vec((3, 2), vec![f32::NAN, f32::NAN, 0.0, 0.0, 3.0, 4.0]).expect("six");
        let query = QueryVectors::new(&rows.view()).expect("one of three");
        assert_eq!(query.0, ndarray::array![[0.6, 0.8]]);
        assert!(QueryVectors::new(&rows.slice(s![..2, ..])).is_err());
        let reader = open("text_f32.h5", None);
        let error = search(&reader, &[query], 3, 1, |_| {}).expect_err("another length");
        assert!(error.message.contains("a query of 2 components"), "{error}");
    }
}
