//! Tests of what the program does with files and processes.

mod captions;
#[cfg(feature = "engine")]
mod cluster;
#[cfg(feature = "engine")]
mod doctor;
#[cfg(feature = "engine")]
mod groups;
#[cfg(feature = "engine")]
mod hub;
mod import;
#[cfg(feature = "engine")]
mod job;
#[cfg(feature = "engine")]
mod look;
mod plan;
mod plan_command;
mod properties;
mod read;
#[cfg(feature = "engine")]
mod reference;
mod rules;
#[cfg(feature = "engine")]
mod sample;
mod setup;
#[cfg(feature = "engine")]
mod soak;
#[cfg(feature = "engine")]
mod util;
mod views;
