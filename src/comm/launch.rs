//! Did the processes find each other? Eight singletons where eight ranks were launched would embed
//! everything eight times into the same file.

use crate::error::{Error, Result};

/// Where each launcher says how many processes it started, the most specific first: under `mpirun`
/// inside Slurm, the `SLURM_*` variables describe the daemons, one per node.
const LAUNCHED: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_SIZE", "mpirun -n N hyperslab ..., with the mpirun of the MPI it was built with"),
    ("PMI_SIZE", "mpiexec -n N hyperslab ..., with the mpiexec of the MPI it was built with"),
    ("SLURM_STEP_NUM_TASKS", "srun --mpi=pmix hyperslab ... (`srun --mpi=list` shows what there is)"),
];

/// Compares MPI's world size with what the launcher started; `variable` reads the environment.
///
/// # Errors
/// The world is smaller; the hint has the right command.
pub fn check(world_size: usize, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let launched = LAUNCHED
        .iter()
        .find_map(|&(name, command)| Some((name, variable(name)?.trim().parse::<usize>().ok()?, command)));
    match launched {
        Some((name, launched, command)) if launched > world_size => Err(Error::new(format!(
            "the launcher started {launched} processes ({name}), but MPI sees a world of {world_size}: \
             they do not find each other"
        ))
        .hint(format!("start with: {command}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(size: usize, variables: &[(&str, &str)]) -> Result<()> {
        check(size, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_world_as_large_as_launched_is_right() {
        assert!(check_with(1, &[]).is_ok());
        assert!(check_with(4, &[("OMPI_COMM_WORLD_SIZE", "4")]).is_ok());
        assert!(check_with(4, &[("SLURM_STEP_NUM_TASKS", "4")]).is_ok());
    }

    #[test]
    fn singletons_are_refused_with_the_launchers_command() {
        for (name, command) in
            [("OMPI_COMM_WORLD_SIZE", "mpirun"), ("PMI_SIZE", "mpiexec"), ("SLURM_STEP_NUM_TASKS", "srun")]
        {
            let error = check_with(1, &[(name, "8")]).unwrap_err();
            assert!(error.message.contains("8 processes"), "{error}");
            assert!(error.hint.unwrap().contains(command));
        }
    }

    #[test]
    fn mpirun_inside_slurm_counts_its_own_ranks() {
        assert!(check_with(2, &[("OMPI_COMM_WORLD_SIZE", "2"), ("SLURM_STEP_NUM_TASKS", "16")]).is_ok());
    }
}
