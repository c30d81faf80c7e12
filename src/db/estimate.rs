//! Whether it can be done, and what it takes: said before anything is.

use super::entries::Source;
use super::index::Index;
use super::server::Resources;
use super::table::{DIM_MAX, PAGE_BYTES, VectorType, Vectors};
use crate::error::{Error, Exit, Result};

/// Seconds of one process for each row, component, comparison and doubling of the rows: fitted to pgvector 0.8.5 on
/// one machine (5,000 and 20,000 x 1152, `ef_construction` 64 and 128, two processes). Others differ by a factor of two.
const HNSW_SECONDS: f64 = 4.2e-10;
/// Comparisons of a row beside those with its `ef_construction` candidates, from the same fit.
const HNSW_OTHER: f64 = 136.0;
/// The same for IVFFlat: each row is compared with each list.
const IVFFLAT_SECONDS: f64 = 1.5e-9;
/// Bytes of a row's place in a graph that is being built, and of each of its links (pgvector's hnsw.h).
const HNSW_NODE_BYTES: usize = 160;
const HNSW_LINK_BYTES: usize = 16;
/// What a build may take of the memory that is free.
const MEMORY_SHARE: f64 = 0.6;

/// What a table will take.
#[derive(Clone, Debug)]
pub struct Estimate {
    pub rows: u64,
    pub vectors: Vectors,
    pub index: Index,
    pub table_bytes: u64,
    pub index_bytes: u64,
    /// For the graph of an index to be built in memory, as it should.
    pub memory_wanted: u64,
    pub memory: u64,
    /// Processes beside the one that builds.
    pub workers: usize,
    /// Of the indexes.
    pub seconds: f64,
}

impl Estimate {
    /// Whether an index over these vectors can be, and what it takes.
    ///
    /// # Errors
    /// pgvector cannot store or index so many components, or is too old; the way out is the hint.
    pub fn new(
        source: &Source,
        vectors: Vectors,
        index: Index,
        resources: &Resources,
        memory: Option<u64>,
        workers: Option<usize>,
    ) -> Result<Self> {
        check(vectors, index, resources)?;
        let rows = source.rows_max();
        let row = source.layout.row_bytes(vectors);
        let rows_per_page = if source.layout.fits_page(vectors) {
            (PAGE_BYTES / row).max(1) as f64
        } else {
            PAGE_BYTES as f64 / row as f64
        };
        let n_columns = source.groups().count() as f64;
        let memory_wanted = (rows as f64 * index.node_bytes(vectors) as f64) as u64 + (64 << 20);
        let workers = workers.unwrap_or_else(|| {
            resources.cores.map_or(2, |cores| cores.saturating_sub(1)).min(resources.workers_max)
        });
        Ok(Self {
            rows,
            vectors,
            index,
            table_bytes: (rows as f64 / rows_per_page).ceil() as u64 * PAGE_BYTES as u64,
            index_bytes: (n_columns * index.bytes(rows, vectors)) as u64,
            memory_wanted,
            memory: memory.unwrap_or_else(|| given(memory_wanted, resources)),
            workers,
            seconds: n_columns * index.seconds(rows, vectors) / (workers + 1) as f64,
        })
    }
}

/// What a build is given: what it wants, as far as that is free.
fn given(wanted: u64, resources: &Resources) -> u64 {
    let free = resources.memory.map_or(resources.cache / 4, |free| (free as f64 * MEMORY_SHARE) as u64);
    wanted.min(free).max(resources.work_mem)
}

fn check(vectors: Vectors, index: Index, resources: &Resources) -> Result<()> {
    let refuse = |what: String, hint: String| Err(Error::new(what).hint(hint).exit(Exit::Usage));
    let Vectors { stored, dim } = vectors;
    if stored == VectorType::HalfVector && resources.pgvector < (0, 7) {
        let (major, minor) = resources.pgvector;
        return refuse(
            format!("pgvector {major}.{minor} has no halfvec, which {dim} components need: 0.7 has"),
            "ALTER EXTENSION vector UPDATE, after installing a newer one; or --dim 2000".to_owned(),
        );
    }
    if dim > DIM_MAX {
        return refuse(
            format!("{dim} components: pgvector stores at most {DIM_MAX}"),
            "--dim 4000 keeps the first components, and normalises again".to_owned(),
        );
    }
    if let Index::Hnsw { m, ef_construction } = index {
        if ef_construction < 2 * m {
            let what = format!(
                "--hnsw-ef-construction {ef_construction}: of {m} links (--hnsw-m), at least {}",
                2 * m
            );
            return refuse(what, "more candidates, or fewer links".to_owned());
        }
        if resources.pgvector < (0, 5) {
            let what = "pgvector has HNSW from 0.5 on, and this server's is older".to_owned();
            return refuse(what, "--index ivfflat, or a newer pgvector".to_owned());
        }
    }
    let max = stored.index_dim_max();
    if index == Index::None || dim <= max {
        return Ok(());
    }
    let half = VectorType::HalfVector.index_dim_max();
    let ways = if dim <= half {
        format!(
            "--column halfvec takes up to {half}; --dim {max} keeps the first components; --index none leaves it out"
        )
    } else {
        format!(
            "--dim {half} keeps the first components, and normalises again; --index none leaves it out, and each \
             search goes through all rows"
        )
    };
    refuse(format!("pgvector indexes at most {max} components of {}, these are {dim}", stored.name()), ways)
}

impl Index {
    /// Bytes of a row in memory while the index is built.
    fn node_bytes(self, vectors: Vectors) -> usize {
        match self {
            // Twice `m` links at the lowest level, `m` at each higher one, where there is one row of `m`.
            Self::Hnsw { m, .. } => {
                HNSW_NODE_BYTES + vectors.bytes() + (2 * m as usize + 4) * HNSW_LINK_BYTES
            }
            Self::IvfFlat { .. } | Self::None => 0,
        }
    }

    fn bytes(self, rows: u64, vectors: Vectors) -> f64 {
        let per_row = match self {
            // The vector and its links lie in one page together.
            Self::Hnsw { m, .. } => {
                let row = vectors.bytes() + 80 + (2 * m as usize + 2) * 6;
                PAGE_BYTES as f64 / (PAGE_BYTES / row).max(1) as f64
            }
            Self::IvfFlat { .. } => PAGE_BYTES as f64 / (PAGE_BYTES / (vectors.bytes() + 16)).max(1) as f64,
            Self::None => 0.0,
        };
        rows as f64 * per_row
    }

    /// Of one process.
    fn seconds(self, rows: u64, vectors: Vectors) -> f64 {
        let values = rows as f64 * vectors.dim as f64;
        match self {
            Self::Hnsw { ef_construction, .. } => {
                let comparisons = f64::from(ef_construction) + HNSW_OTHER;
                HNSW_SECONDS * values * comparisons * (rows.max(2) as f64).log2()
            }
            Self::IvfFlat { lists } => IVFFLAT_SECONDS * values * f64::from(lists),
            Self::None => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCES: Resources = Resources {
        memory: Some(8 << 30),
        cores: Some(4),
        work_mem: 64 << 20,
        cache: 4 << 30,
        workers_max: 8,
        pgvector: (0, 8),
    };

    #[test]
    fn what_pgvector_cannot_index_is_refused_with_the_way_out() {
        let hnsw = Index::Hnsw { m: 16, ef_construction: 64 };
        let checked = |stored, dim, index| check(Vectors { stored, dim }, index, &RESOURCES);
        assert!(checked(VectorType::Vector, 2000, hnsw).is_ok());
        assert!(checked(VectorType::HalfVector, 4000, hnsw).is_ok());
        assert!(checked(VectorType::Vector, 4096, Index::None).is_ok());
        let hint = |stored, dim| checked(stored, dim, hnsw).unwrap_err().hint.unwrap();
        assert!(hint(VectorType::Vector, 2048).contains("--column halfvec"));
        assert!(hint(VectorType::HalfVector, 4096).contains("--dim 4000"));
        assert!(checked(VectorType::Vector, 20_000, Index::None).is_err());
        let old = Resources { pgvector: (0, 6), ..RESOURCES };
        assert!(check(Vectors { stored: VectorType::HalfVector, dim: 8 }, hnsw, &old).is_err());
    }

    #[test]
    fn a_build_gets_what_it_wants_as_far_as_it_is_there() {
        assert_eq!(given(1 << 30, &RESOURCES), 1 << 30);
        assert!(given(100 << 30, &RESOURCES) < 5 << 30);
        assert_eq!(given(1, &RESOURCES), 64 << 20);
        let unseen = Resources { memory: None, ..RESOURCES };
        assert_eq!(given(100 << 30, &unseen), 1 << 30);
    }

    #[test]
    fn sizes_and_times_are_those_that_were_measured() {
        let vectors = Vectors { stored: VectorType::Vector, dim: 1152 };
        let hnsw = Index::Hnsw { m: 16, ef_construction: 64 };
        let seconds = hnsw.seconds(20_000, vectors) / 2.0;
        assert!((10.0..20.0).contains(&seconds), "14 s were measured, not {seconds}");
        assert!((hnsw.bytes(1000, vectors) - 8192.0 * 1000.0).abs() < 1.0);
    }
}
