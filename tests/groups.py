"""Checks with stock h5py what tests/groups.rs makes: groups.py FILE"""

import sys
from pathlib import Path

import h5py
import numpy as np

f = h5py.File(sys.argv[1])
name, compression = Path(sys.argv[1]).stem.split("-")
rows = {"text": {"english": 37, "chinese": 6}, "english": {"english": 5}, "chinese": {"chinese": 1}, "views": {"/": 19}}
rows = rows[name]
groups = [f[group] for group in rows]
assert name == "views" or set(f) == set(rows), list(f)
for group, n in rows.items():
    g = f[group]
    assert g["embeddings"].shape == (n, 8) and g["embeddings"].dtype == "<f4"
    assert (g["embeddings"].chunks is None) == (compression == "none")
    vectors = dict(zip(g["asset_ids"][:], g["embeddings"][:]))
    assert len(vectors) == n and list(vectors) == sorted(vectors)
    assert g["digests"].shape == (-(-n // 4), 32) and g["digests"].attrs["block_rows"] == 4
    assert (g.attrs["total_items"], g.attrs["total_assets"], g.attrs["embedding_dim"]) == (n, n, 8)
    assert g.attrs["failed_items"] == len(g["failures"])
    nan = set(np.flatnonzero(np.isnan(g["embeddings"][:]).all(axis=1)).tolist())
    listed = set(g["failures"]["row"].tolist())
    if name == "views":
        images = g["num_images"]
        assert images.dtype == "<i4" and images.shape == (n,) and images.chunks is None
        assert nan == set(np.flatnonzero(images[:] == 0).tolist()) and nan < listed
        assert images[:].max() == 8
    else:
        assert "num_images" not in g and nan == listed
for count in ["total_items", "total_assets", "failed_items"]:
    assert f.attrs[count] == sum(g.attrs[count] for g in groups), count
assert f.attrs["embedding_dim"] == 8 and f.attrs["format_version"] == 1
assert (f.attrs["kind"] in (b"qwen_text", "qwen_text")) == (name != "views")
assert all(("fingerprint" in g.attrs) == (g.name == "/") for g in groups)
