//! Searching in the database, in SQL and by `hyperslab search`.

use hyperslab::Exit;
use hyperslab::plan::{Kind, TableBuilder};
use serde_json::Value;

use super::server::Postgres;
use super::{fills, fixture, new_file, populate, write};
use crate::util::{Dir, repository};

fn hits(stdout: &str) -> Vec<Vec<(String, Option<u64>, f64)>> {
    let line = |line: &str| -> Vec<(String, Option<u64>, f64)> {
        let found: Value = serde_json::from_str(line).unwrap();
        let hits = found["hits"].as_array().unwrap().iter();
        hits.map(|hit| {
            let id = hit["asset_id"].as_str().unwrap().to_owned();
            (id, hit["row"].as_u64(), hit["score"].as_f64().unwrap())
        })
        .collect()
    };
    stdout.lines().map(line).collect()
}

#[test]
fn the_database_gives_the_answers_of_the_file() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let siglip = [fixture("text_f32.h5"), fixture("image_f32.h5")];
    let qwen = [fixture("groups.h5"), fixture("view_sets.h5")];
    for (family, [text, image]) in [("siglip", &siglip), ("qwen", &qwen)] {
        fills(populate(&dir, &postgres, family, &[text, image]));
    }
    let image_id = "0/10005";
    for (file, options, id) in [
        ("text_f32.h5", "", "chair_00"),
        ("image_f32.h5", "", "0/10005#1"),
        ("image_f32.h5", "--of ", "chair_00"),
        ("groups.h5", "--group english", "both_05"),
        ("groups.h5", "--group chinese", "both_05"),
        ("view_sets.h5", "", "0/10004"),
    ] {
        let path = fixture(file);
        let options = options.replace("--of ", &format!("--of {}", siglip[0].display()));
        let search = || {
            let run = dir.hyperslab(["search", path.to_str().unwrap(), "--json", "-k", "7", "--id", id]);
            run.args(&options)
        };
        let in_file = fills(search());
        let there = fills(postgres.reached_by(search()).args("--recall-check --database-url"));
        let (in_file, found) = (hits(&in_file.stdout), hits(&there.stdout));
        assert_eq!(found[0].len(), in_file[0].len(), "{file} {id}");
        for (one, other) in found[0].iter().zip(&in_file[0]) {
            assert_eq!((&one.0, one.1), (&other.0, other.1), "{file} {id}");
            assert!((one.2 - other.2).abs() < 1e-5, "{file} {id}: {one:?} {other:?}");
        }
        assert!(there.stdout.contains(r#""recall":1.0"#), "{there}");
        assert!(there.stderr.contains("recall of the file's nearest 7: 1.0000"), "{there}");
    }
    // By an asset of several views: near to any of them, each asset once.
    let path = fixture("image_f32.h5");
    let search = dir.hyperslab(["search", path.to_str().unwrap(), "--json", "--id", image_id]);
    let several = fills(postgres.reached_by(search).arg("--database-url"));
    let ids: Vec<String> = hits(&several.stdout)[0].iter().map(|hit| hit.0.clone()).collect();
    assert_eq!(ids[0], image_id);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
}

#[test]
fn nearest_assets_uses_the_index_and_names_each_asset_once() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let (path, assets, views, dim) = (dir.join("views.h5"), 600, 12, 8);
    let mut table = TableBuilder::default();
    (0..assets).for_each(|asset| table.push(&format!("a{asset:03}"), views).unwrap());
    let groups = vec![(String::new(), table.finish())];
    let rows = assets * views as usize;
    let file = write(new_file(&path, "siglip_image", Kind::Image, groups, dim), rows, dim, 5);
    let database = "siglip_embeddings";
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    // Made by one transaction: no kill can part the function from the table it is for.
    let together = "SELECT p.xmin = c.xmin FROM pg_proc p, pg_class c \
                    WHERE p.proname = 'nearest_assets' AND c.oid = 'image_embeddings'::regclass";
    assert_eq!(postgres.says(database, together), "t");
    let scans = "SELECT pg_stat_force_next_flush(); \
                 SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'image_embedding_idx'";
    let query = "(SELECT embedding FROM image_embeddings WHERE asset_id = 'a007' AND viewpoint_idx = 3)";
    let before: u64 = postgres.says(database, scans).trim().parse().unwrap();
    let found = postgres.says(
        database,
        &format!("SELECT asset_id, viewpoint_idx, similarity FROM nearest_assets({query}, 100)"),
    );
    let exact = postgres.says(
        database,
        &format!(
            "SET enable_indexscan = off; SELECT asset_id FROM (SELECT DISTINCT ON (asset_id) asset_id, \
             embedding <=> {query} AS distance FROM image_embeddings ORDER BY asset_id, distance) AS each \
             ORDER BY distance LIMIT 100"
        ),
    );
    let after: u64 = postgres.says(database, scans).trim().parse().unwrap();
    assert!(after > before, "the index was not used");
    let rows: Vec<Vec<&str>> = found.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!((rows.len(), rows[0][0], rows[0][1]), (100, "a007", "3"));
    let scores: Vec<f64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let ids: std::collections::BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(ids.len(), 100);
    let common = exact.lines().filter(|id| ids.contains(id)).count();
    assert!(common >= 95, "{common} of 100");
    // The operator's own setting stays.
    postgres.says(database, "ALTER DATABASE siglip_embeddings SET hnsw.ef_search = 800");
    // By IVFFlat, too, the nearest comes first, by its nearest view.
    fills(populate(&dir, &postgres, "siglip", &[&file]).args("--index ivfflat"));
    assert_eq!(
        postgres.says(database, "SELECT '[1]'::vector; SHOW hnsw.ef_search").lines().last(),
        Some("800")
    );
    let ordered = format!(
        "SELECT count(*), bool_and(similarity > 0.999999 OR asset_id <> 'a007'), \
         bool_and(coalesce(before >= similarity, true)) FROM (SELECT *, lag(similarity) OVER () AS before \
         FROM nearest_assets({query}, 50)) AS each"
    );
    assert_eq!(postgres.says(database, &ordered), "50|t|t");
    fills(populate(&dir, &postgres, "siglip", &[&file]));
    // All assets can be had, and none.
    let n = |k: &str| postgres.says(database, &format!("SELECT count(*) FROM nearest_assets({query}, {k})"));
    assert_eq!([n("0"), n("100000")], ["0".to_owned(), assets.to_string()]);
}

#[test]
fn from_the_sample_to_a_question_in_sql() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let job = dir.hyperslab(["embed", "siglip", "--device", "cpu", "--output-dir", "out", "--model"]);
    let job = job.arg(repository("sample/model")).arg("--captions").arg(repository("sample/captions.json"));
    fills(job.arg("--renders").arg(repository("sample/renders")).ranks(2));
    fills(postgres.reached_by(dir.hyperslab(["populate", "siglip", "--output-dir", "out", "--verify"])));

    let text = "a purple octopus with long legs";
    let images = dir.join("out/siglip_image_embeddings.h5");
    let model = repository("sample/model");
    let search = || {
        let run = dir.hyperslab([
            "search",
            images.to_str().unwrap(),
            "--json",
            "-k",
            "3",
            "--text",
            text,
            "--model",
        ]);
        run.arg(&model).args("--device cpu")
    };
    let in_file = fills(search());
    let there = fills(postgres.reached_by(search()).args("--database-url --recall-check"));
    let ids = |stdout: &str| hits(stdout)[0].iter().map(|hit| hit.0.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&there.stdout), ids(&in_file.stdout));
    assert!(there.stderr.contains("recall of the file's nearest 3: 1.0000"), "{there}");

    let encode = dir.hyperslab(["encode", "--like", images.to_str().unwrap(), "--device", "cpu", "--model"]);
    let encoded = fills(encode.arg(&model).input(format!("{{\"id\": 1, \"text\": \"{text}\"}}\n")));
    let encoded: Value = serde_json::from_str(&encoded.stdout).unwrap();
    let sql = format!("SELECT asset_id FROM nearest_assets('{}', 3)", encoded["vector"]);
    let asked: Vec<String> = postgres.says("siglip_embeddings", &sql).lines().map(str::to_owned).collect();
    assert_eq!(asked, ids(&in_file.stdout));
}

#[test]
fn a_database_without_the_file_is_named() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = Dir::new();
    let path = fixture("text_f32.h5");
    let search = || {
        let run = dir.hyperslab(["search", path.to_str().unwrap(), "--id", "chair_00", "--database-url"]);
        postgres.reached_by(run)
    };
    let missing = search().run().exits(Exit::Failure);
    assert!(
        missing.stderr.contains("siglip_embeddings") && missing.stderr.contains("hyperslab populate"),
        "{missing}"
    );
    fills(populate(&dir, &postgres, "siglip", &[&fixture("image_f32.h5")]));
    let missing = search().run().exits(Exit::Failure);
    assert!(missing.stderr.contains("no table text_embeddings"), "{missing}");
    let other = super::captions(&dir.join("other.h5"), 30, 8, 1);
    fills(populate(&dir, &postgres, "siglip", &[&other]));
    let strange = search().run().exits(Exit::Success);
    assert!(strange.stderr.contains("has none of the assets that were found"), "{strange}");
}
