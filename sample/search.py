"""The assets nearest to each text: search.py TEXTS.json TEXT_EMBEDDINGS.h5 IMAGE_EMBEDDINGS.h5 CAPTIONS.json

With stock h5py and numpy, on SigLIP's files and on Qwen's. SigLIP has a vector for each view: an asset is as near
as the nearest of them.
"""

import json
import sys

import h5py
import numpy as np

texts, captions = (json.load(open(path, encoding="utf-8")) for path in (sys.argv[1], sys.argv[4]))
with h5py.File(sys.argv[2]) as f:
    group = f.get("english", f)  # Qwen's captions are in groups
    queries = dict(zip(group["asset_ids"].asstr()[:], group["embeddings"][:]))
with h5py.File(sys.argv[3]) as f:
    vectors = f["embeddings"][:]
    if "metadata" in f:
        ids, starts = f["metadata"]["asset_id"], f["metadata"]["start_idx"]
    else:
        ids, starts = f["asset_ids"][:], np.arange(len(vectors))

for id, query in queries.items():
    nearness = np.nan_to_num(vectors @ query, nan=-1.0)  # what failed is near to nothing
    best = np.maximum.reduceat(nearness, starts)
    print(f"\n{texts[id]}")
    for asset in np.argsort(-best)[:3]:
        name = ids[asset].decode()
        print(f"  {best[asset]:.3f}  {name}  {captions.get(name, '(no caption)')}")
