//! Loads that are killed, servers that are, disks that are full: what is there stays, and the same command does the rest.

use std::process::Command;
use std::time::Duration;

use hyperslab::Exit;

use super::server::Postgres;
use super::{captions, fills, populate};
use crate::util::{Dir, Signal, repository, signal};

const TEXTS: &str = "siglip_embeddings";
const IS_COPYING: &str = "SELECT coalesce(sum(tuples_processed), 0) > 500 FROM pg_stat_progress_copy";
const IS_INDEXING: &str = "SELECT count(*) > 0 FROM pg_stat_progress_create_index WHERE blocks_done > 0";
const SUM: &str = "SELECT count(*), md5(string_agg(asset_id || english_embedding::text, ',' ORDER BY asset_id)) \
                   FROM text_embeddings";

/// A load that takes a while, and what it makes.
fn long(dir: &Dir, postgres: &Postgres) -> (crate::util::Run, String) {
    let file = captions(&dir.join("a.h5"), 12_000, 768, 1);
    let run = populate(dir, postgres, "siglip", &[&file]).args("--connections 2 --index-workers 0 --verify");
    let whole = run.clone().args("--database undisturbed --index none");
    fills(whole);
    (run, postgres.says("undisturbed", SUM))
}

#[test]
fn a_load_that_is_killed_starts_again_and_ends_the_same() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (load, expected) = long(&dir, &postgres);
    let old = captions(&dir.join("old.h5"), 10, 768, 2);
    fills(populate(&dir, &postgres, "siglip", &[&old]));
    let before = postgres.says(TEXTS, SUM);
    let load = load.arg("--replace");

    let killed = load.clone().start();
    postgres.until("", IS_COPYING);
    killed.kill();
    assert_eq!(postgres.says(TEXTS, SUM), before);

    let killed = load.clone().start();
    postgres.until("", IS_INDEXING);
    let staged = "SELECT 'hyperslab_loading.text_embeddings'::regclass::oid";
    let filled = postgres.says(TEXTS, staged);
    killed.kill();
    assert_eq!(postgres.says(TEXTS, SUM), before);

    fills(load);
    assert_eq!(postgres.says(TEXTS, SUM), expected);
    let table = "SELECT 'text_embeddings'::regclass::oid";
    assert_eq!(postgres.says(TEXTS, table), filled, "what was filled is not filled again");
    let staging = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hyperslab%'";
    assert_eq!(postgres.says(TEXTS, staging), "0");
}

#[test]
fn an_upsert_that_is_killed_starts_again_and_ends_the_same() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (load, expected) = long(&dir, &postgres);
    let old = captions(&dir.join("old.h5"), 10, 768, 2);
    fills(populate(&dir, &postgres, "siglip", &[&old]).args("--index none"));
    let before = postgres.says(TEXTS, SUM);
    let load = load.args("--upsert --index none");
    let killed = load.clone().start();
    postgres.until("", IS_COPYING);
    killed.kill();
    assert_eq!(postgres.says(TEXTS, SUM), before);
    fills(load);
    assert_eq!(postgres.says(TEXTS, SUM), expected);
}

#[test]
fn a_server_that_is_killed_ends_the_load_and_the_next_one_does_it() {
    let Some(mut postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (load, expected) = long(&dir, &postgres);
    let job = load.clone().start();
    postgres.until("", IS_COPYING);
    // All of it, as when the machine goes down.
    let pid = postgres.pid();
    Command::new("pkill").args(["-KILL", "-P", &pid.to_string()]).status().unwrap();
    signal(pid, Signal::KILL);
    let ended = job.wait().exits(Exit::Failure);
    assert!(ended.stderr.contains("run the same command") && ended.took < Duration::from_secs(60), "{ended}");
    postgres.start_again(&[]);
    fills(load);
    assert_eq!(postgres.says(TEXTS, SUM), expected);
}

#[test]
fn two_loads_do_not_meet() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (load, expected) = long(&dir, &postgres);
    let first = load.clone().start();
    postgres.until("", IS_COPYING);
    // The second waits, or is refused; the first is not disturbed by it.
    let second = load.run();
    first.wait().exits(Exit::Success);
    let done = second.status.code() == Some(0);
    assert!(done || second.stderr.contains("another load into the database"), "{second}");
    assert_eq!(postgres.says(TEXTS, SUM), expected);
}

#[test]
fn loads_into_a_new_database_do_not_trip_over_each_other() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (text, image) = (super::fixture("text_f32.h5"), super::fixture("image_f32.h5"));
    let loads: Vec<_> = [&text, &image]
        .map(|file| populate(&dir, &postgres, "siglip", &[file]).start())
        .into_iter()
        .collect();
    for load in loads {
        load.wait().exits(Exit::Success);
    }
    let sql = "SELECT count(*) FROM image_embeddings, (SELECT count(*) FROM text_embeddings) AS texts";
    assert_ne!(postgres.says(TEXTS, sql), "0");
}

/// A server on a small disk, and a load that does not fit it; all in one namespace that ends with the script.
const ON_A_FULL_DISK: &str = r#"
mkdir "$DIR/disk" && mount -t tmpfs -o size=110m,mode=755 none "$DIR/disk"
url=$("$POSTGRES" start "$DIR/disk/db" -c max_wal_size=32MB -c min_wal_size=32MB -c wal_level=minimal -c max_wal_senders=0)
trap '"$POSTGRES" remove "$DIR/disk/db"' EXIT
export HYPERSLAB_DATABASE_URL=$url
psql() { "$PSQL" -AtXq "${url/\/\/\//\/\/\/siglip_embeddings}" -c "$1"; }
"$PROGRAM" populate siglip "$DIR/small.h5"
code=0
"$PROGRAM" populate siglip "$DIR/large.h5" --replace || code=$?
echo "code $code"
psql 'SELECT count(*) FROM text_embeddings'
psql "SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'hyperslab%'"
"#;

#[test]
fn a_full_disk_of_the_server_ends_the_load_and_nothing_else() {
    if !crate::util::can_mount() || !repository(".deps/postgres/bin/initdb").exists() {
        eprintln!("skipped: neither a small disk nor a PostgreSQL can be had here");
        return;
    }
    let dir = Dir::new();
    captions(&dir.join("small.h5"), 10, 64, 1);
    captions(&dir.join("large.h5"), 12_000, 1536, 1);
    // The server's user has to get to its disk.
    Command::new("chmod").arg("755").arg(dir.path()).status().unwrap();
    let script = dir.write("full.sh", format!("set -euo pipefail\n{ON_A_FULL_DISK}"));
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(script)
        .env("DIR", dir.path())
        .env("POSTGRES", repository("sample/postgres.sh"))
        .env("PSQL", repository(".deps/postgres/bin/psql"))
        .env("PROGRAM", env!("CARGO_BIN_EXE_hyperslab"))
        .output()
        .unwrap();
    let (told, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = told.lines().filter(|line| !line.contains("rows of")).collect();
    assert_eq!(lines, ["code 1", "10", "0"], "{told}{complained}");
    assert!(complained.contains("the server's disk is full: make room there"), "{complained}");
}
