"""What h5_utils reads of a file, whichever way: dump.py drop|nan FILE

Prints it as `hyperslab get --json` does, a line per row, with null for a vector of NaN.
"""

import json
import sys

import numpy as np

import h5_utils
from h5_utils import get_embedding_by_id, get_embeddings_batch, list_asset_ids


def assert_same(found, expected):
    assert list(found) == list(expected), (list(found), list(expected))
    for id, vectors in expected.items():
        assert vectors.dtype == "f4" and np.array_equal(found[id], vectors, equal_nan=True), id


def of_batches(batches):
    """The one dict of what a yield_ function gave."""
    found = {}
    for batch in batches:
        found.update(batch if isinstance(batch, dict) else zip(*batch))
    return found


def check_group(path, name, loaded, failed):
    ids = list_asset_ids(path, name)
    assert sorted(ids) == sorted(set(ids)) and set(loaded) <= set(ids) and all(type(id) is str for id in loaded)
    assert_same(get_embeddings_batch(path, [*ids[::-1], "nope", ""], name, failed=failed), loaded)
    for id in ids:
        found = get_embedding_by_id(path, id, name, failed=failed)
        assert (found is None) == (id not in loaded), id
        assert found is None or np.array_equal(found, loaded[id], equal_nan=True), id
    for id in ["nope", "", "\U0010ffff", "\ud83d", ids[0] + "\0", ids[0][:-1]]:
        assert get_embedding_by_id(path, id, name) is None, id
    assert get_embedding_by_id(path, ids[0], "german") is None and list_asset_ids(path, "german") == []


def check_yields(path, loaded, failed):
    for size in (1, 3, 1000):
        if isinstance(loaded, tuple):
            found = ({}, {})
            for ids, *languages in h5_utils.yield_multimodal_text_embeddings_h5(path, size, failed=failed):
                assert len(ids) <= size and ids == sorted(ids)
                for vectors, rows in zip(found, languages):
                    vectors.update((id, row) for id, row in zip(ids, [] if rows is None else rows) if row.any())
            for vectors, expected in zip(found, loaded):
                assert_same(vectors, dict(sorted(expected.items())))
        else:
            has_views = next(iter(loaded.values())).ndim == 2
            form = "image" if has_views else "text"
            batches = getattr(h5_utils, f"yield_{form}_embeddings_h5")(path, size, failed=failed)
            assert_same(of_batches(batches), loaded)


failed, path = sys.argv[1:]
loaded = h5_utils.load_embeddings_h5(path, failed=failed)
groups = dict(zip(h5_utils.LANGUAGES, loaded)) if isinstance(loaded, tuple) else {None: loaded}
groups = {name: vectors for name, vectors in groups.items() if vectors}
for name, vectors in groups.items():
    check_group(path, name, vectors, failed)
check_yields(path, loaded, failed)
some = [id for vectors in groups.values() for id in vectors][::2]
chosen = h5_utils.load_embeddings_h5(path, some + ["nope"], failed=failed)
pairs = zip(chosen, loaded) if isinstance(chosen, tuple) else [(chosen, loaded)]
for found, vectors in pairs:
    assert_same(found, {id: vector for id, vector in vectors.items() if id in some})

info = h5_utils.get_h5_info(path)
shapes = [about["shape"] for name, about in info["datasets"].items() if name.endswith("embeddings")]
assert all(shape[1] == info["file_attrs"]["embedding_dim"] for shape in shapes)
assert set(info["groups"]) == set(groups) - {None}

for name, vectors in groups.items():
    for id, of_asset in vectors.items():
        for view, vector in enumerate(np.atleast_2d(of_asset)):
            line = {"asset_id": id, "vector": None if np.isnan(vector).all() else vector.tolist()}
            if name is not None:
                line["group"] = name
            if of_asset.ndim == 2:
                line["view"] = view
            print(json.dumps(line))
