//! The files of an output: stage, journal and seal while the job runs, and reading the sealed file.

#[cfg(feature = "engine")]
mod adopt;
mod digest;
mod disk;
#[cfg(feature = "engine")]
mod embeddings;
#[cfg(feature = "engine")]
mod fingerprint;
#[cfg(feature = "engine")]
mod journal;
#[cfg(feature = "engine")]
mod lock;
mod open;
mod paths;
mod reader;
pub mod schema;
#[cfg(feature = "engine")]
mod seal;
#[cfg(feature = "engine")]
mod sealed_rows;
#[cfg(feature = "engine")]
mod stage;
#[cfg(feature = "engine")]
mod stages;
#[cfg(feature = "engine")]
mod stored_rows;
mod table;
mod verify;

pub use digest::Digest;
pub use disk::{DiskNeed, FileShape, GroupShape, Space};
pub use paths::{OutputPaths, remove, rename_durably};
pub use reader::{Reader, Summary};
pub use schema::{Compression, StoredType};
pub use table::{Asset, Assets, FailedItem, FailedItems};
pub use verify::{Report, verify};
#[cfg(feature = "engine")]
pub use {
    adopt::{restore_metadata, save_metadata},
    embeddings::{Embeddings, RowsShape},
    fingerprint::{Fingerprint, sealed_fingerprint},
    journal::{Committed, Entry, Failure, Header, Journal, Record, Replaces, read_journal},
    lock::{Holder, Lock, PlanUse, SharedLock},
    seal::{Contents, SealedFile, check_digests},
    sealed_rows::SealedRows,
    stage::{Stage, StageReader},
    stages::{StageFile, Stages},
    stored_rows::StoredRows,
    verify::verify_tables,
};
