//! Rows as commands show them: with what they belong to, and why they have no vector.

use std::io::{self, Write};

use ndarray::ArrayView1;
use serde::Serialize;

use super::out::{Stop, count};
use super::select::Wanted;
use crate::store::{Reader, lost};

/// Components shown of a vector.
const HEAD: usize = 6;
/// Values in memory at a time, about: 64 MiB of float32.
const WINDOW_VALUES: u64 = 16 << 20;

/// One row to show.
pub struct Shown<'a> {
    /// What `get` would find this row by.
    pub label: &'a str,
    group: &'a str,
    asset_id: &'a str,
    row: u64,
    /// Where an asset has several.
    view: Option<u64>,
    /// How many views the vector is made from, where that is several.
    num_images: Option<i32>,
    pub vector: ArrayView1<'a, f32>,
    failure: Option<&'a str>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonRow<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    asset_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<u64>,
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_images: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    /// Of a vector that is made without some views.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
}

/// What `get` finds a row by: the asset's id, and in files with a row per view which of them.
pub fn label(wanted: &Wanted, view: u64, has_views: bool) -> String {
    if has_views { format!("{}#{view}", wanted.asset_id) } else { wanted.asset_id.clone() }
}

/// Shows every row to `show`, in the order of `wanted`, with few of them in memory.
pub fn each_row(
    reader: &Reader,
    wanted: &[Wanted],
    show: &mut dyn FnMut(&Shown<'_>) -> io::Result<()>,
) -> std::result::Result<(), Stop> {
    let mut rest = wanted;
    while !rest.is_empty() {
        let mut values = 0;
        let fits = rest.iter().take_while(|wanted| {
            values += wanted.n_rows() * reader.dim() as u64;
            values <= WINDOW_VALUES
        });
        let (window, after) = rest.split_at(fits.count().max(1));
        show_window(reader, window, show)?;
        rest = after;
    }
    Ok(())
}

fn show_window(
    reader: &Reader,
    window: &[Wanted],
    show: &mut dyn FnMut(&Shown<'_>) -> io::Result<()>,
) -> std::result::Result<(), Stop> {
    let has_views = reader.assets().has_views();
    let runs: Vec<_> = window.iter().map(|wanted| wanted.rows.clone()).collect();
    for (wanted, vectors) in window.iter().zip(reader.rows_of_each(&runs)?) {
        let failures = reader.failures_of(wanted.rows.clone())?;
        let num_images = reader.num_images().map(|all| all.of_rows(wanted.rows.clone())).transpose()?;
        let rows = (wanted.first_view..).zip(wanted.rows.clone()).zip(vectors.rows());
        for (index, ((view, row), vector)) in rows.enumerate() {
            let failure = failures.iter().find(|failure| failure.row == row).map(|failure| &*failure.reason);
            let lost = vector.to_slice().filter(|_| reader.is_old()).and_then(lost);
            show(&Shown {
                label: &label(wanted, view, has_views),
                group: reader.group(),
                asset_id: &wanted.asset_id,
                row,
                view: has_views.then_some(view),
                num_images: num_images.as_ref().and_then(|all| all.get(index)).copied(),
                vector,
                failure: failure.or(lost),
            })?;
        }
    }
    Ok(())
}

impl Shown<'_> {
    /// Why there is no vector, and else what it was made without.
    pub fn failed_or_left_out(&self) -> (Option<&str>, Option<&str>) {
        if self.num_images.is_some_and(|n| n > 0) { (None, self.failure) } else { (self.failure, None) }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// A failed write.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let (failed, left_out) = self.failed_or_left_out();
        let vector = failed.is_none().then(|| self.vector.to_vec());
        let Self { group, asset_id, row, view, num_images, .. } = *self;
        let row = JsonRow { group, asset_id, view, row, num_images, failed, left_out, vector };
        writeln!(out, "{}", serde_json::to_string(&row)?)
    }

    /// A line for people, the label padded to `width`.
    ///
    /// # Errors
    /// A failed write.
    pub fn write_text(&self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        write!(out, "{:width$}  row {}", self.label, self.row)?;
        let (failed, left_out) = self.failed_or_left_out();
        if let Some(reason) = failed {
            return writeln!(out, "  failed: {reason}");
        }
        if let Some(n) = self.num_images {
            write!(out, "  {}", count(n.unsigned_abs().into(), "view"))?;
        }
        let norm = self.vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        write!(out, "  norm {norm:.4}  [")?;
        for value in self.vector.iter().take(HEAD) {
            write!(out, " {value:7.4}")?;
        }
        let more = if self.vector.len() > HEAD { " …" } else { "" };
        writeln!(out, "{more} ]{}", left_out.map(|reason| format!("  {reason}")).unwrap_or_default())
    }
}
