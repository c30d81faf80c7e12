//! The input: captions and views as the user has them, counted, sorted, and spooled for the ranks.
//!
//! [`captions`] and [`views`] read what is there into a [`Catalog`]; an [`Input`] is what one group of an
//! output file is made from: the catalog in order of id, under the names that a [`Naming`] gives it, and its
//! table. The rows of all groups of a file go to its [`Spool`].

mod archive;
pub mod arrays;
pub mod captions;
mod catalog;
mod id_map;
mod id_set;
mod json_id;
mod odd;
mod rows;
mod spool;
mod text_file;
pub mod views;

pub use catalog::{Asset, Catalog, Keep, Sorted};
pub use id_map::{IdMap, Ids, Naming};
pub use id_set::read_ids;
pub use odd::Odd;
pub use rows::{Input, write_spool};
pub use spool::{FileStamp, Row, Source, Spool, SpoolHeader, SpoolWriter};
pub use views::{Place, ReadError, View, ViewReader};
