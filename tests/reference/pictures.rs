//! Decoding, transparency and resizing, exactly as Pillow and torchvision have them.

use hyperslab::error::ItemErrorKind;
use hyperslab::model::Background;
use hyperslab::model::picture::decode;
use hyperslab::model::siglip::Preprocess;

use super::{expected, fixtures};

/// Every picture of the fixtures with its bytes.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries =
        std::fs::read_dir(fixtures().join(folder)).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .filter(|entry| {
            entry.path().is_file() && entry.path().extension().is_some_and(|e| e != "safetensors")
        })
        .map(|entry| {
            (entry.file_name().into_string().expect("UTF-8"), std::fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn decoding_equals_pillow() {
    let expected = expected("pictures/expected.safetensors");
    let mut wrong = Vec::new();
    for (name, bytes) in files("pictures") {
        let array = &expected[&format!("{name}/rgb")];
        match decode(&bytes, Background::Drop) {
            Ok(rgb) => {
                assert_eq!([rgb.height, rgb.width, 3], *array.shape, "{name}");
                let off = rgb.data.iter().zip(array.bytes()).map(|(a, b)| a.abs_diff(b)).max();
                if off != Some(0) {
                    wrong.push(format!("{name}: off by {off:?}"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(expected.len() >= 4 * 50, "all fixtures are there");
}

#[test]
fn transparency_over_white_equals_pillow() {
    let expected = expected("pictures/expected.safetensors");
    let mut wrong = Vec::new();
    for (name, bytes) in files("pictures") {
        let rgb = decode(&bytes, Background::Colour([255; 3])).expect("decodes");
        if rgb.data != expected[&format!("{name}/white")].bytes() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn resizing_equals_torchvision() {
    let expected = expected("pictures/expected.safetensors");
    for (kind, side, resample) in [("bicubic", 24, 3), ("bilinear", 32, 2)] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(r#"{{"size": {side}, "resample": {resample}}}"#);
        std::fs::write(folder.path().join("preprocessor_config.json"), config).expect("written");
        let preprocess = Preprocess::load(folder.path(), side, Background::Drop).expect("supported");
        for (name, bytes) in files("pictures") {
            let pixels = preprocess.pixels(&bytes).expect("decodes");
            assert_eq!(pixels.size(), [side as i64, side as i64, 3], "{name}");
            let found = Vec::<u8>::try_from(pixels.flatten(0, -1)).expect("bytes");
            assert!(found == expected[&format!("{name}/{kind}")].bytes(), "{name}: {kind}");
        }
    }
}

#[test]
fn broken_files_are_failures_of_the_item() {
    for (folder, kind) in
        [("pictures/broken", ItemErrorKind::BrokenPicture), ("pictures/too-large", ItemErrorKind::TooLarge)]
    {
        let files = files(folder);
        assert!(files.len() >= 3);
        for (name, bytes) in files {
            let error = decode(&bytes, Background::Drop).expect_err(&name);
            assert_eq!(error.kind, kind, "{name}: {error}");
            assert!(!error.detail.is_empty(), "{name} says why");
        }
    }
}

#[test]
fn no_file_cut_or_flipped_anywhere_panics() {
    for (name, bytes) in files("pictures").into_iter().filter(|(_, bytes)| bytes.len() < 1500) {
        for at in (0..bytes.len()).step_by(7) {
            let _ = decode(&bytes[..at], Background::Drop);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            // A flipped size may ask for a large picture: that is refused or, when it fits, fails later.
            if let Ok(rgb) = decode(&flipped, Background::Colour([1, 2, 3])) {
                assert_eq!(rgb.data.len(), rgb.width * rgb.height * 3, "{name}, byte {at}");
            }
        }
    }
}

#[test]
fn a_broken_jpeg_does_no_harm_to_the_next() {
    let good = std::fs::read(super::fixtures().join("pictures/rgb-420.jpg")).expect("read");
    let whole = decode(&good, Background::Drop).expect("sound").data;
    for cut in (2..good.len()).step_by(7) {
        let _ = decode(&good[..cut], Background::Drop);
        let next = decode(&good, Background::Drop);
        assert!(next.is_ok_and(|next| next.data == whole), "after a file cut at {cut}");
    }
}

/// libjpeg warns of each and reads it all the same, and so does Pillow.
#[test]
fn odd_headers_of_a_jpeg_change_no_pixel() {
    let read =
        |name: &str| std::fs::read(super::fixtures().join("pictures").join(name)).expect("a JPEG file");
    let marker = |bytes: &[u8], marker: u8| {
        bytes.windows(2).position(|pair| pair == [0xff, marker]).expect("the marker")
    };
    let same = |what: &str, good: &[u8], odd: &[u8]| {
        let pixels = |bytes| decode(bytes, Background::Drop).map(|rgb| rgb.data);
        assert!(
            good != odd
                && pixels(odd).unwrap_or_else(|error| panic!("{what}: {error}")) == pixels(good).unwrap(),
            "{what}"
        );
    };
    for name in ["rgb-420.jpg", "grey.jpg", "progressive.jpg", "restarts.jpg"] {
        let good = read(name);
        let mut revision = good.clone();
        assert_eq!(&revision[6..10], b"JFIF");
        revision[11] = 7;
        same(&format!("{name}: revision"), &good, &revision);
        let mut stray = good.clone();
        stray.splice(20..20, *b"abc");
        same(&format!("{name}: stray bytes"), &good, &stray);
        assert!(decode(&stray[..stray.len() * 3 / 4], Background::Drop).is_err(), "{name}: cut off as well");
    }
    let good = read("rgb-444.jpg");
    let mut scan = good.clone();
    let end = marker(&scan, 0xda) + 4 + 1 + 2 * 3 + 1; // the last coefficient, behind three components
    assert_eq!(scan[end], 63);
    scan[end] = 0;
    same("parameters of the scan", &good, &scan);
    // An unknown transform of four components is taken for YCCK, which is 2.
    let mut good = read("cmyk.jpg");
    let transform = marker(&good, 0xee) + 4 + 11;
    good[transform] = 2;
    let mut adobe = good.clone();
    adobe[transform] = 9;
    same("transform", &good, &adobe);
}
