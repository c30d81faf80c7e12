//! The house rules that a test can hold: who may import whom, where `unsafe` may stand, how long a function
//! may be. What it says here is DESIGN's module rules in a form that cannot rot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which sibling modules each module may import from, beside `error`. A module that is missing here is a
/// new room that nobody has placed yet.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("cli", &["comm", "db", "hub", "input", "job", "model", "plan", "store"]),
    ("comm", &[]),
    ("db", &["store"]),
    ("h5", &["comm"]),
    // What a model is read from, `model` alone knows.
    ("hub", &["model"]),
    ("input", &["plan"]),
    ("job", &["comm", "h5", "hub", "input", "model", "plan", "store"]),
    ("model", &[]),
    ("plan", &[]),
    ("store", &["comm", "h5", "plan"]),
    ("bin", &["cli"]),
];

/// Crates that one module alone may name.
const OWNERS: [(&str, &str); 10] = [
    ("mpi::", "comm"),
    ("tch::", "model"),
    ("tokenizers::", "model"),
    ("image::", "model"),
    ("hdf5_sys::", "h5"),
    ("clap::", "cli"),
    ("ureq::", "hub"),
    ("sqlx::", "db"),
    ("pgvector::", "db"),
    ("tokio::", "db"),
];

/// Longest function in lines, and longest file without its tests.
const FUNCTION_LINES_MAX: usize = 60;
const FILE_LINES_MAX: usize = 500;

struct Source {
    path: PathBuf,
    /// The first folder or file name below `src`.
    module: String,
    /// Without the unit tests at its end.
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let below = path.strip_prefix(&root).unwrap();
            let module = below.components().next().unwrap().as_os_str().to_str().unwrap();
            sources.push(Source {
                module: module.trim_end_matches(".rs").to_owned(),
                lines: code.lines().map(str::to_owned).collect(),
                path: path.clone(),
            });
        }
    }
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

/// The lines of code, with their numbers; comments left out.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let numbered = source.lines.iter().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.starts_with("//"))
}

fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn siblings_meet_in_job_and_cli_only() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == source.module) else {
            let known = ["lib", "error"].contains(&source.module.as_str());
            assert!(known, "{}: say in MAY_IMPORT whom this module may import", source.path.display());
            continue;
        };
        for (number, line) in code(&source) {
            if line.contains("crate::{") || line.contains("super::super::super") {
                broken.push(format!("{}:{number}: name the module after `crate::`", source.path.display()));
            }
            for prefix in ["crate::", "hyperslab::"] {
                for found in line.match_indices(prefix) {
                    let name: String = line[found.0 + prefix.len()..]
                        .chars()
                        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                        .collect();
                    let is_module = MAY_IMPORT.iter().any(|(module, _)| *module == name);
                    if is_module && name != source.module && !allowed.contains(&name.as_str()) {
                        broken.push(format!(
                            "{}:{number}: {} imports {name}",
                            source.path.display(),
                            source.module
                        ));
                    }
                }
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn each_foreign_library_has_one_home() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in code(&source) {
            for (library, owner) in OWNERS {
                let names = line.match_indices(library).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':')
                });
                if names && source.module != owner {
                    broken.push(format!("{}:{number}: {library} belongs to {owner}/", source.path.display()));
                }
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    let mut broken = Vec::new();
    for source in sources() {
        let is_dlopen = source.path.ends_with("model/device/probe.rs");
        for (number, line) in code(&source) {
            if !line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "unsafe") {
                continue;
            }
            if source.module != "h5" && !is_dlopen {
                broken.push(format!("{}:{number}: unsafe outside h5/", source.path.display()));
            }
            // A declaration of C functions promises nothing by itself; every block must.
            let explained = line.starts_with("unsafe extern")
                || source.lines[number.saturating_sub(6)..number].iter().any(|line| line.contains("SAFETY"));
            if !explained {
                broken.push(format!("{}:{number}: unsafe without a SAFETY line", source.path.display()));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn functions_fit_a_screen_and_files_stay_small() {
    let mut broken = Vec::new();
    for source in sources() {
        if source.lines.len() > FILE_LINES_MAX {
            broken.push(format!("{}: {} lines", source.path.display(), source.lines.len()));
        }
        let mut start: Option<(usize, &str)> = None;
        for (index, line) in source.lines.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let words: Vec<&str> = line.split_whitespace().take(5).collect();
            if start.is_none() && words.contains(&"fn") && !line.trim_start().starts_with("//") {
                start = (!line.trim_end().ends_with(['}', ';'])).then_some((index, indent));
            }
            if let Some((begin, indent)) = start
                && line.strip_prefix(indent) == Some("}")
            {
                let length = index - begin + 1;
                if length > FUNCTION_LINES_MAX {
                    let path = source.path.display();
                    broken.push(format!("{path}:{}: a function of {length} lines", begin + 1));
                }
                start = None;
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn plan_is_pure() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.module == "plan") {
        for (number, line) in code(source) {
            if ["std::fs", "std::io", "std::env", "std::time", "std::thread"]
                .iter()
                .any(|io| line.contains(io))
            {
                broken.push(format!("{}:{number}: {line}", source.path.display()));
            }
        }
    }
    assert_none(&broken);
}

/// The image is made of what `.dockerignore` lets through, and that is what the Dockerfile copies.
#[test]
fn the_image_is_made_of_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (dockerfile, ignored) = (read("docker/Dockerfile"), read(".dockerignore"));
    let copied: BTreeSet<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split_whitespace().rev().skip(1))
        .collect();
    let let_through: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "all that is not named is to be left out");
    assert_eq!(copied, let_through);
    let missing: Vec<_> = copied.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
