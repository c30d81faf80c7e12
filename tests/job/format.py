"""Checks a file of the small data set's vectors with stock h5py: format.py "text|image COMPRESSION DTYPE" FILE"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

kind, compression, dtype = sys.argv[1].split()
f = h5py.File(sys.argv[2])
small = Path(__file__).parents[1] / "fixtures/small"
captions = json.load(open(small / "captions.json"))
views = {}
for picture in sorted(path for path in (small / "renders").rglob("*") if path.is_file()):
    views.setdefault(str(picture.parent.relative_to(small / "renders")), []).append(picture.name)

e = f["embeddings"]
rows = len(captions) if kind == "text" else sum(map(len, views.values()))
assert e.shape == (rows, 64), e.shape
assert e.dtype == {"f32": "<f4", "f16": "<f2"}[dtype], e.dtype
if compression == "none":
    assert e.chunks is None and e.compression is None and not e.shuffle
else:
    assert (e.compression, e.compression_opts, e.shuffle) == ("gzip", 4, True)
    assert e.chunks[1] == 64 and f["digests"].attrs["block_rows"] % e.chunks[0] == 0

if kind == "text":
    vectors = dict(zip(f["asset_ids"][:], f["embeddings"][:]))
    assert list(vectors) == sorted(id.encode() for id in captions)
    assert vectors[b"0/10002"].shape == (64,)
    assert f["asset_ids"].dtype.kind == "S" and h5py.check_string_dtype(f["asset_ids"].dtype).encoding == "utf-8"
    assert f["asset_ids"].chunks is None
    failed = {i for i, id in enumerate(sorted(captions)) if not captions[id]}
else:
    m = f["metadata"]
    assert m.dtype.names == ("asset_id", "start_idx", "count")
    assert m.dtype["start_idx"] == "<i8" and m.dtype["count"] == "<i4" and m.dtype["asset_id"].kind == "S"
    m = m[:]
    assert [id.decode() for id in m["asset_id"]] == sorted(views)
    assert m["count"].tolist() == [len(views[id]) for id in sorted(views)]
    assert m["start_idx"].tolist() == [0, *np.cumsum(m["count"])[:-1]]
    failed = None

nan = set(np.flatnonzero(np.isnan(e[:]).all(axis=1)).tolist())
assert nan == set(f["failures"]["row"].tolist()) and len(nan) == 1, nan
assert failed is None or nan == failed
assert not np.isnan(np.delete(e[:], list(nan), axis=0)).any()
norms = np.linalg.norm(np.delete(e[:].astype("f8"), list(nan), axis=0), axis=1)
assert np.abs(norms - 1).max() < {"f32": 1e-6, "f16": 1e-3}[dtype], norms
assert f["failures"].dtype.names == ("asset_id", "row", "reason"), f["failures"].dtype
assert f["failures"]["reason"][0].decode().startswith("empty caption" if kind == "text" else "broken picture")

a = dict(f.attrs)
assert a["total_items"] == rows and a["embedding_dim"] == 64 and a["failed_items"] == 1
assert a["total_assets"] == (len(captions) if kind == "text" else len(views))
assert ("total_viewpoints" in a) == (kind == "image") and a.get("total_viewpoints", rows) == rows
text = lambda name: a[name].decode() if isinstance(a[name], bytes) else str(a[name])
for name in ["model_name", "weights_sha256", "tokenizer_sha256", "preprocessing", "precision", "program", "fingerprint"]:
    assert text(name), name
assert len(text("weights_sha256")) == len(text("fingerprint")) == 64 and text("precision") == "f32"
