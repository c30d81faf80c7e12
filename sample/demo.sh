#!/usr/bin/env bash
# The main jobs on the sample, on two ranks, and what came out. `make demo` builds the program first.
set -euo pipefail
cd "$(dirname "$0")/.."
. sample/show.sh

readonly OUT=target/demo
readonly INPUT=(--captions sample/captions.json --renders sample/renders)
readonly BOTH=(--captions sample/captions.json --captions-zh sample/captions_zh.json --renders sample/renders)
PATH="$PWD/target/release:$PATH"
# The launcher of the MPI that the program was built with.
MPIRUN=$(hyperslab --version | sed -n 's/^launcher  *//p')
RANKS=("$MPIRUN" -n 2)
# More ranks than cores are for Open MPI to be asked for.
if "$MPIRUN" --version 2>&1 | grep -q -i 'open.\?mpi'; then RANKS+=(--oversubscribe --bind-to none); fi
# It refuses to run as root, which is what containers run as.
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

rm -rf "$OUT"
run hyperslab plan "${INPUT[@]}" --model sample/model --output-dir "$OUT" --ranks 2
# The plan warns of what lies under transparency: the job does what it advises.
run "${RANKS[@]}" \
    hyperslab embed siglip --model sample/model "${INPUT[@]}" --background white --output-dir "$OUT"
run hyperslab info "$OUT/siglip_image_embeddings.h5"
run hyperslab list "$OUT/siglip_image_embeddings.h5" --limit 5
run hyperslab get "$OUT/siglip_text_embeddings.h5" 0/10002
# One of its views is a broken picture: a marked row, not a zero vector, and exit code 0.
run hyperslab get "$OUT/siglip_image_embeddings.h5" 1/10255
# The second model: captions in two languages, and one vector from eight views of each asset.
run hyperslab plan "${BOTH[@]}" --model sample/model-qwen --output-dir "$OUT" --ranks 2
run "${RANKS[@]}" hyperslab embed qwen --model sample/model-qwen "${BOTH[@]}" --output-dir "$OUT"
run hyperslab info "$OUT/qwen_text_embeddings.h5"
run hyperslab get "$OUT/qwen_text_embeddings.h5" --group chinese 0/10002
run hyperslab get "$OUT/qwen_image_embeddings.h5" 0/10002
run hyperslab verify "$OUT"/{siglip,qwen}_{text,image}_embeddings.h5
# The same with stock h5py.
run /usr/bin/python3 -c "
import h5py
f = h5py.File('$OUT/siglip_text_embeddings.h5')
vectors = dict(zip(f['asset_ids'][:], f['embeddings'][:]))
print(len(vectors), 'captions;', '0/10002:', vectors[b'0/10002'][:4], '...')"
# Texts in two languages that are nobody's caption, and the assets that have the views nearest to them.
SHOW=(-k 3 --captions sample/captions.json)
run hyperslab search "$OUT/siglip_image_embeddings.h5" --model sample/model "${SHOW[@]}" \
    --text 'a red toy automobile' --text 'a purple octopus with long legs' --text 会发光的蓝色机器人
# The same by whole assets, from Qwen's vectors.
run hyperslab search "$OUT/qwen_image_embeddings.h5" --model sample/model-qwen "${SHOW[@]}" \
    --text 'a purple octopus with long legs' --text 会发光的蓝色机器人 --text 戴帽子的雪人
# By a picture; and by an asset, for which no model is loaded.
run hyperslab search "$OUT/siglip_text_embeddings.h5" --model sample/model "${SHOW[@]}" \
    --background white --image sample/renders/0/10113/00003.webp
run hyperslab search "$OUT/siglip_image_embeddings.h5" "${SHOW[@]}" --id 0/10096
