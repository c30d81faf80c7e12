//! What was found, as tables or as JSON.

use std::borrow::Cow;
use std::io::{self, Write};

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};

use super::{Found, Hit, Outcome};
use crate::cli::out::{Stop, to_stdout};
use crate::cli::query::{Asked, Query};
use crate::error::{Exit, Result};

/// Columns of what is no terminal.
const WIDTH: usize = 80;
/// A caption that has fewer columns left goes on beyond the edge.
const CAPTION_WIDTH_MIN: usize = 20;

/// Prints all that was found, query by query.
///
/// # Errors
/// A full disk behind standard output.
pub fn print(found: &[Found<'_>], as_json: bool) -> Result<()> {
    let width = Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns));
    to_stdout(|out| {
        for (place, one) in found.iter().enumerate() {
            if as_json {
                let line = serde_json::to_string(one).map_err(io::Error::from)?;
                writeln!(out, "{line}")?;
                continue;
            }
            if place > 0 {
                writeln!(out)?;
            }
            table(out, one, width)?;
        }
        Ok::<_, Stop>(Exit::Success)
    })?;
    Ok(())
}

fn table(out: &mut dyn Write, found: &Found<'_>, width: usize) -> io::Result<()> {
    writeln!(out, "{}", truncate_str(&title(found.query), width, "…"))?;
    let hits = match &found.outcome {
        Outcome::Hits(hits) => hits,
        Outcome::Error(why) => return writeln!(out, "  {}", plain(why)),
    };
    if hits.is_empty() {
        return writeln!(out, "  nothing: no asset of the file has a vector");
    }
    let labels: Vec<String> = hits.iter().map(label).collect();
    let label_width = labels.iter().map(|label| measure_text_width(label)).max().unwrap_or(0);
    let rank_width = hits.len().to_string().len();
    for (hit, label) in hits.iter().zip(&labels) {
        let start = format!("  {:rank_width$}  {:7.4}  ", hit.rank, hit.score);
        let Some(caption) = &hit.caption else {
            writeln!(out, "{start}{label}")?;
            continue;
        };
        let left = width.saturating_sub(start.len() + label_width + 2).max(CAPTION_WIDTH_MIN);
        let label = pad_str(label, label_width, Alignment::Left, None);
        writeln!(out, "{start}{label}  {}", truncate_str(&plain(caption), left, "…"))?;
    }
    Ok(())
}

/// What was searched for, in a line.
fn title(query: &Query) -> String {
    let asked = match &query.asked {
        Asked::Text(text) => plain(text).into_owned(),
        Asked::Image(path) => format!("the picture {}", plain(&path.to_string_lossy())),
        Asked::AssetId(id) => format!("the asset {}", plain(id)),
    };
    match &query.id {
        Some(id) => format!("{}: {asked}", plain(id.as_str().unwrap_or(&id.to_string()))),
        None => asked,
    }
}

/// What `get` would find this row by.
fn label(hit: &Hit) -> String {
    let id = plain(&hit.asset_id);
    hit.view.map_or_else(|| id.clone().into_owned(), |view| format!("{id}#{view}"))
}

/// A text on one line, without what a terminal would obey.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter: char| letter.is_control()) {
        return Cow::Borrowed(text);
    }
    let words = text.split(|letter: char| letter.is_control()).filter(|part| !part.is_empty());
    Cow::Owned(words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(rank: usize, asset_id: &str, view: Option<u64>, caption: Option<&str>) -> Hit {
        let caption = caption.map(str::to_owned);
        Hit { rank, score: 0.123_46, asset_id: asset_id.to_owned(), row: Some(7), view, caption }
    }

    fn shown(hits: Vec<Hit>, width: usize) -> Vec<String> {
        let query = Query { id: Some("q1".into()), asked: Asked::Text("a\nlamp\u{1b}[2J".to_owned()) };
        let mut out = Vec::new();
        table(&mut out, &Found { query: &query, outcome: Outcome::Hits(hits), recall: None }, width)
            .expect("memory");
        String::from_utf8(out).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn captions_stand_under_each_other_and_end_at_the_edge() {
        let lines = shown(
            vec![
                hit(1, "椅子", Some(0), Some("a chair")),
                hit(2, "long/id", Some(11), Some("一把有四条腿的红色木椅，靠背很高，坐垫是蓝色的")),
                hit(3, "x", None, None),
            ],
            40,
        );
        assert_eq!(lines[0], "q1: a lamp [2J");
        assert_eq!(lines[1], "  1   0.1235  椅子#0      a chair");
        assert_eq!(lines[2], "  2   0.1235  long/id#11  一把有四条腿的红色…");
        assert!(measure_text_width(&lines[2]) <= 46, "20 columns of a caption at least");
        assert_eq!(lines[3], "  3   0.1235  x");
        let wide = shown(vec![hit(1, "x", None, Some("a chair"))], 200);
        assert_eq!(wide[1], "  1   0.1235  x  a chair");
        assert!(shown(Vec::new(), 80)[1].contains("nothing"));
    }

    #[test]
    fn json_has_the_query_with_its_hits_or_its_error() {
        let query = Query { id: None, asked: Asked::AssetId("0/1".to_owned()) };
        let json =
            |outcome| serde_json::to_string(&Found { query: &query, outcome, recall: None }).expect("JSON");
        assert_eq!(json(Outcome::Error("gone".to_owned())), r#"{"asset_id":"0/1","error":"gone"}"#);
        let hits = Outcome::Hits(vec![hit(1, "a", Some(2), None)]);
        let expected =
            r#"{"asset_id":"0/1","hits":[{"rank":1,"score":0.12346,"asset_id":"a","row":7,"view":2}]}"#;
        assert_eq!(json(hits), expected);
    }
}
