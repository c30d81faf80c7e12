//! `hyperslab plan` looks at a sample of the pictures.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use hyperslab::Exit;
use serde_json::Value;

use crate::util::Dir;

/// A PNG of 8-bit samples: colour type 0 is grey, 2 RGB, 6 RGBA.
fn png(width: u32, height: u32, colour_type: u8, pixels: &[u8]) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let content = [kind, data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(&content);
        png.extend(crc32fast::hash(&content).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, colour_type, 0, 0, 0]].concat());
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in pixels.chunks(pixels.len() / height as usize) {
        rows.write_all(&[0]).unwrap();
        rows.write_all(row).unwrap();
    }
    chunk(b"IDAT", &rows.finish().unwrap());
    chunk(b"IEND", b"");
    png
}

/// 8 x 8, the upper half of it red, the lower half wholly transparent over a colour.
fn over(hidden: [u8; 3]) -> Vec<u8> {
    let [red, green, blue] = hidden;
    png(8, 8, 6, &[[200, 0, 0, 255].repeat(32), [red, green, blue, 0].repeat(32)].concat())
}

fn plan(dir: &Dir, arguments: &str) -> (String, Value) {
    let run = || dir.hyperslab(["plan", "--renders", "renders"]).args(arguments);
    let text = run().run().exits(Exit::Success).stdout;
    let json: Value = serde_json::from_str(&run().args("--json").run().exits(Exit::Success).stdout).unwrap();
    (text, json["pictures"].clone())
}

#[test]
fn hidden_colours_are_shown_and_what_to_do() {
    let dir = Dir::new();
    for asset in 0..5 {
        dir.write(&format!("renders/{asset}/0.png"), over([10, 20, 30]));
        dir.write(&format!("renders/w{asset}/0.png"), over([255; 3]));
    }
    let (text, json) = plan(&dir, "");
    assert!(text.contains("looked at 10 pictures: 8 x 8 (10)"), "{text}");
    assert!(text.contains("WARNING 5 of 10 pictures have hidden colours"), "{text}");
    assert!(text.contains("e.g. 0/0.png (#0a141e)") && text.contains("--background white"), "{text}");
    let count = |name: &str| json[name]["count"].as_u64().unwrap();
    assert_eq!((count("transparent"), count("hidden_colour"), count("broken")), (10, 5, 0));
    // Half of the picture differs by 245, 235 and 225.
    assert!((json["mean_difference"].as_f64().unwrap() - 117.5).abs() < 1e-6, "{json}");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);

    for settled in ["--background white", "--background black"] {
        let (text, json) = plan(&dir, settled);
        assert!(text.contains("nothing amiss") && json["warnings"].as_array().unwrap().is_empty(), "{text}");
    }
    let (text, json) = plan(&dir, "--look 3");
    assert!(text.contains("looked at 3 pictures") && json["sampled"] == 3, "{text}");
    let (text, json) = plan(&dir, "--look 0");
    assert!(!text.contains("looked at") && json.is_null(), "{text}");
}

#[test]
fn pictures_that_are_no_renders_are_shown() {
    let dir = Dir::new();
    let noise = |n: usize| (0..n).map(|i| (i * 37 % 251) as u8).collect::<Vec<_>>();
    for asset in 0..4 {
        dir.write(&format!("renders/good{asset}/0.png"), png(8, 8, 2, &noise(192)));
    }
    dir.write("renders/grey/0.png", png(8, 8, 0, &noise(64)));
    dir.write("renders/wide/0.png", png(16, 4, 2, &noise(192)));
    dir.write("renders/blank/0.png", png(8, 8, 6, &[5, 6, 7, 0].repeat(64)));
    dir.write("renders/broken/0.png", "no picture");
    let (text, json) = plan(&dir, "--background white");
    for line in [
        "looked at 8 pictures: 8 x 8 (6), 16 x 4 (1)",
        "1 of 8 pictures cannot be read: its row will fail, e.g. broken/0.png: broken picture",
        "they are of 2 sizes",
        "1 of 8 pictures is not square, e.g. wide/0.png",
        "1 of 8 pictures has no colour, e.g. grey/0.png",
        "1 of 8 pictures is of one colour, blank, e.g. blank/0.png",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(json["warnings"].as_array().unwrap().len(), 5);
}

#[test]
fn pictures_that_cannot_be_found_are_not_looked_at() {
    let dir = Dir::new();
    let list = dir.write("views.tsv", "a/0.png\t5\n");
    let outcome = dir.hyperslab(["plan", "--renders-list"]).arg(&list).run().exits(Exit::Success);
    outcome.prints("not looked at any picture: a list does not say where they are; add --renders ROOT");
    dir.write("renders/a/0.png", png(1, 1, 2, &[1, 2, 3]));
    let listed = dir.hyperslab(["plan", "--renders", "renders", "--renders-list"]).arg(&list);
    listed.run().exits(Exit::Success).prints("bytes, 5 when the plan was made");
    let captions = dir.write("captions.json", "{\"a\": \"x\"}");
    let outcome = dir.hyperslab(["plan", "--captions"]).arg(captions).run().exits(Exit::Success);
    assert!(!outcome.stdout.contains("looked at"), "{outcome}");
}
