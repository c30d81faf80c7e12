//! Tests of what the program does with files and processes.

#[cfg(feature = "engine")]
mod against;
mod captions;
#[cfg(feature = "engine")]
mod cluster;
#[cfg(feature = "engine")]
mod database;
#[cfg(feature = "engine")]
mod doctor;
#[cfg(feature = "engine")]
mod encode;
mod find_views;
#[cfg(feature = "engine")]
mod groups;
#[cfg(feature = "engine")]
mod hub;
mod import;
#[cfg(feature = "engine")]
mod job;
#[cfg(feature = "engine")]
mod look;
mod memory;
mod plan;
mod plan_command;
mod properties;
#[cfg(feature = "engine")]
mod python;
mod read;
#[cfg(feature = "engine")]
mod reference;
mod rules;
#[cfg(feature = "engine")]
mod sample;
mod search;
#[cfg(feature = "engine")]
mod search_page;
mod setup;
#[cfg(feature = "engine")]
mod soak;
#[cfg(feature = "engine")]
mod util;
mod views;
