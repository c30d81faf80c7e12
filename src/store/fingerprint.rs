//! What a run's vectors depend on, and nothing else: never the number of ranks, hosts or time.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Digest;
use super::open::{hdf5_file, read_string};
use crate::error::Result;

/// The settings and inputs of a run. Runs with equal [`digest`](Self::digest) give equal vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// What decides the vectors, by the name it has as an attribute of the sealed file.
    pub parts: BTreeMap<String, String>,
    /// What is told with them but decides nothing (the model's name, the program's version).
    pub about: BTreeMap<String, String>,
}

impl Fingerprint {
    /// SHA-256 over the parts, names and values separated by NUL.
    pub fn digest(&self) -> Digest {
        let text: String = self.parts.iter().flat_map(|(name, value)| [name, "\0", value, "\0"]).collect();
        Digest::of(text.as_bytes())
    }

    /// One line for each part that differs from `other`'s: `name: this, not other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let missing = "(nothing)".to_owned();
        let names: std::collections::BTreeSet<&String> =
            self.parts.keys().chain(other.parts.keys()).collect();
        names
            .into_iter()
            .map(|name| {
                (name, self.parts.get(name).unwrap_or(&missing), other.parts.get(name).unwrap_or(&missing))
            })
            .filter(|(_, this, other)| this != other)
            .flat_map(|(name, this, other)| within(name, this, other))
            .collect()
    }
}

/// The lines for one part that differs: of two JSON objects, one for each key that does.
fn within(name: &str, this: &str, other: &str) -> Vec<String> {
    type Object = serde_json::Map<String, serde_json::Value>;
    let object = |text: &str| serde_json::from_str::<Object>(text).ok();
    let (Some(these), Some(others)) = (object(this), object(other)) else {
        return vec![format!("{name}: {this}, not {other}")];
    };
    let keys: std::collections::BTreeSet<&String> = these.keys().chain(others.keys()).collect();
    let told = |object: &Object, key: &str| {
        object.get(key).map_or_else(|| "(nothing)".to_owned(), ToString::to_string)
    };
    let lines = keys.into_iter().map(|key| (key, told(&these, key), told(&others, key)));
    let lines = lines.filter(|(_, this, other)| this != other);
    let lines: Vec<_> =
        lines.map(|(key, this, other)| format!("{name}, {key}: {this}, not {other}")).collect();
    // The same keys and values written in another way are a difference all the same.
    if lines.is_empty() { vec![format!("{name}: {this}, not {other}")] } else { lines }
}

/// The fingerprint that a sealed file names, of the same parts as `wanted`.
///
/// # Errors
/// The file cannot be opened or read.
pub fn sealed_fingerprint(path: &Path, wanted: &Fingerprint) -> Result<Fingerprint> {
    let file = hdf5_file(path)?;
    let mut sealed = Fingerprint::default();
    for name in wanted.parts.keys() {
        // A part that the file does not name shows as a difference.
        if let Ok(value) = read_string(&file, name) {
            sealed.parts.insert(name.clone(), value);
        }
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(parts: &[(&str, &str)]) -> Fingerprint {
        let parts = parts.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Fingerprint { parts, ..Fingerprint::default() }
    }

    #[test]
    fn every_part_counts_and_what_is_only_told_does_not() {
        let one = fingerprint(&[("a", "1"), ("b", "2")]);
        let mut told = one.clone();
        told.about.insert("model_name".into(), "x".into());
        assert_eq!(one.digest(), told.digest());
        for other in [&[("a", "1")][..], &[("a", "1"), ("b", "3")], &[("a", "12"), ("b", "")]] {
            assert_ne!(one.digest(), fingerprint(other).digest());
        }
    }

    #[test]
    fn differences_are_named() {
        let one = fingerprint(&[("precision", "f32"), ("same", "x")]);
        let other = fingerprint(&[("precision", "bf16"), ("same", "x"), ("threads", "2")]);
        assert_eq!(one.differences(&other), ["precision: f32, not bf16", "threads: (nothing), not 2"]);
        assert!(one.differences(&one).is_empty());
        let (one, other) = (r#"{"filter":"bilinear","size":224}"#, r#"{"filter":"bilinear","patches":64}"#);
        let (one, other) = (fingerprint(&[("preprocessing", one)]), fingerprint(&[("preprocessing", other)]));
        let expected =
            ["preprocessing, patches: (nothing), not 64", "preprocessing, size: 224, not (nothing)"];
        assert_eq!(one.differences(&other), expected);
    }
}
