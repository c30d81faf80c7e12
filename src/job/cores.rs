//! How many cores this rank may really use: its CPU mask, divided among the ranks that share it.

use crate::comm::World;
use crate::error::{Context, Result};

/// Cores with which decoding keeps up with a data-centre GPU: a 512-pixel RGBA PNG costs 3 ms on a core
/// (`hyperslab bench decode`), and `SigLIP` so400m at 384 takes 1,178 pictures a second of an H200 at most.
const CORES_PER_GPU: usize = 6;

/// The number of cores this rank may use. Collective.
///
/// # Errors
/// The CPU mask cannot be read.
pub fn usable_cores(world: &World) -> Result<usize> {
    let mask = rustix::thread::sched_getaffinity(None).context(|| "cannot read this process's CPU mask");
    let mask = world.agree(mask)?;
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    let mine = serde_json::to_vec(&cpus).context(|| "cannot encode a CPU mask")?;
    let masks: Vec<Vec<usize>> = world
        .node_gather(&mine)
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).context(|| "cannot decode a CPU mask"))
        .collect::<Result<_>>()?;
    let share = share_of(&masks, world.local_rank());
    // The mask does not know a container's CPU quota, which its ranks share; the standard library does.
    let parallelism = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    if parallelism >= cpus.len() {
        return Ok(share);
    }
    Ok(share.min(parallelism / world.local_size()).max(1))
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
}
