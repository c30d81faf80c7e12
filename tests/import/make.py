#!/usr/bin/env python3
"""Writes files as the old pipeline's programs left them, make.py FOLDER; tests/import.rs knows what is in them.

Vectors of `value` are exact in float16. `unit` has normalised ones for the command, with the digests that it prints.
"""

import collections
import hashlib
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np

DIM = 8
# Pickle writes lists and dictionaries in batches of 1,000.
ASSETS = 2300
LONG_DIM = 1030


def asset_id(i):
    return f"{i * 37 % 11}/é{i}"


def value(i, view, j):
    return ((i * 31 + view * 7 + j * 17) % 63 - 31) / 64


def vector(i, view=0, dim=DIM, dtype="<f4"):
    return np.array([value(i, view, j) for j in range(dim)], dtype)


def count(i):
    return i % 4


def views(i, dtype="<f4"):
    return [vector(i, view, DIM, dtype) for view in range(count(i))]


def text_array(n, dtype="<f4"):
    return np.array([vector(i, dtype=dtype) for i in range(n)])


def dump(path, what, protocol):
    with open(path, "wb") as file:
        pickle.dump(what, file, protocol)


def npy(folder):
    n = 50
    ids = [asset_id(i) for i in range(n)]
    (folder / "ids.json").write_text(json.dumps(ids))
    for dtype in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
        np.save(folder / f"text_{dtype[1:]}_{'little' if dtype[0] == '<' else 'big'}.npy", text_array(n, dtype))
    for version in [(1, 0), (2, 0), (3, 0)]:
        with open(folder / f"text_version_{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, text_array(n), version=version)
    mapped = np.lib.format.open_memmap(folder / "text_memmap.npy", "w+", np.float32, (n, DIM))
    mapped[:] = text_array(n)
    mapped.flush()
    # Ranges in another order than the rows, an asset without rows among them, and two rows that are nobody's.
    order = sorted(range(n), key=asset_id)
    rows, ranges = [], {}
    for i in order:
        ranges[asset_id(i)] = {"start_idx": len(rows), "count": count(i)}
        rows += views(i)
    shuffled = {asset_id(i): ranges[asset_id(i)] for i in range(n)}
    (folder / "ranges.json").write_text(json.dumps(shuffled, indent=1))
    np.save(folder / "image.npy", np.array(rows + [np.zeros(DIM, np.float32)] * 2))
    np.save(folder / "fortran.npy", np.asfortranarray(text_array(n)))
    np.save(folder / "objects.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)


def npz(folder):
    n, world = 50, 3
    for rank in range(world):
        own = list(range(rank, n, world))
        ids = np.array([asset_id(i) for i in own])
        texts = np.array([vector(i) for i in own])
        np.savez_compressed(folder / f"text_rank_{rank}.npz", asset_ids=ids, embeddings=texts)
        np.savez(folder / f"text_stored_{rank}.npz", asset_ids=np.char.encode(ids, "utf-8"), embeddings=texts.astype("<f8"))
        flat = np.array([view for i in own for view in views(i)])
        counts = np.array([count(i) for i in own])
        np.savez_compressed(folder / f"image_rank_{rank}.npz", asset_ids=ids, counts=counts, embeddings=flat)
        np.savez(folder / f"image_stored_{rank}.npz", asset_ids=ids.astype(ids.dtype.newbyteorder(">")),
                 counts=counts.astype(">i2"), embeddings=flat.astype(">f4"))
    two = np.array([vector(1), vector(2)])
    np.savez_compressed(folder / "small_0.npz", asset_ids=np.array(["a", "é"]), embeddings=two)
    np.savez(folder / "small_stored.npz", asset_ids=np.array(["a"]), counts=np.array([2]), embeddings=two)
    np.savez_compressed(folder / "text_rank_empty.npz", asset_ids=np.array([]), embeddings=np.array([]))
    np.savez(folder / "objects.npz", asset_ids=np.array(["a", "b"], dtype=object), embeddings=np.ones((2, DIM), np.float32))
    np.savez(folder / "other.npz", ids=np.array(["a"]), vectors=np.ones((1, DIM)))
    np.savez(folder / "negative.npz", asset_ids=np.array(["a", "b"]), counts=np.array([3, -1]), embeddings=np.ones((2, DIM)))
    np.savez(folder / "miscounted.npz", asset_ids=np.array(["a", "b"]), counts=np.array([2, 1]), embeddings=np.ones((2, DIM)))


def pickles(folder):
    for protocol in [2, 3, 4, 5]:
        for dtype in ["<f2", "<f4", "<f8", ">f4"]:
            kind = f"{dtype[1:]}{'_big' if dtype[0] == '>' else ''}_{protocol}.pkl"
            dump(folder / f"text_{kind}", {asset_id(i): vector(i, dtype=dtype) for i in range(ASSETS)}, protocol)
        rows = text_array(ASSETS)
        texts = {asset_id(i): vector(i) for i in range(ASSETS)}
        same = {
            # Rows of one array; what np.load and zip make of the .npz; another class; one array shared by two.
            "rows": {asset_id(i): rows[i] for i in range(ASSETS)},
            "str": dict(zip(np.array([asset_id(i) for i in range(ASSETS)]), rows)),
            "ordered": collections.OrderedDict(texts),
            "matrix": {id: array[None] for id, array in texts.items()},
            "floats": {id: array.tolist() for id, array in texts.items()},
            "scalars": {id: list(array) for id, array in texts.items()},
            "strided": {asset_id(i): np.repeat(rows[i], 2)[::2] for i in range(ASSETS)},
        }
        for name, what in same.items():
            dump(folder / f"text_{name}_{protocol}.pkl", what, protocol)
        dump(folder / f"image_lists_{protocol}.pkl", {asset_id(i): views(i) for i in range(ASSETS)}, protocol)
        arrays = {asset_id(i): np.array(views(i)).reshape(-1, DIM) for i in range(ASSETS)}
        dump(folder / f"image_arrays_{protocol}.pkl", arrays, protocol)
        floats = {asset_id(i): [view.tolist() for view in views(i)] for i in range(ASSETS)}
        dump(folder / f"image_floats_{protocol}.pkl", floats, protocol)
        long = {asset_id(i): vector(i, dim=LONG_DIM).tolist() for i in range(5)}
        dump(folder / f"long_floats_{protocol}.pkl", long, protocol)
        dump(folder / f"long_arrays_{protocol}.pkl", {id: np.array(floats) for id, floats in long.items()}, protocol)
        one = vector(3)
        dump(folder / f"shared_{protocol}.pkl", {"a": one, "b": vector(4), "c": one}, protocol)
        with open(folder / f"slow_{protocol}.pkl", "wb") as file:
            pickle._Pickler(file, protocol).dump(texts)
    as_numpy_2(folder)


def as_numpy_2(folder):
    """The same with the names that NumPy 2 gives its modules."""
    for module, name in [("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer")]:
        function = getattr(getattr(np.core, module), name)
        renamed = f"numpy._core.{module}"
        if function.__module__ == renamed:
            continue
        sys.modules.setdefault("numpy._core", types.ModuleType("numpy._core"))
        fake = sys.modules.setdefault(renamed, types.ModuleType(renamed))
        setattr(fake, name, function)
        function.__module__ = renamed
    for protocol in [2, 3, 4, 5]:
        dump(folder / f"text_numpy2_{protocol}.pkl", {asset_id(i): vector(i) for i in range(ASSETS)}, protocol)


class Mean:
    def __init__(self):
        self.a = np.ones(3)


class Command:
    """Would run a command where it was executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w')",)


def bad_pickles(folder):
    one = vector(1)
    np_int = np.ones(DIM, np.int64)
    bad = {
        "executes": {"a": Command(folder / "executed")},
        "object": {"a": Mean()},
        "list_of_all": [one, one],
        "set": {"a": {1.5}},
        "dict": {"a": {"vector": one}},
        "none": {"a": None},
        "integer_key": {7: one},
        "integers": {"a": np_int},
        "objects": {"a": np.array([one, None], dtype=object)},
        "strings": {"a": np.array(["x", "y"])},
        "scalar": {"a": np.float32(1.5)},
        "text": {"a": "0.1, 0.2"},
        "axes": {"a": np.ones((2, 2, 2), np.float32)},
        "fortran": {"a": np.asfortranarray(np.ones((3, 2), np.float32))},
        "mixed": {"a": one, "b": vector(2, dim=DIM + 1)},
        "mixed_views": {"a": [one, vector(2, dim=DIM + 1)]},
        "many": {"a": [one, one]},
        "empty_id": {"": one},
        "long_id": {"x" * 256: one},
        "bool": {"a": [True, False]},
    }
    for protocol in [2, 4, 5]:
        for name, what in bad.items():
            dump(folder / f"bad_{name}_{protocol}.pkl", what, protocol)
    with open(folder / "bad_two_4.pkl", "wb") as file:
        pickle.dump({"a": one}, file, 4)
        pickle.dump({"b": one}, file, 4)
    dump(folder / "bad_protocol_0.pkl", {"a": one}, 0)
    dump(folder / "bad_protocol_1.pkl", {"a": one}, 1)


def unit_vectors(seed, n, dim, dtype=np.float32):
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def digest(groups):
    """As `hyperslab import` prints it, of {id: [vectors]}: zero rows and rows that are not finite count as NaN."""
    sha = hashlib.sha256()
    for id in sorted(groups, key=str.encode):
        rows = np.array(groups[id], np.float64)
        rows[~np.isfinite(rows).all(1) | (rows == 0).all(1)] = np.nan
        stored = rows.astype("<f4")
        stored[np.isnan(stored)] = np.array([0x7FC00000], "<u4").view("<f4")
        sha.update(id.encode() + b"\0" + stored.tobytes())
    return sha.hexdigest()


def unit(folder):
    """What the command is run on, and the digests that it is to print."""
    n, dim = 300, 24
    rows = unit_vectors(1, n, dim)
    rows[7], rows[8, 3], rows[9, 0] = 0, np.nan, np.inf
    ids = [asset_id(i) for i in range(n)]
    np.save(folder / "unit.npy", rows)
    (folder / "unit.json").write_text(json.dumps(ids))
    np.savez_compressed(folder / "unit_0.npz", asset_ids=np.array(ids[::2]), embeddings=rows[::2])
    np.savez_compressed(folder / "unit_1.npz", asset_ids=np.array(ids[1::2]), embeddings=rows[1::2])
    dump(folder / "unit.pkl", dict(zip(ids, rows)), 4)
    by_asset = {id: [row] for id, row in zip(ids, rows)}
    flat = unit_vectors(2, sum(count(i) for i in range(n)), dim)
    flat[3] = 0
    ends = np.cumsum([count(i) for i in range(n)])
    by_view = {id: flat[end - count(i) : end] for i, (id, end) in enumerate(zip(ids, ends)) if count(i)}
    np.savez_compressed(folder / "unit_views.npz", asset_ids=np.array(ids), counts=np.diff(ends, prepend=0), embeddings=flat)
    dump(folder / "unit_views.pkl", {id: list(rows) for id, rows in by_view.items()}, 5)
    chinese = dict(zip(ids[:100], unit_vectors(3, 100, dim, np.float64)))
    dump(folder / "chinese.pkl", {id: row.tolist() for id, row in chinese.items()}, 4)
    longer = {id: 3 * row for id, row in chinese.items()}
    dump(folder / "longer.pkl", longer, 4)
    digests = {
        "text": digest(by_asset),
        "image": digest(by_view),
        "chinese": digest({id: [row] for id, row in chinese.items()}),
    }
    (folder / "digests.json").write_text(json.dumps(digests))


def main(folder):
    folder = Path(folder)
    for make in [npy, npz, bad_pickles, unit, pickles]:
        make(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
