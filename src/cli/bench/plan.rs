//! `hyperslab bench plan`: seconds and memory of planning from a ready list.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::cli::out::{bytes, count, thousands, to_stdout};
use crate::error::{Context, Exit, Result};
use crate::input::{Catalog, Input, Keep, Source, views};
use crate::plan::{Table, Views};

/// Plan made-up assets from a ready list; prints seconds and peak memory of each stage
///
/// Makes the list in a temporary folder (about 25 bytes a view), plans from it as `hyperslab plan`
/// does, then reads it again and writes the spool as `hyperslab embed` does.
#[derive(Args, Clone, Debug)]
pub struct BenchPlanArgs {
    /// Number of assets
    #[arg(long, default_value_t = 2_000_000, value_name = "N")]
    assets: u32,
    /// Views of each asset
    #[arg(long, default_value_t = 12, value_name = "N")]
    views: u32,
    /// Put the lines of one asset apart from each other
    #[arg(long)]
    shuffled: bool,
    /// Folder for the temporary files [default: the system's]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs the stages.
///
/// # Errors
/// A temporary file cannot be written.
pub fn run(args: &BenchPlanArgs) -> Result<Exit> {
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder::new(&parent)?;
    let list = folder.0.join("views.tsv");
    to_stdout(|out| {
        let mut stage = |what: &str, seconds: f64, note: String| {
            writeln!(out, "{what:<34} {seconds:>8.2} s   peak {:>10}   {note}", bytes(peak_bytes()))
        };
        let (seconds, size) = timed(|| write_list(args, &list))?;
        stage("make the list", seconds, bytes(size))?;
        let (seconds, table) = timed(|| plan(&list))?;
        let note = format!("{}, {} rows", count(table.len() as u64, "asset"), thousands(table.total()));
        stage("table, as plan reads it", seconds, note)?;
        let (seconds, copy) = timed(|| Table::from_bytes(&table.to_bytes()))?;
        stage("table to bytes and back", seconds, bytes(copy.to_bytes().len() as u64))?;
        drop((table, copy));
        let (seconds, input) = timed(|| Input::image(read(&list, Keep::Everything)?, Views::All, None))?;
        stage("table and views, as embed reads it", seconds, String::new())?;
        let path = folder.0.join("bench.plan");
        let (seconds, spool) = timed(|| input.write_spool(&path, None, Source::default()))?;
        let size = fs::metadata(&path).context(|| "the spool")?.len();
        stage(
            "write the spool",
            seconds,
            format!("{}, expected at most {}", bytes(size), bytes(input.spool_bytes())),
        )?;
        drop(input);
        let (seconds, ()) = timed(|| spool.verify())?;
        stage("verify the spool", seconds, String::new())?;
        let blocks = spool.blocks().count();
        let (seconds, ()) = timed(|| (0..blocks).try_for_each(|block| spool.block(block).map(drop)))?;
        stage("read every block", seconds, count(blocks, "block"))?;
        Ok(Exit::Success)
    })
}

/// The table, without keeping more.
fn plan(list: &Path) -> Result<Table> {
    let input = Input::image(read(list, Keep::Counts)?, Views::All, None)?;
    Ok(input.table().clone())
}

fn read(list: &Path, keep: Keep) -> Result<Catalog> {
    let (_, listing) = views::read_list(list, 1, keep, &views::Rule::default())?;
    Ok(listing.catalog)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    restart_peak();
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

/// Writes the list with the assets in an order that is not that of their ids; returns its size.
fn write_list(args: &BenchPlanArgs, path: &Path) -> Result<u64> {
    let about = || format!("writing '{}'", path.display());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).context(about)?);
    let (assets, views) = (u64::from(args.assets), u64::from(args.views));
    // A step that shares no factor with the number of assets visits each of them once.
    let step = (1_000_003..2_000_003).find(|step| gcd(*step, assets) == 1).unwrap_or(1);
    for line in 0..assets * views {
        let (turn, view) =
            if args.shuffled { (line % assets, line / assets) } else { (line / views, line % views) };
        let asset = (turn * step) % assets;
        let size = 100_000 + asset * 31 % 50_000 + view;
        writeln!(file, "{}/{asset}/{view:03}.png\t{size}", asset % 160).context(about)?;
    }
    file.flush().context(about)?;
    Ok(path.metadata().context(about)?.len())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The most memory this process has held since [`restart_peak`].
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Begins a new measurement of the peak; where the kernel does not allow it, the peak is that of all
/// stages so far.
fn restart_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("hyperslab-bench-{}", std::process::id()));
        fs::create_dir(&path).context(|| format!("making '{}'", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
