//! What commands print: standard output that may be a pipe someone closes, and numbers for people.

use std::io::{self, BufWriter, ErrorKind, Write};

pub use crate::error::note;
use crate::error::{Error, Exit, Result};

/// Why printing ended early.
pub enum Stop {
    Write(io::Error),
    Run(Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

/// Runs `body` with standard output, buffered. A reader that has seen enough (`| head`) ends the
/// command quietly.
///
/// # Errors
/// The body's, or a full disk behind standard output.
pub fn to_stdout(body: impl FnOnce(&mut dyn Write) -> std::result::Result<Exit, Stop>) -> Result<Exit> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let exit = body(&mut out);
    // What was printed before an error stands before its message.
    let flushed = out.flush();
    match exit.and_then(|exit| Ok(flushed.map(|()| exit)?)) {
        Ok(exit) => Ok(exit),
        Err(Stop::Run(error)) => Err(error),
        Err(Stop::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(Stop::Write(error)) => Err(Error::new(format!("cannot write to standard output: {error}"))),
    }
}

/// Shows, on a terminal, that something is being done that takes its time.
#[cfg(feature = "engine")]
pub fn spinning<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let spinner = indicatif::ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let done = work();
    spinner.finish_and_clear();
    done
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit that is not below 1.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{n} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// `n` and what it counts, in the plural where it has to be.
pub fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([count(1, "view"), count(2, "view")], ["1 view", "2 views"]);
    }
}
