//! Models by name: the Hugging Face cache, and how it is filled.
//!
//! [`find`] turns what was typed for a model into a folder, and never touches the network; [`Fetch`] is the
//! one thing that does. Cache and protocol are those of Python's huggingface_hub, so that each finds what the
//! other has fetched.

mod answer;
mod cache;
mod client;
mod download;
mod durable;
mod fetch;
mod folder;
mod lock;
mod name;

pub use answer::Failure;
pub use cache::Cache;
pub use client::Hub;
pub use fetch::{Fetch, is_offline};
pub use folder::{ModelFolder, find, find_cached, find_complete};
pub use name::ModelName;

/// A variable of the environment; an empty one is as good as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
