//! The files of an output: stage, journal and seal while the job runs, and reading the sealed file.

#[cfg(feature = "engine")]
mod adopt;
#[cfg(feature = "engine")]
mod check;
mod copy;
mod digest;
mod disk;
mod draft;
mod embeddings;
#[cfg(feature = "engine")]
mod fingerprint;
#[cfg(feature = "engine")]
mod journal;
#[cfg(feature = "engine")]
mod lock;
mod lookup;
mod old;
mod open;
mod parallel;
mod paths;
mod reader;
pub mod schema;
mod seal;
#[cfg(feature = "engine")]
mod sealed_rows;
mod search;
#[cfg(feature = "engine")]
mod stage;
#[cfg(feature = "engine")]
mod stages;
mod stored_rows;
mod table;
mod vectors;
mod verify;
mod walk;
mod writer;

pub use copy::{Copied, CopySettings, Picks, Place, check_alike, copy, refuse_old};
pub use digest::Digest;
pub use disk::{DiskNeed, FileShape, GroupShape, Space};
pub use draft::Draft;
pub use parallel::{cores, in_order};
pub use paths::{OutputPaths, remove, rename_durably};
pub use reader::{Reader, Summary};
pub use schema::{Compression, StoredType};
pub use seal::Contents;
pub use search::{Hit, QueryVectors, search};
pub use table::{Asset, Assets, FailedItem, FailedItems};
pub use verify::{Report, verify};
pub use walk::{RowWalk, lost};
pub use writer::{NewFile, NewRow, Writer};
#[cfg(feature = "engine")]
pub use {
    adopt::{restore_metadata, save_metadata},
    check::check_digests,
    embeddings::{Embeddings, RowsShape},
    fingerprint::{Fingerprint, sealed_fingerprint},
    journal::{Committed, Entry, Failure, Header, Journal, Record, Replaces, read_journal},
    lock::{Holder, Lock, PlanUse, SharedLock},
    seal::SealedFile,
    sealed_rows::SealedRows,
    stage::{Stage, StageReader},
    stages::{StageFile, Stages},
    stored_rows::StoredRows,
    verify::verify_tables,
};
