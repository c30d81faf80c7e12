//! Vectors of the old pipeline, from files that Python and NumPy wrote (`import/make.py`).

mod command;
mod hostile;
mod memory;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hyperslab::input::arrays::{self, Request, Vectors};
use hyperslab::plan::Kind;
use hyperslab::{Error, Result};
use tempfile::TempDir;

/// As in `make.py`.
const DIM: usize = 8;
const ASSETS: usize = 2300;
const LONG_DIM: usize = 1030;

/// The folder that `make.py` filled.
fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("import-{}", std::process::id()));
        for left in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap().map(|entry| entry.unwrap()) {
            let name = left.file_name().into_string().unwrap();
            if let Some(pid) = name.strip_prefix("import-")
                && !Path::new("/proc").join(pid).exists()
            {
                let _ = fs::remove_dir_all(left.path());
            }
        }
        fs::create_dir_all(&folder).unwrap();
        let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/make.py");
        let output = Command::new(python).arg(script).arg(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    })
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| made().join(name)).collect()
}

fn open(files: &[PathBuf], metadata: &[PathBuf], kind: Kind) -> Result<Vectors> {
    let output = TempDir::new().unwrap();
    let opened =
        arrays::open(&Request { files, metadata, kind, output: &output.path().join("o.h5") }, &mut |_| {});
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0, "nothing is left beside the output");
    opened
}

/// The vectors of each asset.
type Content = BTreeMap<String, Vec<Vec<f64>>>;

fn content(vectors: &Vectors) -> Result<Content> {
    let mut rows = vectors.rows();
    let mut content = Content::new();
    for (id, count) in vectors.table().iter() {
        let mut own = Vec::new();
        for _ in 0..count {
            let mut row = Vec::new();
            assert!(rows.next(&mut row)?);
            own.push(row);
        }
        content.insert(id.to_owned(), own);
    }
    assert!(!rows.next(&mut Vec::new())?);
    vectors.refuse_changed()?;
    Ok(content)
}

fn read(names: &[&str], metadata: &[&str], kind: Kind) -> Result<Content> {
    content(&open(&paths(names), &paths(metadata), kind)?)
}

#[track_caller]
fn error(names: &[&str], metadata: &[&str], kind: Kind) -> Error {
    read(names, metadata, kind).expect_err("it is to be refused")
}

fn value(i: usize, view: usize, j: usize) -> f64 {
    ((i * 31 + view * 7 + j * 17) % 63) as f64 / 64.0 - 31.0 / 64.0
}

fn vector(i: usize, view: usize, dim: usize) -> Vec<f64> {
    (0..dim).map(|j| value(i, view, j)).collect()
}

fn asset_id(i: usize) -> String {
    format!("{}/é{i}", i * 37 % 11)
}

fn texts(n: usize) -> Content {
    (0..n).map(|i| (asset_id(i), vec![vector(i, 0, DIM)])).collect()
}

/// Each asset has as many views as its number modulo 4 says; those without any are left out.
fn images(n: usize) -> Content {
    let views = |i: usize| (0..i % 4).map(|view| vector(i, view, DIM)).collect();
    (0..n).filter(|i| i % 4 > 0).map(|i| (asset_id(i), views(i))).collect()
}

#[test]
fn npy_arrays_of_every_type_and_version_are_read() {
    for name in ["f2_little", "f4_little", "f8_little", "f2_big", "f4_big", "f8_big", "memmap"]
        .into_iter()
        .chain(["version_1", "version_2", "version_3"])
    {
        let name = format!("text_{name}.npy");
        assert_eq!(read(&[&name], &["ids.json"], Kind::Text).unwrap(), texts(50), "{name}");
    }
    let vectors = open(&paths(&["image.npy"]), &paths(&["ranges.json"]), Kind::Image).unwrap();
    assert_eq!(content(&vectors).unwrap(), images(50));
    assert_eq!((vectors.left_out().count, vectors.unclaimed()), (13, 2));
}

#[test]
fn npz_files_of_all_ranks_are_one_source() {
    let ranks = |name: &str| (0..3).map(|rank| format!("{name}_{rank}.npz")).collect::<Vec<_>>();
    for (name, kind, expected) in [
        ("text_rank", Kind::Text, texts(50)),
        ("text_stored", Kind::ViewSet, texts(50)),
        ("image_rank", Kind::Image, images(50)),
        ("image_stored", Kind::Image, images(50)),
    ] {
        let names = ranks(name);
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.reverse();
        names.push("text_rank_empty.npz");
        if kind.has_row_per_view() {
            names.pop();
        }
        assert_eq!(read(&names, &[], kind).unwrap(), expected, "{name}");
    }
    let empty = open(&paths(&["text_rank_empty.npz"]), &[], Kind::Text).unwrap();
    assert!(empty.table().is_empty() && empty.dim() == 0);
}

#[test]
fn pickles_of_every_protocol_and_type_are_read() {
    for protocol in 2..=5 {
        for name in ["f2", "f4", "f8", "f4_big", "rows", "str", "ordered", "matrix", "floats", "scalars"]
            .into_iter()
            .chain(["strided", "numpy2"])
        {
            let name = format!("text_{name}_{protocol}.pkl");
            assert!(read(&[&name], &[], Kind::Text).unwrap() == texts(ASSETS), "{name}");
        }
        let slow = format!("slow_{protocol}.pkl");
        assert!(read(&[&slow], &[], Kind::ViewSet).unwrap() == texts(ASSETS), "{slow}");
        for name in ["lists", "arrays", "floats"] {
            let name = format!("image_{name}_{protocol}.pkl");
            let vectors = open(&paths(&[&name]), &[], Kind::Image).unwrap();
            assert!(content(&vectors).unwrap() == images(ASSETS), "{name}");
            assert_eq!(vectors.left_out().count, 575, "{name}");
        }
        let long: Content = (0..5).map(|i| (asset_id(i), vec![vector(i, 0, LONG_DIM)])).collect();
        for name in ["floats", "arrays"] {
            assert_eq!(read(&[&format!("long_{name}_{protocol}.pkl")], &[], Kind::Text).unwrap(), long);
        }
        let shared = read(&[&format!("shared_{protocol}.pkl")], &[], Kind::Text).unwrap();
        assert_eq!(shared["a"], shared["c"]);
        assert_eq!(shared["b"], [vector(4, 0, DIM)]);
    }
}

#[test]
fn pickles_that_are_no_vectors_by_id_are_refused_by_what_they_hold() {
    for (name, says) in [
        ("executes", "eval', which is not executed"),
        ("object", "Mean"),
        ("list_of_all", "the pickle is a list"),
        ("dict", "a dictionary in the dictionary"),
        ("none", "asset 'a': None, not an array or a list"),
        ("integer_key", "an integer where a string should be"),
        ("integers", "elements of type 'i8'"),
        ("objects", "Python objects, which are not executed"),
        ("strings", "elements of type 'text'"),
        ("scalar", "asset 'a': a number, not an array"),
        ("text", "asset 'a': a string, not an array"),
        ("axes", "3 axes"),
        ("fortran", "Fortran"),
        ("mixed", "asset 'b': vectors of 9 components, where 'a' has 8"),
        ("empty_id", "an asset id is empty"),
        ("long_id", "256 bytes"),
        ("bool", "a list with a truth value in it"),
    ] {
        for protocol in [2, 4, 5] {
            let name = format!("bad_{name}_{protocol}.pkl");
            let error = error(&[&name], &[], Kind::Text);
            assert!(error.message.contains(says), "{name}: {error}");
            assert!(error.message.contains(&format!("{name}': at byte ")), "{error}");
        }
    }
    assert!(!made().join("executed").exists(), "a pickle was executed");
    let refused = |name: &str, kind| error(&[name], &[], kind).message;
    assert!(refused("bad_set_4.pkl", Kind::Text).contains("a set"));
    assert!(refused("bad_set_2.pkl", Kind::Text).contains(".set', which is not executed"));
    assert!(refused("bad_many_4.pkl", Kind::Text).contains("asset 'a': 2 vectors, where one should be"));
    assert!(refused("text_f4_4.pkl", Kind::Image).contains("one vector, where a list"));
    assert!(refused("text_floats_4.pkl", Kind::Image).contains("one vector, where a list"));
    assert!(refused("bad_mixed_views_4.pkl", Kind::Image).contains("8 components, and one of 9"));
    assert!(refused("bad_two_4.pkl", Kind::Text).contains("something behind it"));
    assert!(refused("bad_protocol_0.pkl", Kind::Text).contains("protocol 0 or 1"));
    assert!(refused("bad_protocol_1.pkl", Kind::Text).contains("protocol 0 or 1"));
}

#[test]
fn arrays_that_do_not_fit_are_refused_by_name() {
    let refused = |names: &[&str], metadata: &[&str], kind| error(names, metadata, kind).to_string();
    for (names, metadata, kind, says) in [
        (
            &["fortran.npy"][..],
            &["ids.json"][..],
            Kind::Text,
            "fortran.npy': an array of shape (50, 8) in Fortran's",
        ),
        (&["objects.npy"], &["ids.json"], Kind::Text, "objects.npy': an array of shape ()"),
        (&["image.npy"], &["ids.json"], Kind::Text, "75 rows, where the metadata"),
        (&["image.npy"], &["ids.json"], Kind::Image, "says nothing of the views"),
        (&["text_memmap.npy"], &["ranges.json"], Kind::Text, "rows, where assets have one vector each"),
        (&["text_memmap.npy"], &["ranges.json"], Kind::Image, "and the array has 50"),
        (&["text_memmap.npy"], &[], Kind::Text, "name the JSON file of each with --metadata"),
        (&["text_rank_0.npz"], &["ids.json"], Kind::Text, "leave out --metadata"),
        (&["text_rank_0.npz", "text_f4_4.pkl"], &[], Kind::Text, "a pickle beside '"),
        (&["ids.json"], &[], Kind::Text, "looks like JSON"),
        (&["missing.npz"], &[], Kind::Text, "missing.npz'"),
        (&["."], &[], Kind::Text, "not a plain file"),
        (&["objects.npz"], &[], Kind::Text, "ids as Python objects"),
        (&["other.npz"], &[], Kind::Text, "but 'ids.npy', 'vectors.npy'"),
        (&["negative.npz"], &[], Kind::Image, "counts.npy: the count number 1 is no number"),
        (&["miscounted.npz"], &[], Kind::Image, "embeddings of 2 rows, where its counts add up to 3"),
        (&["image_rank_0.npz"], &[], Kind::Text, "import it as siglip-image"),
        (&["text_rank_0.npz"], &[], Kind::Image, "how many views each has"),
        (&["text_f4_4.pkl", "text_f4_5.pkl"], &[], Kind::Text, "asset id '0/é0' is in '"),
        (&["text_rank_0.npz", "text_rank_1.npz", "text_rank_0.npz"], &[], Kind::Text, "is twice in '"),
    ] {
        let message = refused(names, metadata, kind);
        assert!(message.contains(says), "{names:?}: {message}");
    }
}

#[test]
fn the_digest_of_the_files_is_that_of_all_their_bytes() {
    let names = ["text_rank_0.npz", "text_rank_1.npz"];
    let all: Vec<u8> = names.iter().flat_map(|name| fs::read(made().join(name)).unwrap()).collect();
    let vectors = open(&paths(&names), &[], Kind::Text).unwrap();
    assert_eq!(vectors.sha256(), hyperslab::store::Digest::of(&all).0);
    assert_eq!((vectors.bytes(), vectors.paths().len()), (all.len() as u64, 2));
    let all: Vec<u8> =
        ["image.npy", "ranges.json"].iter().flat_map(|name| fs::read(made().join(name)).unwrap()).collect();
    let vectors = open(&paths(&["image.npy"]), &paths(&["ranges.json"]), Kind::Image).unwrap();
    assert_eq!(vectors.sha256(), hyperslab::store::Digest::of(&all).0);
}

#[test]
fn a_source_that_changes_while_it_is_read_is_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("text.pkl");
    fs::copy(made().join("text_f4_4.pkl"), &path).unwrap();
    let vectors = open(std::slice::from_ref(&path), &[], Kind::Text).unwrap();
    assert!(vectors.refuse_changed().is_ok());
    fs::File::options().append(true).open(&path).unwrap().set_len(100).unwrap();
    let error = vectors.refuse_changed().unwrap_err();
    assert!(error.message.contains("was changed while it was read"), "{error}");
    let error = vectors.rows().next(&mut Vec::new()).unwrap_err();
    assert!(error.message.contains("text.pkl' at byte"), "{error}");
}
