//! How many cores this rank may really use: its CPU mask, divided among the ranks that share it.

use serde::{Deserialize, Serialize};

use crate::comm::World;
use crate::error::{Context, Result};

/// Cores with which decoding keeps up with a data-centre GPU: a 512-pixel RGBA PNG costs 3 ms on a core
/// (`hyperslab bench decode`), and `SigLIP` so400m at 384 takes 1,178 pictures a second of an H200 at most.
const CORES_PER_GPU: usize = 6;

/// The CPUs this process may run on, and how many of them at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpus {
    /// Numbers of the CPUs in its mask.
    pub mask: Vec<usize>,
    /// A container's CPU quota, which its ranks share; the mask does not know it, the standard library does.
    pub quota: Option<usize>,
}

impl Cpus {
    /// Those of this process.
    ///
    /// # Errors
    /// The CPU mask cannot be read.
    pub fn of_this_process() -> Result<Self> {
        let set =
            rustix::thread::sched_getaffinity(None).context(|| "cannot read this process's CPU mask")?;
        let mask: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
        let parallelism = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
        let quota = (parallelism < mask.len()).then_some(parallelism);
        Ok(Self { mask, quota })
    }
}

/// The number of cores this rank may use. Collective.
///
/// # Errors
/// The CPU mask cannot be read.
pub fn usable_cores(world: &World) -> Result<usize> {
    let mine = world.agree(Cpus::of_this_process())?;
    let mine = serde_json::to_vec(&mine).context(|| "cannot encode a CPU mask")?;
    let node: Vec<Cpus> = world
        .node_gather(&mine)
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).context(|| "cannot decode a CPU mask"))
        .collect::<Result<_>>()?;
    Ok(cores_of(&node, world.local_rank()))
}

/// The number of cores that a rank may use; `node` has the CPUs of its node's ranks, by local rank.
pub fn cores_of(node: &[Cpus], local_rank: usize) -> usize {
    let masks: Vec<Vec<usize>> = node.iter().map(|cpus| cpus.mask.clone()).collect();
    let share = share_of(&masks, local_rank);
    match node.get(local_rank).and_then(|cpus| cpus.quota) {
        Some(quota) => share.min(quota / node.len()).max(1),
        None => share,
    }
}

/// A rank's part of the CPUs in its mask: each CPU counts in equal parts for every rank of the node that
/// may run on it; at least 1.
fn share_of(masks: &[Vec<usize>], local_rank: usize) -> usize {
    let Some(cpus) = masks.get(local_rank) else { return 1 };
    let sharers = |cpu: &usize| masks.iter().filter(|cpus| cpus.contains(cpu)).count();
    let cores: f64 = cpus.iter().map(|cpu| 1.0 / sharers(cpu) as f64).sum();
    // Sums of thirds and the like fall just short of a whole number.
    ((cores + 1e-6).floor() as usize).max(1)
}

/// What to say where a rank on a GPU decodes pictures with too few threads.
pub fn too_few_for_gpu(decode_threads: usize) -> Option<String> {
    (decode_threads < CORES_PER_GPU).then(|| {
        format!(
            "{decode_threads} decoding threads per rank may leave the GPU waiting; give each rank \
             {CORES_PER_GPU} cores: `srun --cpus-per-task={CORES_PER_GPU}` or `mpirun --map-by \
             slot:PE={CORES_PER_GPU}` (`--bind-to none` where mpirun binds each rank to one core)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(masks: &[&[usize]], local_rank: usize) -> usize {
        let masks: Vec<_> = masks.iter().map(|cpus| cpus.to_vec()).collect();
        share_of(&masks, local_rank)
    }

    #[test]
    fn a_shared_mask_is_divided_and_an_own_one_is_not() {
        let all = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(share(&[&all], 0), 8);
        assert_eq!(share(&[&all, &all], 1), 4);
        assert_eq!(share(&[&all, &all, &all], 2), 2);
        assert_eq!(share(&[&[0], &[1]], 0), 1);
        assert_eq!(share(&[&[0], &[0]], 0), 1);
        assert_eq!(share(&[&all[..4], &all[4..]], 1), 4);
    }

    #[test]
    fn a_quota_is_divided_among_the_ranks_of_its_container() {
        let cpus = |quota| Cpus { mask: (0..8).collect(), quota };
        assert_eq!(cores_of(&[cpus(Some(3)), cpus(Some(3))], 0), 1);
        assert_eq!(cores_of(&[cpus(Some(6)), cpus(Some(6))], 1), 3);
        assert_eq!(cores_of(&[cpus(None)], 0), 8);
    }
}
