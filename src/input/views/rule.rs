//! Which files are views.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::layout::{Layout, is_number};
use crate::error::{Error, Exit, Result};

/// Endings of names that are pictures, in any case.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// What views are found by: the layout, and the names that are taken.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub layout: Layout,
    /// In place of the rule that a view's stem is digits.
    globs: Option<GlobSet>,
    /// The assets whose views are taken; none: all assets'.
    only: Option<Arc<BTreeSet<String>>>,
}

impl Rule {
    /// With `globs` for names of files (`*` for anything, `?`, `[...]`, `{a,b}`); none of them means that a
    /// view is a picture whose name is digits and the ending.
    ///
    /// # Errors
    /// One of them is no pattern.
    pub fn new(layout: Layout, globs: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        let refused = |glob: &str, error: &globset::Error| {
            Error::new(format!("'{glob}' is no pattern for names of files: {}", error.kind()))
                .hint("such as '*_color.png' or 'render_*.{png,webp}'")
                .exit(Exit::Usage)
        };
        for glob in globs {
            let built = GlobBuilder::new(glob).literal_separator(true).build();
            set.add(built.map_err(|error| refused(glob, &error))?);
        }
        let set = set.build().map_err(|error| refused(&globs.join("', '"), &error))?;
        Ok(Self { layout, globs: (!globs.is_empty()).then_some(set), only: None })
    }

    /// The same rule for the views of some assets alone, by the ids that they have in the input.
    #[must_use]
    pub fn only(&self, ids: BTreeSet<String>) -> Self {
        Self { only: Some(Arc::new(ids)), ..self.clone() }
    }

    /// Whether views of this asset are taken at all.
    pub fn wants(&self, asset: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(asset))
    }

    /// Whether the picture of this name in a folder is a view.
    pub fn takes(&self, name: &str) -> bool {
        match &self.globs {
            Some(globs) => globs.is_match(name),
            None => name.rsplit_once('.').is_some_and(|(stem, _)| is_number(stem)),
        }
    }

    /// Whether the picture of this name in a shard is a view of `key`: `<key>.<ending>` or
    /// `<key>.<digits>.<ending>`.
    pub fn takes_of_key(&self, name: &str, key: &str) -> bool {
        if let Some(globs) = &self.globs {
            return globs.is_match(name);
        }
        let rest = name.strip_prefix(key).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| rest.rsplit_once('.').is_none_or(|(view, _)| is_number(view)))
    }
}

/// Whether a file of this name is taken for a picture.
pub fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| PICTURES.iter().any(|picture| ending.eq_ignore_ascii_case(picture)))
}

/// A pattern for a name and its likes, to count them by: of a picture what stands beside its number
/// (`*_albedo.png`, `render_*.png`), of another file its ending (`*.json`).
pub fn likes_of(name: &str) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    if ending.is_empty() {
        return "no ending".to_owned();
    }
    let after = stem.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let before = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if !is_picture(name) {
        format!("*.{ending}")
    } else if after.len() < stem.len() {
        format!("*{after}.{ending}")
    } else if before.len() < stem.len() {
        format!("{before}*.{ending}")
    } else {
        name.to_owned()
    }
}

/// The coarsest pattern for a name, where there are too many others.
pub fn ending_of(name: &str) -> String {
    name.rsplit_once('.').map_or_else(|| "no ending".to_owned(), |(_, ending)| format!("*.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_a_picture_of_digits_unless_a_glob_says_else() {
        let digits = Rule::default();
        for (name, taken) in
            [("000.png", true), ("7.WEBP", true), ("000_depth.png", false), ("a.png", false), (".png", false)]
        {
            assert_eq!(digits.takes(name), taken, "{name}");
        }
        let globs = ["*_color.{png,jpg}".to_owned(), "front.*".to_owned()];
        let globs = Rule::new(Layout::Auto, &globs).unwrap();
        for (name, taken) in
            [("000.png", false), ("0_color.png", true), ("0_color.jpg", true), ("front.webp", true)]
        {
            assert_eq!(globs.takes(name), taken, "{name}");
            assert_eq!(globs.takes_of_key(name, "x"), taken, "{name}");
        }
        let error = Rule::new(Layout::Auto, &["{a".to_owned()]).unwrap_err();
        assert!(error.message.contains("'{a'") && error.exit == Exit::Usage, "{error}");
    }

    #[test]
    fn views_of_a_key_are_numbered_or_alone() {
        let rule = Rule::default();
        for (name, key, taken) in [
            ("k.png", "k", true),
            ("k.007.png", "k", true),
            ("k.depth.png", "k", false),
            ("k.1.2.png", "k", false),
            ("kk.png", "k", false),
        ] {
            assert_eq!(rule.takes_of_key(name, key), taken, "{name}");
        }
    }

    #[test]
    fn names_are_counted_by_their_likes() {
        for (name, likes) in [
            ("00000_albedo.png", "*_albedo.png"),
            ("12.png", "*.png"),
            ("render_0003.png", "render_*.png"),
            ("cover.png", "cover.png"),
            ("0.json", "*.json"),
            ("README", "no ending"),
        ] {
            assert_eq!(likes_of(name), likes);
        }
        assert_eq!(ending_of("a.b.png"), "*.png");
    }
}
