//! Writing as a job writes: a stage and a chunked, compressed file, by all ranks together, read back on
//! another rank than wrote.

use std::path::Path;
use std::time::Instant;

use hdf5::types::{FloatSize, TypeDescriptor};
use indicatif::HumanBytes;
use serde::{Deserialize, Serialize};

use super::finding::Finding;
use crate::comm::World;
use crate::error::{Error, Exit, Result};
use crate::h5::{Access, Layout, RowFile};
use crate::job::shared_file;
use crate::plan::RowGroup;
use crate::store::schema::{EMBEDDINGS, StoredType};
use crate::store::{RowsShape, Stage, StoredRows, remove};

/// Length of a row: 4 KiB.
const DIM: u64 = 1024;
const ROW_BYTES: u64 = DIM * 4;
/// Rows of a chunk: 256 KiB, as in a sealed file.
const CHUNK_ROWS: u64 = 64;
/// All ranks together write so much where the disk has room.
const BYTES: u64 = 64 << 20;
/// What to do where other bytes come back than were written.
const DAMAGE_HINT: &str = "no job can be right here: the MPI library's I/O is defective (set OMPI_MCA_io=^ompio, or use \
    another version), or the file system shows hosts each other's bytes late (choose another --output-dir)";
/// The chunked file is this part of it, because it is compressed.
const CHUNKED_PART: u64 = 8;

/// What is to be written, the same on all ranks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Rows of each rank.
    rows: u64,
    /// Makes this run's bytes differ from what another left there.
    nonce: u64,
}

impl Plan {
    /// For so many ranks on a disk with so much room; nothing where that is too little.
    pub fn new(ranks: usize, free_bytes: u64, nonce: u64) -> Option<Self> {
        let ranks = ranks.max(1) as u64;
        let all = BYTES.min(free_bytes / 4);
        let chunks = (all / ROW_BYTES / ranks / CHUNK_ROWS).max(1);
        let rows = chunks * CHUNK_ROWS;
        (rows * ranks * ROW_BYTES <= free_bytes / 2).then_some(Self { rows, nonce })
    }

    /// The file that all ranks write together.
    pub fn file_name(&self) -> String {
        format!(".hyperslab-doctor.{:x}.h5", self.nonce)
    }

    fn bytes(&self, ranks: usize) -> u64 {
        self.rows * ROW_BYTES * ranks as u64
    }

    /// The rows of a rank; numbers without a pattern (the finaliser of splitmix64).
    fn rows_of(&self, rank: u64, rows: u64) -> StoredRows {
        let words = rows * ROW_BYTES / 8;
        let mix = |index: u64| {
            let mut z = (self.nonce ^ (rank << 40)).wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z ^ (z >> 27)
        };
        StoredRows {
            start: rank * rows,
            bytes: (0..words).flat_map(|index| mix(index).to_le_bytes()).collect(),
        }
    }
}

/// Writes both files at `path`, one after the other, and reads them back. Collective; the file is removed by
/// rank 0 whatever happens, as long as the ranks agree.
///
/// # Errors
/// What a job would fail of.
pub fn run(world: &World, path: &Path, plan: &Plan) -> Result<Vec<Finding>> {
    let written = stage(world, path, plan).and_then(|seconds| {
        sweep(world, path);
        chunked(world, path, plan)?;
        Ok(seconds)
    });
    sweep(world, path);
    let seconds = written?;
    let bytes = plan.bytes(world.size());
    let (wrote, by) = if world.size() == 1 { ("", "") } else { ("all ranks together: ", " on another rank") };
    Ok(vec![Finding::ok(
        "write",
        format!(
            "{wrote}{} written at {}/s and read back{by}, raw and compressed",
            HumanBytes(bytes),
            HumanBytes((bytes as f64 / seconds) as u64)
        ),
    )])
}

fn sweep(world: &World, path: &Path) {
    if world.is_root() {
        let _ = remove(path);
    }
}

/// As a round is committed; returns the seconds from the first write to the end of the flush.
fn stage(world: &World, path: &Path, plan: &Plan) -> Result<f64> {
    shared_file::create(world, path)?;
    let rows = plan.rows * world.size() as u64;
    let groups = [RowGroup { name: String::new(), rows }];
    let shape = RowsShape { groups: &groups, rows: 0..rows, dim: DIM, stored: StoredType::F32 };
    let stage = world.agree(Stage::create(path, &shape, world.raw(), world.is_root()))?;
    let mine = plan.rows_of(world.rank() as u64, plan.rows);
    world.meet();
    let began = Instant::now();
    world.agree(stage.write(&mine))?;
    world.agree(stage.flush())?;
    let seconds = began.elapsed().as_secs_f64();
    let expected = plan.rows_of(neighbour(world), plan.rows);
    let read = stage.read(expected.start..expected.start + plan.rows);
    world.agree(read.and_then(|read| compare(world, &read.bytes, &expected)))?;
    world.agree(stage.finish())?;
    Ok(seconds)
}

/// As an output is sealed.
fn chunked(world: &World, path: &Path, plan: &Plan) -> Result<()> {
    let rows = (plan.rows / CHUNKED_PART / CHUNK_ROWS).max(1) * CHUNK_ROWS;
    shared_file::create(world, path)?;
    let file = world.agree(RowFile::create(path, Access::Together(world.raw())))?;
    let float = TypeDescriptor::Float(FloatSize::U4);
    let layout = Layout::Chunked { rows: CHUNK_ROWS, gzip: 4 };
    let shape = [rows * world.size() as u64, DIM];
    let dataset = world.agree(file.create_rows(EMBEDDINGS, &float, &shape, layout))?;
    let mine = plan.rows_of(world.rank() as u64, rows);
    world.agree(dataset.write(mine.start, &mine.bytes))?;
    dataset.close();
    world.agree(file.flush())?;
    world.agree(file.finish())?;

    let file = world.agree(RowFile::open_read(path, Access::Together(world.raw())))?;
    let dataset = world.agree(file.open_rows(EMBEDDINGS))?;
    let expected = plan.rows_of(neighbour(world), rows);
    // A chunk that does not inflate shows damage too.
    let read = dataset.read(expected.start, rows as usize).map_err(|error| error.hint(DAMAGE_HINT));
    world.agree(read.and_then(|read| compare(world, &read, &expected)))?;
    dataset.close();
    world.agree(file.finish())
}

fn neighbour(world: &World) -> u64 {
    ((world.rank() + 1) % world.size()) as u64
}

fn compare(world: &World, read: &[u8], expected: &StoredRows) -> Result<()> {
    if read == expected.bytes {
        return Ok(());
    }
    let wrong = read.iter().zip(&expected.bytes).filter(|(read, written)| read != written).count();
    Err(Error::new(format!(
        "rank {} read back {wrong} of {} bytes other than rank {} had written",
        world.rank(),
        expected.bytes.len(),
        neighbour(world)
    ))
    .exit(Exit::Damaged)
    .hint(DAMAGE_HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_fits_the_disk() {
        let bytes = |ranks, free| Plan::new(ranks, free, 0).map(|plan| plan.bytes(ranks));
        assert_eq!(bytes(1, 1 << 40), Some(BYTES));
        assert!(bytes(3, 16 << 20).is_some_and(|bytes| bytes <= 8 << 20));
        assert_eq!(bytes(512, 1 << 40), Some(512 * CHUNK_ROWS * ROW_BYTES), "a chunk for each rank");
        assert_eq!(bytes(4, 200 << 10), None);
    }

    #[test]
    fn ranks_write_different_bytes() {
        let plan = Plan { rows: CHUNK_ROWS, nonce: 7 };
        let (a, b) = (plan.rows_of(0, CHUNK_ROWS), plan.rows_of(1, CHUNK_ROWS));
        assert_eq!((a.start, b.start, a.bytes.len()), (0, CHUNK_ROWS, (CHUNK_ROWS * ROW_BYTES) as usize));
        let equal = a.bytes.iter().zip(&b.bytes).filter(|(a, b)| a == b).count();
        assert!(equal < a.bytes.len() / 100, "{equal}");
    }
}
