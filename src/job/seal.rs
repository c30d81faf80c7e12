//! The seal: from a fully committed stage to the output under its own name.

use std::ops::Range;

use super::progress::Progress;
use super::rounds::stopped;
use super::shared_file;
use super::signals::StopFlag;
use crate::comm::World;
use crate::error::{Error, Exit, Result};
use crate::h5::ParallelFile;
use crate::plan;
use crate::store::{
    Compression, Contents, Embeddings, OutputPaths, SealedFile, Stage, StoredRows, check_digests, remove,
    rename_durably, save_metadata, sealed_fingerprint, verify_tables,
};

/// A rank reads, checks and compresses about so many bytes between two collective calls.
const PIECE_BYTES: u64 = 32 << 20;

/// Makes the output from a stage whose every block is committed, and removes what stood beside it.
/// Collective.
///
/// # Errors
/// A block that no longer has its digest, a full disk, or what HDF5 reports; the stage stays as it is.
pub fn seal(
    world: &World,
    paths: &OutputPaths,
    contents: &Contents<'_>,
    compression: Compression,
    stop: &StopFlag,
) -> Result<()> {
    let missing = contents.blocks.count() - contents.committed.digests.len() as u64;
    if missing > 0 {
        return Err(Error::new(format!(
            "{missing} of {} blocks of {} are not committed yet",
            contents.blocks.count(),
            paths.output.display()
        ))
        .hint("run `hyperslab embed` again: it goes on from the last committed round")
        .on_all_ranks());
    }
    let sealer = Sealer { world, paths, contents, stop };
    let outcome = match compression {
        Compression::None => sealer.adopt(),
        Compression::Gzip(level) => sealer.compress(level),
    };
    if outcome.is_err() && world.is_root() && matches!(compression, Compression::Gzip(_)) {
        // Half a file is of no use; its space may be what is missing.
        let _ = remove(&paths.tmp);
    }
    outcome?;
    let removed = if world.is_root() { paths.remove_leftovers() } else { Ok(()) };
    world.agree(removed)
}

struct Sealer<'a> {
    world: &'a World,
    paths: &'a OutputPaths,
    contents: &'a Contents<'a>,
    stop: &'a StopFlag,
}

impl Sealer<'_> {
    /// Writes a new, chunked and compressed file.
    fn compress(&self, gzip: u8) -> Result<()> {
        let (world, tmp) = (self.world, &self.paths.tmp);
        let stage = self.open_stage()?;
        shared_file::create(world, tmp)?;
        let create = SealedFile::create(tmp, self.contents, gzip, world.raw(), world.is_root());
        let sealed = world.settle(create)?;
        self.each_piece("seal", world.rank(), |rows| {
            let rows = world.agree(self.read_checked(&stage, rows))?;
            world.agree(sealed.write(&rows))
        })?;
        world.settle(sealed.complete(self.contents))?;
        world.agree(stage.finish())?;
        self.verify(tmp)?;
        self.publish(tmp)
    }

    /// Checks the stage, adds the tables to it, and makes it the output.
    fn adopt(&self) -> Result<()> {
        let (world, partial) = (self.world, &self.paths.partial);
        let stage = self.open_stage()?;
        self.each_piece("check", world.rank(), |rows| {
            world.agree(self.read_checked(&stage, rows)).map(drop)
        })?;
        let extents = stage.extents().to_vec();
        world.agree(stage.finish())?;
        let saved = if world.is_root() { save_metadata(partial, &extents, &self.paths.tmp) } else { Ok(()) };
        world.agree(saved)?;
        shared_file::check(world, partial)?;
        let adopted = SealedFile::adopt(partial, self.contents, world.raw(), world.is_root());
        let sealed = world.settle(adopted)?;
        world.settle(sealed.complete(self.contents))?;
        self.verify(partial)?;
        self.publish(partial)
    }

    fn open_stage(&self) -> Result<Stage> {
        shared_file::check(self.world, &self.paths.partial)?;
        self.world.settle(Stage::open(&self.paths.partial, &self.contents.shape(), self.world.raw()))
    }

    /// Reads tables and attributes again, as any reader would; then every block, on another rank than the one
    /// that wrote it, and compares digests.
    fn verify(&self, path: &std::path::Path) -> Result<()> {
        shared_file::check(self.world, path)?;
        let damaged = |error: Error| error.exit(Exit::Damaged).hint(self.what_to_do_about_damage(path));
        // First, on one rank: it opens the file, which fails on all of them together or not at all.
        let tables = if self.world.is_root() { self.verify_tables(path).map_err(damaged) } else { Ok(()) };
        self.world.agree(tables)?;
        let file = self.world.settle(ParallelFile::open_read(path, self.world.raw()).map_err(damaged))?;
        let embeddings = Embeddings::open(&file, &self.contents.shape()).map_err(damaged);
        let embeddings = self.world.settle(embeddings)?;
        let neighbour = (self.world.rank() + 1) % self.world.size();
        self.each_piece("verify", neighbour, |blocks| {
            let rows = self.contents.blocks.rows_of(blocks.clone());
            let read = embeddings
                .read(rows)
                // A chunk that does not inflate, for one.
                .map_err(damaged)
                .and_then(|rows| self.check(rows, blocks, path));
            self.world.agree(read).map(drop)
        })?;
        embeddings.close();
        self.world.agree(file.finish())
    }

    fn verify_tables(&self, path: &std::path::Path) -> Result<()> {
        verify_tables(path, self.contents)?;
        let fingerprint = self.contents.fingerprint;
        match fingerprint.differences(&sealed_fingerprint(path, fingerprint)?).first() {
            None => Ok(()),
            Some(difference) => Err(Error::new(format!("{}: attribute {difference}", path.display()))),
        }
    }

    /// Gives the verified file the output's name.
    fn publish(&self, path: &std::path::Path) -> Result<()> {
        let renamed = if self.world.is_root() { rename_durably(path, &self.paths.output) } else { Ok(()) };
        self.world.agree(renamed)
    }

    fn read_checked(&self, stage: &Stage, blocks: Range<u64>) -> Result<StoredRows> {
        let read = stage.read(self.contents.blocks.rows_of(blocks.clone()))?;
        self.check(read, blocks, &self.paths.partial)
    }

    fn check(&self, rows: StoredRows, run: Range<u64>, path: &std::path::Path) -> Result<StoredRows> {
        let form = (&self.contents.blocks, self.contents.shape().row_bytes());
        match check_digests(&rows, run, form, self.contents.committed) {
            Ok(()) => Ok(rows),
            Err(block) => {
                let rows = self.contents.blocks.range(block);
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

    fn what_to_do_about_damage(&self, path: &std::path::Path) -> &'static str {
        if path == self.paths.tmp {
            "memory, network or file system changed what was written; the rows it was made from are whole: run the \
             same command again, on other nodes"
        } else {
            "the file was damaged on disk; embed this output again with --overwrite"
        }
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
            let asked = if self.stop.is_set() { Err(stopped("sealing begins again")) } else { Ok(()) };
            self.world.agree(asked)?;
            step(runs.next_run(piece_blocks).unwrap_or(0..0))?;
            progress.set(blocks.rows() * done / steps);
        }
        Ok(())
    }
}
