//! Inputs joined by a map of ids, cut to the first assets, packed in archives, and named in a file of settings.

use std::collections::BTreeMap;
use std::path::Path;

use hyperslab::Exit;
use hyperslab::store::Reader;
use serde_json::{Map, Value};

use super::{captions, chinese, embed, embed_views, groups, image_of, made, model, small, text_of};
use crate::job::archives::folders_and_archives;
use crate::job::json;
use crate::util::{Contents, Dir, Run, assert_same, assert_sound};

/// Each item by itself, so that vectors do not depend on which others there are.
fn alone(job: Run) -> Run {
    job.set("--max-tokens-per-batch", "1")
}

fn uid(index: &str) -> String {
    format!("uid{}", index.replace('/', "-"))
}

/// Captions by uid; one in each language by its path.
fn by_uid(path: &Path) -> Map<String, Value> {
    let captions: Map<String, Value> = json(path);
    let id = |(place, index): (usize, &String)| {
        if place == 2 { format!("000-009/{}.glb", uid(index)) } else { uid(index) }
    };
    captions.keys().enumerate().map(|(place, index)| (id((place, index)), captions[index].clone())).collect()
}

/// Rows by id.
fn rows(contents: &Contents) -> BTreeMap<&str, &[u32]> {
    contents.assets.iter().zip(&contents.rows).map(|((id, _), row)| (id.as_str(), &row[..])).collect()
}

#[test]
fn a_map_joins_captions_of_both_languages_with_views() {
    let plain = made("english chinese image", alone);
    let dir = Dir::new();
    let views = Contents::of(&image_of(&plain));
    let mut indices: Vec<String> = views.assets.iter().map(|(id, _)| id.clone()).collect();
    let captions_of = |path| json::<Map<String, Value>>(path).into_iter().map(|(id, _)| id);
    indices.extend(captions_of(&captions()).chain(captions_of(&chinese())));
    let map: Map<String, Value> =
        indices.iter().map(|index| (index.clone(), format!("000-001/{}.glb", uid(index)).into())).collect();
    let write = |name: &str, map: &Map<String, Value>| dir.write(name, serde_json::to_vec(map).unwrap());
    let (map, english) = (write("map.json", &map), write("en.json", &by_uid(&captions())));
    let chinese = write("zh.json", &by_uid(&chinese()));
    for ids in ["index", "uid"] {
        let out = dir.join(ids);
        let job = alone(embed(&dir, "image")).set("--output-dir", &out).arg("--id-map").arg(&map);
        let job = job.arg("--captions").arg(&english).arg("--captions-zh").arg(&chinese);
        job.args("--ids").arg(ids).ranks(2).run().exits(Exit::Success);
        let text = |dir: &Path, group: &str| Contents::of_group(&dir.join(super::TEXT), group);
        for (own, expected) in [
            (text(&out, "english"), text(&plain.join("out"), "english")),
            (text(&out, "chinese"), text(&plain.join("out"), "chinese")),
            (Contents::of(&out.join(super::IMAGE)), Contents::of(&image_of(&plain))),
        ] {
            let (own, expected) = (rows(&own), rows(&expected));
            assert_eq!(own.len(), expected.len());
            for (index, row) in expected {
                let id = if ids == "uid" { uid(index) } else { index.to_owned() };
                assert_eq!(own.get(id.as_str()), Some(&row), "{id}");
            }
        }
        let stored = if ids == "uid" { uid("0/10023") } else { "0/10023".to_owned() };
        for name in ["0/10023", &uid("0/10023")] {
            let get = dir.hyperslab(["get", "--group", "chinese", "--id-map", "map.json"]);
            let get = get.arg(out.join(super::TEXT)).arg(name).run().exits(Exit::Success);
            get.prints(&format!("{stored}  row "));
        }
    }
}

#[test]
fn the_first_assets_are_taken_of_each_group() {
    let all = made("english chinese image", alone);
    let some = made("english chinese image", |job| alone(job).set("--max-assets", "3"));
    for group in ["english", "chinese"] {
        let [all, some] = [&all, &some].map(|dir| Contents::of_group(&text_of(dir), group));
        assert_eq!((&some.assets[..], &some.rows[..]), (&all.assets[..3], &all.rows[..3]));
    }
    let [all, some] = [&all, &some].map(|dir| Contents::of(&image_of(dir)));
    assert_eq!((&some.assets[..], &some.rows[..]), (&all.assets[..3], &all.rows[..3]));
    assert_eq!(some.num_images, [8, 8, 8]);
}

#[test]
fn archives_make_the_vectors_of_folders() {
    let dir = Dir::new();
    folders_and_archives(&dir);
    embed_views(&dir, "folders").run().exits(Exit::Success);
    let folders = Contents::of(&image_of(&dir));
    assert_eq!(folders.num_images, [8, 8, 8]);
    let made = [0, 3].map(|ranks| {
        let made = Dir::new();
        let job = embed(&made, "").arg("--renders").arg(dir.join("archives")).ranks(ranks);
        job.run().exits(Exit::Success);
        made
    });
    let archives = Contents::of(&image_of(&made[0]));
    assert_eq!((&archives.assets, &archives.rows), (&folders.assets, &folders.rows));
    assert_eq!((archives.num_images, archives.failures), (folders.num_images, vec![]));
    assert_same(&image_of(&made[0]), &image_of(&made[1]));
}

#[test]
fn one_file_of_settings_serves_both_families() {
    let dir = Dir::new();
    let (captions, chinese, renders) = (captions(), chinese(), small("renders"));
    let config = format!(
        "[model]\nbatch-size = 3\nmax-tokens-per-batch = 300\nmax-num-patches = 9\ninstruction = 'Find it.'\n\
         dim = 48\n[input]\ncaptions = {captions:?}\ncaptions-zh = {chinese:?}\nrenders = {renders:?}\n\
         views = 2\nblock-rows = 4\n[output]\noutput-dir = 'out'\nqwen-text = 't.h5'\nsiglip-image = 'v.h5'\n\
         [run]\ndevice = 'cpu'\n"
    );
    let embed =
        |family: &str, model: std::path::PathBuf| dir.hyperslab(["embed", family, "--model"]).arg(model);
    dir.write("hyperslab.toml", &config);
    embed("qwen", model("qwen3-vl")).ranks(2).run().exits(Exit::Success);
    // A SigLIP model of one size has no number of patches, whoever asks.
    dir.write("hyperslab.toml", config.replace("max-num-patches = 9\n", ""));
    embed("siglip", small("model")).run().exits(Exit::Success);
    let file = |name: &str| dir.join("out").join(name);
    for (name, setting, value) in [
        ("t.h5", "max_tokens_per_batch", "300"),
        (super::IMAGE, "max_tokens_per_batch", "300"),
        ("siglip_text_embeddings.h5", "batch_size", "3"),
        ("v.h5", "batch_size", "3"),
    ] {
        assert_sound(&file(name));
        let provenance = &Reader::open_all(&file(name)).unwrap()[0].summary().unwrap().provenance;
        assert!(provenance.contains(&(setting.to_owned(), value.to_owned())), "{name}: {provenance:?}");
        let is_told = provenance.iter().any(|(_, value)| value.contains("Find it."));
        assert_eq!(is_told, !name.contains("siglip") && name != "v.h5", "{name}");
    }
    assert_eq!(groups(&file("t.h5")), ["chinese", "english"]);
    assert!(Contents::of(&file(super::IMAGE)).num_images.iter().all(|&n| n == 2));
    assert_eq!(Reader::open(&file("v.h5"), None).unwrap().n_rows(), 2 * super::IMAGE_ROWS as u64);
}
