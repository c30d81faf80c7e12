//! The seal: from a fully committed stage to the output under its own name.

use std::ops::Range;
use std::path::Path;

use super::progress::Progress;
use super::shared_file;
use super::stop::{Stop, Why};
use crate::comm::World;
use crate::error::{Error, Exit, Result};
use crate::h5::{Access, RowFile};
use crate::plan;
use crate::store::{
    Compression, Contents, Embeddings, OutputPaths, SealedFile, StageFile, StageReader, Stages, StoredRows,
    check_digests, remove, rename_durably, save_metadata, verify_tables,
};

/// A rank reads, checks and compresses about so many bytes between two collective calls.
const PIECE_BYTES: u64 = 32 << 20;

/// Makes the output from stages whose every block is committed, and removes what stood beside it.
/// Collective.
///
/// # Errors
/// A block that no longer has its digest, a full disk, or what HDF5 reports; the stages stay as they are.
pub fn seal(
    world: &World,
    paths: &OutputPaths,
    (contents, stages): (&Contents<'_>, &[StageFile]),
    compression: Compression,
    stop: &Stop,
) -> Result<()> {
    let missing = contents.blocks.count() - contents.digests.len() as u64;
    if missing > 0 {
        return Err(Error::new(format!(
            "{missing} of {} blocks of {} are not committed yet",
            contents.blocks.count(),
            paths.output.display()
        ))
        .hint("run `hyperslab embed` again: it goes on from the last committed round")
        .on_all_ranks());
    }
    let sealer = Sealer { world, paths, contents, stages, stop };
    let outcome = if let (Compression::None, [stage]) = (compression, stages)
        && stage.path == paths.partial
    {
        sealer.adopt(stage)
    } else {
        let outcome = sealer.write_anew(compression);
        if outcome.is_err() && world.is_root() {
            // Half a file is of no use; its space may be what is missing.
            let _ = remove(&paths.tmp);
        }
        outcome
    };
    outcome?;
    let removed = if world.is_root() { paths.remove_leftovers() } else { Ok(()) };
    world.agree(removed)
}

struct Sealer<'a> {
    world: &'a World,
    paths: &'a OutputPaths,
    contents: &'a Contents<'a>,
    /// In order of their blocks, of which they have all.
    stages: &'a [StageFile],
    stop: &'a Stop,
}

impl Sealer<'_> {
    /// Writes a new file, compressed or not.
    fn write_anew(&self, compression: Compression) -> Result<()> {
        let (world, tmp) = (self.world, &self.paths.tmp);
        self.check_stages()?;
        let stages = Stages::new(self.stages, &self.contents.blocks, self.contents.shape());
        shared_file::create(world, tmp)?;
        let form = (&self.contents.shape(), self.contents.blocks.block_rows());
        let create = SealedFile::create(tmp, form, compression, self.access(), world.is_root());
        let sealed = world.settle(create)?;
        self.each_piece("seal", world.rank(), |blocks| {
            let rows = world.agree(self.read_checked(&stages, blocks))?;
            world.agree(sealed.write(&rows))
        })?;
        world.settle(sealed.complete(self.contents))?;
        self.verify(tmp)?;
        self.publish(tmp)
    }

    /// Checks the stage, adds the tables to it, and makes it the output.
    fn adopt(&self, stage: &StageFile) -> Result<()> {
        let (world, partial) = (self.world, &stage.path);
        self.check_stages()?;
        let stages = Stages::new(self.stages, &self.contents.blocks, self.contents.shape());
        self.each_piece("check", world.rank(), |blocks| {
            world.agree(self.read_checked(&stages, blocks)).map(drop)
        })?;
        let save = || {
            let extents: Vec<_> = StageReader::open(partial, &self.contents.shape())?.extents().collect();
            save_metadata(partial, &extents, &self.paths.tmp)
        };
        world.agree(if world.is_root() { save() } else { Ok(()) })?;
        shared_file::check(world, partial)?;
        let adopted = SealedFile::adopt(partial, self.contents, self.access(), world.is_root());
        let sealed = world.settle(adopted)?;
        world.settle(sealed.complete(self.contents))?;
        self.verify(partial)?;
        self.publish(partial)
    }

    fn check_stages(&self) -> Result<()> {
        self.stages.iter().try_for_each(|stage| shared_file::check(self.world, &stage.path))
    }

    /// Reads tables and attributes again, as any reader would; then every block, on another rank than the one
    /// that wrote it, and compares digests.
    fn verify(&self, path: &Path) -> Result<()> {
        shared_file::check(self.world, path)?;
        let damaged = |error: Error| error.exit(Exit::Damaged).hint(self.what_to_do_about_damage(path));
        // First, on one rank: it opens the file, which fails on all of them together or not at all.
        let tables =
            if self.world.is_root() { verify_tables(path, self.contents).map_err(damaged) } else { Ok(()) };
        self.world.agree(tables)?;
        let file = self.world.settle(RowFile::open_read(path, self.access()).map_err(damaged))?;
        let embeddings = Embeddings::open(&file, &self.contents.shape()).map_err(damaged);
        let embeddings = self.world.settle(embeddings)?;
        let neighbour = (self.world.rank() + 1) % self.world.size();
        self.each_piece("verify", neighbour, |blocks| {
            let rows = self.contents.blocks.rows_of(blocks.clone());
            let read = embeddings
                .read(rows)
                // A chunk that does not inflate, for one.
                .map_err(damaged)
                .and_then(|rows| self.check(rows, blocks, |_| path));
            self.world.agree(read).map(drop)
        })?;
        embeddings.close();
        self.world.agree(file.finish())
    }

    fn access(&self) -> Access {
        Access::Together(self.world.raw())
    }

    /// Gives the verified file the output's name.
    fn publish(&self, path: &Path) -> Result<()> {
        let rename = || rename_durably(path, &self.paths.output);
        let renamed = if self.world.is_root() { self.world.attended(rename) } else { Ok(()) };
        self.world.agree(renamed)
    }

    fn read_checked(&self, stages: &Stages<'_>, blocks: Range<u64>) -> Result<StoredRows> {
        let read = stages.read(blocks.clone())?;
        self.check(read, blocks, |block| {
            stages.holder(block).map_or(&self.paths.partial, |stage| &stage.path)
        })
    }

    /// Compares rows of a run of blocks with their digests; `file` says which file a block was read from.
    fn check<'f>(
        &self,
        rows: StoredRows,
        run: Range<u64>,
        file: impl Fn(u64) -> &'f Path,
    ) -> Result<StoredRows> {
        let form = (&self.contents.blocks, self.contents.shape().row_bytes());
        match check_digests(&rows, run, form, self.contents.digests) {
            Ok(()) => Ok(rows),
            Err(block) => {
                let (rows, path) = (self.contents.blocks.range(block), file(block));
                Err(Error::new(format!(
                    "block {block} (rows {} to {}) of {} no longer has the digest it was committed with",
                    rows.start,
                    rows.end - 1,
                    path.display()
                ))
                .exit(Exit::Damaged)
                .hint(self.what_to_do_about_damage(path)))
            }
        }
    }

    fn what_to_do_about_damage(&self, path: &Path) -> &'static str {
        if path == self.paths.tmp {
            "memory, network or file system changed what was written; the rows it was made from are whole: run the \
             same command again, on other nodes"
        } else {
            "the stage was damaged on disk: the `hyperslab embed` that made it, run again, computes what is damaged \
             anew (with --verify-resume all, its default)"
        }
    }

    fn stopped(&self, why: Why) -> Error {
        why.error("all rows are committed, sealing begins again").hint(format!(
            "`hyperslab seal {}` finishes it, with a rank per core and no GPU; so does the same command again",
            self.paths.output.display()
        ))
    }

    /// Walks over `rank`'s share of all blocks, piece by piece; every rank takes the same number of steps,
    /// with empty pieces at the end where its share is smaller, and all stop if one was asked to.
    fn each_piece(
        &self,
        label: &str,
        rank: usize,
        mut step: impl FnMut(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let blocks = &self.contents.blocks;
        let block_bytes = blocks.block_rows() * self.contents.shape().row_bytes() as u64;
        let piece_blocks = (PIECE_BYTES / block_bytes.max(1)).max(1);
        let (rank, size) = (rank as u64, self.world.size() as u64);
        let mut runs = plan::Runs::new(plan::share(&plan::pending(0..blocks.count(), &[]), rank, size));
        let steps = blocks.count().div_ceil(size).div_ceil(piece_blocks);
        let mut progress = Progress::new(label, blocks.rows(), 0, self.world.is_root());
        for done in 1..=steps {
            self.world.agree(self.stop.asked().map_or(Ok(()), |why| Err(self.stopped(why))))?;
            step(runs.next_run(piece_blocks).unwrap_or(0..0))?;
            progress.set(blocks.rows() * done / steps);
        }
        Ok(())
    }
}
