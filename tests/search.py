"""The nearest assets by numpy: search.py FILE GROUP OF OF_GROUP K ID...; a group of "-" is the root.

Prints for each id a line of JSON: [[asset id, row, cosine], ...]
"""

import json
import sys

import h5py
import numpy as np


def opened(path, group):
    g = h5py.File(path)
    g = g if group == "-" else g[group]
    vectors = g["embeddings"][:].astype("f8")
    if "metadata" in g:
        table = g["metadata"][:]
        return vectors, [id.decode() for id in table["asset_id"]], table["start_idx"], table["count"]
    ids = [id.decode() for id in g["asset_ids"][:]]
    return vectors, ids, np.arange(len(ids)), np.ones(len(ids), int)


vectors, ids, starts, counts = opened(*sys.argv[1:3])
queries, query_ids, query_starts, query_counts = opened(*sys.argv[3:5])
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)
for id in sys.argv[6:]:
    asset, _, view = (id, "", "") if id in query_ids else id.partition("#")
    i = query_ids.index(asset)
    rows = range(query_starts[i], query_starts[i] + query_counts[i])
    asked = queries[rows[int(view)] if view else list(rows)].reshape(-1, vectors.shape[1])
    asked = asked[~np.isnan(asked[:, 0])]
    scores = np.nan_to_num((vectors @ asked.T).max(axis=1), nan=-2)  # what failed is near to nothing
    best = np.maximum.reduceat(scores, starts)
    order = [i for i in np.argsort(-best, kind="stable") if best[i] > -2][: int(sys.argv[5])]
    row = [int(starts[i] + scores[starts[i] : starts[i] + counts[i]].argmax()) for i in order]
    print(json.dumps([[ids[i], row, float(best[i])] for i, row in zip(order, row)]))
