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
use mpi::topology::Communicator;

use super::{World, abort};
use crate::error::{Exit, note};

/// Tag of these messages, apart from the others'.
const TAG: i32 = 1 << 12;
/// So many pulses are sent within the limit.
const PER_LIMIT: u32 = 10;
/// Others than rank 0 wait so much longer, so that rank 0 speaks first: it knows who is silent.
const PATIENCE: f64 = 1.25;
/// Between two looks at work on another thread.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a rank knows of the others' lives.
pub(super) struct Pulse {
    limit: Duration,
    hosts: Vec<String>,
    sent: Cell<Instant>,
    /// When each rank was heard last; of ranks other than 0, only rank 0's counts.
    heard: RefCell<Vec<Instant>>,
    own: Arc<OwnLife>,
}

/// When this rank's main thread was alive last.
struct OwnLife {
    began: Instant,
    seconds: AtomicU64,
}

impl OwnLife {
    fn note(&self) {
        self.seconds.store(self.began.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_secs(self.seconds.load(Ordering::Relaxed)))
    }
}

impl World {
    /// From here on a rank that is silent for `limit` ends the job. Collective.
    pub fn watch(&self, limit: Duration) {
        let host = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let hosts = self.all_gather(own_host().as_bytes()).into_iter().map(host).collect();
        let now = Instant::now();
        let own = Arc::new(OwnLife { began: now, seconds: AtomicU64::new(0) });
        watch_main_thread(self.rank, limit, Arc::clone(&own));
        let heard = RefCell::new(vec![now; self.size]);
        // A second call changes nothing.
        let _ = self.pulse.set(Pulse { limit, hosts, sent: Cell::new(now), heard, own });
    }

    /// Tells the others that this rank is alive, and hears of them. To be called again and again where the main
    /// thread waits for something of its own.
    pub fn pulse(&self) {
        let Some(pulse) = self.pulse.get() else { return };
        pulse.own.note();
        if self.size == 1 || pulse.sent.get().elapsed() < pulse.limit / PER_LIMIT {
            return;
        }
        pulse.sent.set(Instant::now());
        self.send_pulses();
        self.hear_pulses(pulse);
    }

    /// Waits for work on another thread with a pulse.
    pub fn attended<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                std::thread::sleep(LOOK_EVERY);
                self.pulse();
            }
            // A panic has ended the job.
            working.join().unwrap_or_else(|_| abort(Exit::Bug))
        })
    }

    fn send_pulses(&self) {
        let others = if self.is_root() { 1..self.size } else { 0..1 };
        for rank in others {
            self.ranks.process_at_rank(rank as i32).send_with_tag(&1_u8, TAG);
        }
    }

    /// Takes the pulses that have come, and ends the job where one is overdue.
    fn hear_pulses(&self, pulse: &Pulse) {
        let mut heard = pulse.heard.borrow_mut();
        while let Some(status) = self.ranks.any_process().immediate_probe_with_tag(TAG) {
            let from = status.source_rank();
            let _: (u8, _) = self.ranks.process_at_rank(from).receive_with_tag(TAG);
            if let Some(heard) = heard.get_mut(from as usize) {
                *heard = Instant::now();
            }
        }
        let (watched, limit) =
            if self.is_root() { (1..self.size, pulse.limit) } else { (0..1, pulse.limit.mul_f64(PATIENCE)) };
        for rank in watched {
            let silent = heard[rank].elapsed();
            if silent > limit {
                end(&format!(
                    "rank {rank} on {} has been silent for {} s",
                    pulse.hosts[rank],
                    silent.as_secs()
                ));
            }
        }
    }
}

/// Ends the job where this rank's main thread gets stuck in a call.
fn watch_main_thread(rank: usize, limit: Duration, own: Arc<OwnLife>) {
    let limit = limit.mul_f64(PATIENCE * PATIENCE);
    std::thread::spawn(move || {
        while own.silent_for() <= limit {
            std::thread::sleep(limit / PER_LIMIT);
        }
        let silent = own.silent_for().as_secs();
        end(&format!(
            "rank {rank} on {} has been inside one call for {silent} s: another rank does not join it, or the file \
             system does not answer",
            own_host()
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
