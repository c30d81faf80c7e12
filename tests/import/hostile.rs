//! Files that are damaged, or made to do harm: each an error, or what it says, and soon.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyperslab::Result;
use hyperslab::plan::Kind;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Content, content, made, open};

/// What is refused or read takes no longer.
const SOON: Duration = Duration::from_secs(30);

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, bytes: &[u8], kind: Kind) -> Result<Content> {
        let began = Instant::now();
        let path = self.write("source", bytes);
        let read = open(&[path], &[], kind).and_then(|vectors| content(&vectors));
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        read
    }

    #[track_caller]
    fn refuses(&self, bytes: &[u8], says: &str) {
        let error = self.read(bytes, Kind::Text).expect_err("it is to be refused");
        assert!(error.message.contains(says), "{error}");
        assert!(error.message.contains("source'"), "{error}");
    }
}

fn small(name: &str) -> Vec<u8> {
    fs::read(made().join(name)).unwrap()
}

#[test]
fn every_flipped_byte_and_every_cut_is_an_error_or_harmless() {
    let folder = Folder::new();
    for (name, kind) in [
        ("shared_2.pkl", Kind::Text),
        ("shared_4.pkl", Kind::Text),
        ("shared_5.pkl", Kind::Text),
        ("bad_many_4.pkl", Kind::Image),
        ("small_0.npz", Kind::Text),
        ("small_stored.npz", Kind::Image),
    ] {
        let good = small(name);
        let expected = folder.read(&good, kind).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut harmless = 0;
        for at in 0..good.len() {
            for flip in [1, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let read = folder.read(&bytes, kind);
                // A pickle has no checksums: a flipped byte of a vector is another vector.
                harmless += usize::from(read == Ok(expected.clone()));
                if Path::new(name).extension().is_some_and(|end| end == "npz")
                    && let Ok(read) = read
                {
                    assert_eq!(read, expected, "{name}: byte {at} ^ {flip}");
                }
            }
        }
        assert!(
            harmless < good.len() * 3 / 2,
            "{name}: {harmless} of {} flips change nothing",
            2 * good.len()
        );
        for cut in 0..good.len() {
            let read = folder.read(&good[..cut], kind);
            assert!(read.is_err(), "{name} cut at {cut}");
        }
    }
}

/// A pickle of protocol 4 with these instructions.
fn pickle(instructions: &[&[u8]]) -> Vec<u8> {
    [&[0x80, 4][..], &instructions.concat(), b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0x8c, text.len() as u8][..], text.as_bytes()].concat()
}

fn global(module: &str, name: &str) -> Vec<u8> {
    [text(module), text(name), vec![0x93]].concat()
}

#[test]
fn pickles_that_would_take_memory_or_time_without_end_are_refused() {
    let folder = Folder::new();
    let huge = (1_u64 << 60).to_le_bytes();
    for code in [0x8d, 0x8e, 0x96] {
        folder.refuses(&pickle(&[b"}", &[code], &huge, b"abc"]), "ends too early");
    }
    folder.refuses(&pickle(&[b"B\xff\xff\xff\xff"]), "ends too early");
    folder.refuses(&pickle(&[b"\x8b\xff\xff\xff\x7f"]), "ends too early");
    folder.refuses(&pickle(&[b"(".repeat(1 << 20).as_slice()]), "values wait on the stack");
    folder.refuses(&pickle(&[b"N2".repeat(1 << 20).as_slice()]), "values wait on the stack");
    folder.refuses(&pickle(&[b")", b"\x85".repeat(1 << 20).as_slice()]), "tuples in tuples");
    folder
        .refuses(&pickle(&[b"]".repeat(9000).as_slice(), b"a".repeat(8999).as_slice()]), "a list in a list");
    folder.refuses(&pickle(&[b"]\x94h\x00a"]), "a list with a list in it");
    folder.refuses(&pickle(&[b"}h\x07"]), "memo as number 7");
    folder.refuses(&pickle(&[b"}\x97"]), "outside the file");
    folder.refuses(&pickle(&[b"}\x82\x01"]), "a class by number");
    folder.refuses(&pickle(&[b"c", &b"a".repeat(400), b"\nb\n"]), "over 256 bytes");
    folder.refuses(&pickle(&[b"00"]), "the stack holds too little");
    folder.refuses(&pickle(&[b"e"]), "the stack holds too little");
    folder.refuses(&pickle(&[b"}", &text("a"), b"s"]), "the stack holds too little");
    folder.refuses(&pickle(&[b"}(", &text("a"), b"u"]), "a key without a value");
    folder.refuses(&[0x80, 9], "protocol 9");
    folder.refuses(&[0x80], "ends too early");
    for (module, name) in [("os", "system"), ("torch._utils", "_rebuild_tensor_v2"), ("numpy", "load")] {
        let named = format!("it needs '{module}.{name}', which is not executed");
        folder.refuses(&pickle(&[&global(module, name)]), &named);
    }
    folder.refuses(&pickle(&[&global("numpy", "dtype"), b")\x81"]), "an object of a class");
}

#[test]
fn what_is_used_again_and_again_is_counted() {
    let folder = Folder::new();
    // A list of 1,000 numbers, in 1,000 lists, each in 1,000 assets.
    let numbers = [&b"](G\x3f\xf0\0\0\0\0\0\0"[..], &b"2".repeat(999), b"e\x94"].concat();
    let lists = [&b"]("[..], &b"h\x00".repeat(1000), b"e\x94"].concat();
    let asset = |i: usize| [text(&format!("{i:03}")), b"h\x01".to_vec()].concat();
    let assets: Vec<u8> = (0..1000).flat_map(asset).collect();
    let all = pickle(&[&numbers, &lists, b"00}(", &assets, b"u"]);
    let error = folder.read(&all, Kind::Image).unwrap_err();
    assert!(error.message.contains("more vectors than the file has bytes"), "{error}");
    // Text that stands for bytes, unpacked again and again.
    let long = [&b"X"[..], &100_000_u32.to_le_bytes(), &b"x".repeat(100_000), b"\x94"].concat();
    let encode = [global("_codecs", "encode"), b"\x94".to_vec()].concat();
    let latin = [text("latin1"), b"\x94".to_vec()].concat();
    let again = b"h\x01h\x00h\x02\x86R0".repeat(100_000);
    let all = pickle(&[&long, &encode, &latin, &again]);
    let error = folder.read(&all, Kind::Text).unwrap_err();
    assert!(error.message.contains("unpacks to more"), "{error}");
    // A list that grows after it is in the dictionary.
    let late = pickle(&[b"}]\x94G\x3f\xf0\0\0\0\0\0\0a0", &text("a"), b"h\x00sh\x00G\x3f\xf0\0\0\0\0\0\0a0"]);
    folder.refuses(&late, "a list that grows after it was used");
}

/// A `.npz` of members with these bytes.
fn npz(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes(), data].concat()
}

#[test]
fn archives_that_promise_too_much_are_refused() {
    let folder = Folder::new();
    let one_id = npy("<U1", "(1,)", b"a\0\0\0");
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let with =
            |vectors: &[u8], ids: &[u8]| npz(&[("asset_ids.npy", ids), ("embeddings.npy", vectors)], method);
        folder.refuses(&with(&npy("<f4", "(1099511627776, 1024)", b"1234"), &one_id), "embeddings.npy");
        folder.refuses(&with(&npy("<f4", "(18446744073709551615, 9)", b"1234"), &one_id), "no file holds");
        folder.refuses(&with(&npy("<f4", "(1, 2)", b"1234"), &one_id), "does not have");
        folder.refuses(&with(&npy("<f4", "(1, 1)", b"12345"), &one_id), "does not have");
        folder.refuses(&with(b"", &one_id), "embeddings.npy: it ends in the first bytes");
        let vectors = npy("<f4", "(1, 1)", b"1234");
        folder.refuses(&with(&vectors, &npy("<U9999999", "(1,)", b"a\0\0\0")), "asset_ids.npy");
        folder.refuses(&with(&vectors, &npy("<U0", "(1099511627776,)", b"")), "ids are 1099511627776");
        folder.refuses(&with(&vectors, &npy("<U1", "(1,)", b"\0\xd8\0\0")), "number 0 is not text");
        folder.refuses(&with(&vectors, &npy("<U1", "(1,)", b"\0\0\0\0")), "an asset id is empty");
        folder.refuses(&with(&vectors, &npy("<U1", "(1, 1)", b"a\0\0\0")), "not (assets,)");
        folder.refuses(&with(&vectors, &npy("<i8", "(1,)", &[0; 8])), "not text");
    }
    // 200 MB of zeros in 200 KB: as many vectors as it says, and no ids for them.
    let zeros = npy("<f4", "(50000, 1000)", &vec![0; 200_000_000]);
    let bomb = npz(&[("asset_ids.npy", &one_id), ("embeddings.npy", &zeros)], CompressionMethod::Deflated);
    assert!(bomb.len() < 300_000);
    folder.refuses(&bomb, "embeddings of 50000 rows, where its ids are 1");
    // The directory says that a few bytes are a gigabyte.
    let (real, said) = (zeros.len() as u32, 1_000_000_000_u32);
    let lies: Vec<u8> = replaced(&bomb, &real.to_le_bytes(), &said.to_le_bytes());
    folder.refuses(&lies, "embeddings.npy: 1000000000 bytes");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn an_array_that_was_cut_or_has_more_behind_it_is_refused() {
    let folder = Folder::new();
    let metadata = folder.write("ids.json", b"[\"a\", \"b\"]");
    let good = npy("<f4", "(2, 3)", &[7; 24]);
    let read = |bytes: &[u8]| -> Result<Content> {
        let path: &Path = &folder.write("a.npy", bytes);
        content(&open(&[path.to_owned()], std::slice::from_ref(&metadata), Kind::Text)?)
    };
    assert_eq!(read(&good).unwrap().len(), 2);
    for cut in 0..good.len() {
        assert!(read(&good[..cut]).is_err(), "{cut}");
    }
    let longer = [&good[..], &[0]].concat();
    let error = read(&longer).unwrap_err();
    let (is, should) = (longer.len(), good.len());
    assert!(
        error
            .message
            .contains(&format!("{is} bytes, where an array of shape (2, 3) and '<f4' makes {should}"))
    );
}
