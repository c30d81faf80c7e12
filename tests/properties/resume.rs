//! A job that is interrupted again and again, on other numbers of ranks each time, ends as one that never was. The
//! computing is played; blocks, shares, runs and the journal are the program's own.

use std::path::Path;

use hyperslab::plan::{self, RowGroup, Runs, Shard};
use hyperslab::store::{
    Committed, Digest, Entry, Failure, Fingerprint, Header, Journal, Record, Replaces, StoredType,
    read_journal,
};
use hyperslab::{ItemError, ItemErrorKind};
use proptest::collection::vec;
use proptest::prelude::*;

use super::cases;

/// One time that the command is run.
#[derive(Clone, Debug)]
struct Session {
    ranks: u64,
    /// Blocks per rank in each round, over and over.
    rounds: Vec<u64>,
    /// The round in which it is killed, while the record is written.
    killed_in: usize,
    /// How much of the record reaches the disk, in 256ths.
    written: u8,
}

fn session() -> impl Strategy<Value = Session> {
    (1..9_u64, vec(0..6_u64, 1..4), 0..6_usize, any::<u8>())
        .prop_map(|(ranks, rounds, killed_in, written)| Session { ranks, rounds, killed_in, written })
}

fn header(groups: &[u64], block_rows: u64) -> Header {
    let group = |(place, &rows): (usize, &u64)| RowGroup { name: format!("group{place}"), rows };
    Header {
        fingerprint: Fingerprint::default(),
        groups: groups.iter().enumerate().map(group).collect(),
        block_rows,
        dim: 1,
        stored: StoredType::F32,
        shard: None,
        replaces: Replaces::Nothing,
    }
}

/// What is computed of a run of blocks, from its rows alone.
fn compute(header: &Header, run: std::ops::Range<u64>) -> Record {
    let blocks = header.blocks();
    let digest = |block| Digest::of(format!("{:?}", blocks.range(block)).as_bytes());
    let rows = blocks.rows_of(run.clone());
    let failure = |row: u64| {
        let kind = match row % 7 {
            2 => ItemErrorKind::BrokenPicture,
            5 => ItemErrorKind::ViewsLeftOut(row as u32),
            _ => return None,
        };
        Some(Failure { row, error: ItemError::new(kind, format!("row {row}")) })
    };
    Record {
        first_block: run.start,
        digests: run.clone().map(digest).collect(),
        failures: rows.filter_map(failure).collect(),
        truncated: run.map(|block| blocks.range(block).filter(|row| row % 3 == 0).count() as u64).collect(),
    }
}

/// Runs the command until it is done, or killed; tells whether it is done.
fn run(path: &Path, header: &Header, session: &Session, is_killed: bool) -> bool {
    let (mut journal, mut committed) = if path.exists() {
        let (journal, found, committed) = Journal::open(path).unwrap();
        assert_eq!(&found, header);
        (journal, committed)
    } else {
        (Journal::create(path, header).unwrap(), Committed::default())
    };
    let pending = committed.pending(header.own_blocks());
    let share = |rank| Runs::new(plan::share(&pending, rank, session.ranks));
    let mut ranks: Vec<Runs> = (0..session.ranks).map(share).collect();
    for (round, round_blocks) in session.rounds.iter().cycle().enumerate() {
        let runs = ranks.iter_mut().filter_map(|rank| rank.next_run(*round_blocks));
        let records: Vec<Record> = runs.map(|run| compute(header, run)).collect();
        if records.is_empty() {
            break;
        }
        let whole = std::fs::metadata(path).unwrap().len();
        let entries: Vec<_> = records.iter().cloned().map(Entry::Committed).collect();
        journal.append(&entries).unwrap();
        if is_killed && round == session.killed_in {
            tear(path, whole, session.written);
            let kept = read_journal(path).unwrap().1;
            assert!(committed.digests.iter().all(|(block, digest)| kept.digests.get(block) == Some(digest)));
            return false;
        }
        for record in records {
            let mut again = record.first_block..record.first_block + record.digests.len() as u64;
            assert!(!again.any(|block| committed.digests.contains_key(&block)), "a block is computed twice");
            committed.add(record);
        }
    }
    assert_eq!(read_journal(path).unwrap().1, committed);
    true
}

/// Leaves a part of what was written after the first `whole` bytes.
fn tear(path: &Path, whole: u64, written: u8) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let more = file.metadata().unwrap().len() - whole;
    file.set_len(whole + more * u64::from(written) / 256).unwrap();
}

#[test]
fn records_at_the_end_of_what_can_be_counted_are_read_and_those_past_it_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.h5.journal");
    let mut journal = Journal::create(&path, &header(&[u64::MAX], 1)).unwrap();
    let record = |first_block, digests| {
        let (digests, truncated) = (vec![Digest([1; 32]); digests], vec![u64::MAX; digests]);
        Entry::Committed(Record { first_block, digests, truncated, ..Record::default() })
    };
    journal.append(&[record(3, 1), record(u64::MAX - 1, 1), record(u64::MAX - 1, 2)]).unwrap();
    let (_, committed, good_bytes) = read_journal(&path).unwrap();
    assert_eq!(committed.digests.keys().copied().collect::<Vec<_>>(), [3, u64::MAX - 1]);
    assert_eq!(committed.truncated_texts(), u64::MAX);
    assert!(good_bytes < path.metadata().unwrap().len());
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn an_interrupted_job_ends_as_one_that_never_was(
        groups in vec(0..60_u64, 1..4),
        block_rows in 1..9_u64,
        shards in 1..5_u64,
        sessions in vec(session(), 0..6),
        last in session(),
    ) {
        let header = header(&groups, block_rows);
        let folder = tempfile::tempdir().unwrap();
        let mut committed = Committed::default();
        for number in 1..=shards {
            let header = Header { shard: Shard::new(number, shards).ok(), ..header.clone() };
            let path = folder.path().join(format!("{number}.journal"));
            for session in &sessions {
                run(&path, &header, session, true);
            }
            prop_assert!(run(&path, &header, &last, false));
            committed.merge(read_journal(&path).unwrap().1);
        }
        let mut undisturbed = Committed::default();
        undisturbed.add(compute(&header, 0..header.blocks().count()));
        prop_assert_eq!(committed.rows(&header.blocks()), groups.iter().sum::<u64>());
        prop_assert_eq!(committed, undisturbed);
    }
}
