//! What waits to be looked into, shared by the threads of a walk.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Things that wait. A walk ends when none waits and none is in hand.
pub struct Queue<T> {
    state: Mutex<Waiting<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    things: Vec<T>,
    in_hand: usize,
    stopped: bool,
}

/// A thing in hand; dropping it says that it is done, and hands over what was found below it.
pub struct Taken<'a, T> {
    queue: &'a Queue<T>,
    pub thing: T,
    pub below: Vec<T>,
}

impl<T> Queue<T> {
    pub fn new(things: Vec<T>) -> Self {
        let waiting = Waiting { things, in_hand: 0, stopped: false };
        Self { state: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// The next thing; `None` when the walk has ended.
    pub fn take(&self) -> Option<Taken<'_, T>> {
        let mut waiting = self.lock();
        while !waiting.stopped {
            if let Some(thing) = waiting.things.pop() {
                waiting.in_hand += 1;
                return Some(Taken { queue: self, thing, below: Vec::new() });
            }
            if waiting.in_hand == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Nothing more is to be looked into.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.in_hand -= 1;
        waiting.things.append(&mut self.below);
        if waiting.in_hand == 0 || !waiting.things.is_empty() {
            self.queue.changed.notify_all();
        }
    }
}
