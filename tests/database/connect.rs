//! Getting to the server, and not getting there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyperslab::Exit;

use super::server::Postgres;
use super::{captions, fills, populate};
use crate::util::{Dir, repository};

/// A load to a server at this URL.
fn to(dir: &Dir, url: &str) -> crate::util::Run {
    let file = captions(&dir.join("a.h5"), 10, 4, 1);
    dir.hyperslab(["populate", "siglip", file.to_str().unwrap(), "--database-url", url])
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_says_where_it_is() {
    let dir = Dir::new();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = to(&dir, &format!("postgres://me@127.0.0.1:{port}")).run().exits(Exit::Failure);
    let says = [&format!("127.0.0.1:{port}, as me"), "refused", "PGHOST"];
    assert!(says.iter().all(|words| refused.stderr.contains(*words)), "{refused}");
    let no_socket = to(&dir, "postgres:///?host=/nowhere").run().exits(Exit::Failure);
    assert!(no_socket.stderr.contains("/nowhere") && no_socket.stderr.contains("PGHOST"), "{no_socket}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let dir = Dir::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let given_up = to(&dir, &format!("postgres://127.0.0.1:{port}"))
        .env("PGCONNECT_TIMEOUT", "1")
        .run()
        .exits(Exit::Failure);
    assert!(given_up.stderr.contains("no answer within 1 s"), "{given_up}");
    assert!(given_up.took < Duration::from_secs(30));
}

#[test]
fn a_password_is_seen_by_nobody() {
    let dir = Dir::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for (flag, place) in [(true, "flag"), (false, "file")] {
        let url = format!("postgres://me:s3cr3t@127.0.0.1:{port}");
        let run = if flag {
            to(&dir, &url)
        } else {
            dir.write("hyperslab.toml", format!("[database]\ndatabase-url = '{url}'\n"));
            let file = dir.join("a.h5");
            dir.hyperslab(["populate", "siglip", file.to_str().unwrap()])
        };
        let running = run.args("--log trace").env("PGCONNECT_TIMEOUT", "20").start();
        // Once it has come, it has started anew.
        let (connection, _) = silent.accept().unwrap();
        let pid = running.id();
        let seen = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let seen = String::from_utf8_lossy(&seen).replace('\0', " ");
        assert!(seen.contains("populate siglip") && !seen.contains("s3cr3t"), "{place}: {seen}");
        drop(connection);
        let ended = running.wait().exits(Exit::Failure);
        assert!(!ended.stderr.contains("s3cr3t") && ended.stderr.contains("as me"), "{ended}");
    }
    let help = dir
        .hyperslab(["populate", "--help"])
        .env("HYPERSLAB_DATABASE_URL", "postgres://me:s3cr3t@h")
        .run()
        .exits(Exit::Success);
    assert!(!help.stdout.contains("s3cr3t") && help.stdout.contains("HYPERSLAB_DATABASE_URL"), "{help}");
}

#[test]
fn libpqs_variables_lead_to_the_server() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 10, 4, 1);
    let run = dir.hyperslab(["populate", "siglip", file.to_str().unwrap()]);
    let folder = postgres.socket_folder();
    fills(run.env("PGHOST", folder).env("PGPORT", "5432").env("PGUSER", "postgres"));
    assert_eq!(postgres.says("siglip_embeddings", "SELECT count(*) FROM text_embeddings"), "10");
}

#[test]
fn what_would_be_ignored_is_refused() {
    let dir = Dir::new();
    let refused = |url: &str, variable: (&str, &str), why: &str| {
        let told = to(&dir, url).env(variable.0, variable.1).run().exits(Exit::Usage);
        assert!(told.stderr.contains(why) && !told.stderr.contains("s3cr3t"), "{told}");
    };
    let none = ("PGUSER", "me");
    refused("postgres://h/?pasword=s3cr3t", none, "unknown parameter pasword");
    refused("postgres://h/?sslpassword=s3cr3t", none, "unknown parameter sslpassword");
    refused("postgres://h/?sslmode=verify_full", none, "sslmode");
    refused("postgres://me:s3cr3t#@h/", none, "#");
    refused("postgres://h", ("PGSSLMODE", "verify_full"), "PGSSLMODE is 'verify_full'");
    refused("postgres://h", ("PGPORT", "54x"), "PGPORT is '54x'");
    to(&dir, "postgres://h").args("--connections 100000").run().exits(Exit::Usage);
    to(&dir, "postgres://h").arg("--database").arg("").run().exits(Exit::Usage);
}

#[test]
fn a_wrong_password_is_refused_and_a_right_one_not_told() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    postgres.says("", "CREATE ROLE me LOGIN CREATEDB PASSWORD 'r1ght'");
    let hba = postgres.data().join("pg_hba.conf");
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("local all me scram-sha-256\n{rules}")).unwrap();
    postgres.says("", "SELECT pg_reload_conf()");
    let url = postgres.database("postgres").replace("user=postgres", "user=me");
    let file = captions(&dir.join("a.h5"), 10, 4, 1);
    let load = |password: &str| {
        let run = dir.hyperslab(["populate", "siglip", file.to_str().unwrap()]);
        run.env("HYPERSLAB_DATABASE_URL", &url).env("PGPASSWORD", password)
    };
    let wrong = load("wr0ng").run().exits(Exit::Failure);
    assert!(wrong.stderr.contains("28P01") && wrong.stderr.contains(".pgpass"), "{wrong}");
    assert!(!wrong.stderr.contains("wr0ng"), "{wrong}");
    // It may make the database, and the extension only if that is trusted.
    let right = load("r1ght").run().exits(Exit::Failure);
    assert!(
        right.stderr.contains("let a superuser do it once, in this database: CREATE EXTENSION vector"),
        "{right}"
    );
    postgres.says("siglip_embeddings", "CREATE EXTENSION vector");
    fills(load("r1ght").arg("--verify"));
    // libpq's file of passwords.
    let pass = dir.write("pass", "*:*:*:me:r1ght\n");
    Command::new("chmod").arg("600").arg(&pass).status().unwrap();
    let run = dir.hyperslab(["populate", "siglip", file.to_str().unwrap()]);
    fills(run.env("HYPERSLAB_DATABASE_URL", &url).env("PGPASSFILE", &pass));
}

#[test]
fn a_server_without_pgvector_is_named() {
    let Some(postgres) = Postgres::with_options(&["-c", "extension_control_path=/nonexistent"]) else {
        return;
    };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 10, 4, 1);
    let missing = populate(&dir, &postgres, "siglip", &[&file]).run().exits(Exit::Failure);
    let says = ["extension vector (pgvector)", "not available", "postgresql-NN-pgvector"];
    assert!(says.iter().all(|words| missing.stderr.contains(words)), "{missing}");
}

/// What stands before a server and speaks TLS for it (`tls.py`).
struct Tls {
    child: Child,
    port: u16,
}

impl Tls {
    fn before(postgres: &Postgres, dir: &Dir) -> Self {
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(' '))
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let host = postgres.socket_folder();
        let mut child = Command::new("/usr/bin/python3")
            .arg(repository("tests/database/tls.py"))
            .args([format!("{host}/.s.PGSQL.5432"), "cert.pem".into(), "key.pem".into()])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn tls_is_what_the_url_asks_for() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let tls = Tls::before(&postgres, &dir);
    let certificate = dir.join("cert.pem");
    let load = |host: &str, mode: &str| {
        to(&dir, &format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}", tls.port)).run()
    };
    let trusted = |mode: &str| format!("{mode}&sslrootcert={}", certificate.display());
    load("127.0.0.1", "require").exits(Exit::Success);
    load("localhost", &trusted("verify-full")).exits(Exit::Success);
    load("localhost", &trusted("verify-ca")).exits(Exit::Success);
    for (host, mode) in [
        ("localhost", "verify-full".to_owned()),
        ("127.0.0.1", trusted("verify-full")),
        // With rustls sqlx 0.8 looks at the name here, too: stricter than libpq.
        ("127.0.0.1", trusted("verify-ca")),
    ] {
        let refused = load(host, &mode).exits(Exit::Failure);
        assert!(refused.stderr.contains("TLS: invalid peer certificate"), "{refused}");
    }
    // A server without TLS is not spoken to where it is asked for.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    let says_no = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut connection, _) = plain.accept().unwrap();
        connection.read_exact(&mut [0; 8]).unwrap();
        connection.write_all(b"N").unwrap();
        let mut more = Vec::new();
        let _ = connection.read_to_end(&mut more);
        more
    });
    let refused = to(&dir, &format!("postgres://postgres:pw@127.0.0.1:{port}/postgres?sslmode=require"))
        .run()
        .exits(Exit::Failure);
    assert!(refused.stderr.contains("TLS"), "{refused}");
    assert!(says_no.join().unwrap().is_empty(), "it told its name and password in plain");
}
