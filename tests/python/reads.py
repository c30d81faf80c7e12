"""How much h5_utils reads of a file for what it is asked: reads.py FOLDER"""

import sys
from pathlib import Path

import h5py
import numpy as np

import h5_utils

ASSETS, VIEWS, DIM = 30_000, 3, 4
path, image = (Path(sys.argv[1]) / name for name in ("text.h5", "image.h5"))
random = np.random.default_rng(6)
vectors = random.standard_normal((ASSETS, VIEWS, DIM)).astype("f4")
vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
ids = [f"{number:08}" for number in range(0, 2 * ASSETS, 2)]
h5_utils.save_text_embeddings_h5(path, dict(zip(ids, vectors[:, 0])))
h5_utils.save_image_embeddings_h5(image, dict(zip(ids, vectors)), compression=None)

spans = []  # (name of the dataset, first, last) of each read
read = h5py.Dataset.__getitem__


def recorded(dataset, rows):
    assert isinstance(rows, slice), rows
    first, stop, _ = rows.indices(len(dataset))
    spans.append((dataset.name, first, stop))
    return read(dataset, rows)


h5py.Dataset.__getitem__ = recorded


def reads_of(ask):
    """What it returns, and by dataset the spans that it read."""
    spans.clear()
    returned = ask()
    return returned, {name: [span[1:] for span in spans if span[0] == name] for name, *_ in spans}


def n_records(reads):
    return sum(stop - first for first, stop in reads)


# One id: a few reads of the table, and one row. One that is not there: no row.
for at in (0, 1, ASSETS // 2, 12_345, ASSETS - 1):
    found, reads = reads_of(lambda: h5_utils.get_embedding_by_id(path, ids[at]))
    assert np.array_equal(found, vectors[at, 0])
    assert len(reads["/asset_ids"]) < 20 and n_records(reads["/asset_ids"]) < ASSETS // 10, reads
    assert reads["/embeddings"] == [(at, at + 1)]
    found, reads = reads_of(lambda: h5_utils.get_embedding_by_id(image, ids[at]))
    assert np.array_equal(found, vectors[at])
    assert len(reads["/metadata"]) < 20 and n_records(reads["/metadata"]) < ASSETS // 10, reads
    assert reads["/embeddings"] == [(VIEWS * at, VIEWS * (at + 1))]
    found, reads = reads_of(lambda: h5_utils.get_embedding_by_id(path, f"{2 * at + 1:08}"))
    assert found is None and "/embeddings" not in reads

# Several, in any order: in the order of the file, no chunk twice, nothing in between.
some = random.permutation(ASSETS)[:500]
for file, table in [(path, "/asset_ids"), (image, "/metadata")]:
    found, reads = reads_of(lambda: h5_utils.get_embeddings_batch(file, [ids[at] for at in some]))
    assert list(found) == [ids[at] for at in sorted(some)]
    assert all(np.array_equal(found[ids[at]], vectors[at, 0] if file == path else vectors[at]) for at in some)
    assert n_records(reads[table]) < 2 * ASSETS + len(some)
    chunk = h5py.File(file)["embeddings"].chunks
    if chunk:
        ranges = [range(first // chunk[0], (stop - 1) // chunk[0] + 1) for first, stop in reads["/embeddings"]]
        chunks = [number for numbers in ranges for number in numbers]
        assert chunks == sorted(set(chunks)), chunks
        assert set(chunks) == {at // chunk[0] for at in some}

# Batches: each row once, in order, and a batch at a time.
batches = h5_utils.yield_text_embeddings_h5(path, 700)
_, reads = reads_of(lambda: next(batches))
assert n_records(reads["/embeddings"]) == 700, reads
_, rest = reads_of(lambda: list(batches))
spans_read = reads["/embeddings"] + rest["/embeddings"]
assert [first for first, _ in spans_read] == [0] + [stop for _, stop in spans_read][:-1]
assert spans_read[-1][1] == ASSETS
