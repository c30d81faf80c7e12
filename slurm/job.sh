#!/bin/bash
# One job over several nodes, with a rank per GPU. `slurm/submit.sh siglip` submits it; or by hand, from the folder
# of hyperslab.toml:
#     sbatch --time=5 slurm/job.sh doctor              see first what the job will meet
#     sbatch slurm/job.sh embed siglip --config my.toml
# Adapt the lines marked ADAPT; the log is in the folder it is submitted from.
#
#SBATCH --job-name=hyperslab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=6
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Two minutes before its time is over, or when it is preempted: commit the running round, and queue again.
#SBATCH --signal=USR1@120
#SBATCH --requeue
# ADAPT: take away the first # of what your cluster asks for (`sinfo`, `sacctmgr show assoc user=$USER`).
##SBATCH --partition=NAME
##SBATCH --account=NAME
##SBATCH --mem-per-cpu=4G
set -euo pipefail
# ADAPT: load the modules that the program was built with, e.g. `module load openmpi hdf5`.

# ADAPT: by the MPI it was built with (`srun --mpi=list`): Open MPI pmix; MPICH, Intel MPI, MVAPICH pmi2; Cray MPICH
# cray_shasta. Where it does not fit, the ranks do not find each other, and the program says so.
mpi=pmix
command=(hyperslab "$@")

# A rank that dies ends the others a minute later, should MPI not do that.
code=0
srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --wait=60 "${command[@]}" || code=$?
case $code in
    # Ended early with all rounds committed; or by the signals (USR1, TERM) themselves, when they came before the
    # program was up. The same job goes on from there.
    75 | 138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
