//! Work on all cores whose results are wanted in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::error::{Error, Exit, Result};

/// Pieces that are begun before the first one is taken, for each thread.
const AHEAD: u64 = 2;

/// The cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for each of `0..n` on `threads` threads, and gives the results to `take`, in order, on this one. Few
/// results are held at a time, whatever `n` is.
///
/// # Errors
/// The first error of `take`; a thread that panicked.
pub fn in_order<T: Send>(
    n: u64,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (give, pieces) = crossbeam_channel::unbounded();
    let (hand_in, results) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (pieces, hand_in, work) = (pieces.clone(), hand_in.clone(), &work);
            scope.spawn(move || {
                for piece in pieces {
                    let result = catch_unwind(AssertUnwindSafe(|| work(piece)));
                    if hand_in.send((piece, result)).is_err() {
                        break;
                    }
                }
            });
        }
        // Moved in, so that the threads end however this does.
        let (give, mut given, mut early) = (give, 0, BTreeMap::new());
        for next in 0..n {
            while given < n.min(next + AHEAD * threads.max(1) as u64) {
                let _ = give.send(given);
                given += 1;
            }
            let result = loop {
                if let Some(result) = early.remove(&next) {
                    break result;
                }
                // The threads live as long as there is something to give.
                let Ok((piece, result)) = results.recv() else { return Err(panicked()) };
                early.insert(piece, result);
            };
            take(result.map_err(|_| panicked())?)?;
        }
        Ok(())
    })
}

fn panicked() -> Error {
    Error::new("a thread panicked").exit(Exit::Bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_end_it() {
        for threads in [1, 2, 7] {
            let mut taken = Vec::new();
            let slow_first = |piece: u64| {
                thread::sleep(std::time::Duration::from_micros(500 * (3 - piece.min(3))));
                piece * piece
            };
            in_order(100, threads, slow_first, |square| {
                taken.push(square);
                Ok(())
            })
            .unwrap();
            assert_eq!(taken, (0..100).map(|n| n * n).collect::<Vec<_>>());

            let ended = in_order(1000, threads, |n| n, |n| if n < 5 { Ok(()) } else { Err(Error::new("5")) });
            assert_eq!(ended.unwrap_err().message, "5");
            let ended = in_order(10, threads, |n| assert!(n < 5, "piece {n}"), |()| Ok(()));
            assert_eq!(ended.unwrap_err().exit, Exit::Bug);
        }
        in_order(0, 2, |n| n, |_| Err(Error::new("nothing to take"))).unwrap();
    }
}
