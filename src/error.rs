//! An item's failure, a run's failure, and the exit codes.
//!
//! An item that fails is data ([`ItemError`]): its row is marked and the job goes on. A run that
//! fails ([`Error`]) ends with a message for people and a typed exit code ([`Exit`]).

use std::fmt;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// Result of anything that can end the run.
pub type Result<T> = std::result::Result<T, Error>;

/// How the program ends, as the shell and a batch system see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for was done.
    Success = 0,
    /// Input, environment or file is wrong; the message says what to do.
    Failure = 1,
    /// The command line is wrong (clap's own code).
    Usage = 2,
    /// A look-up did not find everything that was asked for.
    NotFound = 3,
    /// A file does not hold what its digests and counts say.
    Damaged = 4,
    /// A defect of the program itself (`EX_SOFTWARE` of sysexits.h).
    Bug = 70,
    /// Ended early with everything committed: run the same command again
    /// (`EX_TEMPFAIL` of sysexits.h).
    Resume = 75,
}

impl Exit {
    /// The code for `process::exit`.
    #[must_use]
    pub fn code(self) -> i32 {
        i32::from(self as u8)
    }

    /// The exit for a code that another rank sent; an unknown one is a defect.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        [Self::Success, Self::Failure, Self::Usage, Self::NotFound, Self::Damaged, Self::Resume]
            .into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Bug)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a run ended: what failed and where, what to do next, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub exit: Exit,
    /// What failed, where, what was expected and found.
    pub message: String,
    /// What to do next, where there is something to do.
    pub hint: Option<String>,
    /// Whether all ranks have this error, so that they may end in order.
    pub agreed: bool,
}

impl Error {
    /// A failure of input, environment or file.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, message: message.into(), hint: None, agreed: false }
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, which every rank found by itself from what all of them know: they end in order.
    #[must_use]
    pub fn on_all_ranks(mut self) -> Self {
        self.agreed = true;
        self
    }

    /// The same error with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl std::error::Error for Error {}

/// Says what was being done when an operation failed, in one line at the call.
pub trait Context<T> {
    /// Turns a foreign error into an [`Error`] that reads `<what>: <the foreign error>`.
    ///
    /// # Errors
    /// The same failure, with `what` before it.
    fn context<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|error| Error::new(format!("{}: {error}", what())))
    }
}

/// One line on standard error, which may be closed; in one piece, which other ranks' words cannot come between.
pub fn note(line: impl fmt::Display) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What failed about one item (a caption, a view, an asset's set of views): the class of failure, which the
/// summary counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemErrorKind {
    EmptyCaption,
    /// The file could not be read.
    Unreadable,
    /// The file is not a picture of a known format, or ends too early.
    BrokenPicture,
    /// More pixels than a picture may have.
    TooLarge,
    /// More tokens than the model takes, of what cannot be cut.
    TooManyTokens,
    /// The model returned a value that is not finite.
    NotFinite,
    /// So many of an asset's views: its vector is made from the others.
    ViewsLeftOut(u32),
    /// All of an asset's views.
    NoViewLeft,
}

impl fmt::Display for ItemErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyCaption => "empty caption",
            Self::Unreadable => "unreadable file",
            Self::BrokenPicture => "broken picture",
            Self::TooLarge => "picture too large",
            Self::TooManyTokens => "too many tokens",
            Self::NotFinite => "vector not finite",
            Self::ViewsLeftOut(_) => "views left out",
            Self::NoViewLeft => "no view left",
        })
    }
}

/// What failed about one item: data, not the end of the run. Nearly always the item has no vector then,
/// see [`ItemError::has_vector`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    pub kind: ItemErrorKind,
    /// What exactly was found, e.g. the decoder's own words. No host, path prefix or time, because
    /// equal work must give equal files.
    pub detail: String,
}

impl ItemError {
    pub fn new(kind: ItemErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The error of an asset of `planned` views, some of which failed: each with its name and why, in order.
    /// The asset is embedded from the others, if there are any.
    pub fn of_views(planned: usize, failed: &[(&str, Self)]) -> Self {
        let n = failed.len();
        let kind = if n < planned {
            ItemErrorKind::ViewsLeftOut(u32::try_from(n).unwrap_or(u32::MAX))
        } else {
            ItemErrorKind::NoViewLeft
        };
        let first = failed.first().map(|(name, error)| format!(": {name}: {error}")).unwrap_or_default();
        Self::new(kind, format!("{n} of {planned}{first}"))
    }

    /// How many of the item's views its vector was made without.
    pub fn views_left_out(&self) -> u32 {
        if let ItemErrorKind::ViewsLeftOut(n) = self.kind { n } else { 0 }
    }

    /// Whether the item has a vector all the same, made from the views that did not fail.
    pub fn has_vector(&self) -> bool {
        matches!(self.kind, ItemErrorKind::ViewsLeftOut(_))
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{}: {}", self.kind, self.detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_keeps_its_vector_while_a_view_is_left() {
        let broken = ItemError::new(ItemErrorKind::BrokenPicture, "ends early");
        let failed = [("00003.png", broken.clone()), ("00005.png", broken)];
        let some = ItemError::of_views(8, &failed);
        assert_eq!(some.to_string(), "views left out: 2 of 8: 00003.png: broken picture: ends early");
        assert_eq!((some.has_vector(), some.views_left_out()), (true, 2));
        let all = ItemError::of_views(2, &failed);
        assert_eq!(all.to_string(), "no view left: 2 of 2: 00003.png: broken picture: ends early");
        assert_eq!((all.has_vector(), all.views_left_out()), (false, 0));
    }
}
