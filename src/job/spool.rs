//! From the input to the spool, by all ranks together: the walk over the views is spread over them.

use std::path::Path;
use std::sync::Arc;

use super::request::{CaptionFile, Mode, OutputRequest};
use crate::comm::World;
use crate::error::{Context, Error, Exit, Result};
use crate::input::views::{self, Listing, Part, Rule};
use crate::input::{FileStamp, Input, Keep, Naming, Source, Spool, captions, write_spool};
use crate::plan::Table;
use crate::plan::bytes::{Reader, put_bytes};
use crate::store::{Digest, Header, OutputPaths, PlanUse, read_journal, remove};

/// The name of the plan's digest in a fingerprint.
pub const PLAN: &str = "plan_sha256";

/// An output's plan.
pub struct Planned {
    pub spool: Arc<Spool>,
    /// A shard's, on rank 0: others wait until it [shares](PlanUse::share) the plan.
    pub plan_use: Option<PlanUse>,
}

/// Opens the spool of the unfinished run that this one may go on from, if it was planned from the same
/// request, or makes a new one beside it. Collective.
///
/// # Errors
/// An input that cannot be read or is not valid.
pub fn make_or_open(
    world: &World,
    output: &OutputRequest,
    paths: &OutputPaths,
    mode: Mode,
) -> Result<Planned> {
    if let Some(root) = &output.renders {
        // Every rank reads pictures: one without the folder would mark all of its views as failed.
        let listed = std::fs::read_dir(root).map(drop);
        world.agree(listed.context(|| format!("cannot read the renders' folder {}", root.display())))?;
    }
    let mut plan_use = None;
    let is_usable = world.from_root(|| {
        // Left by a job that was killed while it planned.
        remove(&paths.plan_new)?;
        let is_usable = if mode.shard().is_some() {
            let begin = || {
                let begun = PlanUse::begin(&paths.plan_lock)?;
                Ok((is_usable_by_shard(output, (paths, mode), begun.with_others)?, begun))
            };
            let (is_usable, begun) = world.attended(begin)?;
            plan_use = Some(begun);
            is_usable
        } else {
            world.attended(|| is_usable(output, paths, mode))?
        };
        Ok(vec![u8::from(is_usable)])
    })? == [1];
    let path = if is_usable { &paths.plan } else { &paths.plan_new };
    if !is_usable {
        make(world, output, path)?;
    }
    Ok(Planned { spool: open(world, path)?, plan_use })
}

/// Opens a spool on every rank. Collective.
///
/// # Errors
/// The spool is missing or damaged.
pub fn open(world: &World, path: &Path) -> Result<Arc<Spool>> {
    world.agree(Spool::open(path)).map(Arc::new)
}

/// Whether a spool is the one that a journal's rows were made from.
///
/// # Errors
/// It is another.
pub fn check_belongs(spool: &Spool, header: &Header) -> Result<()> {
    let digest = Digest(spool.digest()).to_string();
    let is_named = header.fingerprint.parts.get(PLAN) == Some(&digest);
    if is_named && spool.header().groups == header.groups {
        return Ok(());
    }
    Err(Error::new("the plan beside the output is not the one that its rows were made from")
        .exit(Exit::Damaged)
        .hint("run the `hyperslab embed` that made the rows again: it makes the plan anew and seals"))
}

/// Gives every rank the tables of all groups, as rank 0 reads them. Collective.
///
/// # Errors
/// A table of the spool cannot be read.
pub fn broadcast_tables(world: &World, spool: &Spool) -> Result<Vec<Table>> {
    let bytes = world.from_root(|| {
        let mut bytes = Vec::new();
        spool.tables()?.iter().for_each(|table| put_bytes(&mut bytes, &table.to_bytes()));
        Ok(bytes)
    })?;
    let mut reader = Reader::new(&bytes);
    let tables = spool.header().groups.iter().map(|_| Table::from_bytes(reader.bytes()?)).collect();
    world.agree(tables)
}

/// Whether the spool that stands there can be used as it is: it belongs to a run that this one may go on
/// from, was made from the same request, and is whole. A data set that has moved is planned again, and
/// goes on if the new plan is the same.
fn is_usable(output: &OutputRequest, paths: &OutputPaths, mode: Mode) -> Result<bool> {
    let Ok((header, ..)) = read_journal(&paths.journal) else { return Ok(false) };
    // What failed may have been mended since, of which nothing shows but in a new plan.
    let may_go_on = mode != Mode::RetryFailed && mode.goes_on_from(header.replaces);
    Ok(may_go_on && digest_if_of_request(output, &paths.plan)?.is_some())
}

/// The same for a shard, where the spool stands for all of them: others use it now, or have committed rows
/// of it, in a run that this one goes on with.
fn is_usable_by_shard(
    output: &OutputRequest,
    (paths, mode): (&OutputPaths, Mode),
    with_others: bool,
) -> Result<bool> {
    let Some(digest) = digest_if_of_request(output, &paths.plan)? else { return Ok(false) };
    let has_rows_of_it = |shard| {
        let journal = OutputPaths::of_shard(&paths.output, Some(shard)).journal;
        let header = read_journal(&journal).map(|(header, ..)| header);
        header.is_ok_and(|header| {
            mode.goes_on_from(header.replaces) && header.fingerprint.parts.get(PLAN) == Some(&digest)
        })
    };
    // Others that run may be of the array that is to be overwritten.
    Ok(with_others && !mode.overwrites() || paths.shards()?.into_iter().any(has_rows_of_it))
}

/// The digest of a spool that was made from this request and is whole.
fn digest_if_of_request(output: &OutputRequest, plan: &Path) -> Result<Option<String>> {
    let wanted = source(output)?;
    let Ok(spool) = Spool::open(plan) else { return Ok(None) };
    let block_rows = output.block_rows.unwrap_or(spool.header().block_rows);
    let is_asked_for = spool.header().source == wanted && spool.header().block_rows == block_rows;
    let is_good = is_asked_for && spool.verify().is_ok();
    Ok(is_good.then(|| Digest(spool.digest()).to_string()))
}

/// What is asked for, as the spool remembers it.
fn source(output: &OutputRequest) -> Result<Source> {
    let renders = output.renders.as_ref().map(|path| {
        path.canonicalize().context(|| format!("cannot find the renders' folder {}", path.display()))
    });
    let captions = output.captions.iter().map(|file| Ok((file.group.clone(), FileStamp::of(&file.path)?)));
    Ok(Source {
        captions: captions.collect::<Result<_>>()?,
        renders: renders.transpose()?,
        renders_list: output.renders_list.as_deref().map(FileStamp::of).transpose()?,
        layout: output.layout,
        view_glob: output.view_glob.clone(),
        views: output.views,
        max_assets: output.max_assets,
        id_map: output.id_map.as_deref().map(FileStamp::of).transpose()?,
        ids: output.id_map.is_some().then_some(output.ids),
    })
}

/// Reads the input and writes the spool. Collective.
///
/// # Errors
/// An input that cannot be read or is not valid, or a file that cannot be written.
pub fn make(world: &World, output: &OutputRequest, path: &Path) -> Result<()> {
    let listing = if output.kind.has_views() { list_views(world, output)? } else { None };
    let write = || -> Result<()> {
        let source = source(output)?;
        write_spool(path, &groups(output, listing)?, output.block_rows, source).map(drop)
    };
    world.agree(if world.is_root() { world.attended(write) } else { Ok(()) })
}

/// What the groups of an output are made from. On rank 0.
fn groups(output: &OutputRequest, listing: Option<Listing>) -> Result<Vec<Input>> {
    let naming = Naming::read(output.id_map.as_deref(), output.ids)?;
    if let Some(listing) = listing {
        let views = naming.views(listing.catalog)?;
        let make = if output.kind.has_row_per_view() { Input::image } else { Input::view_sets };
        return Ok(vec![make(views, output.views, output.max_assets)?]);
    }
    let group = |file: &CaptionFile| {
        let captions = captions::read(&file.path, Keep::Everything)?;
        let (named, _) = naming.captions(captions.catalog)?;
        Ok(Input::text(named, output.max_assets)?.named(&file.group))
    };
    output.captions.iter().map(group).collect()
}

/// The views, on rank 0: from a ready list, or from a walk in which every rank takes a part, as it does of
/// indexing archives.
fn list_views(world: &World, output: &OutputRequest) -> Result<Option<Listing>> {
    const KEEP: Keep = Keep::Everything;
    let Some(root) = &output.renders else {
        return Err(Error::new("no folder of views is given").hint("--renders ROOT says where they are"));
    };
    let rule = world.agree(Rule::new(output.layout, &output.view_glob))?;
    let (mut found, size) = (None, world.size());
    let parts = world.from_root(|| {
        let (parts, on_the_way) = match &output.renders_list {
            Some(list) => world.attended(|| views::read_list(list, size, KEEP, &rule))?,
            None => world.attended(|| views::split(root, size, KEEP, &rule))?,
        };
        found = Some(on_the_way);
        let mut bytes = Vec::new();
        for part in &parts {
            put_bytes(&mut bytes, &part.to_bytes());
        }
        Ok(bytes)
    })?;
    let mine = part_of(&parts, world.rank())
        .and_then(|part| world.attended(|| views::walk(root, &part, KEEP, &rule)))
        .and_then(|listing| listing.to_bytes());
    let gathered = world.gather(&world.agree(mine)?);
    let merged = match (gathered, found) {
        (Some(listings), Some(all)) => merge(all, &listings).map(Some),
        _ => Ok(None),
    };
    world.agree(merged)
}

/// Joins what was listed on the way and by every rank, and tells what may be missing. On rank 0.
fn merge(mut all: Listing, listings: &[Vec<u8>]) -> Result<Listing> {
    for bytes in listings {
        all.merge(Listing::from_bytes(bytes)?);
    }
    for (what, odd) in all.odd.alarms() {
        tracing::warn!("{} {what}: {}", odd.count, odd.first.join(", "));
    }
    all.refuse_pictures_alone()?;
    Ok(all)
}

/// The part of the walk that is this rank's.
fn part_of(parts: &[u8], rank: usize) -> Result<Part> {
    let mut reader = Reader::new(parts);
    for _ in 0..rank {
        reader.bytes()?;
    }
    Part::from_bytes(reader.bytes()?)
}
