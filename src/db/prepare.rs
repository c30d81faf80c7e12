//! The database: made if it is missing, with the extension, and one load at a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Server, Session, quoted};
use crate::error::{Error, Result};

/// What to do where the server has no pgvector.
pub const INSTALL: &str = "install pgvector for this server's version: the package postgresql-NN-pgvector, the image \
                           pgvector/pgvector, or https://github.com/pgvector/pgvector";

/// Databases from which another one can be made, where the connection names none.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
/// How long another load may hold the database: a session whose program was killed is gone by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// The lock that a load holds on a database ("hyperslab" in ASCII, shortened).
const LOCK: i64 = 0x68_7970_6572_736c;

/// Connects to a database for a load: makes it and the extension if they are missing, and takes the lock.
///
/// # Errors
/// No connection, no right to make them, no pgvector on the server, or another load that is going on.
pub fn prepare(server: &Server, database: &str) -> Result<Session> {
    let mut session = match server.connect(database) {
        Ok(session) => session,
        Err(refusal) if refusal.no_database => {
            create(server, database)?;
            server.connect(database).map_err(|refusal| refusal.error)?
        }
        Err(refusal) => return Err(refusal.error),
    };
    check_encoding(&mut session, database)?;
    lock(&mut session, database)?;
    create_extension(&mut session)?;
    use_extension(&mut session)?;
    Ok(session)
}

/// Connects to a database that has the extension.
///
/// # Errors
/// No connection, no such database, or none that was filled.
pub fn open(server: &Server, database: &str) -> Result<Session> {
    let mut session = server.connect(database).map_err(|refusal| {
        let is_missing = refusal.no_database;
        if is_missing { refusal.error.hint("`hyperslab populate` makes and fills it") } else { refusal.error }
    })?;
    use_extension(&mut session)?;
    Ok(session)
}

/// Connects to look at a database that may be missing, and changes nothing: where it is, to another one, in which no
/// table of ours is seen.
///
/// # Errors
/// No connection.
pub fn look(server: &Server, database: &str) -> Result<Session> {
    match server.connect(database) {
        Ok(mut session) => {
            // Without the extension there is no table of ours either.
            let _ = use_extension(&mut session);
            Ok(session)
        }
        Err(refusal) if refusal.no_database => {
            let mut session = connect_elsewhere(server, database)?;
            session.run("to look at the server", "SET search_path = pg_catalog")?;
            Ok(session)
        }
        Err(refusal) => Err(refusal.error),
    }
}

fn create(server: &Server, database: &str) -> Result<()> {
    let mut session = connect_elsewhere(server, database)?;
    let what = format!("cannot create the database '{database}' on {server}");
    match session.run(&what, &format!("CREATE DATABASE {}", quoted(database))) {
        // Another load was faster.
        Err(error) if ["[42P04]", "[23505]"].iter().any(|code| error.message.ends_with(code)) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Connects to a database that is there for certain, or else to the one that the connection names.
fn connect_elsewhere(server: &Server, database: &str) -> Result<Session> {
    let own = server.database().filter(|own| *own != database);
    let mut refused = None;
    for from in own.into_iter().chain(MAINTENANCE) {
        match server.connect(from) {
            Ok(session) => return Ok(session),
            Err(refusal) => refused = Some(refusal.error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::new(format!("{server} has no database to make another from"))))
}

/// Ids are UTF-8, in whatever language.
fn check_encoding(session: &mut Session, database: &str) -> Result<()> {
    let encoding: Option<String> =
        session.value("to ask for the encoding", "SELECT current_setting('server_encoding')")?;
    let encoding = encoding.unwrap_or_default();
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::new(format!(
        "the database '{database}' is of the encoding {encoding}, which cannot hold every id"
    ))
    .hint(format!(
        "make it in UTF-8: CREATE DATABASE {} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
        quoted(database)
    )))
}

/// A session's schemas: where tables are made, and where the extension's types are.
fn use_extension(session: &mut Session) -> Result<()> {
    let sql = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
               WHERE e.extname = 'vector'";
    let what = "to look for the extension vector";
    let Some(schema) = session.value::<String>(what, sql)? else {
        return Err(Error::new("the database has no extension vector")
            .hint("`hyperslab populate` makes it, as whoever may: CREATE EXTENSION vector"));
    };
    let own: Option<String> = session.value(what, "SELECT current_schema()::text")?;
    let own = own.unwrap_or_else(|| "public".to_owned());
    session.run(what, &format!("SET search_path = {}, {}", quoted(&own), quoted(&schema)))?;
    Ok(())
}

fn create_extension(session: &mut Session) -> Result<()> {
    let there = "SELECT count(*) FROM pg_extension WHERE extname = 'vector'";
    if session.value::<i64>("to look for the extension vector", there)? == Some(1) {
        return Ok(());
    }
    let what = "cannot create the extension vector (pgvector)";
    session.run(what, "CREATE EXTENSION IF NOT EXISTS vector").map(|_| ()).map_err(|error| {
        if error.message.ends_with("[42501]") {
            error.hint("let a superuser do it once, in this database: CREATE EXTENSION vector")
        } else if error.message.contains("vector.control") || error.message.contains("not available") {
            error.hint(INSTALL)
        } else {
            error
        }
    })
}

fn lock(session: &mut Session, database: &str) -> Result<()> {
    let began = Instant::now();
    let take = format!("SELECT pg_try_advisory_lock({LOCK})");
    while session.value::<bool>("to lock the database", &take)? != Some(true) {
        if began.elapsed() > PATIENCE {
            return Err(Error::new(format!("another load into the database '{database}' is going on"))
                .hint("wait for it; SELECT pid, application_name FROM pg_stat_activity shows who it is"));
        }
        sleep(Duration::from_millis(200));
    }
    Ok(())
}
