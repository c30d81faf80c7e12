//! Two hosts and `mpirun`, without Slurm.

use std::time::Duration;

use hyperslab::Exit;

use super::Cluster;
use crate::job::{embed, goes_on, image_of, many, started, text_of};
use crate::util::{Dir, Outcome, Run, Running, Signal, assert_same, signal};

impl Cluster {
    /// By `mpirun` at n1, on ranks at these hosts in turn.
    fn at(&self, hosts: &str, run: Run) -> Run {
        let folder = self.dir.path().display();
        // A host that no longer answers is lost after two seconds, instead of minutes.
        let keepalive = ["time 1", "intvl 1", "probes 2"].map(|one| format!("--mca oob_tcp_keepalive_{one}"));
        let options = format!(
            "--host {hosts} --map-by node --mca plm_rsh_agent {folder}/cluster/on {}",
            keepalive.join(" ")
        );
        let on_n1 =
            format!("{} {folder}/cluster/on n1 cd $PWD '&&' exec mpirun {options}", self.enter().join(" "));
        run.ranks(2).within(&format!("shift; exec {on_n1} \"$@\""))
    }
}

const BOTH: &str = "n1,n2";

#[test]
fn ranks_on_two_hosts_make_the_files_of_one_process() {
    let Some(cluster) = Cluster::of_hosts() else { return };
    let (alone, dir) = (Dir::new(), Dir::new());
    embed(&alone, "text image").run().exits(Exit::Success);
    cluster.at(BOTH, embed(&dir, "text image")).run().exits(Exit::Success);
    assert_same(&text_of(&alone), &text_of(&dir));
    assert_same(&image_of(&alone), &image_of(&dir));
}

/// Runs the job of many rounds over both hosts until `fault` ends it, and goes on at the first. Returns how it ended.
fn ended_by(fault: impl FnOnce(&Cluster, &Running)) -> Option<Outcome> {
    let cluster = Cluster::of_hosts()?;
    let dir = Dir::new();
    let job = started(cluster.at(BOTH, embed(&dir, "many")), &text_of(&dir));
    let root = job.rank(0);
    fault(&cluster, &job);
    // PRRTE's may end before its ranks, and one that lives keeps its output locked.
    let ended = job.wait_for_all(&[root]);
    assert!(ended.took < Duration::from_secs(60), "{ended}");
    goes_on(cluster.at("n1:2", embed(&dir, "many")), &text_of(&dir), &many().output);
    Some(ended)
}

#[test]
fn the_death_of_a_hosts_rank_ends_the_job() {
    let Some(ended) = ended_by(|_, job| signal(job.rank(1), Signal::KILL)) else { return };
    assert!(!ended.status.success(), "{ended}");
}

#[test]
fn a_host_whose_network_is_lost_ends_the_job() {
    let ended = ended_by(|cluster, _| {
        cluster.asks("ip link set to-n2 down");
    });
    let Some(ended) = ended else { return };
    // PRRTE, which starts the ranks of Open MPI 5, kills them and ends with 0: no code of theirs reaches anyone.
    let is_told = !ended.status.success() || ended.stderr.contains("PRTE has lost communication");
    assert!(is_told, "{ended}");
}
