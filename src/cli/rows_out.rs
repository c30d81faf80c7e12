//! Files of rows that commands write: an array with ids, JSON lines, or a file of our own format.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::npy::NpyWriter;
use super::out::{Stop, count, note};
use super::select::Wanted;
use super::shown::each_row;
use crate::error::{Context, Error, Result};
use crate::store::{Asset, Compression, CopySettings, Draft, Picks, Reader, copy};

/// A file to write, by its form.
#[derive(Clone, Copy, Debug)]
pub enum RowFiles<'a> {
    Npy(&'a Path),
    Jsonl(&'a Path),
    H5(&'a Path),
}

impl<'a> RowFiles<'a> {
    /// By the end of the name.
    ///
    /// # Errors
    /// Another one.
    pub fn of(path: &'a Path) -> Result<Self> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("npy") => Ok(Self::Npy(path)),
            Some("jsonl") => Ok(Self::Jsonl(path)),
            Some("h5") => Ok(Self::H5(path)),
            _ => Err(Error::new(format!("{}: a file of what form?", path.display()))
                .hint("let its name end in .npy, .jsonl or .h5")),
        }
    }

    pub fn path(self) -> &'a Path {
        match self {
            Self::Npy(path) | Self::Jsonl(path) | Self::H5(path) => path,
        }
    }
}

/// Writes rows in the order of `wanted` (sorted, in a file of our own format), and says what was written.
///
/// # Errors
/// Rows do not read, or the file cannot be written.
pub fn write_all(reader: &Reader, wanted: &[Wanted], target: RowFiles<'_>, overwrite: bool) -> Result<()> {
    refuse_own(reader, target.path())?;
    let (rows, failed) = match target {
        RowFiles::Npy(path) => write_npy(reader, wanted, path, overwrite)?,
        RowFiles::Jsonl(path) => write_jsonl(reader, wanted, path, overwrite)?,
        RowFiles::H5(path) => write_h5(reader, wanted, path, overwrite)?,
    };
    let failed = match (failed, target) {
        (0, _) => String::new(),
        (n, RowFiles::Jsonl(_)) => format!(", {n} of them failed"),
        (n, _) => format!(", {n} of them failed (NaN)"),
    };
    note(format_args!("{}: {}{failed}", target.path().display(), count(rows, "row")));
    Ok(())
}

/// Refuses to replace the file that is read.
pub fn refuse_own(reader: &Reader, path: &Path) -> Result<()> {
    let own = reader.path().canonicalize().ok();
    if own.is_some() && path.canonicalize().ok() == own {
        return Err(Error::new(format!("{} would replace the file that is read", path.display())));
    }
    Ok(())
}

/// Where the ids of an array's rows go.
pub fn ids_beside(path: &Path) -> PathBuf {
    path.with_extension("ids.json")
}

fn write_npy(reader: &Reader, wanted: &[Wanted], path: &Path, overwrite: bool) -> Result<(u64, u64)> {
    let n_rows: u64 = wanted.iter().map(Wanted::n_rows).sum();
    let mut npy = NpyWriter::create(path, n_rows, reader.dim(), overwrite)?;
    let mut ids = Lines::create(&ids_beside(path), overwrite)?;
    let nan = vec![f32::NAN; reader.dim()];
    let (mut n_failed, mut begin) = (0, "[");
    let written = each_row(reader, wanted, &mut |shown| {
        // What failed in an old file is zeros there.
        let has_failed = shown.failed_or_left_out().0.is_some();
        n_failed += u64::from(has_failed);
        let written = if has_failed { npy.write(&nan) } else { npy.write(shown.vector) };
        written.map_err(|error| io::Error::other(error.message))?;
        write!(ids.out, "{begin}{}", serde_json::to_string(shown.label)?)?;
        begin = ",\n";
        Ok(())
    });
    stopped(written, path)?;
    let ended = writeln!(ids.out, "]");
    stopped(ended.map_err(Stop::from), path)?;
    // Both are whole before either has its name.
    ids.out.flush().context(|| format!("cannot write {}", ids.draft.path().display()))?;
    npy.finish()?;
    ids.finish()?;
    Ok((n_rows, n_failed))
}

fn write_jsonl(reader: &Reader, wanted: &[Wanted], path: &Path, overwrite: bool) -> Result<(u64, u64)> {
    let mut lines = Lines::create(path, overwrite)?;
    let (mut n_rows, mut n_failed) = (0, 0);
    let written = each_row(reader, wanted, &mut |shown| {
        n_rows += 1;
        n_failed += u64::from(shown.failed_or_left_out().0.is_some());
        shown.write_json(&mut lines.out)
    });
    stopped(written, path)?;
    lines.finish()?;
    Ok((n_rows, n_failed))
}

/// Whole assets alone: a view by itself would get another number.
fn write_h5(reader: &Reader, wanted: &[Wanted], path: &Path, overwrite: bool) -> Result<(u64, u64)> {
    let mut assets = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let asset = Asset { id: wanted.asset_id.clone(), rows: wanted.rows.clone() };
        if reader.find(&asset.id)? != Some(asset.rows.clone()) {
            return Err(Error::new(format!("--h5 takes whole assets, not views: '{}'", asset.id))
                .hint("leave #N out, or write --npy"));
        }
        assets.push(asset);
    }
    assets.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    assets.dedup();
    let mut picks = Picks::default();
    assets.iter().try_for_each(|asset| picks.push(0, asset))?;
    let settings =
        CopySettings { path, overwrite, stored: None, compression: Compression::Gzip(4), drop_failed: false };
    let copied = copy(vec![(reader.group().to_owned(), vec![reader], picks)], &settings, |_, _| {})?;
    Ok((copied.rows, copied.failed))
}

/// A file of text that gets its name when it is whole.
struct Lines {
    draft: Draft,
    out: BufWriter<File>,
}

impl Lines {
    fn create(path: &Path, overwrite: bool) -> Result<Self> {
        let draft = Draft::new(path, overwrite)?;
        let file = File::create_new(draft.temporary());
        let out = BufWriter::new(file.context(|| format!("cannot write {}", path.display()))?);
        Ok(Self { draft, out })
    }

    fn finish(mut self) -> Result<()> {
        self.out.flush().context(|| format!("cannot write {}", self.draft.path().display()))?;
        self.draft.publish()
    }
}

fn stopped(written: std::result::Result<(), Stop>, path: &Path) -> Result<()> {
    written.map_err(|stop| match stop {
        Stop::Run(error) => error,
        Stop::Write(error) => Error::new(format!("cannot write {}: {error}", path.display())),
    })
}
