//! What is odd about an input, yet no error.

use serde::{Deserialize, Serialize};

/// How many are shown by name.
const SHOWN: usize = 5;

/// One kind of oddity: how often it was met, and the first few by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odd {
    pub count: u64,
    pub first: Vec<String>,
}

impl Odd {
    pub fn add(&mut self, name: &str) {
        self.add_with(|| name.to_owned());
    }

    /// Adds one whose name is made only if it is shown.
    pub fn add_with(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(name());
        }
    }

    /// Adds what another rank or thread met.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort_unstable();
        self.first.truncate(SHOWN);
    }
}
