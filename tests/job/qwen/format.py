"""Checks a file of the small data set's vectors with stock h5py: format.py "GROUPS|image COMPRESSION" FILE"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

what, compression = sys.argv[1].split()
f = h5py.File(sys.argv[2])
small = Path(__file__).parents[2] / "fixtures/small"
DIM, VIEWS, BLOCK = 48, 8, 4


def check_vectors(g, ids, failed, listed):
    """A group's vectors and ids; rows that have no vector, and those in its list of failures."""
    e = g["embeddings"]
    assert e.shape == (len(ids), DIM) and e.dtype == "<f4", e
    if compression == "none":
        assert e.chunks is None and e.compression is None and not e.shuffle
    else:
        assert (e.compression, e.compression_opts, e.shuffle) == ("gzip", 4, True)
        assert e.chunks[1] == DIM and BLOCK % e.chunks[0] == 0
    vectors = dict(zip(g["asset_ids"][:], g["embeddings"][:]))
    assert list(vectors) == [id.encode() for id in ids]
    assert h5py.check_string_dtype(g["asset_ids"].dtype).encoding == "utf-8" and g["asset_ids"].chunks is None
    assert np.flatnonzero(np.isnan(e[:]).all(axis=1)).tolist() == failed
    norms = np.linalg.norm(np.delete(e[:].astype("f8"), failed, axis=0), axis=1)
    assert np.abs(norms - 1).max() < 1e-6, norms
    assert g["failures"]["row"].tolist() == listed
    assert [id.decode() for id in g["failures"]["asset_id"]] == [ids[row] for row in listed]
    assert g["digests"].shape == (-(-len(ids) // BLOCK), 32) and g["digests"].attrs["block_rows"] == BLOCK
    check_counts(g, len(ids), len(listed))


def check_counts(g, rows, failed):
    a = dict(g.attrs)
    assert (a["total_items"], a["total_assets"], a["failed_items"], a["embedding_dim"]) == (rows, rows, failed, DIM), a
    assert "total_viewpoints" not in a


if what == "image":
    views = {}
    for picture in (small / "renders").rglob("*.*"):
        views.setdefault(str(picture.parent.relative_to(small / "renders")), []).append(picture.name)
    ids = sorted(views)
    broken = ids.index("1/10255")
    check_vectors(f, ids, [], [broken])
    n = f["num_images"]
    assert n.dtype == "<i4" and n.chunks is None
    assert n[:].tolist() == [min(len(views[id]), VIEWS) - (row == broken) for row, id in enumerate(ids)]
    reason = f["failures"]["reason"][0].decode()
    assert reason.startswith("views left out: 1 of 8: 00005.png: broken picture"), reason
else:
    groups = what.split(",")
    assert sorted(f) == sorted(groups), list(f)
    rows = failures = 0
    for group in groups:
        captions = json.load(open(small / {"english": "captions.json", "chinese": "captions_zh.json"}[group]))
        ids = sorted(captions)
        empty = [row for row, id in enumerate(ids) if not captions[id]]
        assert len(empty) == 1
        check_vectors(f[group], ids, empty, empty)
        assert "num_images" not in f[group] and "fingerprint" not in f[group].attrs
        rows, failures = rows + len(ids), failures + 1
    check_counts(f, rows, failures)

text = lambda name: f.attrs[name].decode() if isinstance(f.attrs[name], bytes) else str(f.attrs[name])
assert text("kind") == ("qwen_image" if what == "image" else "qwen_text")
assert len(text("weights_sha256")) == len(text("fingerprint")) == 64 and text("max_tokens_per_batch") == "2048"
assert json.loads(text("preprocessing"))["instruction"] == "Represent the user's input."
