//! Sealed files into PostgreSQL with pgvector, and searching there.
//!
//! ```text
//! file ──> entries ──> COPY BINARY, several connections ──> staging table ──> indexes ──> swap or upsert ──> check
//! groups,  by id,      rows as they go over the wire        in a schema of     HNSW,      one transaction    counts,
//! joined   filtered                                         its own            IVFFlat                       a sample
//! ```
//!
//! The service that reads the tables sees the old rows or the new ones, never some of them: all but the last step
//! happens in the schema [`STAGING`]. What is complete there is marked with the source it came from, so that a load
//! that was killed while indexes were being built goes on with them; a table that was being filled is filled anew.

mod build;
mod check;
mod connect;
mod entries;
mod estimate;
mod fill;
mod index;
mod load;
mod nearest;
mod preflight;
mod prepare;
mod publish;
mod row;
mod server;
mod table;

pub use check::{Checked, Expected, check};
pub use connect::{Server, Session};
pub use entries::{Selection, Source};
pub use estimate::Estimate;
pub use fill::{Action, Database, Existing, Filled, Plan, Request, Step};
pub use index::Index;
pub use nearest::{NearAsset, search, set_defaults};
pub use prepare::{look, open, prepare};
pub use server::Resources;
pub use table::{Layout, Target, VectorType, family_of, layout_of};

/// The schema in which tables are filled, which is gone afterwards.
pub const STAGING: &str = "hyperslab_loading";

/// How far a long step is: done and all, in whatever it counts.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// A name as SQL takes it, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever is in it.
fn literal(text: &str) -> String {
    // E'' is understood whatever standard_conforming_strings says.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_break_out() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal(r"it's \'"), r"E'it''s \\'''");
    }
}
