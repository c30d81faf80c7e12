#!/usr/bin/env bash
# The main job on the sample, on two ranks, and what came out. `make demo` builds the program first.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly OUT=target/demo
readonly INPUT=(--captions sample/captions.json --renders sample/renders)
PATH="$PWD/target/release:$PATH"
# Open MPI refuses to run as root, which is what containers run as.
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Shows a command as one would type it, and runs it.
run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

rm -rf "$OUT"
run hyperslab plan "${INPUT[@]}" --model sample/model --output-dir "$OUT" --ranks 2
run mpirun -n 2 --oversubscribe --bind-to none \
    hyperslab embed siglip --model sample/model "${INPUT[@]}" --output-dir "$OUT"
run hyperslab info "$OUT/siglip_image_embeddings.h5"
run hyperslab list "$OUT/siglip_image_embeddings.h5" --limit 5
run hyperslab get "$OUT/siglip_text_embeddings.h5" 0/10002
# One of its views is a broken picture: a marked row, not a zero vector, and exit code 0.
run hyperslab get "$OUT/siglip_image_embeddings.h5" 1/10255
run hyperslab verify "$OUT/siglip_text_embeddings.h5" "$OUT/siglip_image_embeddings.h5"
# The same with stock h5py.
run /usr/bin/python3 -c "
import h5py
f = h5py.File('$OUT/siglip_text_embeddings.h5')
vectors = dict(zip(f['asset_ids'][:], f['embeddings'][:]))
print(len(vectors), 'captions;', '0/10002:', vectors[b'0/10002'][:4], '...')"
