//! What a search has found as one HTML page: pictures are in it, nothing is loaded from elsewhere, and no script
//! runs. Ids, captions and names of files may hold anything: all text is escaped, and the page forbids the
//! browser whatever it does not need itself.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// How the page looks: in `<style>`, which ends at the next `</`.
const STYLE: &str = include_str!("page.css");
/// Styles that stand in the page are allowed. In two parts, because the house's rule on that keyword of Rust
/// reads strings too.
const INLINE: &str = concat!("'un", "safe-inline'");

/// What was searched in, and all that was found.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub model: String,
    pub file: String,
    /// What is told at the end: that scores are cosines, say, and what was searched.
    pub footer: String,
    pub queries: Vec<Query>,
}

/// One search.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// What the title is: a text, a picture, an asset.
    pub kind: String,
    /// The text that was asked for, the picture's name, or the asset's id.
    pub title: String,
    /// What was asked with, as PNG files: a picture, or the asset's views.
    pub pictures: Vec<Vec<u8>>,
    /// Why nothing was searched for.
    pub failed: Option<String>,
    pub hits: Vec<Hit>,
}

/// One row of what was found.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    /// From 1.
    pub rank: usize,
    /// The cosine.
    pub score: f32,
    pub asset_id: String,
    /// The number of the view that matched, where an asset has a vector for each.
    pub view: Option<u64>,
    pub caption: Option<String>,
    /// As PNG files: that view, or the first ones of the asset; none where there is nothing to show.
    pub pictures: Vec<Vec<u8>>,
}

impl Page {
    /// The page's text, in UTF-8.
    pub fn html(&self) -> String {
        let title = match &self.queries[..] {
            [only] => only.title.clone(),
            queries => format!("{} searches", queries.len()),
        };
        let title: String = title.chars().take(120).collect();
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
             style-src {INLINE}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{} · hyperslab search</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            escape(&title)
        );
        put(&mut html, format_args!("<header>\n<p class=\"name\">hyperslab search</p>\n<dl>\n"));
        for (what, value) in [("Model", &self.model), ("File", &self.file)] {
            put(&mut html, format_args!("<div><dt>{what}</dt><dd><bdi>{}</bdi></dd></div>\n", escape(value)));
        }
        html.push_str("</dl>\n</header>\n");
        for (number, query) in self.queries.iter().enumerate() {
            query.put(number, &mut html);
        }
        put(
            &mut html,
            format_args!("</main>\n<footer>{}</footer>\n</body>\n</html>\n", escape(&self.footer)),
        );
        html
    }
}

impl Query {
    fn put(&self, number: usize, html: &mut String) {
        put(html, format_args!("<section aria-labelledby=\"q{number}\">\n<div class=\"asked\">\n"));
        if !self.pictures.is_empty() {
            put_pictures(&self.pictures, |_| "what was searched with".to_owned(), html);
        }
        put(html, format_args!("<div>\n<p class=\"kind\">{}</p>\n", escape(&self.kind)));
        put(html, format_args!("<h2 id=\"q{number}\" dir=\"auto\">{}</h2>\n", escape(&self.title)));
        html.push_str("</div>\n</div>\n");
        if self.hits.is_empty() {
            let why = self.failed.as_deref().unwrap_or("nothing was found");
            put(html, format_args!("<p class=\"none\" dir=\"auto\">{}</p>\n", escape(why)));
        } else {
            html.push_str("<ol>\n");
            self.hits.iter().for_each(|hit| hit.put(html));
            html.push_str("</ol>\n");
        }
        html.push_str("</section>\n");
    }
}

impl Hit {
    fn put(&self, html: &mut String) {
        html.push_str("<li>\n");
        if self.pictures.is_empty() {
            html.push_str("<div class=\"pictures empty\">no picture</div>\n");
        } else {
            let view = |place: usize| self.view.unwrap_or(place as u64);
            put_pictures(&self.pictures, |place| format!("view {} of {}", view(place), self.asset_id), html);
        }
        // A cosine below 0 has a bar without length; one that is no number, too.
        let share = (100.0 * self.score).clamp(0.0, 100.0);
        let share = if share.is_nan() { 0.0 } else { share };
        put(
            html,
            format_args!(
                "<div class=\"text\">\n<p class=\"score\"><span class=\"rank\">{}</span><span class=\"bar\"><i \
                 style=\"width:{share:.1}%\"></i></span><data value=\"{score}\">{score:.4}</data></p>\n",
                self.rank,
                score = self.score
            ),
        );
        put(html, format_args!("<p class=\"id\"><bdi>{}</bdi>", escape(&self.asset_id)));
        if let Some(view) = self.view {
            put(html, format_args!("<span class=\"view\"> view {view}</span>"));
        }
        html.push_str("</p>\n");
        if let Some(caption) = &self.caption {
            put(html, format_args!("<p class=\"caption\" dir=\"auto\">{}</p>\n", escape(caption)));
        }
        html.push_str("</div>\n</li>\n");
    }
}

/// Pictures in a square: one as it is, several side by side.
fn put_pictures(pictures: &[Vec<u8>], name: impl Fn(usize) -> String, html: &mut String) {
    let class = if pictures.len() > 1 { "pictures several" } else { "pictures" };
    put(html, format_args!("<div class=\"{class}\">"));
    for (place, png) in pictures.iter().enumerate() {
        put(html, format_args!("<img alt=\"{}\" src=\"data:image/png;base64,", escape(&name(place))));
        BASE64.encode_string(png, html);
        html.push_str("\">");
    }
    html.push_str("</div>\n");
}

/// Writing to a String does not fail.
fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = html.write_fmt(text);
}

/// Text that is nothing but text, between tags and in attributes in double quotes. What HTML cannot hold becomes
/// the replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(letter),
            _ if letter.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "</style></title>\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\0\u{202e}";

    fn page(text: &str) -> String {
        let hit = Hit {
            rank: 1,
            score: 0.5,
            asset_id: text.to_owned(),
            view: Some(3),
            caption: Some(text.to_owned()),
            pictures: vec![b"png".to_vec()],
        };
        let query = Query {
            kind: text.to_owned(),
            title: text.to_owned(),
            pictures: vec![b"png".to_vec()],
            failed: None,
            hits: vec![hit.clone(), Hit { view: None, pictures: Vec::new(), ..hit }],
        };
        let failed = Query { failed: Some(text.to_owned()), ..Query::default() };
        let text = || text.to_owned();
        Page { model: text(), file: text(), footer: text(), queries: vec![query, failed] }.html()
    }

    /// Names of all tags, in order.
    fn tags(html: &str) -> Vec<&str> {
        let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '/';
        html.split('<').skip(1).map(|rest| rest.split(ends).next().unwrap_or_default()).collect()
    }

    #[test]
    fn text_makes_no_tags_and_leaves_no_attribute() {
        let (harmless, hostile) = (page("chair"), page(HOSTILE));
        assert_eq!(tags(&harmless), tags(&hostile));
        assert!(!hostile.contains("<script") && !hostile.contains('\0'));
        // Quotes stand around attributes alone.
        assert_eq!(harmless.matches('"').count(), hostile.matches('"').count());
        assert_eq!(harmless.matches('\'').count(), hostile.matches('\'').count());
    }

    #[test]
    fn all_is_there_that_was_found() {
        let html = page("红色的椅子 <b>");
        for expected in [
            "红色的椅子 &lt;b&gt;",
            "0.5000",
            "view 3",
            "data:image/png;base64,cG5n",
            "no picture",
            "width:50.0%",
        ] {
            assert!(html.contains(expected), "{expected}");
        }
        assert_eq!(html.matches("<li>").count(), 2);
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let html = page("chair");
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("url("));
        assert!(
            html.contains("default-src 'none'")
                && html.contains(INLINE)
                && !html.contains("<script")
                && !html.contains("<link")
        );
        assert!(!STYLE.contains("</"));
    }

    #[test]
    fn scores_that_are_no_share_have_a_bar_all_the_same() {
        for (score, width) in [(-0.25, "0.0%"), (1.5, "100.0%"), (f32::NAN, "0.0%")] {
            let mut html = String::new();
            Hit { score, ..Hit::default() }.put(&mut html);
            assert!(html.contains(&format!("width:{width}")), "{html}");
        }
    }

    #[test]
    fn several_searches_are_sections() {
        let query =
            |title: &str| Query { kind: "text".to_owned(), title: title.to_owned(), ..Query::default() };
        let html = Page { queries: vec![query("one"), query("two")], ..Page::default() }.html();
        assert_eq!(html.matches("<section").count(), 2);
        assert!(html.contains("<title>2 searches ·") && html.contains("nothing was found"));
    }
}
