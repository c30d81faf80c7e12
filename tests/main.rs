//! Tests of what the program does with files and processes.

#[cfg(feature = "engine")]
mod job;
mod plan;
mod plan_command;
mod read;
#[cfg(feature = "engine")]
mod reference;
mod rules;
#[cfg(feature = "engine")]
mod util;
