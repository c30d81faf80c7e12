//! Exchanges that do not need everybody: rank 0 waits for each rank's word so long and no longer. For
//! finding out what is wrong with a job; a job itself needs all its ranks.

use std::time::{Duration, Instant};

use mpi::point_to_point::{Destination, MatchedReceiveVec, Source};
use mpi::topology::{Communicator, Rank};

use super::World;

/// Tags of these messages, apart from the others' tag 0.
const UP: i32 = 1 << 10;
const DOWN: i32 = 1 << 11;
const PAUSE: Duration = Duration::from_millis(2);

impl World {
    /// Gives rank 0 the bytes of every rank whose word comes before `until`, by rank; the others get
    /// nothing and do not wait. `turn` tells several such calls apart.
    pub fn collect_until(&self, turn: u8, bytes: &[u8], until: Instant) -> Vec<Option<Vec<u8>>> {
        let tag = UP + i32::from(turn);
        if !self.is_root() {
            self.ranks.process_at_rank(0).send_with_tag(bytes, tag);
            return Vec::new();
        }
        let mut words: Vec<Option<Vec<u8>>> = vec![None; self.size];
        words[0] = Some(bytes.to_vec());
        while words.iter().any(Option::is_none) {
            let from_any = self.ranks.any_process();
            let Some((message, status)) = from_any.immediate_matched_probe_with_tag(tag) else {
                if Instant::now() >= until {
                    break;
                }
                std::thread::sleep(PAUSE);
                continue;
            };
            let (word, _) = (message, status).matched_receive_vec();
            if let Some(slot) = words.get_mut(status.source_rank() as usize) {
                *slot = Some(word);
            }
        }
        words
    }

    /// Gives the ranks that came rank 0's bytes; nothing where rank 0's word does not come before `until`.
    /// On rank 0 `came` says who is there to listen.
    pub fn tell_until(&self, turn: u8, came: &[bool], bytes: Vec<u8>, until: Instant) -> Option<Vec<u8>> {
        let tag = DOWN + i32::from(turn);
        if self.is_root() {
            let present = came.iter().enumerate().skip(1).filter(|(_, came)| **came);
            for (rank, _) in present {
                self.ranks.process_at_rank(rank as Rank).send_with_tag(&bytes[..], tag);
            }
            return Some(bytes);
        }
        let root = self.ranks.process_at_rank(0);
        loop {
            if let Some(found) = root.immediate_matched_probe_with_tag(tag) {
                return Some(found.matched_receive_vec().0);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
