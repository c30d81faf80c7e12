//! Jobs that are killed at random moments, again and again, until they arrive: each must end with the bytes of a
//! job that was never disturbed, and go on from what was committed. `make soak` does it at length.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hyperslab::Exit;

use crate::util::{
    Dir, Run, Running, Signal, assert_same, assert_sound, committed_blocks, repository, signal,
};

const TEXT: &str = "siglip_text_embeddings.h5";
const ROWS: usize = 800;
const BLOCKS: usize = ROWS / 4;
const RANKS_MAX: usize = 4;
/// A job of which a mistake keeps it from arriving is killed so often at most.
const KILLS_OF_A_JOB_MAX: usize = 6;

/// Who gets the SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    OneRank,
    AllRanks,
    Launcher,
}

/// What a soak has seen.
#[derive(Debug, Default)]
struct Seen {
    jobs: usize,
    kills: usize,
    /// Starts that found committed blocks and went on from them.
    resumed: usize,
    blocks_skipped: usize,
    /// Kills that came after the last commit: while sealing.
    in_the_seal: usize,
    by_victim: [usize; 3],
}

/// Its settings: in many small rounds.
struct Case {
    compression: &'static str,
    undisturbed: PathBuf,
}

fn job(dir: &Dir, compression: &str) -> Run {
    let small = |path: &str| repository("tests/fixtures/small").join(path);
    let run = dir.hyperslab(["embed", "siglip", "--output-dir", "out", "--model"]).arg(small("model"));
    let run = run.args("--block-rows 4 --round-blocks 1 --device cpu --captions").arg(captions());
    run.set("--compression", compression)
}

/// A second or two of work.
fn captions() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let caption =
            |i: usize| if i % 90 == 7 { String::new() } else { format!("a thing with {i} corners") };
        let lines = (0..ROWS).map(|i| {
            serde_json::json!({ "asset_id": format!("{}/{i:05}", i % 7), "caption": caption(i) }).to_string()
        });
        Dir::kept("soak-captions").write("captions.jsonl", lines.collect::<Vec<_>>().join("\n"))
    })
}

fn undisturbed(compression: &'static str) -> Case {
    let dir = Dir::kept(&format!("soak-{}", compression.replace(':', "")));
    job(&dir, compression).ranks(2).run().exits(Exit::Success);
    Case { compression, undisturbed: dir.join("out").join(TEXT) }
}

/// Kills jobs until there were so many kills.
fn soak(kills: usize, seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let cases = [undisturbed("gzip:4"), undisturbed("none")];
    let mut seen = Seen::default();
    while seen.kills < kills {
        let case = &cases[random.usize(0..cases.len())];
        seen.jobs += 1;
        until_it_arrives(case, &mut random, &mut seen);
    }
    seen
}

fn until_it_arrives(case: &Case, random: &mut Rng, seen: &mut Seen) {
    let dir = Dir::new();
    let output = dir.join("out").join(TEXT);
    for _ in 0..random.usize(1..=KILLS_OF_A_JOB_MAX) {
        let ranks = random.usize(1..=RANKS_MAX);
        let running = job(&dir, case.compression).ranks(ranks).start();
        // The start; or any round, or with all of them committed the seal.
        let moment = match random.usize(0..4) {
            0 => (0, Duration::from_millis(random.u64(0..800))),
            _ => (random.usize(1..=BLOCKS), Duration::from_millis(random.u64(0..20))),
        };
        let victim = [Victim::OneRank, Victim::AllRanks, Victim::Launcher][random.usize(0..3)];
        if !killed_at(running, &output, moment, victim, random.usize(0..ranks)) {
            break;
        }
        seen.kills += 1;
        seen.by_victim[victim as usize] += 1;
        let committed = committed_blocks(&output);
        seen.in_the_seal += usize::from(committed == BLOCKS);
        if output.exists() {
            // It has its name before its leftovers go: it must be complete.
            assert_same(&case.undisturbed, &output);
        }
    }
    arrives(case, &dir, &output, random.usize(1..=RANKS_MAX), seen);
}

/// Kills a job a while after so many blocks are committed; says whether it was still there to be killed.
fn killed_at(
    mut running: Running,
    output: &Path,
    (blocks, later): (usize, Duration),
    victim: Victim,
    rank: usize,
) -> bool {
    let mut reached = None;
    while reached.is_none_or(|reached: Instant| reached.elapsed() < later) {
        if running.has_ended() {
            running.wait().exits(Exit::Success);
            return false;
        }
        if reached.is_none() && committed_blocks(output) >= blocks {
            reached = Some(Instant::now());
        }
        sleep(Duration::from_millis(1));
    }
    let ranks = running.ranks();
    match victim {
        Victim::OneRank => match ranks.get(rank) {
            Some(rank) => signal(*rank, Signal::KILL),
            // None has started yet.
            None => signal(running.id(), Signal::KILL),
        },
        Victim::AllRanks => ranks.iter().for_each(|rank| signal(*rank, Signal::KILL)),
        Victim::Launcher => signal(running.id(), Signal::KILL),
    }
    let outcome = running.wait_for_all(&ranks);
    // A rank that had done its last call before it was hit does not spoil the job.
    if outcome.status.success() {
        return false;
    }
    true
}

/// Runs the job again, undisturbed, on another number of ranks.
fn arrives(case: &Case, dir: &Dir, output: &Path, ranks: usize, seen: &mut Seen) {
    let (was_there, committed) = (output.exists(), committed_blocks(output));
    let outcome = job(dir, case.compression).ranks(ranks).run().exits(Exit::Success);
    if was_there {
        assert!(outcome.stdout.contains("nothing to do"), "{outcome}");
    } else {
        let skipped = format!("{committed} skipped (committed before)");
        assert!(outcome.stderr.contains(&skipped), "{skipped}:\n{outcome}");
    }
    seen.resumed += usize::from(committed > 0);
    seen.blocks_skipped += committed;
    assert_sound(output);
    assert_same(&case.undisturbed, output);
}

#[test]
fn jobs_that_are_killed_at_random_moments_arrive() {
    let seen = soak(6, 5);
    assert!(seen.resumed > 0 && seen.blocks_skipped > 0, "{seen:?}");
}

/// `SOAK_KILLS=200 SOAK_SEED=1 cargo test --release -- --ignored --nocapture soak::at_length`
#[test]
#[ignore = "takes minutes: make soak"]
fn at_length() {
    let number = |name: &str, unset: u64| {
        std::env::var(name).ok().map_or(unset, |text| text.parse().expect("a number"))
    };
    let (kills, seed) = (number("SOAK_KILLS", 200), number("SOAK_SEED", 1));
    let began = Instant::now();
    let seen = soak(kills as usize, seed);
    println!("seed {seed}, {:.0} s: {seen:?}", began.elapsed().as_secs_f64());
    assert!(seen.resumed > 0 && seen.blocks_skipped > 0, "{seen:?}");
}
