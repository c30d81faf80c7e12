//! Long vectors, and the indexes over them.

use hyperslab::Exit;
use hyperslab::plan::{Kind, TableBuilder};

use super::server::Postgres;
use super::{captions, fills, new_file, populate, write};
use crate::util::Dir;

const TEXTS: &str = "siglip_embeddings";

/// What the service asks, as it asks it, and how PostgreSQL would answer it.
fn explained(postgres: &Postgres, column: &str, dim: usize) -> String {
    let query = format!("[{}]", vec!["0.1"; dim].join(","));
    let sql = format!(
        "SET enable_seqscan = off; EXPLAIN SELECT asset_id, 1 - ({column} <=> '{query}'::vector) FROM text_embeddings \
         ORDER BY {column} <=> '{query}'::vector LIMIT 100"
    );
    postgres.says(TEXTS, &sql)
}

#[test]
fn indexes_are_used_by_the_services_queries() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 200, 16, 1);
    for (options, kind) in [
        ("", "USING hnsw (english_embedding vector_cosine_ops) WITH (m='16', ef_construction='128')"),
        (
            "--column halfvec --hnsw-m 8",
            "USING hnsw (english_embedding halfvec_cosine_ops) WITH (m='8', ef_construction='128')",
        ),
        (
            "--index ivfflat --ivfflat-lists 3",
            "USING ivfflat (english_embedding vector_cosine_ops) WITH (lists='3')",
        ),
    ] {
        let run = populate(&dir, &postgres, "siglip", &[&file]).args(options);
        fills(run.args("--replace --verify --index-workers 1"));
        let index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'text_english_embedding_idx'";
        let defined = postgres.says(TEXTS, index);
        assert!(defined.contains(kind), "{options}: {defined}");
        let plan = explained(&postgres, "english_embedding", 16);
        assert!(plan.contains("Index Scan using text_english_embedding_idx"), "{plan}");
    }
    postgres.says(TEXTS, "DROP INDEX text_english_embedding_idx");
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    let n = postgres
        .says(TEXTS, "SELECT count(*) FROM pg_indexes WHERE indexname = 'text_english_embedding_idx'");
    assert_eq!(n, "1", "an index that is missing is built, without a load");
    let built =
        "SELECT indexdef LIKE '%m=''9''%' FROM pg_indexes WHERE indexname = 'text_english_embedding_idx'";
    fills(populate(&dir, &postgres, "siglip", &[&file]).args("--hnsw-m 9"));
    assert_eq!(postgres.says(TEXTS, built), "t", "parameters that are asked for are had");
    let told = fills(populate(&dir, &postgres, "siglip", &[&file]).args("--index none --json"));
    assert!(told.stdout.contains("hnsw (english_embedding vector_cosine_ops) WITH (m='9'"), "{told}");
    // As the old populator left it: replaced by what suits the table.
    let old = "DROP INDEX text_english_embedding_idx; CREATE INDEX text_english_embedding_idx ON text_embeddings \
               USING ivfflat (english_embedding vector_cosine_ops) WITH (lists = 100); \
               CREATE INDEX text_english_embedding_idx_new ON text_embeddings (asset_id)";
    postgres.says(TEXTS, old);
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    let kinds = "SELECT string_agg(indexname || substring(indexdef from ' USING \\w+'), ',' ORDER BY indexname) FROM pg_indexes \
                 WHERE tablename = 'text_embeddings'";
    let expected = "text_embeddings_pkey USING btree,text_english_embedding_idx USING hnsw,text_is_high_quality_idx USING btree";
    assert_eq!(postgres.says(TEXTS, kinds), expected);
    let set = postgres.says(TEXTS, "SHOW hnsw.ef_search; SHOW hnsw.iterative_scan");
    assert_eq!(set, "200\nstrict_order");
}

#[test]
fn an_index_is_built_with_what_was_asked_for_and_watched() {
    let Some(postgres) = Postgres::with_options(&["-c", "log_statement=all"]) else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 3000, 256, 1);
    let run = populate(&dir, &postgres, "siglip", &[&file]);
    fills(run.args("--index-memory 0.125 --index-workers 1"));
    let log = postgres.log();
    for statement in [
        "SET maintenance_work_mem = '131072kB'",
        "SET max_parallel_maintenance_workers = 1",
        "SET (parallel_workers = 1)",
        "FROM pg_stat_progress_create_index WHERE pid = ",
    ] {
        assert!(log.contains(statement), "{statement}");
    }
    let left = "SELECT reloptions IS NULL FROM pg_class WHERE oid = 'text_embeddings'::regclass";
    assert_eq!(postgres.says(TEXTS, left), "t", "the table itself keeps none of it");
}

#[test]
fn vectors_too_long_for_an_index_become_halfvec_or_are_refused_with_the_way_out() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 40, 2048, 1);
    fills(populate(&dir, &postgres, "siglip", &[&file]).arg("--verify"));
    let column = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
                  WHERE attrelid = 'text_embeddings'::regclass AND attname = 'english_embedding'";
    assert_eq!(postgres.says(TEXTS, column), "halfvec(2048)");
    let plan = explained(&postgres, "english_embedding", 2048);
    assert!(plan.contains("Index Scan using text_english_embedding_idx"), "{plan}");

    let says = |options: &str, hint: &str| {
        let refused = populate(&dir, &postgres, "siglip", &[&file])
            .args("--replace")
            .args(options)
            .run()
            .exits(Exit::Usage);
        assert!(refused.stderr.contains(hint), "{refused}");
    };
    says("--column vector", "--column halfvec takes up to 4000");
    says("--dim 3000", "vectors of 2048 components");
    let long = captions(&dir.join("long.h5"), 10, 4096, 1);
    let refused = populate(&dir, &postgres, "siglip", &[&long]).arg("--replace").run().exits(Exit::Usage);
    assert!(refused.stderr.contains("at most 4000") && refused.stderr.contains("--dim 4000"), "{refused}");
    assert_eq!(postgres.says(TEXTS, column), "halfvec(2048)", "nothing was done");

    fills(populate(&dir, &postgres, "siglip", &[&long]).args("--replace --dim 4000 --verify"));
    assert_eq!(postgres.says(TEXTS, column), "halfvec(4000)");
    let norm = "SELECT round(min(vector_norm(english_embedding::vector))::numeric, 3) FROM text_embeddings";
    assert_eq!(postgres.says(TEXTS, norm), "1.000");
    fills(populate(&dir, &postgres, "siglip", &[&long]).args("--replace --index none --verify"));
    assert_eq!(postgres.says(TEXTS, column), "vector(4096)");
}

#[test]
fn two_long_vectors_in_a_row_are_kept_beside_it() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let path = dir.join("texts.h5");
    let table = || {
        let mut table = TableBuilder::default();
        (0..20).for_each(|row| table.push(&format!("a{row:02}"), 1).unwrap());
        table.finish()
    };
    let groups = vec![("english".to_owned(), table()), ("chinese".to_owned(), table())];
    let file = write(new_file(&path, "qwen_text", Kind::Text, groups, 2048), 40, 2048, 3);
    fills(populate(&dir, &postgres, "qwen", &[&file]).arg("--verify"));
    assert_eq!(postgres.says("qwen_embeddings", "SELECT count(*) FROM text_embeddings"), "20");
}

#[test]
fn a_table_of_another_length_is_refused() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    fills(populate(&dir, &postgres, "siglip", &[&captions(&dir.join("a.h5"), 10, 8, 1)]));
    let other = captions(&dir.join("b.h5"), 10, 16, 1);
    let refused = populate(&dir, &postgres, "siglip", &[&other]).arg("--upsert").run().exits(Exit::Usage);
    let says = ["holds vector(8)", "would bring vector(16)", "--replace"];
    assert!(says.iter().all(|words| refused.stderr.contains(words)), "{refused}");
    assert_eq!(populate(&dir, &postgres, "siglip", &[&other]).run().status.code(), Some(2));
    fills(populate(&dir, &postgres, "siglip", &[&other]).arg("--replace"));
}

#[test]
fn a_dry_run_says_what_it_takes_and_does_nothing() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let file = captions(&dir.join("a.h5"), 1000, 64, 1);
    let told = fills(populate(&dir, &postgres, "siglip", &[&file]).arg("--dry-run"));
    let says = ["1,000 rows of vector(64)", "HNSW (m 16", "second"];
    assert!(says.iter().all(|words| told.stderr.contains(words)), "{told}");
    let databases = "SELECT count(*) FROM pg_database WHERE datname = 'siglip_embeddings'";
    assert_eq!(postgres.says("", databases), "0");
    let told = fills(populate(&dir, &postgres, "siglip", &[&file]).args("--dry-run --index-memory 0.0001"));
    assert!(told.stderr.contains("warning: its graph wants"), "{told}");
}
