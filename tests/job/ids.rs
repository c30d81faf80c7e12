//! Assets with two ids: captions by uid, views by index, joined by a map.

use std::collections::BTreeMap;

use hyperslab::Exit;
use serde_json::{Map, Value};

use super::{captions, embed, image_of, json, report, text_of};
use crate::util::{Contents, Dir, Run, assert_sound};

/// Assets with captions that the map does not name.
const UNNAMED: usize = 2;
/// Assets with views that it does not name: the same, and one that has no caption.
const LEFT_OUT: usize = UNNAMED + 1;
/// Assets that it names and that have views: one has a caption alone.
const WITH_VIEWS: usize = 17 - LEFT_OUT;

/// The sample's ids, each with its uid; uids are in the opposite order.
fn uids() -> BTreeMap<String, String> {
    let sample: Map<String, Value> = json(&captions());
    let of = |(place, index): (usize, &String)| (index.clone(), format!("uid{:03}", 900 - place));
    sample.keys().enumerate().map(of).collect()
}

/// The map, and captions by uid: one by its path, those that the map does not name by their index.
fn data(dir: &Dir) -> (String, String) {
    let uids = uids();
    let named = || uids.iter().take(uids.len() - UNNAMED);
    let map: Map<String, Value> =
        named().map(|(index, uid)| (index.clone(), format!("000-001/{uid}.glb").into())).collect();
    let mut by_uid: Map<String, Value> = json(&captions());
    for (place, (index, uid)) in named().enumerate() {
        let caption = by_uid.remove(index).unwrap();
        by_uid.insert(if place == 3 { format!("000-009/{uid}.glb") } else { uid.clone() }, caption);
    }
    let write = |name, map| dir.write(name, serde_json::to_vec(&map).unwrap()).to_str().unwrap().to_owned();
    (write("map.json", map), write("captions.json", by_uid))
}

fn joined(dir: &Dir, ids: &str) -> Run {
    let (map, captions) = data(dir);
    let job = embed(dir, "image").arg("--captions").arg(captions).arg("--id-map").arg(map);
    job.arg("--ids").arg(ids).set("--batch-size", "1")
}

/// Vectors by asset.
fn vectors(contents: &Contents) -> BTreeMap<&str, &[Vec<u32>]> {
    let rows = |rows: &std::ops::Range<u64>| &contents.rows[rows.start as usize..rows.end as usize];
    contents.assets.iter().map(|(id, range)| (id.as_str(), rows(range))).collect()
}

#[test]
fn a_map_changes_ids_and_their_order_and_no_vector() {
    let plain = Dir::new();
    embed(&plain, "text image").set("--batch-size", "1").ranks(2).run().exits(Exit::Success);
    let uids = uids();
    let named = uids.len() - UNNAMED;
    for ids in ["index", "uid"] {
        let dir = Dir::new();
        let outcome = joined(&dir, ids).ranks(2).run().exits(Exit::Success);
        outcome.says("left out: 3 assets with views").prints("left out   3 assets with views");
        assert_eq!(report(&image_of(&dir))["assets_left_out"], LEFT_OUT);
        assert_eq!(report(&text_of(&dir))["assets_left_out"], 0);
        for (own, expected, all, assets) in [
            (text_of(&dir), text_of(&plain), uids.len(), uids.len()),
            (image_of(&dir), image_of(&plain), named, WITH_VIEWS),
        ] {
            assert_sound(&own);
            let (own, expected) = (Contents::of(&own), Contents::of(&expected));
            let (own, expected) = (vectors(&own), vectors(&expected));
            assert_eq!(own.len(), assets);
            for (place, (index, uid)) in uids.iter().enumerate().take(all) {
                let id = if ids == "uid" && place < named { uid } else { index };
                assert_eq!(own.get(id.as_str()), expected.get(index.as_str()), "{id}");
            }
        }
        either_id_is_found(&dir, ids);
    }
}

/// `get` of the first asset by each of its names.
fn either_id_is_found(dir: &Dir, ids: &str) {
    let (index, uid) = uids().pop_first().unwrap();
    let stored = if ids == "uid" { &uid } else { &index };
    let get = |id: &str| dir.hyperslab(["get"]).arg(image_of(dir)).arg(id).args("--id-map map.json");
    for name in [&index, &uid, &format!("{index}#1"), &format!("x/{uid}.glb#1")] {
        get(name).run().exits(Exit::Success).prints(&format!("{stored}#1  row "));
    }
    get("zzz").run().exits(Exit::NotFound).says("zzz: no such asset, and the id map does not name it");
    dir.write("map.json", r#"{"5/5": "x/five.glb"}"#);
    get("five#0").run().exits(Exit::NotFound).says("nor by its other id in the map, 5/5");
}

#[test]
fn a_run_goes_on_with_the_same_ids_alone() {
    let dir = Dir::new();
    let job = || joined(&dir, "index").set("--only", "image").args("--no-seal --max-assets 3");
    job().run().exits(Exit::Success);
    // Written again: another time, the same content.
    let outcome = job().run().exits(Exit::Success);
    outcome.says("3 assets").says("to compute");
    job().set("--ids", "uid").run().exits(Exit::Failure).tells_one_error().says("plan_sha256");
}
