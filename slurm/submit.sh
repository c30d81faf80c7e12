#!/bin/bash
# Submits what embeds, to Slurm. See --help; and adapt the lines marked ADAPT in job.sh, or in array.sh and seal.sh.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: slurm/submit.sh siglip|qwen [--shards N] [--config FILE] [OPTION OF SBATCH ...]

Without --shards: one job over several nodes (job.sh).
With it: an array of N tasks, each of which embeds its share (array.sh), and a job behind it that makes the final files
from all of them (seal.sh). They are those that the one job makes, to the last bit.

What is embedded, by which model and to where, says hyperslab.toml of this folder, or FILE. Logs come into this folder.
Options of sbatch are for the job or the array, and go before what the script says: --nodes=8, --time=4:00:00.

A task that fails leaves the others alone, and the seal is cancelled (`squeue` no longer shows it): see the task's log,
and submit the tasks that failed once more, with a new seal behind them:
    slurm/submit.sh siglip --shards 16 --array=3,7
TEXT
}

die() { printf 'submit.sh: %s\n' "$1" >&2; exit 2; }

family='' shards='' config=hyperslab.toml options=()
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit ;;
        --shards=* | --config=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
        --shards | --config) [ $# -ge 2 ] || die "$1 needs a value" ;;&
        --shards) shards=$2; shift ;;
        --config) config=$2; shift ;;
        siglip | qwen) family=$1 ;;
        --*=*) options+=("$1") ;;
        *) die "unknown argument '$1' (options of sbatch in the form --name=value); see --help" ;;
    esac
    shift
done
[ -n "$family" ] || { usage >&2; exit 2; }
[[ $shards =~ ^([1-9][0-9]*)?$ ]] || die "--shards $shards: a number of shards"
[ -e "$config" ] || die "there is no $config here; sample/hyperslab.toml shows what is in it"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The job gets this PATH. Where no hyperslab is in it, the one built in this tree will do.
PATH=$PATH:$(dirname "$here")/target/release
command -v hyperslab > /dev/null || die "there is no hyperslab in PATH"

# Names of the submitted job.
submit() { sbatch --parsable "$@" | cut -d ';' -f 1; }

embed=(embed "$family" --config "$config")
if [ -z "$shards" ]; then
    job=$(submit "${options[@]}" "$here/job.sh" "${embed[@]}")
    echo "job $job, log hyperslab-$job.log"
    exit
fi
array=$(submit --array="1-$shards" "${options[@]}" "$here/array.sh" "$shards" "${embed[@]}")
echo "array $array, logs hyperslab-${array}_TASK.log"
# A task that fails for good would leave the seal waiting forever.
seal=$(submit --dependency="afterok:$array" --kill-on-invalid-dep=yes \
    "$here/seal.sh" seal --family "$family" --config "$config") || {
    echo "submit.sh: the array runs without a seal behind it: sbatch slurm/seal.sh seal --family $family" >&2
    exit 1
}
echo "seal $seal, log hyperslab-seal-$seal.log, once all of the array has ended well"
