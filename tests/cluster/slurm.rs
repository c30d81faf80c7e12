//! One job of Slurm: over two nodes, preempted, on a node that goes down, badly started.

use std::fs;

use hyperslab::Exit;

use super::{Cluster, Job};
use crate::job::{IMAGE, TEXT, captions, embed, image_of, many, report, small, text_of};
use crate::util::{Dir, Signal, assert_same, committed_blocks, descendants, programs_with, signal};

/// Waits until a job of the many captions is in the middle, and stops its rank 0 there.
fn in_mid_run(job: &Job<'_>) -> u32 {
    let output = job.cluster.output(TEXT);
    job.until("40 blocks are committed", |_| committed_blocks(&output) >= 40);
    let ranks = programs_with(job.cluster.up.id(), "PMIX_RANK");
    let (_, root) = ranks.into_iter().find(|(rank, _)| rank == "0").unwrap();
    signal(root, Signal::STOP);
    assert!(committed_blocks(&output) < 240);
    root
}

/// Asserts that a job has begun again and gone on, and that nothing tells in its file.
#[track_caller]
fn has_gone_on(job: &Job<'_>) {
    job.ends("COMPLETED");
    let output = job.cluster.output(TEXT);
    assert!(report(&output)["blocks_skipped"].as_u64().unwrap() >= 40, "{}", job.log());
    assert_same(&many().output, &output);
}

#[test]
fn one_job_over_two_nodes_makes_the_files_of_one_process() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let (captions, renders) = (captions(), small("renders"));
    cluster.settings(&format!("captions = '{}'\nrenders = '{}'", captions.display(), renders.display()));
    cluster.program("echo $SLURM_PROCID $(hostname) $CUDA_VISIBLE_DEVICES >> tasks");
    let [job] = &cluster.submit("siglip")[..] else { panic!() };
    job.ends("COMPLETED");
    let mut tasks: Vec<String> =
        super::text_of(&cluster.dir.join("tasks")).lines().map(str::to_owned).collect();
    tasks.sort();
    // Each sees a GPU of its own.
    assert_eq!(tasks, ["0 n1 0", "1 n1 1", "2 n2 0", "3 n2 1"]);
    let alone = Dir::new();
    embed(&alone, "text image").run().exits(Exit::Success);
    assert_same(&text_of(&alone), &cluster.output(TEXT));
    assert_same(&image_of(&alone), &cluster.output(IMAGE));
}

#[test]
fn a_preempted_job_queues_again_and_goes_on() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let [job] = &cluster.submit("siglip")[..] else { panic!() };
    let root = in_mid_run(job);
    let other = cluster.sbatch("--partition=high --nodes=2 --exclusive --output=/dev/null --wrap true");
    job.until("it is preempted", |job| job.field("PreemptTime") != "None");
    signal(root, Signal::CONT);
    other.ends("COMPLETED");
    has_gone_on(job);
    // Slurm 24.11 may still hold it for preempted at its good end, and queue it once more, with nothing to do.
    assert!(["1", "2"].contains(&job.field("Restarts").as_str()), "{}", job.log());
    assert!(job.log().contains("stopped by a signal"), "{}", job.log());
}

#[test]
fn a_job_that_is_preempted_before_it_listens_queues_again() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    cluster.program("[ -e go ] || { touch waits; exec sleep 60; }");
    let [job] = &cluster.submit("siglip --nodes=1 --ntasks-per-node=1")[..] else { panic!() };
    job.until("it waits", |_| cluster.dir.join("waits").exists());
    cluster.dir.write("go", "");
    cluster.asks(&format!("scancel --signal=USR1 {}", job.id));
    job.ends("COMPLETED");
    assert_eq!(job.field("Restarts"), "1");
    assert_same(&many().output, &cluster.output(TEXT));
}

#[test]
fn a_job_whose_node_dies_goes_on_on_another() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let [job] = &cluster.submit("siglip --nodes=1")[..] else { panic!() };
    let root = in_mid_run(job);
    assert_eq!(job.field("NodeList"), "n1");
    for pid in processes_at_host_of(&cluster, root) {
        signal(pid, Signal::KILL);
    }
    // As Slurm finds by itself, after five minutes.
    cluster.asks("scontrol update NodeName=n1 State=DOWN Reason=test");
    has_gone_on(job);
    assert_eq!(job.field("Restarts"), "1");
    assert_eq!(job.field("NodeList"), "n2");
    // Of the lock on n1 it knows that it was its own.
    assert!(job.log().contains("took over"), "{}", job.log());
}

/// All processes at the host where one of them is.
fn processes_at_host_of(cluster: &Cluster, pid: u32) -> Vec<u32> {
    let host = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/uts")).ok();
    descendants(cluster.up.id()).into_iter().filter(|&other| host(other) == host(pid)).collect()
}

#[test]
fn the_lock_of_a_job_killed_on_another_node_is_taken_over_by_the_next() {
    let Some(cluster) = Cluster::with_pmix() else { return };
    let [killed] = &cluster.submit("siglip --nodes=1 --nodelist=n1")[..] else { panic!() };
    in_mid_run(killed);
    let ranks = programs_with(cluster.up.id(), "PMIX_RANK");
    for (_, pid) in ranks {
        signal(pid, Signal::KILL);
    }
    killed.ends("FAILED");
    let [next] = &cluster.submit("siglip --nodes=1 --nodelist=n2")[..] else { panic!() };
    next.ends("COMPLETED");
    let holder = format!("on n1 (Slurm job {}), which is gone", killed.id);
    assert!(next.log().contains(&holder), "{}", next.log());
    assert_same(&many().output, &cluster.output(TEXT));
}

#[test]
fn tasks_that_do_not_find_each_other_are_refused() {
    let Some(cluster) = Cluster::with_slurm() else { return };
    let script = cluster.dir.join("slurm/job.sh");
    let wrong = super::text_of(&script).replace("mpi=pmix", "mpi=none");
    fs::write(&script, wrong).unwrap();
    let [job] = &cluster.submit("siglip")[..] else { panic!() };
    job.ends("FAILED");
    let log = job.log();
    // Open MPI 4 fails by itself, under later ones each is a world of its own: the remedy is named either way.
    assert!(log.contains("srun --mpi=pmix hyperslab"), "{log}");
    assert!(!cluster.dir.join("out").exists());
}
