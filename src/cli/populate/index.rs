//! Options of the indexes.

use clap::{Args, ValueEnum};

use crate::db::Index;
use crate::error::{Error, Exit, Result};

/// How the nearest vectors are found.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Index")]
pub struct IndexArgs {
    /// hnsw, ivfflat (built faster, finds less), or none (exact, each search goes through all rows)
    #[arg(long, value_name = "KIND", default_value = "hnsw")]
    pub index: IndexKind,
    /// HNSW: links of a row [default: 16, above a million rows 24]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    pub hnsw_m: Option<u32>,
    /// HNSW: candidates for the links while it is built, at least twice as many [default: 128, above a million rows 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub hnsw_ef_construction: Option<u32>,
    /// IVFFlat: lists [default: a thousandth of the rows, above a million rows their root]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32768))]
    pub ivfflat_lists: Option<u32>,
    /// Memory of the server to build an index in, in GiB [default: what it takes, as far as the server's machine has it]
    #[arg(long, value_name = "GIB")]
    pub index_memory: Option<f64>,
    /// Processes of the server that help to build an index [default: its cores but one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub index_workers: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IndexKind {
    Hnsw,
    Ivfflat,
    None,
}

impl IndexArgs {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// It names the option.
    pub fn check(&self) -> Result<()> {
        match self.index_memory {
            Some(gib) if !(gib > 0.0 && gib < 1e6) => {
                Err(Error::new(format!("--index-memory {gib}: expected GiB above 0")).exit(Exit::Usage))
            }
            _ => Ok(()),
        }
    }

    /// Whether more than the kind was typed.
    pub fn has_parameters(&self) -> bool {
        self.hnsw_m.is_some() || self.hnsw_ef_construction.is_some() || self.ivfflat_lists.is_some()
    }

    /// Bytes to build an index in, where they were typed.
    pub fn memory(&self) -> Option<u64> {
        self.index_memory.map(|gib| (gib * f64::from(1 << 30)) as u64)
    }

    /// The index for so many rows.
    pub fn of(&self, rows: u64) -> Index {
        match self.index {
            IndexKind::None => Index::None,
            IndexKind::Ivfflat => {
                self.ivfflat_lists.map_or_else(|| Index::ivfflat(rows), |lists| Index::IvfFlat { lists })
            }
            IndexKind::Hnsw => {
                let Index::Hnsw { m, ef_construction } = Index::hnsw(rows) else { return Index::None };
                let m = self.hnsw_m.unwrap_or(m);
                let ef_construction = self.hnsw_ef_construction.unwrap_or(ef_construction.max(2 * m));
                Index::Hnsw { m, ef_construction }
            }
        }
    }
}
