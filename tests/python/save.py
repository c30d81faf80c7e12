"""Saves files with h5_utils in all its ways: save.py FOLDER

Prints what each holds as `hyperslab get --json` does, with its name, and null for the vector of an item that failed.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np

import h5_utils

DIM = 16
FAILED = {"zero": np.zeros(DIM), "nan": np.full(DIM, np.nan), "inf": np.array([np.inf] + [0.5] * (DIM - 1))}
METADATA = np.dtype([("asset_id", h5py.string_dtype()), ("start_idx", "i8"), ("count", "i4")])

random = np.random.default_rng(6)


def unit():
    vector = random.standard_normal(DIM).astype("f4")
    return vector / np.linalg.norm(vector)


def texts(n, name):
    """Vectors by id, in no order; some ids are not ASCII."""
    return {f"{i * 7 % n % 3}/{name} {'é灯'[i % 2]} {i * 7 % n}": unit() for i in range(n)}


def told(path, groups):
    """Prints what a file is to hold: by group, what each asset has."""
    for group, vectors in groups.items():
        for id, of_asset in vectors.items():
            has_views = np.ndim(of_asset) == 2
            for view, vector in enumerate(of_asset if has_views else [of_asset]):
                vector = np.asarray(vector, "f4")
                failed = not np.isfinite(vector).all() or not vector.any()
                line = {"file": path.name, "asset_id": id, "vector": None if failed else vector.tolist()}
                line.update({"group": group} if group else {}, **({"view": view} if has_views else {}))
                print(json.dumps(line))


def save_dicts(folder):
    text = {**texts(150, "text"), **FAILED, "list": unit().tolist(), "double": unit().astype("f8")}
    h5_utils.save_text_embeddings_h5(folder / "text.h5", text)
    told(folder / "text.h5", {"": text})
    h5_utils.save_text_embeddings_h5(str(folder / "one.h5"), {"a": text["list"]}, compression=None)
    told(folder / "one.h5", {"": {"a": text["list"]}})

    views = {f"{i}": [unit() for _ in range(1 + i % 4)] for i in range(40)}
    views["mixed"] = [unit(), *FAILED.values(), unit()]
    views["array"] = np.stack([unit(), unit()])
    views["none"] = [FAILED["zero"]]
    h5_utils.save_image_embeddings_h5(folder / "image.h5", views, compression_level=9)
    told(folder / "image.h5", {"": views})
    h5_utils.save_embeddings_h5(folder / "image_plain.h5", views, None)
    told(folder / "image_plain.h5", {"": views})

    english, chinese = {**texts(30, "both"), **FAILED}, texts(5, "both")
    h5_utils.save_multimodal_text_embeddings_h5(folder / "multimodal.h5", english, chinese)
    told(folder / "multimodal.h5", {"english": english, "chinese": chinese})
    h5_utils.save_multimodal_text_embeddings_h5(folder / "chinese.h5", {}, chinese)
    told(folder / "chinese.h5", {"chinese": chinese})

    for name in ("text.h5", "image.h5", "multimodal.h5", "chinese.h5"):
        again = folder / f"again_{name}"
        h5_utils.save_embeddings_h5(again, h5_utils.load_embeddings_h5(folder / name, failed="nan"))
        with h5py.File(folder / name) as one, h5py.File(again) as other:
            group = "chinese" if "chinese" in one else "/"
            assert np.array_equal(one[group]["embeddings"], other[group]["embeddings"], equal_nan=True), name
            assert np.array_equal(one[group]["failures"]["row"], other[group]["failures"]["row"]), name


def save_pieces(folder):
    """As the old pipeline wrote: rank by rank, in no order."""
    text = texts(2000, "piece")
    with h5_utils.HDF5EmbeddingWriter(str(folder / "writer.h5"), DIM, len(text), chunk_size=300) as writer:
        vectors, ids = writer.create_embedding_dataset(), writer.create_asset_id_dataset()
        assert vectors.shape == (2000, DIM) and vectors.dtype == "f4" and vectors.chunks == (300, DIM)
        for start in range(0, len(text), 128):
            vectors[start : start + 128] = list(text.values())[start : start + 128]
            ids[start : start + 128] = list(text)[start : start + 128]
        writer.file.attrs["total_items"], writer.file.attrs["model_name"] = len(text), "some/modèle"
        assert not (folder / "writer.h5").exists()
    told(folder / "writer.h5", {"": text})

    views = {f"{i * 5 % 23}": np.stack([unit() for _ in range(1 + i % 3)]) for i in range(23)}
    counts = np.array(list(map(len, views.values())))
    with h5_utils.HDF5EmbeddingWriter(folder / "writer_image.h5", DIM, counts.sum()) as writer:
        writer.create_embedding_dataset()[:] = np.concatenate(list(views.values()))
        table = writer.create_metadata_dataset("metadata", METADATA, (len(views),))
        table[:] = np.array(list(zip(views, np.cumsum(counts) - counts, counts)), METADATA)
    told(folder / "writer_image.h5", {"": views})


folder = Path(sys.argv[1])
warnings.simplefilter("error")
save_dicts(folder)
save_pieces(folder)
assert all(name.endswith(".h5") for name in os.listdir(folder))
