//! Before anything is computed: every output planned, locked and decided about, so that what is wrong
//! with the last one is known at once and not after hours.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;

use super::ROUND_BYTES_MAX;
use super::devices::RankDevice;
use super::request::{EmbedRequest, Mode, OutputRequest};
use super::spool::Planned;
use super::start::{Decision, Start};
use super::{batches, retry, spool, start};
use crate::comm::{World, shielded};
use crate::error::{Context, Error, Result};
use crate::hub::ModelFolder;
use crate::input::Spool;
use crate::model::{self, Description, Modality};
use crate::plan::{Batching, Table};
use crate::store::{
    Digest, DiskNeed, FileShape, Fingerprint, GroupShape, Header, Lock, OutputPaths, PlanUse, Replaces,
    SharedLock, Space, remove,
};

/// An output that is ready to be computed.
pub struct Prepared {
    pub paths: OutputPaths,
    /// On rank 0.
    pub lock: Option<Lock>,
    /// A shard's share in the lock of the whole output, on rank 0.
    pub shared_lock: Option<SharedLock>,
    /// A shard's, on rank 0.
    pub plan_use: Option<PlanUse>,
    pub header: Header,
    pub spool: Arc<Spool>,
    /// Of each group.
    pub tables: Vec<Table>,
    pub start: Start,
    pub modality: Modality,
    pub batching: Batching,
}

impl Prepared {
    /// What decides about the size of its files.
    fn shape(&self) -> FileShape {
        let kind = self.spool.header().kind;
        let shape = self.header.shape();
        // A shard has some of the rows.
        let group = |(table, (_, rows)): (&Table, (&str, Range<u64>))| GroupShape {
            rows: rows.end - rows.start,
            ..GroupShape::of(kind, table)
        };
        FileShape {
            kind,
            groups: self.tables.iter().zip(shape.parts()).map(group).collect(),
            dim: self.header.dim,
            block_rows: self.header.block_rows,
            // It is there already, and taken off the free space.
            spool_bytes: [&self.paths.plan_new, &self.paths.plan]
                .into_iter()
                .find_map(|path| std::fs::metadata(path).ok())
                .map_or(0, |spool| spool.len()),
        }
    }
}

/// What all outputs of a job have in common.
struct Common<'a> {
    world: &'a World,
    request: &'a EmbedRequest,
    model: &'a ModelFolder,
    device: &'a RankDevice,
    description: Description,
    weights_sha256: String,
    tokenizer_sha256: String,
}

/// Prepares every output of the request. Collective.
///
/// # Errors
/// What is wrong with model, input, target or leftovers, from any rank.
pub fn prepare_all(
    world: &World,
    request: &EmbedRequest,
    folder: &ModelFolder,
    device: &RankDevice,
) -> Result<Vec<Prepared>> {
    let description = world.agree(model::describe(&folder.path))?;
    let outputs = possible_outputs(request, folder, &description)?;
    // Before anything is hashed or walked.
    let checked = request.options.check(&folder.path, description.family, description.text_dim);
    checked.map_err(Error::on_all_ranks)?;
    let digests = world.from_root(|| {
        let digests = world.attended(|| model::checkpoint::digests(&folder.path))?;
        serde_json::to_vec(&(digests.weights, digests.tokenizer)).context(|| "cannot encode digests")
    })?;
    let (weights_sha256, tokenizer_sha256) =
        serde_json::from_slice(&digests).context(|| "cannot decode digests")?;
    let common =
        Common { world, request, model: folder, device, description, weights_sha256, tokenizer_sha256 };
    common.prepare_each(&outputs)
}

/// The outputs of the request that the model can make: one of texts alone makes no others.
fn possible_outputs<'a>(
    request: &'a EmbedRequest,
    folder: &ModelFolder,
    description: &Description,
) -> Result<Vec<&'a OutputRequest>> {
    let (model, family) = (folder.path.display(), description.family.command());
    if let Some(other) = request.outputs.iter().find(|output| output.family != family) {
        return Err(Error::new(format!("{model} is no model of `embed {}`", other.family))
            .hint(format!("use `hyperslab embed {family}`, which has options of its own: see its --help"))
            .on_all_ranks());
    }
    let is_possible =
        |output: &&OutputRequest| description.dim(Modality::from_views(output.kind.has_views())).is_some();
    let possible: Vec<_> = request.outputs.iter().filter(is_possible).collect();
    if possible.is_empty() {
        return Err(Error::new(format!(
            "{model} is a model of texts alone, and there are only views to embed"
        ))
        .hint("give --captions FILE, or a model that sees pictures, e.g. Qwen3-VL-Embedding")
        .on_all_ranks());
    }
    if possible.len() < request.outputs.len() {
        tracing::warn!("{model} is a model of texts alone: the views are left out");
    }
    Ok(possible)
}

/// Whether the target's disk can hold the whole job, from the first stage to the last sealed file. On
/// rank 0.
fn check_disk(request: &EmbedRequest, prepared: &[Prepared]) -> Result<()> {
    let unfinished: Vec<&Prepared> = prepared.iter().filter(|output| output.start != Start::Done).collect();
    let needs: Vec<DiskNeed> = unfinished
        .iter()
        .map(|output| DiskNeed::of(&output.shape(), output.header.stored, request.compression))
        .collect();
    let paths: Vec<OutputPaths> = unfinished.iter().map(|output| output.paths.clone()).collect();
    let folder = paths.first().and_then(|paths| paths.output.parent()).unwrap_or(Path::new("."));
    // Without a seal the files stay side by side as they are while running.
    let seals = request.seal && request.mode.shard().is_none();
    let need = if seals { DiskNeed::most_in_turn(&needs) } else { needs.iter().map(DiskNeed::running).sum() };
    Space::of(folder, &paths)?.refuse_short(need)
}

/// A block is held in memory and written in one piece.
fn check_block(header: &Header) -> Result<()> {
    let row_bytes = header.dim * header.stored.size_bytes() as u64;
    let rows = header.block_rows.min(header.blocks().rows());
    let bytes = u128::from(rows) * u128::from(row_bytes);
    if bytes <= u128::from(ROUND_BYTES_MAX) {
        return Ok(());
    }
    Err(Error::new(format!(
        "a block of {rows} rows takes {} of memory; at most {} are possible",
        HumanBytes(u64::try_from(bytes).unwrap_or(u64::MAX)),
        HumanBytes(ROUND_BYTES_MAX)
    ))
    .hint(format!(
        "--block-rows {} or fewer; leave it out for the default",
        ROUND_BYTES_MAX / row_bytes.max(1)
    )))
}

/// Takes the lock of an output on rank 0. Collective.
///
/// # Errors
/// Another job holds it, or the folder cannot be written.
pub fn lock(world: &World, paths: &OutputPaths) -> Result<Option<Lock>> {
    let lock = if world.is_root() { Lock::acquire(&paths.lock).map(Some) } else { Ok(None) };
    world.agree(lock)
}

/// Takes part, as a shard, in the lock of the whole output on rank 0. Collective.
fn share_lock(world: &World, paths: &OutputPaths, mode: Mode) -> Result<Option<SharedLock>> {
    let is_needed = world.is_root() && mode.shard().is_some();
    let whole = OutputPaths::new(&paths.output).lock;
    world.agree(if is_needed { SharedLock::acquire(&whole).map(Some) } else { Ok(None) })
}

/// Takes the locks of all shards of an output on rank 0, so that none is at work. Collective.
///
/// # Errors
/// A task of the array holds one.
pub fn lock_shards(world: &World, paths: &OutputPaths) -> Result<Vec<Lock>> {
    let lock = |shard| Lock::acquire(&OutputPaths::of_shard(&paths.output, Some(shard)).lock);
    let locks = || paths.shards()?.into_iter().map(lock).collect();
    world.agree(if world.is_root() { locks() } else { Ok(Vec::new()) })
}

/// Makes the folder of an output. On rank 0.
fn make_folder(paths: &OutputPaths) -> Result<()> {
    let folder = paths.output.parent().unwrap_or(Path::new(""));
    if folder == Path::new("") {
        return Ok(());
    }
    std::fs::create_dir_all(folder)
        .context(|| format!("cannot create the output directory {}", folder.display()))
}

impl Common<'_> {
    fn prepare_each(&self, outputs: &[&OutputRequest]) -> Result<Vec<Prepared>> {
        let prepared: Vec<Prepared> =
            outputs.iter().map(|output| self.prepare(output)).collect::<Result<_>>()?;
        let checked = if self.world.is_root() { check_disk(self.request, &prepared) } else { Ok(()) };
        if checked.is_err() {
            // What was refused leaves nothing behind.
            for output in &prepared {
                let _ = remove(&output.paths.plan_new);
            }
        }
        self.world.agree(checked)?;
        Ok(prepared)
    }

    fn prepare(&self, output: &OutputRequest) -> Result<Prepared> {
        let (world, mode) = (self.world, self.request.mode);
        let paths = OutputPaths::of_shard(&output.output, mode.shard());
        world.agree(if world.is_root() { make_folder(&paths) } else { Ok(()) })?;
        let shared_lock = share_lock(world, &paths, mode)?;
        let lock = lock(world, &paths)?;
        let prepared = self.prepare_locked(output, &paths);
        if prepared.is_err() && world.is_root() {
            // What was refused leaves nothing behind.
            let _ = remove(&paths.plan_new);
        }
        Ok(Prepared { lock, shared_lock, ..prepared? })
    }

    fn prepare_locked(&self, output: &OutputRequest, paths: &OutputPaths) -> Result<Prepared> {
        let (world, request) = (self.world, self.request);
        let Planned { spool, plan_use } = spool::make_or_open(world, output, paths, request.mode)?;
        let tables = spool::broadcast_tables(world, &spool)?;
        if spool.blocks().rows() == 0 {
            return Err(Error::new(format!("there is nothing to embed for {}", paths.output.display()))
                .hint("`hyperslab plan` with the same options shows what is found")
                .on_all_ranks());
        }
        let modality = Modality::from_views(output.kind.has_views());
        let dim = request.options.dim.or(self.description.dim(modality)).unwrap_or_default();
        let (folder, description) = (&self.model.path, &self.description);
        let batching = batches::choose(world, request, output.kind, self.device, folder, description)?;
        let mut header = Header {
            fingerprint: self.fingerprint(output, &spool, (modality, dim), batching)?,
            groups: spool.header().groups.clone(),
            block_rows: spool.header().block_rows,
            dim: dim as u64,
            stored: request.stored,
            shard: request.mode.shard(),
            replaces: Replaces::Nothing,
        };
        world.agree(check_block(&header))?;
        let decided = world.from_root(|| {
            let decision = match request.mode {
                Mode::RetryFailed => retry::decide(paths, &header, &spool, &tables)?,
                mode => start::decide(paths, &header, mode)?,
            };
            if let (Some(plan_use), false) = (&plan_use, decision.start == Start::Done) {
                start::adopt_plan(paths)?;
                plan_use.share();
            }
            serde_json::to_vec(&decision).context(|| "cannot encode the decision")
        })?;
        let Decision { start, replaces } =
            serde_json::from_slice(&decided).context(|| "cannot decode the decision")?;
        header.replaces = replaces;
        let paths = paths.clone();
        Ok(Prepared {
            paths,
            lock: None,
            shared_lock: None,
            plan_use,
            header,
            spool,
            tables,
            start,
            modality,
            batching,
        })
    }

    /// What this output's vectors depend on.
    fn fingerprint(
        &self,
        output: &OutputRequest,
        spool: &Spool,
        (modality, dim): (Modality, usize),
        batching: Batching,
    ) -> Result<Fingerprint> {
        let (request, folder) = (self.request, self.model);
        // The tokenizers crate panics on some broken files.
        let read = || model::preprocessing(&folder.path, modality, &request.options);
        let preprocessing = shielded(read).unwrap_or_else(|panic| {
            Err(Error::new(format!("cannot read the preprocessing of {}: {panic}", folder.path.display()))
                .hint("its tokenizer.json or spiece.model is broken: copy or download it again"))
        });
        let preprocessing = self.world.agree(preprocessing)?.provenance;
        let mut parts = vec![
            ("kind", output.kind_name()),
            (spool::PLAN, Digest(spool.digest()).to_string()),
            ("weights_sha256", self.weights_sha256.clone()),
            ("tokenizer_sha256", self.tokenizer_sha256.clone()),
            ("preprocessing", preprocessing),
            ("precision", self.device.precision.to_string()),
            ("stored_type", request.stored.to_string()),
            ("device_model", self.device.model.clone()),
            ("libtorch", model::device::libtorch_version().to_owned()),
        ];
        parts.extend(batches::fingerprint_parts(batching));
        if self.description.family.has_dim() {
            parts.push(("dim", dim.to_string()));
        }
        if !self.device.is_gpu() {
            parts.push(("threads", request.threads.to_string()));
        }
        let name = folder.name.clone().unwrap_or_else(|| self.description.name.clone());
        let about = [("model_name", name), ("program", crate::PROGRAM.to_owned())];
        let commit = folder.commit.clone().map(|commit| ("model_commit", commit));
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        Ok(Fingerprint {
            parts: parts.into_iter().map(owned).collect(),
            about: about.into_iter().chain(commit).map(owned).collect(),
        })
    }
}
