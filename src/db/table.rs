//! The tables, as the service that reads them knows them, and what is remembered of how they were filled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Session, literal, quoted};
use crate::PROGRAM;
use crate::error::{Error, Result};

/// What an asset id has to fit into, in characters.
pub const ID_CHARS: usize = 255;
/// Bytes of a page, and of what PostgreSQL needs of it for itself and for one row (storage/bufpage.h, htup_details.h).
pub const PAGE_BYTES: usize = 8192;
const PAGE_OVERHEAD: usize = 24 + 4;
const ROW_OVERHEAD: usize = 24 + 8;

/// A table: one kind of file, under the name the service knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Kinds of files that it is filled from, as they say it themselves.
    kinds: &'static [&'static str],
    pub name: &'static str,
    /// Columns of vectors, each with the group of the file that it is filled from.
    pub vectors: &'static [(&'static str, &'static str)],
    /// A row per view, with its number, and not one per asset.
    pub has_views: bool,
    pub has_num_images: bool,
}

/// All tables, by database.
const LAYOUTS: [(&str, [Layout; 2]); 2] = [
    (
        "siglip",
        [
            Layout {
                // The second name is what the Python helper gives a file of the same form.
                kinds: &["siglip_text", "text"],
                name: "text_embeddings",
                vectors: &[("english_embedding", "")],
                has_views: false,
                has_num_images: false,
            },
            Layout {
                kinds: &["siglip_image", "image"],
                name: "image_embeddings",
                vectors: &[("embedding", "")],
                has_views: true,
                has_num_images: false,
            },
        ],
    ),
    (
        "qwen",
        [
            Layout {
                kinds: &["qwen_text", "multimodal_text"],
                name: "text_embeddings",
                vectors: &[("english_embedding", "english"), ("chinese_embedding", "chinese")],
                has_views: false,
                has_num_images: false,
            },
            Layout {
                kinds: &["qwen_image"],
                name: "image_embeddings",
                vectors: &[("embedding", "")],
                has_views: false,
                has_num_images: true,
            },
        ],
    ),
];

/// The table that files of a kind go to, in the database of a family of models (`siglip`, `qwen`).
pub fn layout_of(family: &str, kind: &str) -> Option<&'static Layout> {
    let (_, layouts) = LAYOUTS.iter().find(|(name, _)| *name == family)?;
    layouts.iter().find(|layout| layout.kinds.contains(&kind))
}

/// The family of models that makes files of a kind, with the table that they go to.
pub fn family_of(kind: &str) -> Option<(&'static str, &'static Layout)> {
    LAYOUTS.iter().find_map(|(family, _)| Some((*family, layout_of(family, kind)?)))
}

impl Layout {
    /// The columns that tell rows apart.
    pub fn key(&self) -> &'static str {
        if self.has_views { "asset_id, viewpoint_idx" } else { "asset_id" }
    }

    /// What names of indexes begin with.
    fn prefix(&self) -> &'static str {
        self.name.trim_end_matches("_embeddings")
    }

    /// Name of the index of a column.
    pub fn index_name(&self, column: &str) -> String {
        // `image_embedding_idx`, but `text_english_embedding_idx`.
        format!("{}_{column}_idx", self.prefix())
    }

    /// Names in its schema that come with the table.
    pub fn own_names(&self) -> Vec<String> {
        let mut names = vec![format!("{}_pkey", self.name), self.index_name("is_high_quality")];
        names.extend(self.vectors.iter().map(|(column, _)| self.index_name(column)));
        if self.has_views {
            names.extend(["asset_id_viewpoint_idx_key", "id_seq"].map(|end| format!("{}_{end}", self.name)));
        }
        names
    }

    /// Columns that are filled, in the order of their values on the wire.
    pub fn filled(&self) -> Vec<&'static str> {
        let mut columns = Vec::new();
        if self.has_views {
            columns.push("id");
        }
        columns.push("asset_id");
        if self.has_views {
            columns.push("viewpoint_idx");
        }
        columns.extend(self.vectors.iter().map(|(column, _)| *column));
        if self.has_num_images {
            columns.push("num_images");
        }
        columns.push("is_high_quality");
        columns
    }

    /// Makes the table in a schema, without keys and indexes. A row that fits a page stays in it (storage PLAIN):
    /// compressing vectors gains nothing, and taking them apart costs half of the speed.
    pub fn create_sql(&self, schema: &str, vectors: Vectors, is_logged: bool) -> String {
        let id = if self.has_views { "id serial NOT NULL, " } else { "" };
        let view = if self.has_views { ", viewpoint_idx integer" } else { "" };
        let columns = self.for_each_vector(|column| format!(", {column} {vectors}"));
        let n = if self.has_num_images { ", num_images integer" } else { "" };
        let unlogged = if is_logged { "" } else { "UNLOGGED " };
        let table = format!("{}.{}", quoted(schema), self.name);
        let storage = if self.fits_page(vectors) { "PLAIN" } else { "EXTERNAL" };
        let set = self.for_each_vector(|column| {
            format!("; ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {storage}")
        });
        format!(
            "CREATE {unlogged}TABLE {table} ({id}asset_id varchar({ID_CHARS}){view}{columns}{n}, \
             is_high_quality boolean DEFAULT false, created_at timestamp DEFAULT CURRENT_TIMESTAMP){set}"
        )
    }

    fn for_each_vector(&self, sql: impl Fn(&str) -> String) -> String {
        self.vectors.iter().map(|(column, _)| sql(column)).collect::<Vec<_>>().concat()
    }

    /// The keys, under the names that PostgreSQL gives them where they are declared with the table, and the index of
    /// the flags. They come before the rows: afterwards each would have to read all of them again.
    pub fn keys_sql(&self, schema: &str) -> String {
        let table = format!("{}.{}", quoted(schema), self.name);
        let flags = self.index_name("is_high_quality");
        let flags = format!("CREATE INDEX {flags} ON {table} (is_high_quality)");
        if !self.has_views {
            return format!("ALTER TABLE {table} ADD PRIMARY KEY (asset_id); {flags}");
        }
        let key = self.key();
        format!("ALTER TABLE {table} ADD PRIMARY KEY (id); ALTER TABLE {table} ADD UNIQUE ({key}); {flags}")
    }

    /// Lets the numbers of new rows go on behind those that are there.
    pub fn sequence_sql(&self, schema: &str) -> String {
        let table = format!("{}.{}", quoted(schema), self.name);
        if !self.has_views {
            return "SELECT 1".to_owned();
        }
        let last = format!("greatest((SELECT max(id) FROM {table}), 1)");
        format!("SELECT setval(pg_get_serial_sequence({}, 'id'), {last})", literal(&table))
    }

    /// Bytes of a row without what is stored elsewhere.
    pub fn row_bytes(&self, vectors: Vectors) -> usize {
        // Ids are of 36 bytes or less, mostly.
        ROW_OVERHEAD + 48 + self.vectors.len() * vectors.bytes()
    }

    /// Whether the longest row there can be fits a page.
    pub fn fits_page(&self, vectors: Vectors) -> bool {
        let id = 4 * ID_CHARS + 4;
        ROW_OVERHEAD + 16 + id + self.vectors.len() * vectors.bytes() <= PAGE_BYTES - PAGE_OVERHEAD
    }
}

/// A table of a database.
#[derive(Clone, Debug)]
pub struct Target {
    pub layout: &'static Layout,
    pub schema: String,
}

impl Target {
    /// The table where the session makes tables.
    ///
    /// # Errors
    /// A failed query.
    pub fn new(session: &mut Session, layout: &'static Layout) -> Result<Self> {
        let schema: Option<String> =
            session.value("to find the schema", "SELECT (current_schemas(false))[1]::text")?;
        Ok(Self { layout, schema: schema.unwrap_or_else(|| "public".to_owned()) })
    }

    /// The same table in another schema.
    #[must_use]
    pub fn in_schema(&self, schema: &str) -> Self {
        Self { layout: self.layout, schema: schema.to_owned() }
    }

    /// Name with schema, as SQL takes it.
    pub fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), self.layout.name)
    }

    /// Name of something else in its schema.
    pub fn name_of(&self, other: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(other))
    }

    /// The types of its columns of vectors; none where there is no such table.
    ///
    /// # Errors
    /// A failed query, or a table that is not the service's.
    pub fn vectors(&self, session: &mut Session) -> Result<Option<Vectors>> {
        let what = format!("to look at the table {}", self.layout.name);
        let names: Vec<String> = self.layout.vectors.iter().map(|(column, _)| literal(column)).collect();
        let sql = format!(
            "SELECT string_agg(DISTINCT format_type(atttypid, atttypmod), ' and ') || '|' || count(*) \
             FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname IN ({}) AND NOT attisdropped",
            literal(&self.sql()),
            names.join(", ")
        );
        let exists = format!("SELECT to_regclass({}) IS NOT NULL", literal(&self.sql()));
        if session.value::<bool>(&what, &exists)? != Some(true) {
            return Ok(None);
        }
        let found: String = session.value(&what, &sql)?.unwrap_or_default();
        let (types, n) = found.rsplit_once('|').unwrap_or_default();
        let expected = self.layout.vectors.len().to_string();
        match types.parse() {
            Ok(vectors) if n == expected => Ok(Some(vectors)),
            _ => {
                let columns: Vec<&str> = self.layout.vectors.iter().map(|(column, _)| *column).collect();
                Err(Error::new(format!(
                    "the table {} is not the one that the service reads: expected {} of one type, vector(N) or \
                     halfvec(N), found {}",
                    self.layout.name,
                    columns.join(" and "),
                    if types.is_empty() { "no such column" } else { types }
                ))
                .hint("--replace makes it anew; or name another --database"))
            }
        }
    }

    /// What it was filled from.
    ///
    /// # Errors
    /// A failed query.
    pub fn mark(&self, session: &mut Session) -> Result<Option<Mark>> {
        let sql = format!("SELECT obj_description(to_regclass({}), 'pg_class')", literal(&self.sql()));
        let comment: Option<String> = session.value("to read the table's comment", &sql)?;
        Ok(comment.and_then(|comment| Mark::of_comment(&comment)))
    }

    /// SQL that remembers what it was filled from.
    pub fn mark_sql(&self, mark: Option<&Mark>) -> String {
        let comment = mark.map_or_else(|| "NULL".to_owned(), |mark| literal(&mark.comment()));
        format!("COMMENT ON TABLE {} IS {comment}", self.sql())
    }
}

/// How vectors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorType {
    /// float32
    Vector,
    /// float16
    HalfVector,
}

impl VectorType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::HalfVector => "halfvec",
        }
    }

    /// Components that an HNSW or IVFFlat index takes (pgvector's README, 'HNSW').
    pub fn index_dim_max(self) -> usize {
        match self {
            Self::Vector => 2000,
            Self::HalfVector => 4000,
        }
    }

    pub fn value_bytes(self) -> usize {
        match self {
            Self::Vector => 4,
            Self::HalfVector => 2,
        }
    }
}

/// The most components that pgvector stores, in either type.
pub const DIM_MAX: usize = 16_000;

/// A column's type: `vector(1152)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectors {
    pub stored: VectorType,
    pub dim: usize,
}

impl Vectors {
    /// A vector in a row.
    pub fn bytes(self) -> usize {
        8 + self.dim * self.stored.value_bytes()
    }
}

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.stored.name(), self.dim)
    }
}

impl FromStr for Vectors {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        // With its schema, where that is not searched.
        let (name, dim) = text.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or(())?;
        let stored = match name.rsplit('.').next() {
            Some("vector") => VectorType::Vector,
            Some("halfvec") => VectorType::HalfVector,
            _ => return Err(()),
        };
        Ok(Self { stored, dim: dim.parse().map_err(|_| ())? })
    }
}

/// What a table was filled from, and with how much: its comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Digest of the source's rows and of what was asked of them.
    pub source: String,
    pub rows: u64,
    /// How many there are in each column of vectors.
    pub vectors: Vec<u64>,
}

impl Mark {
    fn comment(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("filled by {PROGRAM}: {json}")
    }

    fn of_comment(comment: &str) -> Option<Self> {
        let (_, json) = comment.strip_prefix("filled by hyperslab ")?.split_once(": ")?;
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_marks_come_back_as_they_went() {
        for text in ["vector(1152)", "halfvec(4000)"] {
            assert_eq!(text.parse::<Vectors>().unwrap().to_string(), text);
        }
        for none in ["vector", "sparsevec(3)", "vector and halfvec(3)", ""] {
            assert!(none.parse::<Vectors>().is_err(), "{none}");
        }
        let mark = Mark { source: "ab".into(), rows: 3, vectors: vec![3, 2] };
        assert_eq!(Mark::of_comment(&mark.comment()), Some(mark));
        assert_eq!(Mark::of_comment("the service's own"), None);
    }

    #[test]
    fn rows_stay_in_their_page_where_they_fit() {
        let fits =
            |family, kind, stored, dim| layout_of(family, kind).unwrap().fits_page(Vectors { stored, dim });
        assert!(fits("siglip", "siglip_text", VectorType::Vector, 1152));
        assert!(fits("siglip", "siglip_image", VectorType::Vector, 1536));
        assert!(fits("qwen", "qwen_image", VectorType::HalfVector, 2048));
        assert!(!fits("qwen", "qwen_text", VectorType::HalfVector, 2048));
        assert!(!fits("siglip", "siglip_text", VectorType::Vector, 2000));
    }
}
