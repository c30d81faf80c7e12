//! The hub over HTTP: what a revision holds, what a file is, and its bytes.
//!
//! ureq, because its blocking calls with a limit for each phase are all that is needed here; hf-hub would
//! bring tokio, reqwest and Xet, and neither resumes a killed download nor bounds a stalled one.

use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, LOCATION, RANGE};
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::answer::{self, Attempt, Failure};
use super::cache::{expand, hf_home};
use super::name::{ModelName, is_commit};
use super::variable;
use crate::error::{Context, Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
/// How long the first answer may take in all, names resolved and redirects followed: a hub that cannot be
/// reached must be told from a slow one before anybody loses patience.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(7);
const CONNECT_MAX: Duration = Duration::from_secs(8);
/// How long the hub may say nothing, where `HF_HUB_DOWNLOAD_TIMEOUT` does not say; huggingface_hub's own.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 6;
/// Waiting before each further try of a question.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// All but what RFC 3986 leaves unreserved.
const QUOTED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

type Answer = std::result::Result<Response<Body>, ureq::Error>;

/// What a revision holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Revision {
    /// The commit it stands for.
    #[serde(rename = "sha")]
    pub commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Clone, Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Revision {
    pub fn has(&self, file: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == file)
    }
}

/// What the hub says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Name of its blob: SHA-256 of a large file, git's SHA-1 of a small one.
    pub etag: String,
    /// In bytes.
    pub size: u64,
}

/// A hub, and how it is reached. Knows the token, so it has no `Debug`.
pub struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    silence_max: Duration,
}

impl Hub {
    /// The hub of this user: `$HF_ENDPOINT` or huggingface.co, with the token of `$HF_TOKEN`,
    /// `$HF_TOKEN_PATH` or `$HF_HOME/token`, through the proxy of `$HTTPS_PROXY`, trusting the
    /// certificates of `$SSL_CERT_FILE` or of the system.
    ///
    /// # Errors
    /// An endpoint that is no URL, or a token that no header can hold.
    pub fn of_user() -> Result<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let uri: Uri = endpoint.parse().context(|| format!("HF_ENDPOINT '{endpoint}'"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Error::new(format!("HF_ENDPOINT '{endpoint}' is no URL"))
                .hint(format!("it looks like {ENDPOINT}")));
        }
        let silence_max = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.parse().ok());
        Ok(Self {
            agent: agent(),
            endpoint,
            token: token()?,
            silence_max: silence_max.map_or(SILENCE_MAX, Duration::from_secs),
        })
    }

    /// Its address, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What the revision of a name holds. The first question: ends within ten seconds if the hub cannot be
    /// reached.
    ///
    /// # Errors
    /// The hub cannot be reached, or has no such model or revision, or not for this user.
    pub fn revision(&self, name: &ModelName) -> Attempt<Revision> {
        let revision = utf8_percent_encode(&name.revision, &QUOTED);
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, name.repo);
        let answered = ask(|| {
            let response = self.follow(&Method::GET, &url, 0, Some(FIRST_ANSWER_MAX));
            let mut response = response.map_err(|error| self.unreachable(name, &error))?;
            self.check(name, None, &response)?;
            response.body_mut().read_to_vec().map_err(|error| self.unreachable(name, &error))
        });
        let found: Revision = serde_json::from_slice(&answered?).context(|| format!("what {url} says"))?;
        if is_commit(&found.commit) {
            return Ok(found);
        }
        Err(Error::new(format!("{url} names no commit, but '{}'", found.commit)).into())
    }

    /// What a file of a commit is.
    ///
    /// # Errors
    /// The hub cannot be reached, refuses, or does not say.
    pub fn file_info(&self, name: &ModelName, commit: &str, file: &str) -> Attempt<FileInfo> {
        let url = self.file_url(name, commit, file);
        let answered = ask(|| {
            let response = self.head(&url).map_err(|error| answer::lost(file, &error))?;
            if !response.status().is_redirection() {
                self.check(name, Some(file), &response)?;
            }
            Ok(response)
        });
        let answered = answered.map_err(|failure| failure.map(|error| self.network_hint(name, error)))?;
        let header = |name: &str| answered.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("x-linked-etag").or_else(|| header(ETAG.as_str())).and_then(answer::blob_name);
        let size = header("x-linked-size").or_else(|| header(CONTENT_LENGTH.as_str()));
        match (etag, size.and_then(|size| size.parse().ok())) {
            (Some(etag), Some(size)) => Ok(FileInfo { etag, size }),
            _ => Err(Error::new(format!("{url}: the hub says neither digest nor size of it"))
                .hint("is HF_ENDPOINT a mirror of the Hugging Face hub?")
                .into()),
        }
    }

    /// The bytes of a file from `from` on, as far as the hub keeps to that: the answer's status tells.
    ///
    /// # Errors
    /// The hub cannot be reached, or refuses.
    pub fn bytes(&self, name: &ModelName, commit: &str, file: &str, from: u64) -> Attempt<Response<Body>> {
        let url = self.file_url(name, commit, file);
        let response = self.follow(&Method::GET, &url, from, None);
        let response = response.map_err(|error| answer::lost(file, &error))?;
        self.check(name, Some(file), &response)?;
        Ok(response)
    }

    /// An error of the network, with what can be done about it.
    pub fn network_hint(&self, name: &ModelName, error: Error) -> Error {
        if error.hint.is_some() { error } else { error.hint(self.hint(name)) }
    }

    fn file_url(&self, name: &ModelName, commit: &str, file: &str) -> String {
        let file = utf8_percent_encode(file, &QUOTED);
        format!("{}/{}/resolve/{commit}/{file}", self.endpoint, name.repo)
    }

    /// The answer that describes a file: the hub's own, not that of the CDN it redirects to.
    fn head(&self, url: &str) -> Answer {
        let mut url = url.to_owned();
        let deadline = Instant::now() + self.silence_max;
        for _ in 0..REDIRECTS_MAX {
            let response = self.send(&Method::HEAD, &url, 0, Some(deadline))?;
            match redirect(&url, &response) {
                Some(next) if self.is_own(&next) && !response.headers().contains_key("x-linked-etag") => {
                    url = next;
                }
                _ => return Ok(response),
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// The answer to a request, wherever the hub redirects it.
    fn follow(&self, method: &Method, url: &str, from: u64, within: Option<Duration>) -> Answer {
        let mut url = url.to_owned();
        let deadline = within.map(|within| Instant::now() + within);
        for _ in 0..REDIRECTS_MAX {
            let response = self.send(method, &url, from, deadline)?;
            match redirect(&url, &response) {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// One request. The token goes to the hub alone.
    fn send(&self, method: &Method, url: &str, from: u64, deadline: Option<Instant>) -> Answer {
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(()).map_err(ureq::Error::Http)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(left)
            .timeout_recv_response(Some(self.silence_max))
            .timeout_per_read(Some(self.silence_max))
            .build();
        self.agent.run(request)
    }

    /// Whether a URL is the hub's: same scheme, host and port.
    fn is_own(&self, url: &str) -> bool {
        let own = origin(&self.endpoint);
        own.is_some() && origin(url) == own
    }

    fn check(&self, name: &ModelName, file: Option<&str>, response: &Response<Body>) -> Attempt<()> {
        if response.status().is_success() {
            return Ok(());
        }
        let asked = answer::Asked { endpoint: &self.endpoint, name, file, with_token: self.token.is_some() };
        Err(asked.refusal(response))
    }

    fn unreachable(&self, name: &ModelName, error: &ureq::Error) -> Failure {
        let why = answer::why(error);
        let message = format!("cannot reach the hub at {}: {why}", self.endpoint);
        Failure::Unreachable(Error::new(message).hint(self.hint(name)))
    }

    fn hint(&self, name: &ModelName) -> String {
        format!(
            "where compute nodes have no internet, run `hyperslab fetch {name}` on a login node, or copy its \
             folder {} into the cache from a machine that has it. HTTPS_PROXY names a proxy, SSL_CERT_FILE its \
             certificates, HF_ENDPOINT a mirror (now {})",
            name.folder(),
            self.endpoint
        )
    }
}

/// Asks until there is an answer, a few times.
fn ask<T>(question: impl Fn() -> Attempt<T>) -> Attempt<T> {
    let mut pauses = PAUSES.iter();
    loop {
        match (question(), pauses.next()) {
            (Ok(answer), _) => return Ok(answer),
            (Err(Failure::Passing { error, after }), Some(&pause)) => {
                let pause = after.unwrap_or(pause);
                tracing::info!("{error}; trying again in {:.1} s", pause.as_secs_f64());
                std::thread::sleep(pause);
            }
            (Err(failure), _) => return Err(failure),
        }
    }
}

fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("certificates: {error}");
    }
    let certificates = found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    // A bare container has none; then Mozilla's, which are built in.
    let roots = match certificates.collect::<Vec<_>>() {
        none if none.is_empty() => RootCerts::WebPki,
        certificates => certificates.into(),
    };
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(crate::PROGRAM.replace(' ', "/"))
        .timeout_connect(Some(CONNECT_MAX))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}

/// The user's token, if there is one.
fn token() -> Result<Option<String>> {
    let named = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
    let read = || {
        let named = variable("HF_TOKEN_PATH").and_then(|path| expand(&path, &variable));
        std::fs::read_to_string(named.or_else(|| Some(hf_home(&variable)?.join("token")))?).ok()
    };
    let token = named.or_else(read).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    match token {
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Error::new("the token of HF_TOKEN, or of the token file, has letters that no token has"))
        }
        token => Ok(token),
    }
}

/// Where an answer redirects to.
fn redirect(url: &str, response: &Response<Body>) -> Option<String> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    let location = location.to_str().ok()?;
    if !location.starts_with('/') {
        return Some(location.to_owned());
    }
    let uri: Uri = url.parse().ok()?;
    if location.starts_with("//") {
        return Some(format!("{}:{location}", uri.scheme_str()?));
    }
    Some(format!("{}://{}{location}", uri.scheme_str()?, uri.authority()?))
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let own = origin("https://Hub.example/a");
        assert_eq!(origin("https://hub.example:443/b?c"), own);
        for other in ["http://hub.example/a", "https://hub.example:8443/", "https://cdn.hub.example/", "x"] {
            assert_ne!(origin(other), own, "{other}");
        }
    }

    #[test]
    fn redirects_are_absolute_or_of_the_same_origin() {
        let to = |location: &str| {
            let response = Response::builder().status(302).header(LOCATION, location);
            redirect("http://hub:80/a/b", &response.body(Body::builder().data("")).unwrap()).unwrap()
        };
        assert_eq!(to("https://cdn/x?y=z"), "https://cdn/x?y=z");
        assert_eq!(to("/c"), "http://hub:80/c");
        assert_eq!(to("//cdn/c"), "http://cdn/c");
    }
}
