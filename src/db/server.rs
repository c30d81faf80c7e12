//! What the server's machine has to build an index with.

use super::Session;
use super::prepare::INSTALL;
use crate::error::{Error, Result};

/// Memory and cores of the server's machine, and what its settings allow.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    /// What is free of its memory, where it lets one see that.
    pub memory: Option<u64>,
    pub cores: Option<usize>,
    /// `maintenance_work_mem`
    pub work_mem: u64,
    /// `effective_cache_size`
    pub cache: u64,
    /// `max_worker_processes`
    pub workers_max: usize,
    /// pgvector's version, e.g. (0, 8).
    pub pgvector: (u32, u32),
}

impl Resources {
    /// Asks the server.
    ///
    /// # Errors
    /// A failed query.
    pub fn of(session: &mut Session) -> Result<Self> {
        let what = "to read the server's settings";
        let setting = |session: &mut Session, name: &str| -> Result<u64> {
            let sql = format!("SELECT (pg_size_bytes(current_setting('{name}')))::int8");
            Ok(session.value::<i64>(what, &sql)?.unwrap_or_default() as u64)
        };
        let workers = "SELECT current_setting('max_worker_processes')::int8";
        let version = "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), \
                       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))";
        let Some(version) = session.value::<String>(what, version)? else {
            return Err(Error::new("the server has no extension vector (pgvector)").hint(INSTALL));
        };
        Ok(Self {
            memory: memory(session),
            cores: file(session, "/proc/cpuinfo")
                .map(|text| text.lines().filter(|line| line.starts_with("processor")).count())
                .filter(|n| *n > 0),
            work_mem: setting(session, "maintenance_work_mem")?,
            cache: setting(session, "effective_cache_size")?,
            workers_max: session.value::<i64>(what, workers)?.unwrap_or_default() as usize,
            pgvector: version_of(&version),
        })
    }
}

/// A file of the server's machine, which only some roles may read (`pg_read_server_files`).
fn file(session: &mut Session, path: &str) -> Option<String> {
    let sql = format!("SELECT pg_read_file('{path}')");
    session.value("to look at the server's machine", &sql).ok().flatten()
}

/// Free memory, or what is left to the server's container.
fn memory(session: &mut Session) -> Option<u64> {
    let free = available(&file(session, "/proc/meminfo")?)?;
    let limit = file(session, "/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
    let used =
        file(session, "/sys/fs/cgroup/memory.current").and_then(|text| text.trim().parse::<u64>().ok());
    let left = limit.map(|limit| limit.saturating_sub(used.unwrap_or(0)));
    Some(left.map_or(free, |left| left.min(free)))
}

/// Bytes of `MemAvailable` in /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `0.8.1` as (0, 8).
fn version_of(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_is_understood() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert_eq!([version_of("0.8.5"), version_of("1"), version_of("x")], [(0, 8), (1, 0), (0, 0)]);
    }
}
