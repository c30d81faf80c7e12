//! Whether a table holds what the file does: counts, and a sample of the rows to the last bit.

use std::collections::HashMap;

use half::f16;
use pgvector::{HalfVector, Vector};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Session;
use super::entries::{Entry, Source};
use super::row::{Row, RowWriter};
use super::table::{Mark, Target, VectorType, Vectors};
use crate::error::{Context, Error, Exit, Result};

/// Assets that are compared, spread evenly over the file.
const SAMPLE: u64 = 1000;
/// Assets that are asked for at once.
const TOGETHER: usize = 100;
/// Differences that are named.
const NAMED_MAX: usize = 5;

/// What was compared, and was equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    pub rows: u64,
    pub assets: u64,
    pub vectors: u64,
}

/// What a table has to hold.
pub struct Expected<'a> {
    pub target: &'a Target,
    pub source: &'a Source,
    pub mark: &'a Mark,
    /// Nothing else is in it.
    pub is_whole: bool,
}

/// Counts the table's rows, and compares a sample of them with the file. A table that differs is no longer marked as
/// filled: the next load looks at its rows.
///
/// # Errors
/// Rows or vectors that are missing, too many or other ones, by name ([`Exit::Damaged`]); a failed query or read.
pub fn check(session: &mut Session, expected: &Expected<'_>) -> Result<Checked> {
    let checked = compare(session, expected);
    if checked.as_ref().is_err_and(|error| error.exit == Exit::Damaged) {
        let _ = session.run("to forget what the table was filled from", &expected.target.mark_sql(None));
    }
    checked
}

fn compare(session: &mut Session, expected: &Expected<'_>) -> Result<Checked> {
    let &Expected { target, source, mark, is_whole } = expected;
    let what = format!("to check the table {}", target.layout.name);
    let Some(vectors) = target.vectors(session)? else {
        return Err(Error::new(format!("{what}: it is not there")));
    };
    let rows = check_counts(session, target, mark, is_whole)?;
    let mut checked = Checked { rows, assets: 0, vectors: 0 };
    let mut wrong = Vec::new();
    let mut writer = RowWriter::new(source, vectors.stored)?;
    // Of a language that the file does not have, an upsert leaves what was there.
    let columns: Vec<bool> = source.readers.iter().map(|reader| reader.is_some() || is_whole).collect();
    let n = source.entries()?.count() as u64;
    let step = n.div_ceil(SAMPLE).max(1) as usize;
    let sample: Vec<Entry> = source.entries()?.step_by(step).collect::<Result<_>>()?;
    for entries in sample.chunks(TOGETHER) {
        let mut there = read(session, target, vectors, entries)?;
        for entry in entries {
            checked.assets += 1;
            let high_quality = source.selection.high_quality.contains(&entry.asset_id);
            let mut stored = there.remove(&entry.asset_id).unwrap_or_default();
            writer.rows_of(entry, |view, row| {
                checked.vectors += row.vectors.iter().flatten().count() as u64;
                let place = stored.iter().position(|stored| stored.view == view as i32);
                let is_equal = place
                    .is_some_and(|place| stored.remove(place).equals(row, vectors, high_quality, &columns));
                if !is_equal {
                    wrong.push(name(target, entry, view));
                }
                Ok(())
            })?;
            if is_whole {
                wrong.extend(stored.iter().map(|more| name(target, entry, more.view as u64)));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(checked);
    }
    let more = if wrong.len() > NAMED_MAX { ", ..." } else { "" };
    Err(Error::new(format!(
        "the table {} differs from {} in {} of the rows of {} assets: {}{more}",
        target.layout.name,
        source.path.display(),
        wrong.len(),
        checked.assets,
        wrong[..wrong.len().min(NAMED_MAX)].join(", ")
    ))
    .hint("--replace fills it anew")
    .exit(Exit::Damaged))
}

fn name(target: &Target, entry: &Entry, view: u64) -> String {
    if target.layout.has_views { format!("{}#{view}", entry.asset_id) } else { entry.asset_id.clone() }
}

/// Compares the numbers of rows and vectors; how many rows there are.
fn check_counts(session: &mut Session, target: &Target, mark: &Mark, is_whole: bool) -> Result<u64> {
    let counts: Vec<String> =
        target.layout.vectors.iter().map(|(column, _)| format!("count({column})")).collect();
    let sql = format!("SELECT count(*), {} FROM {}", counts.join(", "), target.sql());
    let rows = session.rows("to count the rows", sqlx::query(&sql))?;
    let row = rows.first().ok_or_else(|| Error::new("no count").exit(Exit::Bug))?;
    let get =
        |place: usize| -> Result<u64> { Ok(row.try_get::<i64, _>(place).context(|| "a count")? as u64) };
    let expected = std::iter::once(mark.rows).chain(mark.vectors.iter().copied());
    for (place, expected) in expected.enumerate() {
        let found = get(place)?;
        if found < expected || is_whole && found > expected {
            let of = if place == 0 { "rows" } else { target.layout.vectors[place - 1].0 };
            return Err(Error::new(format!(
                "the table {} has {found} {of}, the file makes {expected}",
                target.layout.name
            ))
            .hint("--replace fills it anew")
            .exit(Exit::Damaged));
        }
    }
    get(0)
}

/// A row of the table.
struct Stored {
    view: i32,
    vectors: Vec<Option<Vec<f32>>>,
    num_images: i32,
    is_high_quality: bool,
}

impl Stored {
    /// Whether it is what the file's row becomes, in the `columns` of vectors that are compared.
    fn equals(&self, row: &Row, vectors: Vectors, is_high_quality: bool, columns: &[bool]) -> bool {
        let as_stored = |value: f32| match vectors.stored {
            VectorType::Vector => value,
            VectorType::HalfVector => f16::from_f32(value).to_f32(),
        };
        let is_equal = |(own, expected): (&Option<Vec<f32>>, &Option<Vec<f32>>)| match (own, expected) {
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
            (Some(own), Some(expected)) => {
                let expected = expected.iter().map(|value| as_stored(*value).to_bits());
                own.iter().map(|value| value.to_bits()).eq(expected)
            }
        };
        let of_file = self.vectors.iter().zip(&row.vectors).zip(columns).filter(|(_, is_there)| **is_there);
        of_file.map(|(both, _)| both).all(is_equal)
            && self.num_images == row.num_images
            && self.is_high_quality == is_high_quality
    }
}

fn read(
    session: &mut Session,
    target: &Target,
    vectors: Vectors,
    entries: &[Entry],
) -> Result<HashMap<String, Vec<Stored>>> {
    let layout = target.layout;
    let view = if layout.has_views { "viewpoint_idx" } else { "0" };
    let num_images = if layout.has_num_images { "num_images" } else { "0" };
    let columns: Vec<&str> = layout.vectors.iter().map(|(column, _)| *column).collect();
    let sql = format!(
        "SELECT asset_id::text, {view}, {num_images}, is_high_quality, {} FROM {} WHERE asset_id = ANY($1)",
        columns.join(", "),
        target.sql()
    );
    let ids: Vec<&str> = entries.iter().map(|entry| entry.asset_id.as_str()).collect();
    let mut there: HashMap<String, Vec<Stored>> = HashMap::new();
    for row in session.rows("to read a sample", sqlx::query(&sql).bind(ids))? {
        let what = || "a row of the table";
        let stored = Stored {
            view: row.try_get(1).context(what)?,
            num_images: row.try_get(2).context(what)?,
            is_high_quality: row.try_get::<Option<bool>, _>(3).context(what)?.unwrap_or_default(),
            vectors: (0..columns.len())
                .map(|place| vector(&row, 4 + place, vectors))
                .collect::<Result<_>>()?,
        };
        there.entry(row.try_get(0).context(what)?).or_default().push(stored);
    }
    Ok(there)
}

fn vector(row: &PgRow, place: usize, vectors: Vectors) -> Result<Option<Vec<f32>>> {
    let what = || "a vector of the table";
    match vectors.stored {
        VectorType::Vector => {
            Ok(row.try_get::<Option<Vector>, _>(place).context(what)?.map(|vector| vector.to_vec()))
        }
        VectorType::HalfVector => {
            let half: Option<HalfVector> = row.try_get(place).context(what)?;
            Ok(half.map(|half| half.as_slice().iter().map(|value| value.to_f32()).collect()))
        }
    }
}
