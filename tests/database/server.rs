//! A PostgreSQL of a test's own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::util::{Dir, Run, repository};

const WAIT: Duration = Duration::from_secs(60);

/// A server with pgvector; gone when dropped.
pub struct Postgres {
    dir: Dir,
    /// How it is reached: by a socket, as its superuser.
    pub url: String,
}

impl Postgres {
    /// One whose data are safe from nothing but a crash of its own; none where it is not installed.
    pub fn start() -> Option<Self> {
        Self::with_options(&[])
    }

    /// The same, with options of `postgres`.
    pub fn with_options(options: &[&str]) -> Option<Self> {
        if !repository(".deps/postgres/bin/initdb").exists() {
            eprintln!(
                "skipped: there is no PostgreSQL with pgvector here: docker/setup.sh --postgres installs it"
            );
            return None;
        }
        let mut postgres = Self { dir: Dir::new(), url: String::new() };
        postgres.start_again(options);
        Some(postgres)
    }

    /// After a crash.
    pub fn start_again(&mut self, options: &[&str]) {
        let options = [&["-c", "fsync=off", "-c", "max_wal_size=256MB"], options].concat();
        self.url = self.script("start", &options);
    }

    fn script(&self, verb: &str, options: &[&str]) -> String {
        let mut script = Command::new(repository("sample/postgres.sh"));
        let output = script.arg(verb).arg(self.dir.join("db")).args(options).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{verb}: {complaint}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> &str {
        self.url.split("host=").nth(1).unwrap().split('&').next().unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data().with_file_name("log")).unwrap()
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        let elsewhere = self.dir.join("db/elsewhere/data");
        if elsewhere.exists() { elsewhere } else { self.dir.join("db/data") }
    }

    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        pid.lines().next().unwrap().trim().parse().unwrap()
    }

    /// A run of the program that reaches it.
    pub fn reached_by(&self, run: Run) -> Run {
        run.env("HYPERSLAB_DATABASE_URL", &self.url)
    }

    /// The URL of one of its databases.
    pub fn database(&self, name: &str) -> String {
        self.url.replacen("///", &format!("///{name}"), 1)
    }

    pub fn psql(&self, database: &str, sql: &str) -> Output {
        let url = if database.is_empty() { self.database("postgres") } else { self.database(database) };
        let program = repository(".deps/postgres/bin/psql");
        Command::new(program).args(["-AtXq", "-v", "ON_ERROR_STOP=1", &url, "-c", sql]).output().unwrap()
    }

    /// What SQL answers, by PostgreSQL's own client.
    #[track_caller]
    pub fn says(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until SQL answers `t`.
    #[track_caller]
    pub fn until(&self, database: &str, sql: &str) {
        let began = Instant::now();
        loop {
            let output = self.psql(database, sql);
            if output.status.success() && output.stdout.starts_with(b"t") {
                return;
            }
            assert!(began.elapsed() < WAIT, "waited in vain for {sql}: {output:?}");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let removed =
            Command::new(repository("sample/postgres.sh")).arg("remove").arg(self.dir.join("db")).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("the server in {} was not removed", self.dir.path().display());
        }
    }
}
