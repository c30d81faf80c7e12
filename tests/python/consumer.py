"""Reads embeddings as the old service's populator does: consumer.py text|image|multimodal FILE

Prints what it would insert, one JSON array [table, id, viewpoint, vector] per line, in which a NaN is refused, as the
database does.
"""

import json
import sys

import h5py
import numpy as np

from h5_utils import (
    load_image_embeddings_h5,
    load_multimodal_text_embeddings_h5,
    load_text_embeddings_h5,
    yield_image_embeddings_h5,
    yield_multimodal_text_embeddings_h5,
    yield_text_embeddings_h5,
)


def insert_all(kind, path):
    if kind == "text":
        for asset_id, embedding in load_text_embeddings_h5(path).items():
            yield "text", asset_id, 0, embedding.tolist()
    elif kind == "image":
        for asset_id, embeddings in load_image_embeddings_h5(path).items():
            for viewpoint_idx, embedding in enumerate(embeddings):
                yield "image", asset_id, viewpoint_idx, embedding.tolist()
    else:
        english, chinese = load_multimodal_text_embeddings_h5(path)
        for asset_id in sorted(set(english) | set(chinese)):
            for language, embedding in [("english", english.get(asset_id)), ("chinese", chinese.get(asset_id))]:
                if embedding is not None and not np.all(embedding == 0):
                    yield language, asset_id, 0, embedding.tolist()


def insert_batches(kind, path):
    if kind == "text":
        for ids, embeddings in yield_text_embeddings_h5(path, batch_size=5):
            for asset_id, embedding in zip(ids, embeddings):
                yield "text", asset_id, 0, embedding.tolist()
    elif kind == "image":
        for batch in yield_image_embeddings_h5(path, batch_size=3):
            for asset_id, embeddings in batch.items():
                for viewpoint_idx, embedding in enumerate(embeddings):
                    yield "image", asset_id, viewpoint_idx, embedding.tolist()
    else:
        for ids, english, chinese in yield_multimodal_text_embeddings_h5(path, batch_size=4):
            for i, asset_id in enumerate(ids):
                for language, embeddings in [("english", english), ("chinese", chinese)]:
                    if embeddings is not None and not np.all(embeddings[i] == 0):
                        yield language, asset_id, 0, embeddings[i].tolist()


kind, path = sys.argv[1:]
inserted = list(insert_all(kind, path))
assert list(insert_batches(kind, path)) == inserted
with h5py.File(path) as f:
    assert all(len(vector) == f.attrs["embedding_dim"] for *_, vector in inserted)
    if kind == "text":
        vectors = dict(zip(f["asset_ids"][:], f["embeddings"][:]))
        assert all(vectors[id.encode()].tolist() == vector for _, id, _, vector in inserted)
for row in inserted:
    print(json.dumps(row, allow_nan=False))
