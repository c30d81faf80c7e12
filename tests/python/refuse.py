"""What h5_utils refuses, and that nothing is left of it: refuse.py FIXTURES FOLDER"""

import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

import h5_utils

fixtures, folder = map(Path, sys.argv[1:])
path = folder / "x.h5"
unit = np.full(4, 0.5, "f4")


@contextmanager
def refuses(what, error=ValueError):
    before = sorted(os.listdir(folder))
    try:
        yield
    except error as raised:
        assert what in str(raised), raised
    else:
        raise AssertionError(f"not refused: {what}")
    assert sorted(os.listdir(folder)) == before


# What cannot be saved; what is there already stays.
path.write_text("precious")
for vectors, what in [
    ({}, "no embeddings to save"),
    ({"a": unit, "b": unit[:3]}, "asset b has a vector of shape (3,), expected (4,)"),
    ({"a": unit, "b": np.stack([unit, unit])}, "asset b has a vector of shape (2, 4)"),
    ({"a": unit[:0]}, "length 0"),
    ({"": unit}, "'' is no asset id"),
    ({"a\0": unit}, "is no asset id"),
]:
    with refuses(what):
        h5_utils.save_text_embeddings_h5(path, vectors)
with refuses("asset b has no views"):
    h5_utils.save_image_embeddings_h5(path, {"a": [unit], "b": []})
with refuses("length 3 and 4"):
    h5_utils.save_multimodal_text_embeddings_h5(path, {"a": unit}, {"a": unit[:3]})
with refuses("no embeddings to save"):
    h5_utils.save_multimodal_text_embeddings_h5(path, {}, {})
with refuses("'lzf': expected 'gzip' or None"):
    h5_utils.save_text_embeddings_h5(path, {"a": unit}, compression="lzf")
with refuses("'lzf'"):
    h5_utils.HDF5EmbeddingWriter(path, 4, 1, "lzf")
with refuses("the caller's own", KeyError), h5_utils.HDF5EmbeddingWriter(path, 4, 1) as writer:
    writer.create_embedding_dataset()
    raise KeyError("the caller's own")
assert path.read_text() == "precious"

# Norms are as they are given, and a warning says what `hyperslab verify` will say.
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    h5_utils.save_text_embeddings_h5(folder / "norms.h5", {"a": unit, "b": 2 * unit, "c": unit})
assert len(told) == 1 and "the norm of 1 vectors is not 1" in str(told[0].message), told
assert told[0].filename == __file__, told[0].filename

# What the caller wrote stays, where it has no place in hyperslab's format.
for name, fill, what in [
    ("twice", lambda writer: writer.create_asset_id_dataset().__setitem__(slice(None), ["a", "a"]), "a stands twice"),
    ("unnamed", lambda writer: writer.create_asset_id_dataset().__setitem__(0, "a"), "'' is no asset id"),
    ("tableless", lambda writer: None, "neither asset_ids nor metadata"),
    ("more", lambda writer: [writer.create_asset_id_dataset(), writer.create_metadata_dataset("size", "f4")], "/size"),
]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with h5_utils.HDF5EmbeddingWriter(folder / f"{name}.h5", 4, 2) as writer:
            writer.create_embedding_dataset()[:] = unit
            fill(writer)
    assert len(told) == 1 and what in str(told[0].message) and "stays as it was written" in str(told[0].message), told
    with h5py.File(folder / f"{name}.h5") as f:
        assert (f["embeddings"][:] == unit).all() and "digests" not in f
assert h5_utils.load_text_embeddings_h5(folder / "twice.h5")["a"].tolist() == unit.tolist()

# What does not fit the file is said.
with refuses("has a row per view: use load_image_"):
    h5_utils.load_text_embeddings_h5(fixtures / "image_f32.h5")
with refuses("has a row per asset: use load_text_"):
    list(h5_utils.yield_image_embeddings_h5(fixtures / "text_f32.h5"))
with refuses("has several groups, name one: chinese, english"):
    h5_utils.get_embedding_by_id(fixtures / "groups.h5", "both_05")
with refuses("has no groups"):
    h5_utils.load_multimodal_text_embeddings_h5(fixtures / "text_f32.h5")
with refuses("failed='zero': expected 'drop' or 'nan'"):
    h5_utils.load_text_embeddings_h5(fixtures / "text_f32.h5", failed="zero")
with refuses("nope.h5", FileNotFoundError):
    h5_utils.list_asset_ids(folder / "nope.h5")
with h5py.File(folder / "empty.h5", "w") as f:
    f.create_group("english")
with refuses("has no embeddings"):
    h5_utils.load_text_embeddings_h5(folder / "empty.h5")
assert h5_utils.load_multimodal_text_embeddings_h5(folder / "empty.h5") == ({}, {})
assert h5_utils.load_embeddings_h5(folder / "empty.h5") == ({}, {})
union = h5_utils.list_asset_ids(fixtures / "groups.h5")
assert union == sorted(set(union)) and len(union) == 20 and union[-1] == "椅子"
with h5py.File(folder / "norms.h5", "r+") as f:
    f.attrs["format_version"] = 2
with refuses("format version 2, expected 1"):
    h5_utils.get_embedding_by_id(folder / "norms.h5", "a")
