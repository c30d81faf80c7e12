//! What went wrong between here and the hub, in words, and whether trying again may help.

use std::time::Duration;

use ureq::Body;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{Response, StatusCode};

use super::name::ModelName;
use crate::error::Error;

/// The longest that a server is obeyed when it says how long to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What came of a request, once.
pub type Attempt<T> = Result<T, Failure>;

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It would fail again.
    Final(Error),
    /// It may pass, by waiting `after` if the server says so.
    Passing { error: Error, after: Option<Duration> },
    /// Nobody is there; to try again would take longer than people wait.
    Unreachable(Error),
}

impl Failure {
    pub fn passing(message: String) -> Self {
        Self::Passing { error: Error::new(message), after: None }
    }

    /// What failed.
    pub fn error(self) -> Error {
        let (Self::Final(error) | Self::Passing { error, .. } | Self::Unreachable(error)) = self;
        error
    }

    /// The same failure with another error.
    #[must_use]
    pub fn map(self, other: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Self::Final(error) => Self::Final(other(error)),
            Self::Passing { error, after } => Self::Passing { error: other(error), after },
            Self::Unreachable(error) => Self::Unreachable(other(error)),
        }
    }
}

/// What is wrong here, and not with the hub.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// A request without an answer.
pub fn lost(file: &str, error: &ureq::Error) -> Failure {
    let failed = format!("{file}: {}", why(error));
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::TooManyRedirects => {
            Failure::Final(Error::new(failed))
        }
        _ => Failure::passing(failed),
    }
}

/// An error of the network, as people say it.
pub fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            "no connection in time".to_owned()
        }
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "there is no host of that name (DNS)".to_owned(),
        ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// The name of a blob from an `ETag`: without quotes and the mark of a weak one.
pub fn blob_name(etag: &str) -> Option<String> {
    let name = etag.trim().trim_start_matches("W/").trim_matches('"');
    let is_name =
        !name.is_empty() && name.len() < 200 && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    is_name.then(|| name.to_owned())
}

/// What was asked, and as whom.
pub struct Asked<'a> {
    pub endpoint: &'a str,
    pub name: &'a ModelName,
    /// None: the revision itself.
    pub file: Option<&'a str>,
    pub with_token: bool,
}

impl Asked<'_> {
    /// The failure for an answer that is none.
    pub fn refusal(&self, response: &Response<Body>) -> Failure {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let status = response.status();
        let what = match self.file {
            Some(file) => format!("{} of {}", file, self.name),
            None => self.name.to_string(),
        };
        if status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        {
            let after = header(RETRY_AFTER.as_str()).and_then(|seconds| seconds.trim().parse().ok());
            let error = Error::new(format!("{what}: the hub at {} answers {status}", self.endpoint));
            return Failure::Passing {
                error,
                after: after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
            };
        }
        Failure::Final(match (status, header("x-error-code")) {
            (StatusCode::FORBIDDEN, _) | (_, Some("GatedRepo")) => self.gated(status),
            (StatusCode::UNAUTHORIZED, _) => self.unauthorized(),
            (StatusCode::NOT_FOUND, code) => self.not_found(code),
            _ => Error::new(format!("{what}: the hub at {} answers {status}", self.endpoint)),
        })
    }

    fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.name.repo)
    }

    fn gated(&self, status: StatusCode) -> Error {
        let whose = if self.with_token { "the account of your token" } else { "your account" };
        let token = if self.with_token { "" } else { ", then set HF_TOKEN to a token of it" };
        Error::new(format!("{} is not open to everyone ({status})", self.name))
            .hint(format!("accept its licence at {} with {whose}{token}", self.page()))
    }

    /// So the hub answers for what does not exist, too.
    fn unauthorized(&self) -> Error {
        let error =
            Error::new(format!("{}: the hub at {} has no such model for you", self.name, self.endpoint));
        let page = self.page();
        error.hint(if self.with_token {
            format!("is the name right ({page}), and your token (HF_TOKEN, or the token file) still valid?")
        } else {
            format!(
                "is the name right? If it is private or gated: accept its licence at {page} and set HF_TOKEN"
            )
        })
    }

    fn not_found(&self, code: Option<&str>) -> Error {
        let ModelName { repo, revision } = self.name;
        match (self.file, code) {
            (None, Some("RevisionNotFound")) => Error::new(format!("{repo} has no revision '{revision}'"))
                .hint(format!("its branches and tags are at {}/tree/main", self.page())),
            (None, _) => Error::new(format!(
                "the hub at {} has no model {repo} with a revision '{revision}'",
                self.endpoint
            ))
            .hint("names are org/name, as on https://huggingface.co/models"),
            (Some(file), _) => Error::new(format!("{} has no file {file}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_becomes_a_name_and_no_path() {
        assert_eq!(blob_name("W/\"abc\"").as_deref(), Some("abc"));
        assert_eq!(blob_name("\"abc\"").as_deref(), Some("abc"));
        for etag in ["", "\"\"", "\"../../x\"", "..", "a/b"] {
            assert_eq!(blob_name(etag), None, "{etag}");
        }
    }
}
