"""Rewrites a sealed file as the old pipeline would have left it: old_files.py SEALED OLD

Three ranks embedded every third id each, in no order, and what failed is zeros.
"""

import sys

import h5py
import numpy as np

RANKS = 3
SETTINGS = dict(compression="gzip", compression_opts=4)


def in_ranks(n):
    """The numbers below n, rank by rank, scattered within each."""
    return sorted(range(n), key=lambda i: (i % RANKS, i * 7919 % 101))


def write_vectors(new, vectors):
    vectors = np.nan_to_num(vectors.astype("f4"), nan=0.0)
    new.create_dataset("embeddings", data=vectors, chunks=(min(1000, len(vectors)), vectors.shape[1]), **SETTINGS)
    new.attrs["total_items"], new.attrs["embedding_dim"] = map(np.int64, vectors.shape)


def write_text(old, new):
    order = in_ranks(len(old["asset_ids"]))
    ids = [old["asset_ids"][i].decode() for i in order]
    new.create_dataset("asset_ids", data=ids, dtype=h5py.string_dtype(), chunks=(min(1000, len(ids)),), **SETTINGS)
    write_vectors(new, old["embeddings"][:][order])


def write_image(old, new):
    table = old["metadata"][:][in_ranks(len(old["metadata"]))]
    rows = np.concatenate([np.arange(start, start + count) for _, start, count in table])
    form = np.dtype([("asset_id", h5py.string_dtype()), ("start_idx", "i8"), ("count", "i4")])
    metadata = np.zeros(len(table), form)
    metadata["asset_id"] = [id.decode() for id in table["asset_id"]]
    metadata["count"] = table["count"]
    metadata["start_idx"] = np.cumsum(table["count"]) - table["count"]
    new.create_dataset("metadata", data=metadata, chunks=(min(1000, len(table)),), **SETTINGS)
    write_vectors(new, old["embeddings"][:][rows])
    new.attrs["total_viewpoints"], new.attrs["total_assets"] = np.int64(len(rows)), np.int64(len(table))


with h5py.File(sys.argv[1]) as sealed, h5py.File(sys.argv[2], "w") as new:
    if "metadata" in sealed:
        write_image(sealed, new)
    elif "asset_ids" in sealed:
        write_text(sealed, new)
    else:
        languages = [name for name in ("english", "chinese") if name in sealed]
        for name in languages:
            write_text(sealed[name], new.create_group(name))
        every = {id for name in languages for id in sealed[name]["asset_ids"][:]}
        new.attrs["total_assets"] = np.int64(len(every))
        new.attrs["embedding_dim"] = new[languages[0]].attrs["embedding_dim"]
