#!/bin/bash
# An array, each task of which embeds its range of blocks into a stage file of its own; tasks know nothing of each
# other and start as nodes become free. slurm/seal.sh makes the final files of them. `slurm/submit.sh siglip --shards
# 16` submits both; or by hand, from the folder of hyperslab.toml:
#     sbatch --array=1-16 slurm/array.sh 16 embed siglip
#     sbatch --array=3,7  slurm/array.sh 16 embed siglip      two that failed, once more
# Adapt the lines marked ADAPT; the logs, one per task, are in the folder it is submitted from.
#
#SBATCH --job-name=hyperslab
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=6
#SBATCH --time=24:00:00
#SBATCH --output=%x-%A_%a.log
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

# ADAPT: as in slurm/job.sh.
mpi=pmix
# Of how many shards, it is told: an array of some tasks, once more, would count those alone.
shards=$1
shift
command=(hyperslab "$@" --shard "$SLURM_ARRAY_TASK_ID/$shards")

# A rank that dies ends the others a minute later, should MPI not do that.
code=0
srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --wait=60 "${command[@]}" || code=$?
case $code in
    # As in slurm/job.sh: this task alone goes on.
    75 | 138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
