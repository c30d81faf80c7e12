//! What the tables hold afterwards, and what becomes of what they held before.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hyperslab::Exit;
use hyperslab::store::Reader;

use super::server::Postgres;
use super::{captions, fills, fixture, populate};
use crate::memory::peak;
use crate::util::{Dir, Signal, signal};

const TEXTS: &str = "siglip_embeddings";

/// `asset_id|first component` of all rows of a file that have a vector.
fn rows_of(path: &Path, group: Option<&str>) -> Vec<String> {
    let reader = Reader::open(path, group).unwrap();
    let mut rows = Vec::new();
    for asset in reader.iter_prefix("").unwrap().map(Result::unwrap) {
        let vectors = reader.rows(asset.rows).unwrap();
        for (view, vector) in vectors.outer_iter().enumerate().filter(|(_, vector)| !vector[0].is_nan()) {
            let view = if reader.assets().has_views() { format!("{view}|") } else { String::new() };
            let text: Vec<String> = vector.iter().map(ToString::to_string).collect();
            rows.push(format!("{}|{view}{}", asset.id, text.join(",")));
        }
    }
    rows
}

/// The same of a table; floats are read again, as PostgreSQL writes them otherwise.
fn rows_in(postgres: &Postgres, database: &str, sql: &str) -> Vec<String> {
    let text = postgres.says(database, sql);
    let again = |row: &str| {
        let (start, vector) = row.rsplit_once('|').unwrap();
        let values = vector.trim_matches(['[', ']']).split(',').map(|value| value.parse::<f32>().unwrap());
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        format!("{start}|{}", values.join(","))
    };
    text.lines().map(again).collect()
}

const TEXT_SQL: &str = "SELECT asset_id, english_embedding FROM text_embeddings WHERE english_embedding IS NOT NULL ORDER BY asset_id";
const CHINESE_SQL: &str = "SELECT asset_id, chinese_embedding FROM text_embeddings WHERE chinese_embedding IS NOT NULL ORDER BY asset_id";
const IMAGE_SQL: &str =
    "SELECT asset_id, viewpoint_idx, embedding FROM image_embeddings ORDER BY asset_id, viewpoint_idx";

#[test]
fn tables_hold_what_the_files_do_and_nothing_of_what_failed() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (text, image) = (fixture("text_f32.h5"), fixture("image_f32.h5"));
    let told = fills(populate(&dir, &postgres, "siglip", &[&text, &image]).arg("--verify"));
    assert!(told.stdout.contains("verified") && told.stdout.contains("without a vector left out"), "{told}");
    assert_eq!(rows_in(&postgres, TEXTS, TEXT_SQL), rows_of(&text, None));
    assert_eq!(rows_in(&postgres, TEXTS, IMAGE_SQL), rows_of(&image, None));

    let (text, image) = (fixture("groups.h5"), fixture("view_sets.h5"));
    fills(populate(&dir, &postgres, "qwen", &[&text, &image]).arg("--verify"));
    let qwen = "qwen_embeddings";
    assert_eq!(rows_in(&postgres, qwen, TEXT_SQL), rows_of(&text, Some("english")));
    assert_eq!(rows_in(&postgres, qwen, CHINESE_SQL), rows_of(&text, Some("chinese")));
    let sql = "SELECT asset_id, embedding FROM image_embeddings ORDER BY asset_id";
    assert_eq!(rows_in(&postgres, qwen, sql), rows_of(&image, None));
    let reader = Reader::open(&image, None).unwrap();
    let counts = reader.num_images().unwrap().of_rows(0..reader.n_rows()).unwrap();
    let sum = postgres.says(qwen, "SELECT sum(num_images) FROM image_embeddings");
    assert_eq!(sum, counts.iter().sum::<i32>().to_string());
    let neither =
        "SELECT count(*) FROM text_embeddings WHERE coalesce(english_embedding, chinese_embedding) IS NULL";
    assert_eq!(postgres.says(qwen, neither), "0");
}

#[test]
fn tables_are_those_that_the_service_knows() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&fixture("image_f32.h5")]));
    // The old populator's own statements do nothing to it, and its upsert finds the key.
    let dim = Reader::open(&fixture("image_f32.h5"), None).unwrap().dim();
    let zeros = vec!["0.5"; dim].join(",");
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS image_embeddings (id serial primary key); \
         ALTER TABLE image_embeddings ADD COLUMN IF NOT EXISTS is_high_quality boolean; \
         CREATE INDEX IF NOT EXISTS image_embedding_idx ON image_embeddings USING ivfflat (embedding vector_cosine_ops); \
         INSERT INTO image_embeddings (asset_id, viewpoint_idx, embedding) VALUES ('new', 0, '[{zeros}]') \
         ON CONFLICT (asset_id, viewpoint_idx) DO UPDATE SET embedding = EXCLUDED.embedding"
    );
    postgres.says(TEXTS, &sql);
    let new = "SELECT id = (SELECT max(id) FROM image_embeddings), is_high_quality, created_at > now() - interval '1 hour' \
               FROM image_embeddings WHERE asset_id = 'new'";
    assert_eq!(postgres.says(TEXTS, new), "t|f|t");
    let length = "SELECT character_maximum_length FROM information_schema.columns \
                  WHERE table_name = 'image_embeddings' AND column_name = 'asset_id'";
    assert_eq!(postgres.says(TEXTS, length), "255");
    let staging = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hyperslab%'";
    assert_eq!(postgres.says(TEXTS, staging), "0");
}

#[test]
fn only_valid_ids_go_in_and_good_ones_are_marked() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let valid = r#"{"0/10003": "000-001/u3.glb", "0/10005": "000-001/u5.glb", "9/9": "000-001/u9.glb"}"#;
    dir.write("valid.json", valid);
    dir.write("good.json", r#"["0/10005", "2/10022"]"#);
    let load = |extra: &str| {
        let run = populate(&dir, &postgres, "siglip", &[&fixture("image_f32.h5")]);
        run.args("--valid-ids valid.json --high-quality good.json --verify").args(extra)
    };
    fills(load(""));
    let sql = "SELECT DISTINCT asset_id, is_high_quality FROM image_embeddings ORDER BY asset_id";
    assert_eq!(postgres.says(TEXTS, sql), "0/10003|f\n0/10005|t");
    // Another list is another content.
    dir.write("good.json", r#"["0/10003"]"#);
    let refused = load("").run().exits(Exit::Usage);
    assert!(refused.stderr.contains("--replace") && refused.stderr.contains("--upsert"), "{refused}");
    fills(load("--upsert"));
    assert_eq!(postgres.says(TEXTS, sql), "0/10003|t\n0/10005|f");
    dir.write("valid.json", r#"["nobody"]"#);
    let none = load("--replace").run().exits(Exit::Failure);
    assert!(none.stderr.contains("none of the 1 ids"), "{none}");
    assert_eq!(postgres.says(TEXTS, sql), "0/10003|t\n0/10005|f", "the table stayed");
}

#[test]
fn done_again_nothing_changes() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 300, 8, 1);
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    // Which transaction wrote a row, and where it lies.
    let sql = "SELECT asset_id, xmin, ctid, created_at FROM text_embeddings ORDER BY asset_id";
    let before = postgres.says(TEXTS, sql);
    assert_eq!(before.lines().count(), 300);
    for way in ["", "--replace", "--upsert"] {
        let told = fills(populate(&dir, &postgres, "siglip", &[&file]).args(way).arg("--json"));
        assert!(told.stdout.contains(r#""changed":false"#), "{told}");
        assert_eq!(postgres.says(TEXTS, sql), before, "{way}");
    }
    // A table that is not marked as this file's: every row is compared.
    postgres.says(TEXTS, "COMMENT ON TABLE text_embeddings IS NULL");
    let told = fills(populate(&dir, &postgres, "siglip", &[&file]).args("--upsert --json --verify"));
    assert!(told.stdout.contains(r#""upserted":0"#), "{told}");
    assert_eq!(postgres.says(TEXTS, sql), before);
}

#[test]
fn an_upsert_keeps_the_rest() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let first = captions(&dir.join("a.h5"), 100, 8, 1);
    let later = captions(&dir.join("b.h5"), 40, 8, 2);
    fills(populate(&dir, &postgres, "siglip", &[&first]));
    let told = fills(populate(&dir, &postgres, "siglip", &[&later]).args("--upsert --verify --json"));
    assert!(told.stdout.contains(r#""upserted":40"#), "{told}");
    let expected = [rows_of(&later, None), rows_of(&first, None).split_off(40)].concat();
    assert_eq!(rows_in(&postgres, TEXTS, TEXT_SQL), expected);
    // Of two languages, the one that a file does not have stays.
    let qwen = "qwen_embeddings";
    fills(populate(&dir, &postgres, "qwen", &[&fixture("groups.h5")]));
    let english = rows_in(&postgres, qwen, TEXT_SQL);
    let chinese = fixture("one_group.h5");
    fills(populate(&dir, &postgres, "qwen", &[&chinese]).args("--upsert --verify"));
    assert_eq!(rows_in(&postgres, qwen, TEXT_SQL), english);
    let there = rows_in(&postgres, qwen, CHINESE_SQL);
    assert!(rows_of(&chinese, None).iter().all(|row| there.contains(row)), "{there:?}");
}

#[test]
fn whoever_reads_sees_all_of_the_old_or_all_of_the_new() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&captions(&dir.join("a.h5"), 1000, 16, 1)]));
    postgres.says("", "CREATE ROLE service");
    postgres.says(TEXTS, "GRANT SELECT ON text_embeddings TO service");
    for way in ["--replace", "--upsert"] {
        let before: u64 = postgres.says(TEXTS, "SELECT count(*) FROM text_embeddings").parse().unwrap();
        let new = captions(&dir.join("b.h5"), 3 * before as usize, 16, before);
        let job = populate(&dir, &postgres, "siglip", &[&new]).args(way).start();
        let began = Instant::now();
        loop {
            let sql = "SET ROLE service; SELECT count(*), count(*) FILTER (WHERE left(asset_id, 1) = 'a') FROM text_embeddings";
            let seen = postgres.says(TEXTS, sql);
            if seen == format!("{0}|{0}", 3 * before) {
                break;
            }
            assert_eq!(seen, format!("{before}|{before}"), "{way}");
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(2));
        }
        job.wait().exits(Exit::Success);
    }
}

#[test]
fn a_lock_of_somebody_else_is_waited_for() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&captions(&dir.join("a.h5"), 10, 4, 1)]));
    let new = captions(&dir.join("b.h5"), 20, 4, 2);
    thread::scope(|scope| {
        let reads = "BEGIN; SELECT count(*) FROM text_embeddings; SELECT pg_sleep(4); COMMIT";
        scope.spawn(|| postgres.says(TEXTS, reads));
        postgres
            .until(TEXTS, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%COMMIT'");
        let waits = fills(populate(&dir, &postgres, "siglip", &[&new]).arg("--replace"));
        assert!(waits.stderr.contains("waiting for whoever holds a lock"), "{waits}");
    });
    assert_eq!(postgres.says(TEXTS, "SELECT count(*) FROM text_embeddings"), "20");
}

#[test]
fn an_upsert_removes_the_views_that_an_asset_no_longer_has() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let image = fixture("image_f32.h5");
    fills(populate(&dir, &postgres, "siglip", &[&image]));
    let more = "INSERT INTO image_embeddings (asset_id, viewpoint_idx, embedding) \
                SELECT asset_id, 99, embedding FROM image_embeddings WHERE asset_id = '0/10005' AND viewpoint_idx = 1 \
                UNION ALL (SELECT 'other', 99, embedding FROM image_embeddings LIMIT 1)";
    postgres.says(TEXTS, more);
    let told = fills(populate(&dir, &postgres, "siglip", &[&image]).args("--upsert --json --verify"));
    assert!(told.stdout.contains(r#""upserted":1"#), "{told}");
    let left = postgres.says(TEXTS, "SELECT asset_id FROM image_embeddings WHERE viewpoint_idx = 99");
    assert_eq!(left, "other");
}

#[test]
fn what_a_table_was_filled_from_is_forgotten_with_the_first_change() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (first, later) = (captions(&dir.join("a.h5"), 20, 4, 1), captions(&dir.join("b.h5"), 20, 4, 2));
    fills(populate(&dir, &postgres, "siglip", &[&first]));
    fills(populate(&dir, &postgres, "siglip", &[&later]).arg("--upsert"));
    let mark = "SELECT obj_description('text_embeddings'::regclass) IS NULL";
    assert_eq!(postgres.says(TEXTS, mark), "t");
    fills(populate(&dir, &postgres, "siglip", &[&first]).args("--replace --verify"));
    assert_eq!(rows_in(&postgres, TEXTS, TEXT_SQL), rows_of(&first, None));
}

#[test]
fn the_service_can_read_as_its_schema_grants() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&fixture("text_f32.h5")]));
    postgres.says("", "CREATE ROLE service");
    postgres.says(TEXTS, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO service");
    fills(populate(&dir, &postgres, "siglip", &[&fixture("image_f32.h5")]));
    let sql = "SET ROLE service; SELECT count(*) > 0 FROM image_embeddings";
    assert_eq!(postgres.says(TEXTS, sql), "t");
}

#[test]
fn an_odd_schema_is_a_schema() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    postgres.says("", "CREATE DATABASE odd");
    postgres.says("odd", r#"CREATE SCHEMA "o'b$function$%s"; CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions"#);
    postgres.says("odd", r#"ALTER DATABASE odd SET search_path = "o'b$function$%s""#);
    let image = fixture("image_f32.h5");
    fills(populate(&dir, &postgres, "siglip", &[&image]).args("--database odd --verify"));
    let sql = "SET search_path = extensions; SELECT asset_id FROM \"o'b$function$%s\".nearest_assets(\
               (SELECT embedding FROM \"o'b$function$%s\".image_embeddings WHERE asset_id = '0/10005' LIMIT 1), 1)";
    assert_eq!(postgres.says("odd", sql), "0/10005");
}

#[test]
fn a_load_takes_far_less_memory_than_its_vectors() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let peak_of = |rows: usize| {
        let file = captions(&dir.join("a.h5"), rows, 1152, 1);
        let mut program = Command::new(env!("CARGO_BIN_EXE_hyperslab"));
        program.args(["populate", "siglip", "--replace", "--index", "none"]).arg(file);
        peak(program.env("HYPERSLAB_DATABASE_URL", &postgres.url))
    };
    // 92 and 276 MB of vectors.
    let (less, more) = (peak_of(20_000), peak_of(60_000));
    assert!(more < 120 << 20 && more < less + (32 << 20), "{less} and {more} bytes");
}

#[test]
fn a_load_says_how_far_it_is() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 12_000, 768, 1);
    let job = populate(&dir, &postgres, "siglip", &[&file]).args("--index none").start();
    postgres.until("", "SELECT coalesce(sum(tuples_processed), 0) > 500 FROM pg_stat_progress_copy");
    // A line comes every ten seconds.
    signal(job.id(), Signal::STOP);
    thread::sleep(Duration::from_millis(10_500));
    signal(job.id(), Signal::CONT);
    let told = job.wait().exits(Exit::Success);
    assert!(told.stderr.contains("text_embeddings: rows ") && told.stderr.contains(" %, ETA "), "{told}");
}

#[test]
fn what_would_fail_at_the_end_is_refused_at_the_beginning() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (file, new) = (captions(&dir.join("a.h5"), 20, 4, 1), captions(&dir.join("b.h5"), 30, 4, 2));
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    let refused = |way: &str, before: &str, why: &str, after: &str| {
        postgres.says(TEXTS, before);
        let told = populate(&dir, &postgres, "siglip", &[&new]).args(way).run().exits(Exit::Usage);
        assert!(told.stderr.contains(why), "{told}");
        postgres.says(TEXTS, after);
    };
    let table = "ALTER TABLE text_embeddings";
    refused(
        "--replace",
        &format!("{table} ENABLE ROW LEVEL SECURITY"),
        "row-level security",
        &format!("{table} DISABLE ROW LEVEL SECURITY"),
    );
    refused("--replace", &format!("{table} ADD note text"), "the column note", &format!("{table} DROP note"));
    refused(
        "--replace",
        "CREATE PUBLICATION p FOR TABLE text_embeddings",
        "the publication p",
        "DROP PUBLICATION p",
    );
    refused(
        "--replace",
        "CREATE FUNCTION nearest_assets(vector, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "returns integer",
        "DROP FUNCTION nearest_assets(vector, integer)",
    );
    refused(
        "--upsert",
        &format!("{table} DROP CONSTRAINT text_embeddings_pkey"),
        "no plain table with a unique key of asset_id",
        "",
    );
    postgres.says(TEXTS, &format!("{table} ADD PRIMARY KEY (asset_id); {table} RENAME TO old"));
    refused("", "", "text_embeddings_pkey of the table old", "");
    postgres.says(TEXTS, "ALTER TABLE old RENAME TO text_embeddings");
    fills(populate(&dir, &postgres, "siglip", &[&new]).arg("--replace"));
}

#[test]
fn what_depends_on_a_table_is_not_thrown_away() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&captions(&dir.join("a.h5"), 10, 4, 1)]));
    postgres.says(TEXTS, "CREATE VIEW good AS SELECT * FROM text_embeddings WHERE is_high_quality");
    let new = captions(&dir.join("b.h5"), 20, 4, 2);
    let refused = populate(&dir, &postgres, "siglip", &[&new]).arg("--replace").run().exits(Exit::Usage);
    assert!(refused.stderr.contains("the view good") && refused.stderr.contains("--upsert"), "{refused}");
    assert_eq!(postgres.says(TEXTS, "SELECT count(*) FROM text_embeddings"), "10");
    fills(populate(&dir, &postgres, "siglip", &[&new]).arg("--upsert"));
}

#[test]
fn a_table_that_was_changed_by_others_fails_the_check() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 50, 4, 1);
    let load = || populate(&dir, &postgres, "siglip", &[&file]).arg("--verify");
    fills(load());
    postgres
        .says(TEXTS, "UPDATE text_embeddings SET english_embedding = '[1,0,0,0]' WHERE asset_id = 'a000007'");
    let differs = load().run().exits(Exit::Damaged);
    assert!(differs.stderr.contains("a000007") && differs.stderr.contains("in 1 of the rows"), "{differs}");
    fills(load().arg("--replace"));
    postgres.says(TEXTS, "DELETE FROM text_embeddings WHERE asset_id = 'a000007'");
    let refused = load().run().exits(Exit::Usage);
    assert!(refused.stderr.contains("has 49 rows"), "{refused}");
    fills(load().arg("--replace"));
}
