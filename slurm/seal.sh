#!/bin/bash
# The end of an array: from the stage files of all its tasks, makes and verifies the final files, on CPUs, a rank per
# core. A shard that is missing, of another run, or damaged is refused by name. `slurm/submit.sh siglip --shards 16`
# submits it behind the array; or by hand, from the folder of hyperslab.toml:
#     sbatch slurm/seal.sh seal --family siglip
# Adapt the lines marked ADAPT; the log is in the folder it is submitted from.
#
#SBATCH --job-name=hyperslab-seal
#SBATCH --nodes=1
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
#SBATCH --requeue
# ADAPT: take away the first # of what your cluster asks for; a partition without GPUs will do.
##SBATCH --partition=NAME
##SBATCH --account=NAME
##SBATCH --mem-per-cpu=2G
set -euo pipefail
# ADAPT: load the modules that the program was built with, e.g. `module load openmpi hdf5`.

# ADAPT: as in slurm/job.sh.
mpi=pmix
command=(hyperslab "$@")

# A rank that dies ends the others a minute later, should MPI not do that.
code=0
srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --wait=60 "${command[@]}" || code=$?
case $code in
    # As in slurm/job.sh; the seal begins again.
    75 | 138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
