//! Arrays of Slurm, and the seal behind them.

use super::{Cluster, Job};
use crate::job::{TEXT, many};
use crate::util::assert_same;

/// An array of three tasks and its seal. What task 2 runs begins with a few lines of shell, as long as there is no
/// file `go`.
fn submit_with<'a>(cluster: &'a Cluster, lines: &str) -> (Job<'a>, Job<'a>) {
    cluster.program(&format!("[ \"$SLURM_ARRAY_TASK_ID\" != 2 ] || [ -e go ] || {{ {lines}; }}"));
    submit(cluster, "")
}

/// Tasks of an array of three, all or some, and its seal.
fn submit<'a>(cluster: &'a Cluster, tasks: &str) -> (Job<'a>, Job<'a>) {
    let mut jobs = cluster.submit(&format!("siglip --ntasks-per-node=1 --shards=3{tasks}")).into_iter();
    (jobs.next().unwrap(), jobs.next().unwrap())
}

#[test]
fn a_seal_waits_for_a_task_that_queues_again_and_makes_the_file_of_one_job() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let (array, seal) = submit_with(&cluster, "touch waits; exec sleep 60");
    let second = Job { cluster: &cluster, id: format!("{}_2", array.id) };
    second.until("it waits", |_| cluster.dir.join("waits").exists());
    cluster.dir.write("go", "");
    cluster.asks(&format!("scancel --signal=USR1 {}", second.id));
    second.ends("COMPLETED");
    assert_eq!(second.field("Restarts"), "1");
    seal.ends("COMPLETED");
    assert_same(&many().output, &cluster.output(TEXT));
}

#[test]
fn a_task_that_failed_is_named_by_the_seal_and_submitted_once_more() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let (_, seal) = submit_with(&cluster, "exit 1");
    // Nor does it wait for what will never be.
    seal.ends("CANCELLED");
    let early = cluster.sbatch("slurm/seal.sh seal --family siglip");
    early.ends("FAILED");
    assert!(early.log().contains("shard 2 of 3"), "{}", early.log());
    assert!(!cluster.output(TEXT).exists());
    cluster.dir.write("go", "");
    let (_, seal) = submit(&cluster, " --array=2");
    seal.ends("COMPLETED");
    assert_same(&many().output, &cluster.output(TEXT));
}
