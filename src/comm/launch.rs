//! Did the processes find each other? Eight singletons where eight ranks were launched would embed
//! everything eight times into the same file. And is the MPI in this process the one it was built with?

use crate::error::{Error, Result, note};

/// The MPI that this program was built with: name and version.
const BUILT_WITH: &str = env!("HYPERSLAB_BUILD_MPI");

/// The launcher that belongs to it.
const LAUNCHER: &str = env!("HYPERSLAB_BUILD_LAUNCHER");

/// Whether this program was built with MPICH or a descendant.
pub fn is_of_mpich() -> bool {
    Family::of(BUILT_WITH) == Some(Family::Mpich)
}

/// MPIs that are alike in how they are started, and share an ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    OpenMpi,
    /// MPICH and its descendants: Intel MPI, MVAPICH, Cray MPICH.
    Mpich,
}

impl Family {
    /// By a name, or by what the library says of itself (`MPI_Get_library_version`).
    fn of(text: &str) -> Option<Self> {
        if text.contains("Open MPI") {
            return Some(Self::OpenMpi);
        }
        let mpich = ["MPICH", "Intel(R) MPI", "Intel MPI", "MVAPICH"];
        mpich.iter().any(|name| text.contains(name)).then_some(Self::Mpich)
    }

    /// How Slurm starts its ranks.
    fn srun(self) -> &'static str {
        match self {
            Self::OpenMpi => "srun --mpi=pmix hyperslab ...",
            Self::Mpich => "srun --mpi=pmi2 hyperslab ... (on a Cray --mpi=cray_shasta)",
        }
    }
}

/// Where each launcher says how many processes it started, the most specific first (under `mpirun`
/// inside Slurm, the `SLURM_*` variables describe the daemons, one per node), and whose launcher it is.
const LAUNCHED: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"),
    ("PMI_SIZE", "mpiexec of MPICH and its kin, or srun --mpi=pmi2"),
    ("PALS_SIZE", "mpiexec of Cray PALS"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
];

/// Where each launcher says which of its processes this is, in the same order.
const PLACES: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_RANK", "mpirun (Open MPI)"),
    ("PMI_RANK", "mpiexec (PMI)"),
    ("SLURM_PROCID", "srun (Slurm)"),
];

/// What started this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launcher {
    pub name: &'static str,
    /// Which of the launched processes this is, by the launcher's count.
    pub place: usize,
}

impl Launcher {
    /// The launcher by its variables; none where this process was started by itself.
    pub fn found() -> Option<Self> {
        launcher(|name| std::env::var(name).ok())
    }
}

fn launcher(variable: impl Fn(&str) -> Option<String>) -> Option<Launcher> {
    // In a shell of an allocation these variables stand too, but no step's.
    let in_step = |name: &str| name != "SLURM_PROCID" || variable("SLURM_STEP_NUM_TASKS").is_some();
    PLACES
        .iter()
        .filter(|(variable, _)| in_step(variable))
        .find_map(|&(from, name)| Some(Launcher { name, place: variable(from)?.trim().parse().ok()? }))
}

/// Says so before MPI starts, where it is likely to end this process: Open MPI 4 does where `srun` gives it no PMIx, and
/// names no remedy.
pub fn forewarn() {
    if let Some(words) = forewarning(BUILT_WITH, |name| std::env::var(name).ok()) {
        note(words);
    }
}

fn forewarning(mpi: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is_of_srun = launcher(&variable)? == Launcher { name: "srun (Slurm)", place: 0 };
    let is_alone = variable("SLURM_STEP_NUM_TASKS").is_some_and(|tasks| tasks == "1");
    let is_bare = Family::of(mpi) == Some(Family::OpenMpi) && variable("PMIX_RANK").is_none();
    (is_of_srun && is_bare && !is_alone)
        .then(|| format!("note: srun gives {mpi} no PMIx; if MPI fails now, start with: {}", commands(mpi)))
}

/// Compares MPI's world size with what the launcher started; `variable` reads the environment.
///
/// # Errors
/// The world is smaller; the hint has the right command.
pub fn check(world_size: usize, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let launched = LAUNCHED
        .iter()
        .find_map(|&(name, whose)| Some((name, variable(name)?.trim().parse::<usize>().ok()?, whose)));
    match launched {
        Some((name, launched, whose)) if launched > world_size => Err(Error::new(format!(
            "the launcher started {launched} processes ({name}, set by {whose}), but MPI sees a world of \
             {world_size}: they do not find each other; this program was built with {BUILT_WITH}"
        ))
        .hint(format!("start with: {}", commands(BUILT_WITH)))),
        _ => Ok(()),
    }
}

/// Refuses to be one of several processes of a launcher, each of which would do the same.
///
/// # Errors
/// The launcher started several.
pub fn check_alone() -> Result<()> {
    alone(|name| std::env::var(name).ok())
}

fn alone(variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    match LAUNCHED.iter().find_map(|&(name, whose)| Some((number(name)?, whose))) {
        Some((launched, whose)) if launched > 1 => {
            Err(Error::new(format!("this command is one process, and {whose} started {launched}"))
                .hint("start it without a launcher"))
        }
        _ => Ok(()),
    }
}

/// What starts ranks of an MPI.
fn commands(mpi: &str) -> String {
    let slurm = Family::of(mpi).map_or("srun --mpi=TYPE hyperslab ...", Family::srun);
    format!("{LAUNCHER} -n N hyperslab ..., or under Slurm {slurm}; `srun --mpi=list` shows what there is")
}

/// Compares the MPI in this process, by what it says of itself, with the one it was built with.
///
/// # Errors
/// It is of another family, whose handles and constants are others: nothing it does can be relied on.
pub fn check_library(says: &str) -> Result<()> {
    same_family(BUILT_WITH, says)
}

fn same_family(built_with: &str, says: &str) -> Result<()> {
    match (Family::of(built_with), Family::of(says)) {
        (Some(built), Some(runs)) if built != runs => Err(Error::new(format!(
            "this program was built with {built_with}, but the MPI loaded into it is '{}'",
            says.lines().next().unwrap_or_default().trim()
        ))
        .hint(
            "load the module it was built with (LD_LIBRARY_PATH); if another was loaded since an earlier \
             build, run docker/setup.sh, which clears what was made of that, and build again",
        )),
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
        assert!(check_with(4, &[("PMI_SIZE", "4")]).is_ok());
        assert!(check_with(4, &[("SLURM_STEP_NUM_TASKS", "4")]).is_ok());
    }

    #[test]
    fn singletons_are_refused_with_the_right_commands() {
        for (name, whose) in LAUNCHED {
            let error = check_with(1, &[(name, "8")]).unwrap_err();
            assert!(error.message.contains("8 processes"), "{error}");
            assert!(error.message.contains(whose) && error.message.contains(BUILT_WITH), "{error}");
            assert!(error.hint.unwrap().contains(LAUNCHER));
        }
    }

    #[test]
    fn the_launcher_is_known_by_its_variables() {
        let found = |variables: &[(&str, &str)]| {
            launcher(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let srun = [("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert_eq!(found(&srun), Some(Launcher { name: "srun (Slurm)", place: 3 }));
        assert_eq!(found(&srun[..1]), None, "a shell of an allocation");
        let both = [srun[0], srun[1], ("OMPI_COMM_WORLD_RANK", "1")];
        assert_eq!(found(&both).map(|launcher| launcher.place), Some(1));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn open_mpi_without_pmix_is_warned_of_once() {
        let warned = |mpi: &str, variables: &[(&str, &str)]| {
            let value = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            forewarning(mpi, value).is_some()
        };
        let (root, four) = (("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "4"));
        assert!(warned("Open MPI 4.1.4", &[root, four]));
        assert!(!warned("Open MPI 4.1.4", &[("SLURM_PROCID", "1"), four]));
        assert!(!warned("Open MPI 4.1.4", &[root, four, ("PMIX_RANK", "0")]));
        assert!(!warned("Open MPI 4.1.4", &[root, four, ("OMPI_COMM_WORLD_RANK", "0")]));
        assert!(!warned("Open MPI 4.1.4", &[root, ("SLURM_STEP_NUM_TASKS", "1")]));
        assert!(!warned("MPICH 4.0.2", &[root, four]));
    }

    #[test]
    fn each_family_has_its_own_srun() {
        assert!(commands("Open MPI 4.1.4").contains("--mpi=pmix"));
        assert!(commands("MPICH 4.0.2").contains("--mpi=pmi2"));
        assert!(commands("Intel MPI 2021.8").contains("--mpi=pmi2"));
    }

    #[test]
    fn what_is_one_process_is_no_rank_of_several() {
        let check = |size: &str| alone(|name| (name == "PMI_SIZE").then(|| size.to_owned()));
        assert!(check("1").is_ok() && alone(|_| None).is_ok());
        assert!(check("8").is_err_and(|error| error.message.contains("started 8")));
    }

    #[test]
    fn mpirun_inside_slurm_counts_its_own_ranks() {
        assert!(check_with(2, &[("OMPI_COMM_WORLD_SIZE", "2"), ("SLURM_STEP_NUM_TASKS", "16")]).is_ok());
    }

    #[test]
    fn a_library_of_another_family_is_refused() {
        let open_mpi = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4";
        let mpich = "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7";
        let intel = "Intel(R) MPI Library 2021.8 for Linux* OS";
        let cray = "MPI VERSION    : CRAY MPICH version 8.1.28.29 (ANL base 3.4a2)";
        assert!(same_family("Open MPI 5.0.7", open_mpi).is_ok());
        for says in [mpich, intel, cray] {
            assert!(same_family("MPICH 3.4a2", says).is_ok(), "{says}");
            let error = same_family("Open MPI 4.1.4", says).unwrap_err();
            assert!(error.message.contains(says.lines().next().unwrap()), "{error}");
        }
        assert!(same_family("MPICH 4.0.2", open_mpi).is_err());
        assert!(same_family("unknown, of standard 4", mpich).is_ok());
    }
}
