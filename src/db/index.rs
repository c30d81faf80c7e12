//! Indexes for the nearest vectors by cosine, and their parameters.

/// An index over vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// A graph: `m` links of each row, found among `ef_construction` candidates.
    Hnsw { m: u32, ef_construction: u32 },
    /// Rows in `lists` of those near to each other.
    IvfFlat { lists: u32 },
    /// None: each search goes through all rows.
    None,
}

impl Index {
    /// HNSW for so many rows. More links where there are more rows to get lost among, and more candidates than
    /// pgvector's own 64, which lose neighbours among vectors of a thousand components.
    pub fn hnsw(rows: u64) -> Self {
        if rows <= 1_000_000 {
            Self::Hnsw { m: 16, ef_construction: 128 }
        } else {
            Self::Hnsw { m: 24, ef_construction: 200 }
        }
    }

    /// IVFFlat for so many rows, as pgvector's README has it ('IVFFlat').
    pub fn ivfflat(rows: u64) -> Self {
        let lists = if rows <= 1_000_000 { rows / 1000 } else { (rows as f64).sqrt() as u64 };
        Self::IvfFlat { lists: (lists as u32).clamp(1, 32_768) }
    }

    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Hnsw { m, ef_construction } => format!("HNSW (m {m}, ef_construction {ef_construction})"),
            Self::IvfFlat { lists } => format!("IVFFlat ({lists} lists)"),
            Self::None => "no index".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_grow_with_the_rows() {
        assert_eq!(Index::hnsw(1000), Index::Hnsw { m: 16, ef_construction: 128 });
        assert_eq!(Index::hnsw(16_000_000), Index::Hnsw { m: 24, ef_construction: 200 });
        assert_eq!(Index::ivfflat(10), Index::IvfFlat { lists: 1 });
        assert_eq!(Index::ivfflat(500_000), Index::IvfFlat { lists: 500 });
        assert_eq!(Index::ivfflat(16_000_000), Index::IvfFlat { lists: 4000 });
    }
}
