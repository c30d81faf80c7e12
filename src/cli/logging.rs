//! What goes to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, Uptime};

use crate::error::{Context, Error, Exit, Result};

/// Starts logging to standard error: level and message, before them the seconds since the start and, if
/// given, this process's rank.
///
/// # Errors
/// `level` is neither a level nor a filter.
pub fn start(level: &str, rank: Option<usize>) -> Result<()> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        Error::new(format!("--log '{level}': {error}"))
            .hint("one of error, warn, info, debug")
            .exit(Exit::Usage)
    })?;
    // It tells the values of parameters that it does not know, which may be passwords.
    let filter = ["sqlx_core=off", "sqlx_postgres=off"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_timer(Clock { rank, uptime: Uptime::default() })
        .with_target(false)
        .try_init()
        .context(|| "cannot start logging")?;
    // Below this, ureq tells whole requests, the token in them.
    log::set_max_level(log::max_level().min(log::LevelFilter::Debug));
    Ok(())
}

struct Clock {
    rank: Option<usize>,
    uptime: Uptime,
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        self.rank.iter().try_for_each(|rank| write!(writer, "rank {rank} "))?;
        self.uptime.format_time(writer)
    }
}
