//! The files as others see them: stock h5py and the HDF5 tools.

use std::path::Path;

use hyperslab::Exit;

use super::{embed, groups, image_of, made, refused, text_of};
use crate::job::format::{h5dump, h5py_of};
use crate::util::{Contents, Dir, assert_sound};

#[track_caller]
fn h5py(check: &str, file: &Path) {
    h5py_of("tests/job/qwen/format.py", check, file);
}

#[test]
fn stock_h5py_and_h5dump_read_everything() {
    for compression in ["gzip:4", "none"] {
        let dir = Dir::new();
        let job = embed(&dir, "english chinese image").set("--compression", compression);
        job.ranks(3).run().exits(Exit::Success);
        let (text, image) = (text_of(&dir), image_of(&dir));
        h5py(&format!("english,chinese {compression}"), &text);
        h5py(&format!("image {compression}"), &image);
        for (file, ids) in [(&text, ["\"0/10041\"", "\"0/10023\""]), (&image, ["\"0/10002\"", "\"2/10451\""])]
        {
            let header = h5dump(&["-H", "-p"], file);
            assert_eq!(
                header.contains("COMPRESSION DEFLATE { LEVEL 4 }"),
                compression == "gzip:4",
                "{header}"
            );
            let all = h5dump(&[], file);
            assert!(ids.iter().all(|id| all.contains(id)) && all.contains("failures"));
        }
    }
}

#[test]
fn a_language_without_captions_has_no_group() {
    let only = made("chinese", |job| job);
    h5py("chinese gzip:4", &text_of(&only));
    let dir = Dir::new();
    let empty = dir.write("empty.json", "{}");
    let job = embed(&dir, "chinese").arg("--captions").arg(&empty);
    job.ranks(2).run().exits(Exit::Success);
    h5py("chinese gzip:4", &text_of(&dir));
    assert_eq!(groups(&text_of(&dir)), ["chinese"]);
    assert_eq!(Contents::of(&text_of(&dir)).rows, Contents::of(&text_of(&only)).rows);
    let other = made("english", |job| job.arg("--captions-zh").arg(&empty));
    h5py("english gzip:4", &text_of(&other));
    let neither = Dir::new();
    let job = embed(&neither, "").arg("--captions").arg(&empty).arg("--captions-zh").arg(&empty);
    refused(job.ranks(2), Exit::Failure, &["there is nothing to embed for", super::TEXT]);
}

#[test]
fn languages_need_not_share_an_id() {
    let dir = Dir::new();
    let english = dir.write("en.json", r#"{"b/2": "a chair", "a/1": "a lamp", "e": ""}"#);
    let chinese_captions = dir.write("zh.jsonl", "{\"asset_id\": \"c\", \"caption\": \"椅子\"}\n");
    let job = embed(&dir, "").arg("--captions").arg(english).arg("--captions-zh").arg(chinese_captions);
    job.set("--max-failures", "1").ranks(2).run().exits(Exit::Success);
    assert_sound(&text_of(&dir));
    let ids = |group: &str| -> Vec<String> {
        Contents::of_group(&text_of(&dir), group).assets.into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(
        (ids("english"), ids("chinese")),
        (["a/1", "b/2", "e"].map(str::to_owned).into(), vec!["c".to_owned()])
    );
    let failures = Contents::of_group(&text_of(&dir), "english").failures;
    assert_eq!(failures, [(2, "empty caption".to_owned())]);
}

#[test]
fn captions_of_either_language_that_cannot_be_read_end_the_job() {
    let dir = Dir::new();
    let twice = dir.write("twice.json", "{\"a\": \"x\", \"a\": \"y\"}");
    let job = embed(&dir, "english").arg("--captions-zh").arg(twice).ranks(2);
    refused(job, Exit::Failure, &["several captions in chinese: 'a'"]);
    let job = embed(&dir, "chinese").arg("--captions").arg("no/such.json");
    refused(job, Exit::Failure, &["no/such.json", "No such file"]);
    assert!(!text_of(&dir).exists());
}
