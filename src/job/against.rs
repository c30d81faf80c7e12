//! `verify --against`: items of a sealed file embedded again, each by itself, and compared with their rows.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ndarray::{Array1, ArrayView1};

use super::own_model::OwnModel;
use super::pipeline::{BlockRows, Pipeline, PipelineSettings};
use super::request::OutputRequest;
use super::{cores, devices};
use super::{retry, spool};
use crate::comm::World;
use crate::error::{Context, Error, Exit, ItemError, Result};
use crate::input::Spool;
use crate::model::device::{DeviceRequest, Precision};
use crate::model::{self, Model};
use crate::plan::{Batching, Kind, Table};
use crate::store::schema::attr;
use crate::store::{Digest, Reader, SealedRows};

/// What is to be embedded again, and with what.
#[derive(Clone, Debug)]
pub struct AgainstRequest {
    pub file: PathBuf,
    /// The model as typed: its folder, or its name in the cache.
    pub model: PathBuf,
    /// What the file was made from.
    pub input: OutputRequest,
    /// Items at most.
    pub sample: u64,
    pub device: DeviceRequest,
    /// `None`: the cores this process may use.
    pub decode_threads: Option<usize>,
}

/// What the file tells of the input that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputState {
    /// Ids, captions, and paths and sizes of views are those that the file was made from.
    Same,
    /// They are, but for items that failed.
    Mended,
    Changed,
    /// The file does not say what it was made from.
    Unknown,
}

/// How the file's rows compare with those made now.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub input: InputState,
    /// All rows of the file.
    pub n_rows: u64,
    /// Items that were to be embedded again.
    pub n_items: u64,
    /// The cosine of each two vectors that are made from the same, with the item's name; in order of rows.
    pub cosines: Vec<(f64, String)>,
    pub n_failed_again: u64,
    /// Items that the input does not have, by name.
    pub missing: Vec<String>,
    /// What has a vector now and had none then, or one of fewer views: one line each.
    pub mended: Vec<String>,
    /// What is not as it was: one line each.
    pub findings: Vec<String>,
}

impl Comparison {
    /// The smallest cosine, and whose it is.
    pub fn worst(&self) -> Option<&(f64, String)> {
        self.cosines.iter().min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The mean cosine; 0 where nothing was compared.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.cosines.iter().map(|(cosine, _)| cosine).sum();
        sum / (self.cosines.len() as f64).max(1.0)
    }
}

/// Embeds a sample of a file's items again, on one rank, and compares. `progress` is told items done, and items in
/// all. Collective.
///
/// # Errors
/// The model is not the file's, the input cannot be read, or nothing can be computed.
pub fn against(
    world: &World,
    request: &AgainstRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Comparison> {
    if world.size() > 1 {
        let error = Error::new("a file is compared with its model by one process, not by several ranks");
        return Err(error.hint("leave the launcher out").exit(Exit::Usage).on_all_ranks());
    }
    let readers = Reader::open_all(&request.file)?;
    let Some(first) = readers.first() else {
        return Err(Error::new(format!("{} has no vectors", request.file.display())));
    };
    let own = OwnModel::find(first, Some(&request.model))?;
    let planned = Planned::make(world, request, first)?;
    let sample = sample(&readers, request.sample)?;
    let found = planned.rows(&readers, &sample);
    let model = load(&own, request)?;
    let limit = limit(own.precision);
    let mut comparison = Comparison {
        input: planned.state(&request.file, first),
        n_rows: readers.iter().map(Reader::n_rows).sum(),
        n_items: sample.len() as u64,
        cosines: Vec::new(),
        n_failed_again: 0,
        missing: Vec::new(),
        mended: Vec::new(),
        findings: Vec::new(),
    };
    let mut by_row: BTreeMap<u64, &Item> = BTreeMap::new();
    for (item, row) in sample.iter().zip(found) {
        match row {
            Some(row) => drop(by_row.insert(row, item)),
            None => comparison.missing.push(item.name.clone()),
        }
    }
    let mut done = sample.len() as u64 - by_row.len() as u64;
    let pipeline = planned.start(world, &by_row, model, request)?;
    while let Some(block) = pipeline.next_block(None, || ()) {
        let block = block?;
        for (place, item) in planned.items_of(&block, &by_row) {
            comparison.compare(&readers, item, &Now::of(&block, place), limit)?;
            done += 1;
        }
        progress(done, sample.len() as u64);
    }
    pipeline.finish()?;
    Ok(comparison)
}

/// A row of the file.
struct Item {
    /// Which of the readers has it.
    reader: usize,
    row: u64,
    asset_id: String,
    /// Its place among the asset's rows.
    view: u64,
    /// For people.
    name: String,
}

/// Rows spread evenly over those of all groups: always the same ones.
fn sample(readers: &[Reader], wanted: u64) -> Result<Vec<Item>> {
    let all: u64 = readers.iter().map(Reader::n_rows).sum();
    let wanted = wanted.min(all);
    // The middle of each of as many equal parts.
    let spread = |part: u64| u128::from(2 * part + 1) * u128::from(all) / (2 * u128::from(wanted));
    let mut items = Vec::new();
    for part in 0..wanted {
        let (mut row, mut number) = (spread(part) as u64, 0);
        for reader in readers {
            if row < reader.n_rows() {
                break;
            }
            row -= reader.n_rows();
            number += 1;
        }
        let Some(reader) = readers.get(number) else { break };
        items.push(Item::of(reader, number, row)?);
    }
    Ok(items)
}

impl Item {
    fn of(reader: &Reader, number: usize, row: u64) -> Result<Self> {
        let assets = reader.assets();
        let owner = assets.iter(assets.of_rows(row..row + 1)?).next().transpose()?;
        let Some(asset) = owner.filter(|asset| asset.rows.contains(&row)) else {
            return Err(Error::new(format!("{}: row {row} belongs to no asset", reader.path().display()))
                .exit(Exit::Damaged));
        };
        let view = row - asset.rows.start;
        let group = if reader.group().is_empty() { String::new() } else { format!("{}: ", reader.group()) };
        let of_asset = if assets.has_views() { format!("#{view}") } else { String::new() };
        let name = format!("{group}{}{of_asset}", asset.id);
        Ok(Self { reader: number, row, asset_id: asset.id, view, name })
    }
}

/// What the input is now.
struct Planned {
    spool: Arc<Spool>,
    tables: Vec<Table>,
}

/// A folder of this process's own, where the system keeps what is temporary.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("hyperslab-verify-{}-{:x}", std::process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A left-over is no harm there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Planned {
    fn make(world: &World, request: &AgainstRequest, reader: &Reader) -> Result<Self> {
        let folder = Temporary::new()?;
        let plan = folder.0.join("plan");
        let input = OutputRequest { block_rows: Some(reader.block_rows()), ..request.input.clone() };
        spool::make(world, &input, &plan)?;
        // It stays readable when it has no name any more.
        let spool = spool::open(world, &plan)?;
        let tables = spool.tables()?;
        Ok(Self { spool, tables })
    }

    /// What the file tells of it.
    fn state(&self, file: &Path, reader: &Reader) -> InputState {
        let digest = Digest(self.spool.digest()).to_string();
        match reader.provenance_of(spool::PLAN) {
            None => return InputState::Unknown,
            Some(then) if then == digest => return InputState::Same,
            Some(_) if reader.provenance_of(attr::EMBEDDED_INPUT_SHA256).is_none() => {
                return InputState::Changed;
            }
            Some(_) => {}
        }
        let sealed = SealedRows::open(file, &self.spool.header().groups, self.spool.blocks().clone());
        let is_mended =
            sealed.and_then(|sealed| retry::check_same_input(&sealed, &self.spool, &self.tables)).is_ok();
        if is_mended { InputState::Mended } else { InputState::Changed }
    }

    /// The row of each item in this plan; none where it is not there.
    fn rows(&self, readers: &[Reader], items: &[Item]) -> Vec<Option<u64>> {
        let row = |item: &Item| {
            let group = readers.get(item.reader)?.group();
            let number = self.spool.header().groups.iter().position(|one| one.name == group)?;
            let table = self.tables.get(number)?;
            let asset = table.find(&item.asset_id)?;
            let has_all = |reader: &Reader| {
                let rows = reader.find(&item.asset_id).ok().flatten();
                rows.is_some_and(|rows| rows.end - rows.start == u64::from(table.count(asset)))
            };
            let within = match self.spool.header().kind {
                // Where views are missing, or were left out, nobody knows which the others are.
                Kind::Image if !readers.get(item.reader).is_some_and(has_all) => return None,
                Kind::Image if item.view < u64::from(table.count(asset)) => table.start(asset) + item.view,
                Kind::Image => return None,
                Kind::Text | Kind::ViewSet => asset as u64,
            };
            Some(self.spool.blocks().rows_of_group(number).start + within)
        };
        items.iter().map(row).collect()
    }

    /// Starts to embed these rows, block by block.
    fn start(
        &self,
        world: &World,
        rows: &BTreeMap<u64, &Item>,
        model: Model,
        request: &AgainstRequest,
    ) -> Result<Pipeline> {
        let blocks = self.spool.blocks();
        let mut again: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for &row in rows.keys() {
            let block = blocks.block_of(row);
            again.entry(block).or_default().push((row - blocks.range(block).start) as usize);
        }
        let cores = cores::usable_cores(world)?;
        let settings = PipelineSettings {
            renders: self.spool.header().source.renders.clone().unwrap_or_default(),
            // Each by itself: what else is in a batch is no matter but of the last bits.
            batching: Batching::Rows(1),
            decode_threads: request.decode_threads.unwrap_or(cores).max(1),
            model_threads: cores,
            blocks_ahead: 1,
            again: Some(again.clone()),
        };
        let share = again.keys().map(|&block| block..block + 1).collect();
        Pipeline::start(Arc::clone(&self.spool), share, model, settings)
    }

    /// The items that a block has, with their places in it.
    fn items_of<'a>(&self, block: &BlockRows, by_row: &BTreeMap<u64, &'a Item>) -> Vec<(usize, &'a Item)> {
        let rows = self.spool.blocks().range(block.block);
        by_row.range(rows.clone()).map(|(row, item)| ((row - rows.start) as usize, *item)).collect()
    }
}

fn load(own: &OwnModel, request: &AgainstRequest) -> Result<Model> {
    let device = devices::choose_alone(request.device)?.device;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    model::load(&own.folder.path, own.modality, &own.settings(device, None, threads))
}

/// Cosines from here on are no finding: what a file was computed in decides how far another device, or another
/// batch, may move its vectors.
fn limit(precision: Option<Precision>) -> f64 {
    match precision {
        Some(Precision::Bf16 | Precision::F16) => 0.99,
        Some(Precision::F32) | None => 0.999,
    }
}

/// What an item has become.
struct Now<'a> {
    vector: Option<ArrayView1<'a, f32>>,
    error: Option<&'a ItemError>,
}

impl<'a> Now<'a> {
    fn of(block: &'a BlockRows, place: usize) -> Self {
        let error = block.failures.iter().find(|(row, _)| *row == place).map(|(_, error)| error);
        let has_vector = error.is_none_or(ItemError::has_vector);
        Self { vector: has_vector.then(|| block.vectors.row(place)), error }
    }
}

impl Comparison {
    fn compare(&mut self, readers: &[Reader], item: &Item, now: &Now<'_>, limit: f64) -> Result<()> {
        let Some(reader) = readers.get(item.reader) else { return Ok(()) };
        let rows = item.row..item.row + 1;
        let stored = reader.rows(rows.clone())?;
        let stored: Array1<f32> = stored.row(0).to_owned();
        let had_vector = !stored.iter().all(|value| value.is_nan());
        let then = reader.failures_of(rows)?.into_iter().next().map(|failure| failure.reason);
        let reason = now.error.map(ToString::to_string);
        let name = format!("{} (row {})", item.name, item.row);
        match (&now.vector, had_vector) {
            (None, false) => self.n_failed_again += 1,
            (None, true) => {
                let reason = reason.unwrap_or_default();
                self.findings.push(format!("{name} has a vector, and fails now: {reason}"));
            }
            (Some(_), _) if then.is_some() && then != reason => {
                let (then, now) =
                    (then.unwrap_or_default(), reason.unwrap_or_else(|| "nothing fails".into()));
                self.mended.push(format!("{name}: {then}; now: {now}"));
            }
            (Some(vector), _) => {
                let cosine = cosine(&stored.view(), vector);
                // One that is no number is worse than any.
                if cosine.is_nan() || cosine < limit {
                    self.findings.push(format!("{name}: cosine {cosine:.4}"));
                }
                self.cosines.push((if cosine.is_nan() { -1.0 } else { cosine }, item.name.clone()));
            }
        }
        Ok(())
    }
}

fn cosine(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>) -> f64 {
    let dot = |a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn cosines_do_not_depend_on_lengths() {
        let (a, b) = (array![3.0_f32, 4.0], array![4.0_f32, 3.0]);
        assert!((cosine(&a.view(), &b.view()) - 0.96).abs() < 1e-12);
        assert!((cosine(&a.view(), &(2.0 * &a).view()) - 1.0).abs() < 1e-12);
        assert!(cosine(&a.view(), &array![0.0_f32, 0.0].view()).is_nan());
    }
}
