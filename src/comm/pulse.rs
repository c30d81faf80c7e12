//! Pulses: each rank lets the others know that it is alive, and ends the job where another does not.
//!
//! While a rank waits for others, or for its own threads, its main thread sends rank 0 a pulse now and then, and
//! rank 0 sends one to all. A rank from which none has come for the limit is silent: stopped, swapped out, or on
//! a node that is gone. What a main thread that is stuck in a call (a collective write that another rank does not
//! join, a file system that does not answer) cannot tell, a thread beside it does.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::{World, abort};
use crate::error::{Exit, note};

/// So many pulses are sent within the limit.
const PER_LIMIT: u32 = 10;
/// Others than rank 0 wait so much longer, so that rank 0 speaks first: it knows who is silent.
const PATIENCE: f64 = 1.25;
/// Between two looks at work on another thread, at most.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a rank knows of the others' lives.
pub(super) struct Pulse {
    /// Their own, so that no other receive takes a pulse for what it waits for.
    ranks: SimpleCommunicator,
    limit: Duration,
    hosts: Vec<String>,
    sent: Cell<Instant>,
    /// When each rank was heard last; of ranks other than 0, only rank 0's counts.
    heard: RefCell<Vec<Instant>>,
    own: Arc<OwnLife>,
}

/// How often this rank's main thread has shown that it is alive.
#[derive(Default)]
struct OwnLife(AtomicU64);

impl World {
    /// From here on a rank that is silent for `limit` ends the job. Collective.
    pub fn watch(&self, limit: Duration) {
        if self.pulse.get().is_some() {
            return;
        }
        let host = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let hosts = self.all_gather(own_host().as_bytes()).into_iter().map(host).collect();
        let (now, own) = (Instant::now(), Arc::<OwnLife>::default());
        watch_main_thread(self.rank, limit, Arc::clone(&own));
        let (ranks, heard) = (self.ranks.duplicate(), RefCell::new(vec![now; self.size]));
        let _ = self.pulse.set(Pulse { ranks, limit, hosts, sent: Cell::new(now), heard, own });
    }

    /// Tells the others that this rank is alive, and hears of them. To be called again and again where the main
    /// thread waits for something of its own.
    pub fn pulse(&self) {
        let Some(pulse) = self.pulse.get() else { return };
        pulse.own.0.fetch_add(1, Ordering::Relaxed);
        let silent = pulse.sent.get().elapsed();
        if self.size == 1 || silent < pulse.limit / PER_LIMIT {
            return;
        }
        if silent > pulse.limit / 2 {
            // This rank itself was away, suspended perhaps, and the others with it.
            pulse.heard.borrow_mut().fill(Instant::now());
        }
        pulse.sent.set(Instant::now());
        self.send_pulses(pulse);
        pulse.hear();
        self.end_where_silent(pulse);
    }

    /// Waits for work on another thread with a pulse.
    pub fn attended<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            let mut pause = Duration::from_micros(100);
            while !working.is_finished() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LOOK_EVERY);
                self.pulse();
            }
            // A panic has ended the job.
            working.join().unwrap_or_else(|_| abort(Exit::Bug))
        })
    }

    fn send_pulses(&self, pulse: &Pulse) {
        let others = if self.is_root() { 1..self.size } else { 0..1 };
        for rank in others {
            pulse.ranks.process_at_rank(rank as i32).send(&1_u8);
        }
    }

    fn end_where_silent(&self, pulse: &Pulse) {
        let (watched, limit) =
            if self.is_root() { (1..self.size, pulse.limit) } else { (0..1, pulse.limit.mul_f64(PATIENCE)) };
        for rank in watched {
            let silent = pulse.heard.borrow()[rank].elapsed();
            if silent > limit {
                // Rank 0 hears of all others; they hear of it alone, and not why it is silent.
                let or = if self.is_root() { "" } else { ", or waits for a rank that does not answer" };
                let (host, silent) = (&pulse.hosts[rank], silent.as_secs());
                end(&format!("rank {rank} on {host} has been silent for {silent} s{or}"));
            }
        }
    }
}

impl Pulse {
    /// Takes the pulses that have come.
    pub(super) fn hear(&self) {
        while let Some(status) = self.ranks.any_process().immediate_probe() {
            let from = status.source_rank();
            let _: (u8, _) = self.ranks.process_at_rank(from).receive();
            if let Some(heard) = self.heard.borrow_mut().get_mut(from as usize) {
                *heard = Instant::now();
            }
        }
    }
}

/// Ends the job where this rank's main thread gets stuck in a call. It counts its own looks and no time: where the
/// whole process was suspended, neither thread went on.
fn watch_main_thread(rank: usize, limit: Duration, own: Arc<OwnLife>) {
    let looks = (f64::from(PER_LIMIT) * PATIENCE * PATIENCE) as u32;
    std::thread::spawn(move || {
        let (mut seen, mut still) = (0, 0);
        while still < looks {
            std::thread::sleep(limit / PER_LIMIT);
            let now = own.0.load(Ordering::Relaxed);
            (seen, still) = if now == seen { (seen, still + 1) } else { (now, 0) };
        }
        end(&format!(
            "rank {rank} on {} has been inside one call for {} s: another rank does not join it, or the file system \
             does not answer",
            own_host(),
            (limit / PER_LIMIT * still).as_secs()
        ));
    });
}

fn own_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn end(what: &str) -> ! {
    note(format_args!(
        "error: {what}; the job ends on all ranks\n  hint: look after that node, then run the same command again: it \
         goes on from the last committed round; --watchdog sets how long a rank may be silent"
    ));
    abort(Exit::Failure)
}
