//! `hyperslab bench read`: how fast vectors of a file are read here.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::out::{count, to_stdout};
use crate::cli::select::find_all;
use crate::error::{Error, Exit, Result};
use crate::store::Reader;

/// Look-ups that are measured one by one.
const SINGLES: u64 = 1000;
/// Multiplied with it, numbers come in an order without order (the golden ratio of 2^64, D. Knuth, TAOCP 3, 6.4).
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Read vectors of a file by random ids; prints seconds
///
/// Opens the file, looks up a thousand assets one by one, then many in the order of the file on all cores, and
/// lists all ids. Run it twice: the first run fills the page cache.
#[derive(Args, Clone, Debug)]
pub struct BenchReadArgs {
    /// The file
    file: PathBuf,
    /// In a file with several groups, which one
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Assets that are read together
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    many: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads, and tells how long it took.
///
/// # Errors
/// The file does not open or read.
pub fn run(args: &BenchReadArgs) -> Result<Exit> {
    let (open_s, reader) = timed(|| Reader::open(&args.file, args.group.as_deref()))?;
    let n_assets = reader.assets().n();
    if n_assets == 0 {
        return Err(Error::new(format!("{} has no assets", args.file.display())));
    }
    let singles = ids(&reader, SINGLES)?;
    let mut single_s = Vec::new();
    for id in &singles {
        let (seconds, _) = timed(|| {
            let rows = reader.find(id)?.ok_or_else(|| Error::new(format!("'{id}' is gone")))?;
            reader.rows(rows)
        })?;
        single_s.push(seconds);
    }
    single_s.sort_unstable_by(f64::total_cmp);
    let many = ids(&reader, args.many)?;
    let (many_s, rows) = timed(|| {
        let found = find_all(&reader, None, &many)?;
        let runs: Vec<_> = found.wanted.into_iter().map(|wanted| wanted.rows).collect();
        Ok(reader.rows_of_each(&runs)?.iter().map(ndarray::Array2::nrows).sum::<usize>())
    })?;
    let (list_s, listed) = timed(|| {
        reader
            .iter_prefix("")?
            .try_fold(0_u64, |n, asset| asset.map(|asset| n + u64::from(!asset.id.is_empty())))
    })?;
    let median = single_s[single_s.len() / 2];
    let slow = single_s[single_s.len() * 99 / 100];
    to_stdout(|out| {
        if args.json {
            let all = json!({
                "assets": n_assets, "open_s": open_s, "single_s": median, "single_99th_s": slow,
                "many": many.len(), "many_rows": rows, "many_s": many_s, "listed": listed, "list_s": list_s,
            });
            writeln!(out, "{all}")?;
            return Ok(Exit::Success);
        }
        writeln!(out, "open                        {:10.3} ms", open_s * 1e3)?;
        writeln!(out, "one asset, median           {:10.3} ms", median * 1e3)?;
        writeln!(out, "one asset, 99th percentile  {:10.3} ms", slow * 1e3)?;
        let asked = count(many.len() as u64, "asset");
        writeln!(out, "{asked:27} {:10.3} ms   ({})", many_s * 1e3, count(rows as u64, "row"))?;
        writeln!(out, "list all ids                {:10.3} ms   ({})", list_s * 1e3, count(listed, "id"))?;
        Ok(Exit::Success)
    })
}

/// Ids of assets all over the file.
fn ids(reader: &Reader, n: u64) -> Result<Vec<String>> {
    let all = reader.assets().n();
    (0..n.min(all))
        .map(|k| {
            let index = k.wrapping_mul(SCATTER) % all;
            let asset = reader.assets().iter(index..index + 1).next();
            asset.unwrap_or_else(|| Err(Error::new("an asset is gone"))).map(|asset| asset.id)
        })
        .collect()
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let began = Instant::now();
    let done = work()?;
    Ok((began.elapsed().as_secs_f64(), done))
}
