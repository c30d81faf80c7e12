//! One output, from its start decision to its seal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::devices::RankDevice;
use super::pipeline::{Pipeline, PipelineSettings};
use super::prepare::Prepared;
use super::progress::Progress;
use super::report::{OutputReport, RankReport, write_run_json};
use super::request::EmbedRequest;
use super::rounds::{Limits, Rounds, check_failures};
use super::source::Source;
use super::spans::{Span, Stopwatch};
use super::start::{self, Start};
use super::stop::Stop;
use super::unsealed::Unsealed;
use super::{ROUND_BYTES_MAX, recheck, seal, shared_file};
use crate::comm::World;
use crate::error::{Context, Error, Exit, Result};
use crate::input::Spool;
use crate::model::{self, Model};
use crate::plan::{self, Kind, Table};
use crate::store::schema::attr;
use crate::store::{
    Committed, Contents, Digest, Fingerprint, Header, Holder, Journal, Replaces, SealedRows, Stage,
};

/// What every output of a job is run with.
pub struct OutputJob<'a> {
    pub world: &'a World,
    pub request: &'a EmbedRequest,
    /// The model's folder.
    pub model: &'a Path,
    pub device: &'a RankDevice,
    pub stop: &'a Stop,
}

impl OutputJob<'_> {
    /// Makes one output; `began` is when its wall time begins. Returns what rank 0 has to say.
    ///
    /// # Errors
    /// A failure of any rank, the same on all.
    pub fn run(&self, prepared: Prepared, began: Instant) -> Result<String> {
        let mut watch = Stopwatch::start_at(Span::Start, began);
        let world = self.world;
        let output = prepared.paths.output.clone();
        let (mut journal, mut committed) = self.open_journal(&prepared)?;
        if prepared.start == Start::Done {
            return Ok(format!("{} is complete; nothing to do\n", output.display()));
        }
        let (paths, header) = (&prepared.paths, &prepared.header);
        if prepared.start == Start::Resume {
            let which = self.request.verify_resume;
            recheck::withdraw_damaged(world, (paths, header), which, &mut journal, &mut committed)?;
        }
        let mut report = OutputReport {
            rows: rows_of(&header.shape().rows),
            assets_left_out: prepared.spool.header().assets_left_out,
            blocks_skipped: committed.digests.len() as u64,
            fingerprint: header.fingerprint.digest().to_string(),
            program: crate::PROGRAM.to_owned(),
            shard: header.shard,
            ..OutputReport::default()
        };
        self.announce(&prepared, &report);
        let (committed, rows_here) = self.compute(&prepared, journal, committed, &mut report, &mut watch)?;
        report.count_failures(&committed);
        if self.request.seal && header.shard.is_none() {
            watch.switch(Span::Seal);
            let all = Unsealed::whole(paths, header.clone(), committed);
            let contents = contents(world, &all, &prepared.spool, &prepared.tables)?;
            let compression = self.request.compression;
            seal::seal(world, paths, (&contents, &all.stages), compression, self.stop)?;
            report.sealed = true;
        }
        report.add_ranks(self.gather_ranks(rows_here, watch, began)?);
        if world.is_root() {
            report.output_bytes = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
            // The output is complete, whether or not its report can be written.
            if let Err(error) = write_run_json(&output, &report) {
                tracing::warn!("{error}");
            }
        }
        // Held until here.
        drop((prepared.lock, prepared.shared_lock, prepared.plan_use));
        Ok(format!("{}\n{}", output.display(), report.summary(&output)))
    }

    /// Brings the files into the state that the start needs; the journal of a resume is on rank 0, what
    /// is committed on every rank.
    fn open_journal(&self, prepared: &Prepared) -> Result<(Option<Journal>, Committed)> {
        let mut journal = None;
        let bytes = self.world.from_root(|| {
            let opened = start::prepare(&prepared.paths, prepared.start, &prepared.header)?;
            let (opened, committed) = opened.unzip();
            journal = opened;
            serde_json::to_vec(&committed.unwrap_or_default())
                .context(|| "cannot encode the committed blocks")
        })?;
        let committed = serde_json::from_slice(&bytes).context(|| "cannot decode the committed blocks")?;
        Ok((journal, committed))
    }

    fn announce(&self, prepared: &Prepared, report: &OutputReport) {
        if self.world.is_root() {
            let own = prepared.header.own_blocks();
            let shard = prepared.header.shard.map(|shard| format!(", shard {shard}")).unwrap_or_default();
            tracing::info!(
                "{}{shard}: rows {}, assets {}, blocks {} of {} rows: {} skipped (committed before), {} to compute",
                prepared.paths.output.display(),
                report.rows,
                prepared.tables.iter().map(Table::len).sum::<usize>(),
                own.end - own.start,
                prepared.header.block_rows,
                report.blocks_skipped,
                own.end - own.start - report.blocks_skipped,
            );
            if let Some(left_out) = report.left_out() {
                tracing::info!("left out: {left_out}");
            }
            tracing::info!(
                "ranks {}, device {} in {}, {}, decoding threads per rank {}",
                self.world.size(),
                self.device.model,
                self.device.precision,
                prepared.batching,
                self.device.decode_threads,
            );
        }
    }

    /// Computes and commits what is not committed yet; returns what is committed then, and how many rows
    /// this rank computed.
    fn compute(
        &self,
        prepared: &Prepared,
        journal: Option<Journal>,
        committed: Committed,
        report: &mut OutputReport,
        watch: &mut Stopwatch,
    ) -> Result<(Committed, u64)> {
        let (world, header) = (self.world, &prepared.header);
        let (blocks, own) = (header.blocks(), header.own_blocks());
        let pending = committed.pending(own.clone());
        let limits = self.limits(header);
        check_failures(&committed, limits.failures).map_err(Error::on_all_ranks)?;
        if pending.is_empty() {
            return Ok((committed, 0));
        }
        world.agree(self.stop.asked().map_or(Ok(()), |why| Err(why.error("nothing was computed"))))?;
        // Before the stage: a model that does not load must not leave a run behind.
        let model = self.load_model(prepared)?;
        let sealed = self.open_sealed(prepared)?;
        let (stage, journal) = self.open_stage(prepared, journal)?;
        let share = plan::share(&pending, world.rank() as u64, world.size() as u64);
        // Before the model thread starts its own watch, so that no time counts twice.
        watch.switch(Span::Write);
        let compute_began = Instant::now();
        let pipeline = self.start_pipeline(prepared, model, (share.clone(), sealed.as_ref()), limits)?;
        let rows_before = committed.rows(&blocks);
        let label = prepared.header.fingerprint.parts.get("kind").map_or("embed", String::as_str);
        let mut progress = Progress::new(label, report.rows, rows_before, world.is_root());
        let mut rounds = Rounds {
            world,
            stage: &stage,
            journal,
            blocks: &blocks,
            own,
            stored: header.stored,
            limits,
            stop: self.stop,
            committed,
            rows_here: 0,
        };
        let watchdog = self.request.watchdog;
        let source = Source { world, watchdog, pipeline: &pipeline, sealed: sealed.as_ref() };
        rounds.run(plan::Runs::new(share), &source, &mut progress)?;
        let compute_s = compute_began.elapsed().as_secs_f64();
        // While the model thread ran, its own spans tell where the time went.
        watch.replace(compute_began, &pipeline.finish()?);
        let (committed, rows_here) = (rounds.committed, rounds.rows_here);
        world.agree(stage.finish())?;
        report.rows_computed = committed.rows(&blocks) - rows_before;
        report.blocks_computed = committed.digests.len() as u64 - report.blocks_skipped;
        report.rows_per_s = report.rows_computed as f64 / compute_s.max(1e-9);
        Ok((committed, rows_here))
    }

    /// The output whose failed items are embedded again, if that is what this run does.
    fn open_sealed(&self, prepared: &Prepared) -> Result<Option<SealedRows>> {
        let header = &prepared.header;
        let open = || match header.replaces {
            Replaces::Failures { .. } => {
                SealedRows::open(&prepared.paths.output, &header.groups, header.blocks()).map(Some)
            }
            Replaces::Nothing | Replaces::Output => Ok(None),
        };
        self.world.agree(open())
    }

    /// Opens the stage of a resume, or creates it and then the journal that gives it meaning.
    fn open_stage(&self, prepared: &Prepared, journal: Option<Journal>) -> Result<(Stage, Option<Journal>)> {
        let (world, header, paths) = (self.world, &prepared.header, &prepared.paths);
        let shape = header.shape();
        if prepared.start == Start::Resume {
            shared_file::check(world, &paths.partial)?;
            let stage = Stage::open(&paths.partial, &shape, world.raw());
            return Ok((world.agree(stage)?, journal));
        }
        shared_file::create(world, &paths.partial)?;
        let stage = Stage::create(&paths.partial, &shape, world.raw(), world.is_root());
        let stage = world.agree(stage)?;
        let journal =
            if world.is_root() { Journal::create(&paths.journal, header).map(Some) } else { Ok(None) };
        Ok((stage, world.agree(journal)?))
    }

    fn limits(&self, header: &Header) -> Limits {
        let block_bytes = header.block_rows * header.dim * header.stored.size_bytes() as u64;
        let fits = (ROUND_BYTES_MAX / block_bytes.max(1)).max(1);
        Limits {
            round_blocks: self.request.round_blocks.map_or(fits, |blocks| blocks.clamp(1, fits)),
            failures: self.request.max_failures.of(rows_of(&header.shape().rows)),
        }
    }

    fn load_model(&self, prepared: &Prepared) -> Result<Model> {
        let settings = model::Settings {
            device: self.device.device,
            precision: self.device.precision,
            options: self.request.options.clone(),
            threads: self.request.threads,
        };
        let load = || model::load(self.model, prepared.modality, &settings);
        self.world.agree(self.world.attended(load))
    }

    fn start_pipeline(
        &self,
        prepared: &Prepared,
        model: Model,
        (share, sealed): (Vec<Range<u64>>, Option<&SealedRows>),
        limits: Limits,
    ) -> Result<Pipeline> {
        let again = sealed.map(|sealed| {
            let failed = |block| Some((block, sealed.failed_of(block)?));
            share.iter().cloned().flatten().filter_map(failed).collect::<BTreeMap<_, _>>()
        });
        // Of a sealed file, the blocks in which nothing failed are not computed.
        let share = match &again {
            Some(again) => again.keys().map(|&block| block..block + 1).collect(),
            None => share,
        };
        let renders = prepared.spool.header().source.renders.clone().unwrap_or_default();
        let settings = PipelineSettings {
            renders,
            batching: prepared.batching,
            decode_threads: self.device.decode_threads.max(1),
            model_threads: self.request.threads,
            blocks_ahead: limits.round_blocks as usize,
            again,
        };
        let started = Pipeline::start(Arc::clone(&prepared.spool), share, model, settings);
        self.world.agree(started)
    }

    /// Every rank's place and time, by rank.
    fn gather_ranks(&self, rows_here: u64, watch: Stopwatch, began: Instant) -> Result<Vec<RankReport>> {
        let rank = RankReport {
            host: Holder::this().host,
            device: self.device.model.clone(),
            decode_threads: self.device.decode_threads,
            rows: rows_here,
            wall_s: began.elapsed().as_secs_f64(),
            spans: watch.stop(),
        };
        let bytes = serde_json::to_vec(&rank).context(|| "cannot encode a rank's report")?;
        let ranks = self.world.all_gather(&bytes);
        ranks
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).context(|| "cannot decode a rank's report"))
            .collect()
    }
}

/// The number of rows in a range.
fn rows_of(rows: &Range<u64>) -> u64 {
    rows.end - rows.start
}

/// What the file holds that is sealed from these stages. Collective.
///
/// # Errors
/// The spool cannot be read.
pub fn contents<'a>(
    world: &World,
    all: &'a Unsealed,
    spool: &Spool,
    tables: &'a [Table],
) -> Result<Contents<'a>> {
    let (header, committed) = (&all.header, &all.committed);
    let digest = world.from_root(|| {
        let digest = || spool.digest_without(|row| committed.failures.contains_key(&row));
        Ok(world.attended(digest)?.to_vec())
    })?;
    let embedded_input =
        digest.try_into().map_err(|_| Error::new("a digest of another length").exit(Exit::Bug))?;
    let truncated_before = match header.replaces {
        Replaces::Failures { truncated } => truncated,
        Replaces::Nothing | Replaces::Output => 0,
    };
    let kind = spool.header().kind;
    let failures = committed.failures.iter().map(|(&row, error)| (row, error.to_string()));
    Ok(Contents {
        kind,
        groups: &header.groups,
        tables,
        blocks: header.blocks(),
        dim: header.dim,
        stored: header.stored,
        digests: &committed.digests,
        failures: failures.collect(),
        num_images: if kind == Kind::ViewSet { num_images(tables, committed) } else { Vec::new() },
        truncated: Some(truncated_before.saturating_add(committed.truncated_texts())),
        attributes: attributes(header, Digest(embedded_input)),
    })
}

/// Of how many views the vector of each row is made, where a row is an asset's set of views.
fn num_images(tables: &[Table], committed: &Committed) -> Vec<i32> {
    let planned = tables.iter().flat_map(Table::iter).map(|(_, count)| count);
    let made = planned.zip(0..).map(|(planned, row)| match committed.failures.get(&row) {
        None => planned,
        Some(error) if error.has_vector() => planned.saturating_sub(error.views_left_out()),
        Some(_) => 0,
    });
    made.map(|n| i32::try_from(n).unwrap_or(i32::MAX)).collect()
}

/// What the file says its vectors depend on.
fn attributes(header: &Header, embedded_input: Digest) -> Vec<(String, String)> {
    let Fingerprint { about, parts } = &header.fingerprint;
    let owned = |(name, value): (&String, &String)| (name.clone(), value.clone());
    let made =
        [(attr::FINGERPRINT, header.fingerprint.digest()), (attr::EMBEDDED_INPUT_SHA256, embedded_input)];
    let made = made.map(|(name, digest)| (name.to_owned(), digest.to_string()));
    about.iter().chain(parts).map(owned).chain(made).collect()
}
