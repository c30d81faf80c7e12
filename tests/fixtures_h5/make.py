#!/usr/bin/env python3
"""Writes the sealed files that tests/read.rs reads, with h5py alone (Debian: python3-h5py).

    make.py                     the committed fixtures, beside this script
    make.py FILE ROWS DIM       one large text file, to measure look-ups with

The layout is that of src/store/schema.rs, written down a second time on purpose: what both agree on
is what any HDF5 reader sees.
"""

import hashlib
import pathlib
import sys

import h5py
import numpy as np

MODEL = {
    "model_name": "google/siglip-tiny",
    "weights_sha256": "11" * 32,
    "tokenizer_sha256": "22" * 32,
    "preprocessing": '{"background": "drop", "size": 384}',
    "precision": "f32",
    "program": "hyperslab 0.1.0",
    "device_model": "cpu",
    "libtorch": "2.11.0",
    "fingerprint": "33" * 32,
    "plan_sha256": "44" * 32,
}


def utf8(texts):
    """Fixed-length UTF-8, as wide as the longest."""
    encoded = [text.encode() for text in texts]
    return h5py.string_dtype("utf-8", max([1, *map(len, encoded)])), encoded


def text_attribute(location, name, text):
    location.attrs.create(name, text.encode(), dtype=h5py.string_dtype("utf-8", max(1, len(text.encode()))))


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def seal(path, kind, vectors, ids, counts=None, failures=(), num_images=None, **layout):
    """failures: (index of the asset, row, reason)."""
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        write_group(f, vectors, ids, counts, failures, num_images, **layout)
        f.attrs["format_version"] = np.int64(1)
        write_counts(f, vectors, ids, counts, failures)
        for name, text in {"kind": kind, **MODEL}.items():
            text_attribute(f, name, text)


def seal_groups(path, kind, groups, **layout):
    """groups: by name, (vectors, ids, failures); they have the same dimension."""
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        for name, (vectors, ids, failures) in groups.items():
            g = f.create_group(name)
            write_group(g, vectors, ids, None, failures, None, **layout)
            write_counts(g, vectors, ids, None, failures)
        f.attrs["format_version"] = np.int64(1)
        for count in ["total_items", "total_assets", "failed_items"]:
            f.attrs[count] = np.int64(sum(f[name].attrs[count] for name in groups))
        f.attrs["embedding_dim"] = np.int64(vectors.shape[1])
        for name, text in {"kind": kind, **MODEL}.items():
            text_attribute(f, name, text)


def write_group(f, vectors, ids, counts, failures, num_images, block_rows=16, chunk_rows=4, gzip=4):
    filters = dict(chunks=(chunk_rows, vectors.shape[1]), compression="gzip", compression_opts=gzip, shuffle=True)
    f.create_dataset("embeddings", data=vectors, track_times=False, **(filters if gzip else {}))
    table = write_table(f, ids, counts)
    failed = write_failures(f, ids, failures)
    blocks = [vectors[start : start + block_rows] for start in range(0, len(vectors), block_rows)]
    digests = np.array([list(bytes.fromhex(sha256(block))) for block in blocks], "u1").reshape(len(blocks), 32)
    d = f.create_dataset("digests", data=digests, track_times=False)
    d.attrs["block_rows"] = np.int64(block_rows)
    text_attribute(d, "algorithm", "sha256")
    text_attribute(d, "table_sha256", sha256(table))
    text_attribute(d, "failures_sha256", sha256(failed))
    if num_images is not None:
        num_images = np.array(num_images, "<i4")
        f.create_dataset("num_images", data=num_images, track_times=False)
        text_attribute(d, "num_images_sha256", sha256(num_images))


def write_counts(f, vectors, ids, counts, failures):
    f.attrs["total_items"] = np.int64(len(vectors))
    f.attrs["embedding_dim"] = np.int64(vectors.shape[1])
    f.attrs["total_assets"] = np.int64(len(ids))
    f.attrs["failed_items"] = np.int64(len(failures))
    if counts is not None:
        f.attrs["total_viewpoints"] = np.int64(len(vectors))


def write_table(f, ids, counts):
    id_type, encoded = utf8(ids)
    assert encoded == sorted(set(encoded))
    if counts is None:
        table = np.array(encoded, id_type)
        f.create_dataset("asset_ids", data=table, dtype=id_type, track_times=False)
        return table
    table = np.zeros(len(ids), [("asset_id", id_type), ("start_idx", "<i8"), ("count", "<i4")])
    table["asset_id"], table["count"] = encoded, counts
    table["start_idx"] = np.cumsum([0, *counts[:-1]])
    f.create_dataset("metadata", data=table, track_times=False)
    return table


def write_failures(f, ids, failures):
    id_type, _ = utf8(ids)
    reason_type, reasons = utf8([reason for _, _, reason in failures])
    failed = np.zeros(len(failures), [("asset_id", id_type), ("row", "<i8"), ("reason", reason_type)])
    for i, (asset, row, _) in enumerate(failures):
        failed[i] = (ids[asset].encode(), row, reasons[i])
    f.create_dataset("failures", data=failed, track_times=False)
    return failed


def unit_vectors(rows, dim, stored, failed=(), seed=1):
    """Random, the same on every run; all NaN where the item failed."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((rows, dim), dtype="f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(stored)
    nan = {"<f4": np.uint32(0x7FC00000), "<f2": np.uint16(0x7E00)}[stored]
    vectors.view(nan.dtype)[list(failed)] = nan
    return vectors


def fixtures(folder):
    ids = sorted((f"chair_{i:02}" for i in range(34)), key=str.encode)
    ids = ids + ["lamp", "lamp#1", "räksmörgås/灯"]
    empty, broken = "empty caption", "broken picture: ends after 12 bytes"
    failures = [(3, 3, empty), (36, 36, empty)]
    seal(folder / "text_f32.h5", "siglip_text", unit_vectors(37, 8, "<f4", [3, 36]), ids, None, failures)
    seal(folder / "text_f16.h5", "siglip_text", unit_vectors(37, 8, "<f2"), ids, gzip=None)

    ids = [f"{i // 10}/{10000 + i}" for i in range(23)]
    counts = [1 + i % 4 for i in range(23)]
    failures = [(0, 0, broken), (1, 2, "unreadable file"), (2, 3, broken)]
    vectors = unit_vectors(sum(counts), 8, "<f4", [0, 2, 3])
    seal(folder / "image_f32.h5", "siglip_image", vectors, ids, counts, failures)
    vectors = unit_vectors(sum(counts), 8, "<f2")
    seal(folder / "image_f16.h5", "siglip_image", vectors, ids, counts)

    english = [f"both_{i:02}" for i in range(18)] + ["english_1"]
    chinese = [f"both_{i:02}" for i in range(5, 9)] + ["椅子"]
    groups = {
        "english": (unit_vectors(19, 8, "<f4", [17], seed=2), english, [(17, 17, empty)]),
        "chinese": (unit_vectors(5, 8, "<f4", seed=3), chinese, []),
    }
    seal_groups(folder / "groups.h5", "qwen_text", groups)
    groups = {"chinese": (unit_vectors(5, 8, "<f2", seed=3), chinese, [])}
    seal_groups(folder / "one_group.h5", "qwen_text", groups, gzip=None)

    ids = [f"{i // 10}/{10000 + i}" for i in range(21)]
    left_out = f"views left out: 2 of 8: 00003.png: {broken}"
    failures = [(4, 4, left_out), (9, 9, f"no view left: 1 of 1: 00000.png: {broken}")]
    num_images = [min(8, 1 + i % 9) for i in range(21)]
    num_images[4], num_images[9] = 6, 0
    vectors = unit_vectors(21, 8, "<f4", [9], seed=4)
    seal(folder / "view_sets.h5", "qwen_image", vectors, ids, None, failures, num_images)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        rows, dim = int(sys.argv[2]), int(sys.argv[3])
        ids = [f"asset_{i:09}" for i in range(rows)]
        vectors = unit_vectors(rows, dim, "<f4")
        seal(sys.argv[1], "siglip_text", vectors, ids, block_rows=1024, chunk_rows=64)
    else:
        fixtures(pathlib.Path(__file__).parent)
