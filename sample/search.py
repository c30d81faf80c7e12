"""The assets nearest to each text: search.py TEXTS.json TEXT_EMBEDDINGS.h5 IMAGE_EMBEDDINGS.h5 CAPTIONS.json

With stock h5py and numpy: an asset is as near as the nearest of its views.
"""

import json
import sys

import h5py
import numpy as np

texts, captions = (json.load(open(path, encoding="utf-8")) for path in (sys.argv[1], sys.argv[4]))
with h5py.File(sys.argv[2]) as f:
    queries = dict(zip(f["asset_ids"].asstr()[:], f["embeddings"][:]))
with h5py.File(sys.argv[3]) as f:
    views, assets = f["embeddings"][:], f["metadata"][:]

for id, query in queries.items():
    nearness = np.nan_to_num(views @ query, nan=-1.0)  # a broken view is near to nothing
    best = np.maximum.reduceat(nearness, assets["start_idx"])
    print(f"\n{texts[id]}")
    for asset in np.argsort(-best)[:3]:
        name = assets["asset_id"][asset].decode()
        print(f"  {best[asset]:.3f}  {name}  {captions.get(name, '(no caption)')}")
