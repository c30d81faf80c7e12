#!/usr/bin/env bash
# What sample/demo.sh has embedded goes into a PostgreSQL with pgvector, and is searched there. `make demo-db` builds and
# installs first. The server is left running.
set -euo pipefail
cd "$(dirname "$0")/.."
. sample/show.sh

readonly OUT=target/demo SERVER=target/demo-db
readonly PSQL=.deps/postgres/bin/psql
PATH="$PWD/target/release:$PATH"
# Of the variables that psql heeds, none may lead elsewhere.
unset "${!PG@}" HYPERSLAB_DATABASE_URL

for kind in siglip qwen; do
    [ -e "$OUT/${kind}_text_embeddings.h5" ] && [ -e "$OUT/${kind}_image_embeddings.h5" ] || { sample/demo.sh; break; }
done

printf '\n$ sample/postgres.sh start %s\n' "$SERVER"
URL=$(sample/postgres.sh start "$SERVER")
echo "$URL"
SIGLIP=${URL/\?/siglip_embeddings?} QWEN=${URL/\?/qwen_embeddings?}
# The assets nearest to a caption: its own ought to be the first.
readonly COUNT='SELECT count(*) AS captions, (SELECT count(*) FROM image_embeddings) AS images FROM text_embeddings'
readonly NEAREST="SELECT n.* FROM text_embeddings t, nearest_assets(t.english_embedding, 5) n WHERE t.asset_id = '0/10096'"

# --replace: another sample's vectors, of an earlier run, give way.
run hyperslab populate siglip --output-dir "$OUT" --database-url "$URL" --replace --verify
run "$PSQL" "$SIGLIP" -c "$COUNT" -c "$NEAREST"
run hyperslab populate qwen --output-dir "$OUT" --database-url "$URL" --replace --verify
run "$PSQL" "$QWEN" -c "$COUNT" -c "$NEAREST"
# By a text that is nobody's caption, and how many of the index's answers are those that comparing all vectors gives.
run hyperslab search "$OUT/siglip_image_embeddings.h5" --model sample/model -k 3 --captions sample/captions.json \
    --text 'a purple octopus with long legs' --database-url "$URL" --recall-check

cat <<TEXT

The server runs on. Ask it something:
  $PSQL "$SIGLIP" -c "$NEAREST"
End it, or remove it with its data:
  sample/postgres.sh stop $SERVER
  sample/postgres.sh remove $SERVER
TEXT
