//! What Qwen's files alone have: groups, and vectors made from several views.

use hyperslab::Exit;
use hyperslab::store::Reader;
use ndarray::{Array2, s};
use serde_json::Value;
use tempfile::TempDir;

use super::{changed, copied, findings, fixture, on_fixture, open, open_all, open_error, overwrite};

#[test]
fn a_group_is_opened_by_its_name() {
    let groups: Vec<_> = open_all("groups.h5").iter().map(|reader| reader.group().to_owned()).collect();
    assert_eq!(groups, ["chinese", "english"]);
    let english = Reader::open(&fixture("groups.h5"), Some("english")).unwrap();
    assert_eq!((english.n_rows(), english.find("english_1").unwrap()), (19, Some(18..19)));
    assert_eq!(english.find("椅子").unwrap(), None);
    assert_eq!(english.failures_of(0..19).unwrap()[0].row, 17);
    let chinese = Reader::open(&fixture("groups.h5"), Some("chinese")).unwrap();
    assert_eq!((chinese.find("椅子").unwrap(), chinese.find("both_05").unwrap()), (Some(4..5), Some(0..1)));
    assert_ne!(chinese.rows(0..1).unwrap(), english.rows(5..6).unwrap());
    let error = open_error(&fixture("groups.h5")).to_string();
    assert!(error.contains("groups.h5 has several groups: chinese, english"), "{error}");
    assert!(error.contains("--group chinese or --group english"), "{error}");
    let only = open("one_group.h5");
    assert_eq!((only.group(), only.n_rows()), ("chinese", 5));
    assert_eq!((open("text_f32.h5").group(), open("view_sets.h5").group()), ("", ""));
    for (name, group, what) in [
        ("groups.h5", "german", "has no group 'german'; its groups: chinese, english"),
        ("one_group.h5", "english", "has no group 'english'; its groups: chinese"),
        ("text_f32.h5", "english", "has no groups"),
        ("groups.h5", "", "has no group ''"),
    ] {
        let error = Reader::open(&fixture(name), Some(group)).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn damage_in_a_group_is_named_with_it() {
    let (_dir, path) = changed("groups.h5", |file| {
        let rows = Array2::from_elem((1, 8), 0.0_f32);
        file.dataset("chinese/embeddings").unwrap().write_slice(&rows, s![2..=2, ..]).unwrap();
        file.group("english").unwrap().attr("failed_items").unwrap().write_scalar(&0_i64).unwrap();
        file.attr("total_items").unwrap().write_scalar(&23_i64).unwrap();
    });
    let found = findings(&path);
    for expected in [
        "attribute total_items is 23, the datasets have 24",
        "english: attribute failed_items is 0, the datasets have 1",
        "chinese: block 0 (rows 0 to 4): SHA-256 is ",
        "chinese: row 2 has norm 0.000000, expected 1 within 0.001; asset both_07",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
    assert_eq!(found.lines().count(), 4, "{found}");
    let (_dir, path) = changed("groups.h5", |file| file.group("english").unwrap().unlink("digests").unwrap());
    let error = Reader::open_all(&path).err().unwrap();
    assert!(error.message.contains("it has no /english/digests"), "{error}");
}

#[test]
fn vectors_of_view_sets_are_nan_exactly_where_no_view_is_left() {
    let reader = open("view_sets.h5");
    let num_images = reader.num_images().unwrap().of_rows(3..10).unwrap();
    assert_eq!(num_images, [4, 6, 6, 7, 8, 8, 0]);
    assert!(open("image_f32.h5").num_images().is_none());
    let finite = |row: u64| reader.rows(row..row + 1).unwrap().iter().all(|value| value.is_finite());
    assert_eq!([4, 9].map(finite), [true, false]);

    let write = |row: usize, value: f32| {
        move |file: &hdf5::File| {
            let rows = Array2::from_elem((1, 8), value);
            file.dataset("embeddings").unwrap().write_slice(&rows, s![row..=row, ..]).unwrap();
        }
    };
    let (unit, nan) = (8_f32.sqrt().recip(), f32::NAN);
    for (row, value, expected) in [
        (9, unit, "row 9 is not NaN, but has 0 in /num_images; asset 0/10009"),
        (4, nan, "row 4 is NaN, but has 6 in /num_images; asset 0/10004"),
        (5, nan, "row 5 is NaN, but is not in /failures; asset 0/10005"),
    ] {
        let (_dir, path) = changed("view_sets.h5", write(row, value));
        let found = findings(&path);
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
    let (_dir, path) = copied("view_sets.h5");
    overwrite(&path, "num_images", 4 * 2, &(-1_i32).to_le_bytes());
    overwrite(&path, "num_images", 4 * 3, &0_i32.to_le_bytes());
    let found = findings(&path);
    for expected in [
        "/num_images: row 2 has -1",
        "/num_images has SHA-256 ",
        "row 3 is not NaN, but has 0 in /num_images; asset 0/10003",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn get_and_list_take_a_group() {
    let (code, out, err) = on_fixture("get", "groups.h5", &["both_05"]);
    assert_eq!((code, out.as_str()), (Exit::Failure.code(), ""));
    assert!(err.contains("several groups: chinese, english") && err.contains("--group chinese"), "{err}");
    let (code, out, _) = on_fixture("get", "groups.h5", &["both_05", "--group", "english"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("both_05  row 5  norm 1.0000  ["), "{out}");
    let (_, out, _) = on_fixture("get", "groups.h5", &["both_05", "--group", "chinese", "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&line["group"], &line["row"]), (&"chinese".into(), &0.into()));
    let (_, out, _) = on_fixture("list", "groups.h5", &["--group", "chinese", "--prefix", "椅", "--json"]);
    assert_eq!(out, "{\"group\":\"chinese\",\"asset_id\":\"椅子\",\"first_row\":4,\"rows\":1}\n");
    let (_, out, _) = on_fixture("list", "one_group.h5", &[]);
    assert_eq!((out.lines().count(), out.lines().last()), (5, Some("椅子")));
}

#[test]
fn get_shows_how_many_views_a_vector_is_made_from() {
    let ids = ["0/10004", "0/10009", "0/10000"];
    let (code, out, _) = on_fixture("get", "view_sets.h5", &ids);
    assert_eq!(code, 0);
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("0/10004  row 4  6 views  norm 1.0000  ["), "{out}");
    assert!(lines[0].ends_with("]  views left out: 2 of 8: 00003.png: broken picture: ends after 12 bytes"));
    assert!(lines[1].starts_with("0/10009  row 9  failed: no view left: 1 of 1: 00000.png"), "{out}");
    assert!(lines[2].starts_with("0/10000  row 0  1 view  norm 1.0000"), "{out}");
    let (_, out, _) = on_fixture("get", "view_sets.h5", &[&ids[..], &["--json"]].concat());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |line: &Value, keys: [&str; 4]| keys.map(|key| line.get(key).is_some());
    let wanted = ["vector", "failed", "left_out", "group"];
    assert_eq!(keys(&lines[0], wanted), [true, false, true, false]);
    assert_eq!(keys(&lines[1], wanted), [false, true, false, false]);
    assert_eq!(keys(&lines[2], wanted), [true, false, false, false]);
    let counts: Vec<_> = lines.iter().map(|line| line["num_images"].as_i64()).collect();
    assert_eq!(counts, [Some(6), Some(0), Some(1)]);
    let dir = TempDir::new().unwrap();
    let npy = dir.path().join("out.npy");
    let (_, _, err) = on_fixture("get", "view_sets.h5", &[ids[0], ids[1], "--npy", npy.to_str().unwrap()]);
    assert!(err.contains("2 rows, 1 of them failed (NaN)"), "{err}");
}

#[test]
fn info_tells_of_every_group() {
    let (code, out, _) = on_fixture("info", "groups.h5", &[]);
    assert_eq!(code, 0);
    let at = |text: &str| out.find(text).unwrap_or_else(|| panic!("{text}\nnot in\n{out}"));
    assert_eq!(out.matches("qwen_text").count(), 1);
    let order = ["/chinese\n", "assets             5\n", "/english\n", "assets             19\n"].map(at);
    assert!(order.is_sorted(), "{out}");
    at("1 empty caption\n");
    let (_, out, _) = on_fixture("info", "groups.h5", &["--json"]);
    let info: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&info["kind"], &info["rows"]), (&"qwen_text".into(), &Value::Null));
    let groups = info["groups"].as_array().unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group["group"].as_str(), group["rows"].as_u64())).collect();
    assert_eq!(told, [(Some("chinese"), Some(5)), (Some("english"), Some(19))]);
    assert_eq!((&groups[1]["failed"], &groups[0]["failed"]), (&1.into(), &0.into()));
    let (_, out, _) = on_fixture("info", "view_sets.h5", &[]);
    assert!(out.contains("made from          94 views (4.5 per asset)\n"), "{out}");
    assert!(out.contains(" 1 views left out\n") && out.contains(" 1 no view left\n"), "{out}");
    let (_, out, _) = on_fixture("info", "view_sets.h5", &["--json"]);
    let info: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&info["images"], &info["rows"], info.get("groups")), (&94.into(), &21.into(), None));
}
