//! Connections: where the server is, who one is there, and what its errors mean.

use std::error::Error as _;
use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgCopyIn, PgDatabaseError, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Decode, Executor, Postgres, Row, Type};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Context, Error, Exit, Result};

/// How long a server may take to answer, where PGCONNECT_TIMEOUT does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A session whose program is gone ends its statement after this time, instead of at its end.
const CHECK_CLIENT_EVERY: &str = "2s";

/// Where a server is and who one is there. Its password is shown nowhere.
#[derive(Clone)]
pub struct Server {
    url: String,
    options: PgConnectOptions,
}

impl Server {
    /// The server of a URL (`postgres://user:password@host:port/database?sslmode=verify-full`), or without one that of
    /// libpq's variables (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT, ...) and its ~/.pgpass, which
    /// also complete the URL.
    ///
    /// # Errors
    /// What is no such URL; the message does not repeat it, since it may hold a password.
    pub fn new(url: Option<&str>) -> Result<Self> {
        check_variables()?;
        // An empty one leaves all to the variables.
        let url = with_host(url.unwrap_or("postgres://"));
        check_url(&url)?;
        let options = options(&url)?;
        Ok(Self { url, options })
    }

    /// Whether a URL has a password in it.
    pub fn has_password(url: &str) -> bool {
        let (_, after_scheme) = url.split_once("://").unwrap_or_default();
        // Whatever stands in it, also what should have been written as %2F.
        let user = after_scheme.rsplit_once('@').map_or("", |(user, _)| user);
        user.contains(':') || url.split_once('?').is_some_and(|(_, query)| query.contains("pas"))
    }

    /// The database that the URL or PGDATABASE names.
    pub fn database(&self) -> Option<&str> {
        self.options.get_database()
    }

    /// ~/.pgpass may have another password for each database, and is read together with the URL.
    fn options_for(&self, database: &str) -> Result<PgConnectOptions> {
        let name = utf8_percent_encode(database, NON_ALPHANUMERIC);
        let sign = if self.url.contains('?') { '&' } else { '?' };
        options(&format!("{}{sign}dbname={name}", self.url))
    }

    /// Connects to a database.
    ///
    /// # Errors
    /// The server cannot be reached, does not let one in, or has no such database ([`Refusal::no_database`]).
    pub fn connect(&self, database: &str) -> std::result::Result<Session, Refusal> {
        let options = self.options_for(database).map_err(Refusal::of)?;
        let what = format!("cannot connect to the database '{database}' of {self}");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Refusal::of(Error::new(format!("{what}: {error}"))))?;
        let connected = runtime.block_on(async {
            tokio::time::timeout(connect_timeout(), PgConnection::connect_with(&options)).await
        });
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                return Err(Refusal {
                    no_database: code_of(&error).as_deref() == Some("3D000"),
                    error: explained(&what, &error),
                });
            }
            Err(_) => {
                let seconds = connect_timeout().as_secs();
                return Err(Refusal::of(
                    Error::new(format!("{what}: no answer within {seconds} s")).hint(WHERE),
                ));
            }
        };
        let mut session = Session { runtime, connection };
        session.begin().map_err(Refusal::of)?;
        Ok(session)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, port) = (self.options.get_username(), self.options.get_port());
        match self.options.get_socket() {
            Some(socket) => write!(f, "the server at {}, port {port}, as {user}", socket.display()),
            None => write!(f, "the server at {}:{port}, as {user}", self.options.get_host()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// Why there is no connection.
pub struct Refusal {
    pub error: Error,
    /// The server is there, and the database is not.
    pub no_database: bool,
}

impl Refusal {
    fn of(error: Error) -> Self {
        Self { error, no_database: false }
    }
}

/// A connection. Its calls wait for the server's answer; `what` says in errors what was being done.
pub struct Session {
    runtime: Runtime,
    connection: PgConnection,
}

impl Session {
    /// Settings that a role or database may have otherwise, and that would end long statements.
    fn begin(&mut self) -> Result<()> {
        self.run(
            "to begin the session",
            "SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = 0; \
             SET idle_in_transaction_session_timeout = 0; SET synchronous_commit = on",
        )?;
        // What older servers do not know.
        let check = format!("client_connection_check_interval = '{CHECK_CLIENT_EVERY}'");
        for setting in [check.as_str(), "idle_session_timeout = 0", "transaction_timeout = 0"] {
            let _ = self.run("to begin the session", &format!("SET {setting}"));
        }
        Ok(())
    }

    /// Runs one or more statements; how many rows they changed.
    ///
    /// # Errors
    /// What the server says, with what to do.
    pub fn run(&mut self, what: &str, sql: &str) -> Result<u64> {
        let run = self.connection.execute(sqlx::raw_sql(sql));
        let done = self.runtime.block_on(run);
        done.map(|done| done.rows_affected()).map_err(|error| explained(what, &error))
    }

    /// Runs a query; its rows.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn rows(&mut self, what: &str, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let fetched = self.runtime.block_on(query.persistent(false).fetch_all(&mut self.connection));
        fetched.map_err(|error| explained(what, &error))
    }

    /// Runs a query of one value; none where it has no row, or NULL.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn value<T>(&mut self, what: &str, sql: &str) -> Result<Option<T>>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let rows = self.rows(what, sqlx::query(sql))?;
        let Some(row) = rows.first() else { return Ok(None) };
        row.try_get(0).context(|| what.to_owned())
    }

    /// Begins a `COPY ... FROM STDIN`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn copy_in(&mut self, what: &'static str, sql: &str) -> Result<CopyIn<'_>> {
        let begun = self.runtime.block_on(self.connection.copy_in_raw(sql));
        let copy = begun.map_err(|error| explained(what, &error))?;
        Ok(CopyIn { runtime: &self.runtime, copy: Some(copy), what })
    }
}

/// A COPY that is being sent. Dropped unfinished, it leaves nothing behind.
pub struct CopyIn<'a> {
    runtime: &'a Runtime,
    copy: Option<PgCopyIn<&'a mut PgConnection>>,
    what: &'static str,
}

impl CopyIn<'_> {
    /// Sends some of it.
    ///
    /// # Errors
    /// What the server says to it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        let Err(lost) = self.runtime.block_on(copy.send(bytes)) else { return Ok(()) };
        // A server that refuses a row says why, and closes: what it said is still to be read.
        let said = self.copy.take().and_then(|copy| self.runtime.block_on(copy.finish()).err());
        Err(explained(self.what, said.as_ref().filter(|error| code_of(error).is_some()).unwrap_or(&lost)))
    }

    /// Ends it; how many rows the server took.
    ///
    /// # Errors
    /// What the server says to it.
    pub fn finish(mut self) -> Result<u64> {
        let Some(copy) = self.copy.take() else { return Ok(0) };
        self.runtime.block_on(copy.finish()).map_err(|error| explained(self.what, &error))
    }
}

impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        if let Some(copy) = self.copy.take() {
            let _ = self.runtime.block_on(copy.abort("the sender has ended"));
        }
    }
}

/// What a URL may say behind its `?`.
const KEYS: [&str; 12] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// What would be ignored, or taken for something else, without a word.
fn check_url(url: &str) -> Result<()> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(not_a_url("it does not begin with postgres://"));
    }
    if url.contains('#') {
        return Err(not_a_url("it has a # in it"));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let keys =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(""));
    match keys.into_iter().find(|key| !KEYS.contains(key)) {
        Some(unknown) => Err(not_a_url(&format!("unknown parameter {unknown}; known: {}", KEYS.join(", ")))),
        None => Ok(()),
    }
}

/// Variables that sqlx would take for not set.
fn check_variables() -> Result<()> {
    let refuse = |name: &str, value: &str, expected: &str| {
        Err(Error::new(format!("{name} is '{value}': expected {expected}")).exit(Exit::Usage))
    };
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(port) = set("PGPORT").filter(|port| port.parse::<u16>().is_err()) {
        return refuse("PGPORT", &port, "the number of a port");
    }
    match set("PGSSLMODE").filter(|mode| !SSL_MODES.contains(&mode.as_str())) {
        Some(mode) => refuse("PGSSLMODE", &mode, &SSL_MODES.join(", ")),
        None => Ok(()),
    }
}

/// `postgres://user@/database?host=/socket`, as libpq takes it, in the form that URLs have: a user needs a host there.
fn with_host(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let Some(user) = authority.strip_suffix('@') else { return url.to_owned() };
    // In a query + is a space.
    let user = user.replace('+', "%2B");
    let user = match user.split_once(':') {
        Some((user, password)) => format!("user={user}&password={password}"),
        None => format!("user={user}"),
    };
    let sign = if rest.contains('?') { '&' } else { '?' };
    format!("{scheme}://{rest}{sign}{user}")
}

fn options(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url).map_err(|error| not_a_url(&reason_of(&error)))?;
    let options = options.statement_cache_capacity(0).disable_statement_logging();
    let is_named = options.get_application_name().is_some();
    Ok(if is_named { options } else { options.application_name("hyperslab") })
}

fn connect_timeout() -> Duration {
    let given = std::env::var("PGCONNECT_TIMEOUT").ok().and_then(|text| text.trim().parse().ok());
    // To libpq 0 means for ever: no failure hangs here.
    given.filter(|seconds| *seconds > 0).map_or(CONNECT_TIMEOUT, Duration::from_secs)
}

fn not_a_url(why: &str) -> Error {
    Error::new(format!("the database URL cannot be used: {why}"))
        .hint("its form is postgres://user:password@host:port?sslmode=verify-full, special characters as %40")
        .exit(Exit::Usage)
}

/// What lies behind an error, without sqlx's words before it.
fn reason_of(error: &sqlx::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// SQLSTATE, where it was the server that spoke.
fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

const WHERE: &str = "which server it is, --database-url says (or HYPERSLAB_DATABASE_URL, or [database] in \
                     hyperslab.toml), else PGHOST, PGPORT and PGUSER: is it running, and does it listen there?";
const AGAIN: &str = "when the server answers again, run the same command: the load begins anew, and whoever reads the \
                     tables has seen nothing of this one";

/// What failed, and what to do about it.
fn explained(what: &str, error: &sqlx::Error) -> Error {
    let Some(database_error) = error.as_database_error() else { return lost(what, error) };
    let code = database_error.code().unwrap_or_default();
    let said = database_error.message();
    let more = database_error.try_downcast_ref::<PgDatabaseError>();
    let detail =
        more.and_then(PgDatabaseError::detail).map(|detail| format!(" ({detail})")).unwrap_or_default();
    let explained = Error::new(format!("{what}: {said}{detail} [{code}]"));
    let hint = match &*code {
        "28P01" | "28000" => {
            "the user's name and password come from the URL, from PGUSER and PGPASSWORD, or from ~/.pgpass"
        }
        _ if said.contains("shared memory segment") => {
            "the server's /dev/shm is too small for a parallel build: give the container more (docker run --shm-size), \
             or say --index-workers 0"
        }
        "53100" => "the server's disk is full: make room there, and run the same command again",
        "53200" => "the server is out of memory: --index-memory and --connections make it less",
        "53300" => "the server takes no more connections: --connections 1 needs two",
        "42501" => "the role lacks the right: use the database's owner, or let a superuser grant it",
        "2BP01" => "something depends on the table, e.g. a view: --upsert keeps the table",
        "57P01" | "57P02" | "57P03" => AGAIN,
        code if code.starts_with("08") => AGAIN,
        _ => return explained,
    };
    explained.hint(hint)
}

const TLS: &str = "sslmode=verify-full and verify-ca want a certificate that is valid for the host's name, of an \
                   authority that this machine trusts or sslrootcert=FILE names; require encrypts without looking";

fn lost(what: &str, error: &sqlx::Error) -> Error {
    match error {
        // What rustls finds wrong comes as an error of reading.
        sqlx::Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
            Error::new(format!("{what}: TLS: {io}")).hint(TLS)
        }
        sqlx::Error::Io(io) => {
            let is_away = matches!(
                io.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::NotFound
                    | ErrorKind::TimedOut
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
            );
            let failed = Error::new(format!("{what}: {io}"));
            if is_away {
                failed.hint(WHERE)
            } else if what.starts_with("cannot connect") {
                // No such host, which has no kind of its own.
                failed.hint(WHERE)
            } else {
                Error::new(format!("{what}: the connection to the server is lost: {io}")).hint(AGAIN)
            }
        }
        sqlx::Error::Tls(why) => Error::new(format!("{what}: TLS: {why}")).hint(TLS),
        other => Error::new(format!("{what}: {}", reason_of(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_seen_in_urls_and_shown_nowhere() {
        for with in ["postgres://me:secret@host/db", "postgresql://h/db?sslmode=require&password=secret"] {
            assert!(Server::has_password(with), "{with}");
        }
        for without in ["postgres://me@host:5432/db", "postgres:///db?host=/run/postgresql", "nonsense"] {
            assert!(!Server::has_password(without), "{without}");
        }
        let server = Server::new(Some("postgres://me:secret@host:1/db")).unwrap();
        assert_eq!(format!("{server:?}"), "Server(the server at host:1, as me)");
    }

    #[test]
    fn a_user_needs_no_host() {
        let url = with_host("postgres://me:a+b@/db?host=/run");
        assert_eq!(url, "postgres:///db?host=/run&user=me&password=a%2Bb");
        for same in ["postgres://me@host/db", "postgres:///db", "postgres://"] {
            assert_eq!(with_host(same), same);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for url in [
            "secret",
            "mysql://me:secret@host/db",
            "postgres://me:secret@host/db?sslmode=secret",
            "postgres://me:secret@h/?sslpassword=me:secret",
            "postgres://me:secret#@h/",
        ] {
            let error = Server::new(Some(url)).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(!error.to_string().contains("me:secret"), "{error}");
        }
    }
}
