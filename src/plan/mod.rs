//! The plan: a pure function of the input and the settings, never of the number of ranks.
//!
//! Assets are sorted by id ([`Table`]), each item has one row ([`Kind`]), rows are cut into [`Blocks`], and
//! a block into batches ([`Batching`]). Which rank computes which blocks is a pure function too ([`share`]), so that no rank
//! ever asks another. No I/O, no MPI, no torch in here.

mod batching;
mod blocks;
pub mod bytes;
mod kind;
mod share;
mod table;
mod views;

pub use batching::Batching;
pub use blocks::{Blocks, chunk_rows, default_block_rows};
pub use kind::{Kind, RowGroup};
pub use share::{Runs, Shard, pending, share};
pub use table::{MAX_ID_BYTES, Table, TableBuilder, check_id};
pub use views::Views;
