//! What Python's `str` means by lower case, white space and strip, where the reference relies on it.

/// `str.lower()`: full Unicode lower-casing, a capital sigma at the end of a word becoming `ς`.
/// Rust's own does the same, by the same rule of the Unicode standard (3.13, `Final_Sigma`).
pub fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// `str.isspace()` of one character, which `\s` and `strip()` go by: Unicode's white space and the four
/// separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.lstrip()`
pub fn lstrip(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// `str.rstrip()`
pub fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `re.sub(r"\s+", " ", text)`
pub fn collapse(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    let mut in_space = false;
    for c in text.chars() {
        if !is_space(c) {
            collapsed.push(c);
        } else if !in_space {
            collapsed.push(' ');
        }
        in_space = is_space(c);
    }
    collapsed
}

/// `text.translate(str.maketrans("", "", string.punctuation))`: Python's `string.punctuation` is all of
/// ASCII's punctuation.
pub fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are what CPython 3.11 gives.
    #[test]
    fn lower_case_as_python_has_it() {
        assert_eq!(lower("ΟΔΟΣ ΣΟΦΟΣ Σ ΑΣ'"), "οδος σοφος σ ας'");
        assert_eq!(lower("İI"), "i\u{307}i");
        assert_eq!(lower("ẞß ǅ Ω"), "ßß ǆ ω");
    }

    #[test]
    fn white_space_as_python_has_it() {
        assert_eq!(collapse("a\t\n b\u{a0}\u{1c}c\u{200b}d\u{3000}e\u{85}f"), "a b c\u{200b}d e f");
        assert_eq!(strip("\u{1f} \u{2003}x y\u{2028}"), "x y");
        assert!(!is_space('\u{180e}') && !is_space('\u{feff}'));
    }

    #[test]
    fn punctuation_of_ascii_alone() {
        assert_eq!(without_punctuation("a-b_c! \"d\" 。¿e? `f` ~"), "ab_c d 。¿e f ".replace('_', ""));
    }
}
