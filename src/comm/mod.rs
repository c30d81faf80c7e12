//! The only user of MPI: who am I, broadcast, gather, agree, abort.
//!
//! Every call here but [`World::rank`] and its like is collective: all ranks make it, in the same
//! order. Ranks first [meet](World::meet) without spinning, because `OpenMPI`'s busy waiting would
//! take the cores from decoding; what follows then completes at once.

mod launch;
mod pulse;
mod roll_call;

use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{AsRaw, Communicator, CommunicatorCollectives, Root};

use crate::error::{Error, Exit, Result, note};

pub use launch::{Launcher, check_alone};
use pulse::Pulse;

/// The communicator as C sees it, handed to `h5/` and opaque elsewhere.
#[derive(Clone, Copy)]
pub struct RawComm(pub(crate) mpi::ffi::MPI_Comm);

/// The largest piece of a message in bytes; MPI counts elements in an `int`, so a message of 2 GiB
/// would overflow.
const PIECE_BYTES_MAX: usize = 1 << 30;

/// How long a rank that has failed waits for the others to hear of it. They may never come: measured with
/// `OpenMPI` 4.1.4 on 3 ranks, after a write that failed on the rank that writes for all, its
/// `MPI_File_sync` returns an error at once, and that of the others never returns.
const FAILED_WAIT_MAX: Duration = Duration::from_secs(10);

/// All ranks of the job, and this rank's place among them.
pub struct World {
    /// Never dropped: dropping finalises MPI, which waits for ranks that may be gone.
    universe: std::mem::ManuallyDrop<Universe>,
    ranks: SimpleCommunicator,
    /// The ranks on this node.
    node: SimpleCommunicator,
    rank: usize,
    size: usize,
    local_rank: usize,
    local_size: usize,
    /// Once the job is watched.
    pulse: OnceCell<Pulse>,
}

impl World {
    /// Starts MPI. From here on a panic on any thread aborts the whole job.
    ///
    /// # Errors
    /// MPI was started before, it is another than the program was built with, or the world is smaller than
    /// what the launcher started, i.e. every process believes to be alone.
    pub fn init() -> Result<Self> {
        let world = Self::start()?;
        world.check_launch()?;
        Ok(world)
    }

    /// [`init`](Self::init) without comparing the world with what was launched.
    ///
    /// # Errors
    /// MPI was started before.
    pub fn start() -> Result<Self> {
        launch::forewarn();
        // `Multiple`, because a panic hook on a decoding thread calls MPI_Abort beside the main thread.
        let (universe, threading) = mpi::initialize_with_threading(mpi::Threading::Multiple)
            .ok_or_else(|| Error::new("MPI was already started in this process").exit(Exit::Bug))?;
        tracing::debug!(?threading, "MPI started");
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        abort_on_panic(rank);
        let node = world.split_shared(world.rank());
        let (local_rank, local_size) = (node.rank() as usize, node.size() as usize);
        Ok(Self {
            universe: std::mem::ManuallyDrop::new(universe),
            ranks: world,
            node,
            rank,
            size,
            local_rank,
            local_size,
            pulse: OnceCell::new(),
        })
    }

    /// Is the MPI the one that the program was built with, and did all processes that the launcher started
    /// find each other?
    ///
    /// # Errors
    /// It is of another family, or the world is smaller than what was launched.
    pub fn check_launch(&self) -> Result<()> {
        launch::check_library(&library_version())?;
        launch::check(self.size, |name| std::env::var(name).ok())
    }

    /// What MPI lets threads do, in its own word: `single`, `funneled`, `serialized` or `multiple`.
    pub fn thread_level(&self) -> &'static str {
        match mpi::environment::threading_support() {
            mpi::Threading::Single => "single",
            mpi::Threading::Funneled => "funneled",
            mpi::Threading::Serialized => "serialized",
            mpi::Threading::Multiple => "multiple",
        }
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    /// World size: the number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is rank 0, which reads the input, keeps the journal and speaks to the user.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Rank among the ranks on this node, from MPI itself: under `mpirun` inside Slurm,
    /// `SLURM_LOCALID` is the launcher daemon's.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// Number of ranks on this node.
    pub fn local_size(&self) -> usize {
        self.local_size
    }

    /// The communicator for `h5/`.
    pub fn raw(&self) -> RawComm {
        RawComm(self.ranks.as_raw())
    }

    /// Waits until all ranks are here, sleeping between looks.
    pub fn meet(&self) {
        self.meet_within(Duration::MAX);
    }

    /// Waits until all ranks are here, or for `limit`; says whether they came. After that they never meet
    /// again.
    fn meet_within(&self, limit: Duration) -> bool {
        const PAUSE_MAX: Duration = Duration::from_millis(2);
        const LONG: Duration = Duration::from_secs(300);
        let began = Instant::now();
        let mut told = Duration::ZERO;
        let mut pause = Duration::from_micros(20);
        let mut request = self.ranks.immediate_barrier();
        while let Err(pending) = request.test() {
            if began.elapsed() > limit {
                std::mem::forget(pending);
                return false;
            }
            request = pending;
            self.pulse();
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            if began.elapsed() > told + LONG {
                told = began.elapsed();
                tracing::warn!("waiting for the other ranks for {} s", told.as_secs());
            }
        }
        true
    }

    /// Gives every rank the bytes of rank 0.
    pub fn broadcast(&self, bytes: &mut Vec<u8>) {
        self.meet();
        let root = self.ranks.process_at_rank(0);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for piece in bytes.chunks_mut(PIECE_BYTES_MAX) {
            root.broadcast_into(piece);
        }
    }

    /// Gives rank 0 the bytes of every rank, by rank; the others get nothing.
    pub fn gather(&self, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let lengths = self.all_gather_value(bytes.len() as u64);
        if !self.is_root() {
            let root = self.ranks.process_at_rank(0);
            bytes.chunks(PIECE_BYTES_MAX).for_each(|piece| root.send(piece));
            return None;
        }
        let mut parts = vec![bytes.to_vec()];
        for (rank, &length) in lengths.iter().enumerate().skip(1) {
            let mut part = vec![0; length as usize];
            let source = self.ranks.process_at_rank(rank as i32);
            for piece in part.chunks_mut(PIECE_BYTES_MAX) {
                source.receive_into(piece);
            }
            parts.push(part);
        }
        Some(parts)
    }

    /// Gives every rank the bytes of every rank, by rank.
    pub fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let lengths = self.all_gather_value(bytes.len() as u64);
        if lengths.iter().sum::<u64>() <= PIECE_BYTES_MAX as u64 {
            return all_gather_small(&self.ranks, bytes, &lengths);
        }
        let mut all = self.gather(bytes).unwrap_or_default().concat();
        self.broadcast(&mut all);
        let mut rest = &all[..];
        let part = |length: &u64| {
            let (part, after) = rest.split_at(*length as usize);
            rest = after;
            part.to_vec()
        };
        lengths.iter().map(part).collect()
    }

    /// Gives every rank the bytes of the ranks on its node, by local rank; together under a gibibyte.
    pub fn node_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.meet();
        let mut lengths = vec![0; self.local_size];
        self.node.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        all_gather_small(&self.node, bytes, &lengths)
    }

    /// Every rank's value, by rank.
    pub fn all_gather_value(&self, value: u64) -> Vec<u64> {
        self.meet();
        let mut values = vec![0; self.size];
        self.ranks.all_gather_into(&value, &mut values[..]);
        values
    }

    /// Makes one rank's failure every rank's: returns this rank's value if all succeeded, and the
    /// lowest failing rank's error otherwise, the same everywhere. Where the others do not come, this
    /// rank's failure remains its own ([`Error::agreed`] is false).
    ///
    /// # Errors
    /// The failure agreed on.
    pub fn agree<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.as_ref().is_err_and(|error| error.agreed) {
            // All ranks have it already, and all of them are here with it.
            return outcome;
        }
        let message = outcome.as_ref().err().map(encode).unwrap_or_default();
        let limit = if outcome.is_err() { FAILED_WAIT_MAX } else { Duration::MAX };
        if !self.meet_within(limit) {
            // Cannot be agreed on: the caller passes it up to where the job is aborted.
            return outcome;
        }
        let failures = self.all_gather(&message);
        let Some((rank, failure)) = failures.iter().enumerate().find(|(_, failure)| !failure.is_empty())
        else {
            return outcome;
        };
        let mut error = decode(failure);
        error.agreed = true;
        if self.size > 1 {
            error.message = format!("rank {rank}: {}", error.message);
        }
        Err(error)
    }

    /// The outcome of several collective calls in a row. If it failed on one rank, the others may still be
    /// inside, waiting for it: with other ranks there is nothing to agree on, and the job is aborted here.
    ///
    /// # Errors
    /// The failure, if this is the only rank.
    pub fn settle<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if self.size > 1 => {
                note(format_args!("error on rank {}: {error}", self.rank));
                abort(error.exit)
            }
            outcome => self.agree(outcome),
        }
    }

    /// Rank 0's value for everyone: what it computes, or its error.
    ///
    /// # Errors
    /// Rank 0's failure.
    pub fn from_root(&self, compute: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let outcome = if self.is_root() { compute() } else { Ok(Vec::new()) };
        let mut bytes = self.agree(outcome)?;
        self.broadcast(&mut bytes);
        Ok(bytes)
    }

    /// Ends MPI after everything went well.
    pub fn finish(self) {
        self.meet();
        // No message may be left over, and no communicator freed, after the end of MPI.
        self.pulse.get().into_iter().for_each(Pulse::hear);
        drop((self.node, self.pulse));
        drop(std::mem::ManuallyDrop::into_inner(self.universe));
    }

    /// Ends the job with an error that all ranks share, so that the launcher has its exit code. Hydra, the
    /// launcher of MPICH, takes an exit without the end of MPI for a crash: it kills the other ranks and
    /// reports that they were killed.
    pub fn end(self, exit: Exit) -> ! {
        let code = exit.code();
        self.meet();
        if exit == Exit::Resume {
            // Files that are open are whole, on all ranks: HDF5 closes them when MPI ends.
            std::thread::spawn(move || {
                std::thread::sleep(FAILED_WAIT_MAX);
                std::process::exit(code)
            });
            self.finish();
        } else if self.size > 1 && launch::is_of_mpich() {
            // Closing them might wait for ranks that have failed: rank 0 ends them all.
            if self.is_root() {
                abort(exit);
            }
            std::thread::sleep(FAILED_WAIT_MAX);
        }
        std::process::exit(code)
    }
}

/// Ends the job on all ranks at once, for what cannot be agreed on. May be called from any thread.
pub fn abort(exit: Exit) -> ! {
    // Open MPI returns from a second call at once, after which the process would end before the first has passed on
    // its exit code: other threads leave it to the first.
    static IS_ABORTING: AtomicBool = AtomicBool::new(false);
    if IS_ABORTING.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    SimpleCommunicator::world().abort(exit.code())
}

/// What the MPI library that is loaded says of itself, e.g. `Open MPI v4.1.4, package: ...`.
pub fn library_version() -> String {
    mpi::environment::library_version().unwrap_or_else(|_| "unknown".to_owned())
}

/// Gathers on all ranks of `ranks`; `lengths` has each rank's number of bytes, 1 GiB in all at most.
fn all_gather_small(ranks: &SimpleCommunicator, bytes: &[u8], lengths: &[u64]) -> Vec<Vec<u8>> {
    let lengths: Vec<i32> = lengths.iter().map(|&length| length as i32).collect();
    let starts: Vec<i32> = lengths
        .iter()
        .scan(0, |next, &length| {
            let start = *next;
            *next += length;
            Some(start)
        })
        .collect();
    let total: usize = lengths.iter().map(|&length| length as usize).sum();
    // One byte more than is sent: an empty slice points to address 1, which is OpenMPI's MPI_IN_PLACE.
    let sent = [bytes, &[0]].concat();
    let mut all = vec![0_u8; total + 1];
    let mut parts = PartitionMut::new(&mut all[..total], &lengths[..], &starts[..]);
    ranks.all_gather_varcount_into(&sent[..bytes.len()], &mut parts);
    let part = |(&start, &length): (&i32, &i32)| all[start as usize..][..length as usize].to_vec();
    starts.iter().zip(&lengths).map(part).collect()
}

thread_local! {
    /// Whether a panic on this thread is caught where it was called from.
    static IS_SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` and turns a panic into its message: for foreign code on foreign bytes, where a panic is the
/// fault of the bytes. A panic anywhere else aborts the job.
///
/// # Errors
/// The message of the panic.
pub fn shielded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    IS_SHIELDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_SHIELDED.set(false);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// A panic must not unwind: dropping a parallel file on one rank waits for the others forever.
fn abort_on_panic(rank: usize) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if IS_SHIELDED.get() {
            return;
        }
        note(format_args!("rank {rank}: a defect in hyperslab, please report it; the job ends on all ranks"));
        report(info);
        abort(Exit::Bug);
    }));
}

/// An error as a message to the other ranks: exit code, then message and hint, separated by NUL.
fn encode(error: &Error) -> Vec<u8> {
    let hint = error.hint.as_deref().unwrap_or("");
    format!("{}\0{}\0{hint}", error.exit.code(), error.message).into_bytes()
}

fn decode(bytes: &[u8]) -> Error {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let code = parts.next().and_then(|code| code.parse().ok()).unwrap_or(Exit::Bug.code());
    let error = Error::new(parts.next().unwrap_or_default()).exit(Exit::from_code(code));
    match parts.next() {
        None | Some("") => error,
        Some(hint) => error.hint(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_travels_whole() {
        for error in [
            Error::new("no space\nleft"),
            Error::new("stop").exit(Exit::Resume).hint("run it again"),
            Error::new("").exit(Exit::Damaged),
        ] {
            assert_eq!(decode(&encode(&error)), error);
        }
    }
}
