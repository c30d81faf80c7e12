//! `org/name@revision`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Exit};

/// The revision of a name without one.
const MAIN: &str = "main";
/// As huggingface_hub has it.
const PART_MAX: usize = 96;

/// A model on the hub, at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// `org/name`, or `name` alone for the hub's oldest models.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl ModelName {
    /// The commit, if the revision is one in full.
    pub fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(self.revision.as_str())
    }

    /// Name of the repository's folder in the cache.
    pub fn folder(&self) -> String {
        format!("models--{}", self.repo.replace('/', "--"))
    }

    /// The name of which [`Self::folder`] is the folder.
    pub fn from_folder(folder: &str) -> Option<String> {
        let name = folder.strip_prefix("models--")?.replacen("--", "/", 1);
        is_repo(&name).then_some(name)
    }
}

/// Whether this is a commit in full: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// One or two parts of letters, digits, `-`, `_` and `.`, as the hub takes them.
fn is_repo(repo: &str) -> bool {
    let is_part = |part: &str| {
        let inside = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        (1..=PART_MAX).contains(&part.len())
            && part.chars().all(inside)
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    repo.split('/').count() <= 2 && repo.split('/').all(is_part)
}

/// Whether this may be a branch or tag, and so a path below `refs`.
fn is_revision(revision: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..");
    revision.split('/').all(is_part) && !revision.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, MAIN));
        if is_repo(repo) && is_revision(revision) {
            return Ok(Self { repo: repo.to_owned(), revision: revision.to_owned() });
        }
        Err(Error::new(format!("'{text}' is no name of a model"))
            .hint("a name is org/name or org/name@revision, as on https://huggingface.co/models")
            .exit(Exit::Usage))
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_typed() {
        let commit = "org/a.b_c@0123456789abcdef0123456789abcdef01234567";
        for text in ["google/siglip2-base-patch16-224", "gpt2", "org/name@refs/pr/1", commit] {
            let name: ModelName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(ModelName::from_folder(&name.folder()), Some(name.repo));
        }
        assert_eq!("a/b@main".parse::<ModelName>().unwrap().to_string(), "a/b");
        assert!(commit.parse::<ModelName>().unwrap().commit().is_some());
        assert!("a/b@0123456".parse::<ModelName>().unwrap().commit().is_none());
    }

    #[test]
    fn what_could_leave_the_cache_is_no_name() {
        for text in ["", "/a", "a/", "a/b/c", "../a", "a/..", "a--b/c", "./a", "a b", "a/b@", "a/b@../x"] {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
        for text in ["a/b@x//y", "a/b@/x", "a/b@x y", "a/b@refs/.x", "https://hub/a"] {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
    }
}
