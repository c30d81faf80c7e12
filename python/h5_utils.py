"""Embeddings in HDF5 files, with h5py and numpy alone: what the old pipeline's helpers offered, by the same names.

    load_text_embeddings_h5      {id: [dim]}           files with /asset_ids: captions, Qwen's images
    load_image_embeddings_h5     {id: [views, dim]}    files with /metadata: a row per view
    load_multimodal_text_...     (english, chinese)    files with a group for each language
    yield_...                    the same in batches, in bounded memory
    get_embedding_by_id, get_embeddings_batch, list_asset_ids_h5, get_h5_info
    save_..., HDF5EmbeddingWriter
    save_embeddings_h5, load_embeddings_h5, list_asset_ids: whichever form is given, or the file has

hyperslab's files are read, in which ids are sorted: a look-up is a binary search with a few small reads, and a chunk
of vectors. So are files of the old pipeline, for which all ids are loaded each time.

Ids are str, vectors float32. Batches are read in the order of the file, each chunk once.

An item that failed has a row of NaN in hyperslab's files, and one of zeros in the old pipeline's. By default
(failed="drop") it is left out, as if it had no vector: it must not get into a database. Of an asset with views, the
rows of those that failed are zeros, so that the place of a view remains its number, and the asset is left out where
all of them failed. failed="nan" leaves nothing out: the rows of what failed are NaN.

What is saved are files of hyperslab's format, which `hyperslab` and verify.py read and check, written beside their
name and renamed. Vectors are stored as they are given, as float32. Vectors of zeros, and those that are not finite,
are items that failed. hyperslab's own vectors have norm 1: `hyperslab verify` reports others, a warning says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import os
import warnings
from bisect import bisect_left
from operator import itemgetter
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import h5py
import numpy as np

Vectors = Dict[str, np.ndarray]
Vector = Union[np.ndarray, Sequence[float]]
Path = Union[str, "os.PathLike[str]"]

LANGUAGES = ("english", "chinese")
FORMAT_VERSION = 1
NORM_TOLERANCE = 1e-3  # as `hyperslab verify` has it

SEARCH_BYTES = 16 << 10  # of ids, which the last step of a search reads at once
SPAN_BYTES = 256 << 10  # of rows without chunks, which are read at once if the first and the last are wanted
LOAD_ASSETS = 1000  # read at once where all are loaded
CACHE_BYTES = 16 << 20  # of chunks: one that two batches share is read once


# --- Loading ---------------------------------------------------------------------------------------------------------


def load_text_embeddings_h5(
    filepath: Path, asset_ids: Optional[Iterable[str]] = None, *, failed: str = "drop"
) -> Vectors:
    """The vector [dim] of each asset, or of those asked for that are there, in the order of the rows."""
    with _opened(filepath) as f:
        return _load(_group_with(f, has_views=False), asset_ids, failed)


def load_image_embeddings_h5(
    filepath: Path, asset_ids: Optional[Iterable[str]] = None, *, failed: str = "drop"
) -> Vectors:
    """The vectors [views, dim] of each asset, or of those asked for that are there, in the order of the rows.

    A view that failed is a row of zeros, with failed="nan" one of NaN: a row's place is the view's number.
    """
    with _opened(filepath) as f:
        return _load(_group_with(f, has_views=True), asset_ids, failed)


def load_multimodal_text_embeddings_h5(
    filepath: Path, asset_ids: Optional[Iterable[str]] = None, *, failed: str = "drop"
) -> Tuple[Vectors, Vectors]:
    """As load_text_embeddings_h5, in English and in Chinese; nothing for a language that the file has not."""
    asset_ids = None if asset_ids is None else list(asset_ids)
    with _opened(filepath) as f:
        groups = _languages(f)
        english, chinese = (
            _load(groups[name], asset_ids, failed) if name in groups else {} for name in LANGUAGES
        )
        return english, chinese


def load_embeddings_h5(
    filepath: Path, asset_ids: Optional[Iterable[str]] = None, *, failed: str = "drop"
) -> Union[Vectors, Tuple[Vectors, Vectors]]:
    """As that of the three load_ functions which fits the file: a pair of dicts, where it has groups."""
    with _opened(filepath) as f:
        if "embeddings" in f:
            return _load(_Group(f), asset_ids, failed)
    return load_multimodal_text_embeddings_h5(filepath, asset_ids, failed=failed)


def get_embedding_by_id(
    filepath: Path, asset_id: str, group_name: Optional[str] = None, *, failed: str = "drop"
) -> Optional[np.ndarray]:
    """The vector [dim] of an asset, or all its views' [views, dim] as load_image_embeddings_h5 has them.

    None where the asset is not there, or failed, or where there is no such group. A file's only group need not be
    named; of several one has to be (ValueError).
    """
    return get_embeddings_batch(filepath, [asset_id], group_name, failed=failed).get(asset_id)


def get_embeddings_batch(
    filepath: Path, asset_ids: Iterable[str], group_name: Optional[str] = None, *, failed: str = "drop"
) -> Vectors:
    """As get_embedding_by_id, of several assets, without those that have none, in the order of the rows."""
    with _opened(filepath) as f:
        group = _chosen_group(f, group_name)
        return {} if group is None else _load(group, asset_ids, failed)


def yield_text_embeddings_h5(
    filepath: Path, batch_size: int = 1000, *, failed: str = "drop"
) -> Iterator[Tuple[List[str], np.ndarray]]:
    """(ids, vectors [n, dim]) of so many assets at a time, in the order of the rows, fewer where some failed."""
    with _opened(filepath) as f:
        group = _group_with(f, has_views=False)
        for batch in group.batches(range(len(group)), batch_size, failed):
            yield list(batch), np.stack(list(batch.values()))


def yield_image_embeddings_h5(
    filepath: Path, batch_size: int = 100, *, failed: str = "drop"
) -> Iterator[Vectors]:
    """{id: [views, dim]} of so many assets at a time, in the order of the rows, fewer where some failed."""
    with _opened(filepath) as f:
        group = _group_with(f, has_views=True)
        yield from group.batches(range(len(group)), batch_size, failed)


def yield_multimodal_text_embeddings_h5(
    filepath: Path, batch_size: int = 1000, *, failed: str = "drop"
) -> Iterator[Tuple[List[str], Optional[np.ndarray], Optional[np.ndarray]]]:
    """(ids, English [n, dim], Chinese [n, dim]) of so many assets at a time, of either language, sorted by id.

    A row is zeros where the asset has no vector in that language; None stands for a language that the file has not.
    """
    with _opened(filepath) as f:
        groups = _languages(f)
        assets = _merged(groups)
        for batch in iter(lambda: list(itertools.islice(assets, batch_size)), []):
            vectors = {
                name: group.read([indices[name] for _, indices in batch if name in indices], failed)
                for name, group in groups.items()
            }
            ids = [id for id, _ in batch if any(id in found for found in vectors.values())]
            if ids:
                english, chinese = (
                    _matrix(ids, vectors[name], groups[name].dim) if name in groups else None for name in LANGUAGES
                )
                yield ids, english, chinese


# --- Asking ----------------------------------------------------------------------------------------------------------


def list_asset_ids_h5(filepath: Path, group_name: Optional[str] = None) -> List[str]:
    """All ids, those of failed items too, in the order of the rows; of a file with several groups, of which none is
    named, the ids that any of them has, sorted."""
    with _opened(filepath) as f:
        names = _group_names(f)
        if group_name is None and len(names) > 1:
            return sorted({id for name in names for id in _Group(f[name]).ids()})
        group = _chosen_group(f, group_name)
        return [] if group is None else list(group.ids())


list_asset_ids = list_asset_ids_h5


def get_h5_info(filepath: Path) -> Dict[str, Dict[str, Any]]:
    """{"file_attrs": {...}, "datasets": {name: {"shape", "dtype", "size_mb"}}, "groups": {name: {attribute: ...}}}.

    Names are paths from the root; size_mb is that of the elements, before compression, in MiB.
    """
    info: Dict[str, Dict[str, Any]] = {"file_attrs": {}, "datasets": {}, "groups": {}}

    def visit(name: str, item: Union[h5py.Dataset, h5py.Group]) -> None:
        if isinstance(item, h5py.Dataset):
            size_mb = item.size * item.dtype.itemsize / 2**20
            info["datasets"][name] = {"shape": item.shape, "dtype": str(item.dtype), "size_mb": size_mb}
        else:
            info["groups"][name] = _attributes(item)

    with _opened(filepath) as f:
        info["file_attrs"] = _attributes(f)
        f.visititems(visit)
    return info


# --- Saving ----------------------------------------------------------------------------------------------------------


def save_text_embeddings_h5(
    filepath: Path,
    embeddings_dict: Mapping[str, Vector],
    compression: Optional[str] = "gzip",
    compression_level: int = 4,
) -> None:
    """Writes one vector [dim] of each asset. ValueError where there is none, or vectors differ in length."""
    _save(filepath, "text", {"/": _Rows.of_vectors(embeddings_dict)}, compression, compression_level)


def save_image_embeddings_h5(
    filepath: Path,
    embeddings_dict: Mapping[str, Sequence[Vector]],
    compression: Optional[str] = "gzip",
    compression_level: int = 4,
) -> None:
    """Writes the vectors of each asset's views, at least one. ValueError as above."""
    _save(filepath, "image", {"/": _Rows.of_views(embeddings_dict)}, compression, compression_level)


def save_multimodal_text_embeddings_h5(
    filepath: Path,
    en_embeddings_dict: Mapping[str, Vector],
    cn_embeddings_dict: Mapping[str, Vector],
    compression: Optional[str] = "gzip",
    compression_level: int = 4,
) -> None:
    """Writes a group of each language that has vectors. ValueError as above."""
    given = zip(LANGUAGES, (en_embeddings_dict, cn_embeddings_dict))
    groups = {name: _Rows.of_vectors(vectors) for name, vectors in given if vectors}
    _save(filepath, "multimodal_text", groups, compression, compression_level)


def save_embeddings_h5(
    filepath: Path,
    embeddings: Union[Mapping[str, Any], Tuple[Mapping[str, Vector], Mapping[str, Vector]]],
    compression: Optional[str] = "gzip",
    compression_level: int = 4,
) -> None:
    """As that of the three save_ functions which fits: a vector of each asset, several, or a pair of dicts (English,
    Chinese)."""
    if isinstance(embeddings, tuple):
        save_multimodal_text_embeddings_h5(filepath, *embeddings, compression, compression_level)
        return
    first = next(iter(embeddings.values()), ())
    save = save_image_embeddings_h5 if np.ndim(first) == 2 else save_text_embeddings_h5
    save(filepath, embeddings, compression, compression_level)


class HDF5EmbeddingWriter:
    """Writes a file through datasets that the caller fills:

        with HDF5EmbeddingWriter(path, 1152, len(ids)) as writer:
            writer.create_embedding_dataset()[:] = vectors
            writer.create_asset_id_dataset()[:] = ids

    It gets its name at the end, and none where that is an exception. Where each row of `embeddings` belongs to one of
    `asset_ids`, or of `metadata` (asset_id, start_idx, count), and there is nothing else, it becomes a file of
    hyperslab's format: sorted, in hyperslab's chunks. Anything else stays as the caller made it; a warning says why.
    """

    def __init__(
        self,
        filepath: Path,
        embedding_dim: int,
        total_items: int,
        compression: Optional[str] = "gzip",
        compression_level: int = 4,
        chunk_size: int = 1000,
    ) -> None:
        self.filepath = os.fspath(filepath)
        self.embedding_dim = embedding_dim
        self.total_items = total_items
        self.compression = compression
        self.compression_level = compression_level
        self.chunk_size = chunk_size
        self.file: Optional[h5py.File] = None
        _filters(compression, compression_level)  # refuses what it does not know, before anything is written
        self._staged = f"{self.filepath}.{os.getpid()}.staged.tmp"

    def __enter__(self) -> HDF5EmbeddingWriter:
        self.file = h5py.File(self._staged, "w")
        return self

    def __exit__(self, exception: Any, *_: Any) -> None:
        try:
            self.file.close()
            if exception is None:
                self._complete()
        finally:
            _remove(self._staged)

    def _complete(self) -> None:
        try:
            with _opened(self._staged) as f:
                groups = _staged_rows(f)
                has_views = any(rows.counts is not None for rows in groups.values())
                kind = "multimodal_text" if "/" not in groups else "image" if has_views else "text"
                attributes = {name: _attributes(f[name]) for name in {"/", *groups}}
                _save(self.filepath, kind, groups, self.compression, self.compression_level, attributes)
        except ValueError as error:
            warnings.warn(f"{self.filepath} stays as it was written, hyperslab cannot take it: {error}", stacklevel=3)
            _rename_durably(self._staged, self.filepath)

    def create_embedding_dataset(self, name: str = "embeddings") -> h5py.Dataset:
        """float32 [total_items, embedding_dim]."""
        return self._create(name, np.dtype("<f4"), (self.total_items, self.embedding_dim))

    def create_asset_id_dataset(self, name: str = "asset_ids") -> h5py.Dataset:
        """Strings of any length [total_items]."""
        return self._create(name, h5py.string_dtype(), (self.total_items,))

    def create_metadata_dataset(
        self, name: str, dtype: Any, shape: Union[int, Tuple[int, ...], None] = None
    ) -> h5py.Dataset:
        """Elements of any type, [total_items] where no shape is given."""
        shape = self.total_items if shape is None else shape
        return self._create(name, dtype, shape if isinstance(shape, tuple) else (int(shape),))

    def _create(self, name: str, dtype: Any, shape: Tuple[int, ...]) -> h5py.Dataset:
        filters: Dict[str, Any] = {}
        if all(shape):
            filters = dict(_filters(self.compression, self.compression_level), shuffle=False)
            filters["chunks"] = (min(self.chunk_size, shape[0]), *shape[1:])
        return self.file.create_dataset(name, shape, dtype, **filters)


# --- Reading a group -------------------------------------------------------------------------------------------------


class _Group:
    """The vectors of a file, or of one of its groups, and the table of the assets that own their rows."""

    def __init__(self, group: h5py.Group) -> None:
        self.where = f"{group.file.filename}{group.name.rstrip('/')}"
        self.has_views = "asset_ids" not in group
        if self.has_views and "metadata" not in group:
            raise ValueError(f"{self.where} has neither asset_ids nor metadata")
        self.embeddings: h5py.Dataset = group["embeddings"]
        self.dim = self.embeddings.shape[1]
        self.table: h5py.Dataset = group["metadata" if self.has_views else "asset_ids"]
        version = group.file.attrs.get("format_version")
        if version not in (None, FORMAT_VERSION):
            raise ValueError(f"{self.where}: format version {version}, expected {FORMAT_VERSION}")
        self.is_sorted = version is not None

    def __len__(self) -> int:
        return len(self.table)

    def ids(self) -> Iterator[str]:
        """All ids, in the order of the table."""
        step = _span_rows(self.table)
        for start in range(0, len(self), step):
            yield from map(_text, self._stored_ids(start, start + step))

    def sorted_ids(self) -> Iterator[Tuple[str, int]]:
        """All ids and their indices, sorted by id."""
        numbered = ((id, index) for index, id in enumerate(self.ids()))
        return numbered if self.is_sorted else iter(sorted(numbered))

    def find(self, asset_ids: Iterable[str]) -> List[int]:
        """Indices, ascending, of those of these assets that are there."""
        if self.is_sorted:
            # What cannot be in a file, half a surrogate pair, is not found.
            wanted = sorted({id.encode("utf-8", "surrogatepass") for id in asset_ids})
            return list(self._search(wanted, 0, len(self)))
        ids = set(asset_ids)
        return [index for index, id in enumerate(self.ids()) if id in ids]

    def _search(self, wanted: List[bytes], low: int, high: int) -> Iterator[int]:
        """Binary search, of all of `wanted` at once: reads single ids until few are left, then those."""
        if not wanted or low >= high:
            return
        if (high - low) * self.table.dtype.itemsize <= SEARCH_BYTES:
            ids = self._stored_ids(low, high)
            places = ((bisect_left(ids, id), id) for id in wanted)
            yield from (low + place for place, id in places if place < len(ids) and ids[place] == id)
            return
        middle = (low + high) // 2
        split = bisect_left(wanted, self._stored_ids(middle, middle + 1)[0])
        yield from self._search(wanted[:split], low, middle)
        yield from self._search(wanted[split:], middle, high)

    def _stored_ids(self, start: int, stop: int) -> List[Any]:
        records = self.table[start:stop]
        return (records["asset_id"] if self.has_views else records).tolist()

    def records(self, assets: Sequence[int]) -> Tuple[List[str], np.ndarray, np.ndarray]:
        """Ids, first rows and numbers of rows of the assets with these indices."""
        records = _gather(self.table, np.asarray(assets, np.int64))
        if not self.has_views:
            return list(map(_text, records.tolist())), np.asarray(assets, np.int64), np.ones(len(records), np.int64)
        ids, starts, counts = (records[name] for name in ("asset_id", "start_idx", "count"))
        return list(map(_text, ids.tolist())), starts.astype(np.int64), counts.astype(np.int64)

    def read(self, assets: Sequence[int], failed: str) -> Vectors:
        """The vectors [dim], or [views, dim], of the assets with these indices."""
        if failed not in ("drop", "nan"):
            raise ValueError(f"failed={failed!r}: expected 'drop' or 'nan'")
        ids, starts, counts = self.records(assets)
        rows = _ranges(starts, counts)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.embeddings):
            raise ValueError(f"{self.where} is damaged: {self.table.name} has rows that embeddings has not")
        vectors = _gather(self.embeddings, rows).astype(np.float32, copy=False)
        is_failed = _is_failed(vectors)
        vectors[is_failed] = 0 if failed == "drop" else np.nan
        found = {}
        for id, end, count in zip(ids, np.cumsum(counts).tolist(), counts.tolist()):
            if failed == "nan" or not count or not is_failed[end - count : end].all():
                found[id] = vectors[end - count : end] if self.has_views else vectors[end - 1]
        return found

    def batches(self, assets: Sequence[int], size: int, failed: str) -> Iterator[Vectors]:
        """Those of `read`, so many assets at a time."""
        for start in range(0, len(assets), size):
            batch = self.read(assets[start : start + size], failed)
            if batch:
                yield batch


def _load(group: _Group, asset_ids: Optional[Iterable[str]], failed: str) -> Vectors:
    assets = range(len(group)) if asset_ids is None else group.find(asset_ids)
    return {id: vectors for batch in group.batches(assets, LOAD_ASSETS, failed) for id, vectors in batch.items()}


def _merged(groups: Mapping[str, _Group]) -> Iterator[Tuple[str, Dict[str, int]]]:
    """The assets that any group has, sorted by id, each with its index in every group that has it."""

    def named(name: str) -> Iterator[Tuple[str, str, int]]:
        return ((id, name, index) for id, index in groups[name].sorted_ids())

    for id, found in itertools.groupby(heapq.merge(*map(named, groups)), key=itemgetter(0)):
        yield id, {name: index for _, name, index in found}


def _matrix(ids: Sequence[str], vectors: Vectors, dim: int) -> np.ndarray:
    """The vectors of these ids [n, dim], zeros where there is none."""
    rows = np.zeros((len(ids), dim), np.float32)
    for row, id in zip(rows, ids):
        row[:] = vectors.get(id, 0)
    return rows


def _is_failed(vectors: np.ndarray) -> np.ndarray:
    """[rows] Which rows are no vectors."""
    return ~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers of `counts` rows from each of `starts` on."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def _gather(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """These rows, in any order: read in the order of the file, each chunk once."""
    gathered = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    step = _span_rows(dataset)
    order = np.argsort(rows, kind="stable")
    borders = np.flatnonzero(np.diff(rows[order] // step)) + 1
    for part in np.split(order, borders) if len(rows) else []:
        first, last = rows[part[0]], rows[part[-1]]
        gathered[part] = dataset[first : last + 1][rows[part] - first]
    return gathered


def _span_rows(dataset: h5py.Dataset) -> int:
    """Rows of a chunk, or as many as are read at once where there are none."""
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
    return dataset.chunks[0] if dataset.chunks else max(1, SPAN_BYTES // max(1, row_bytes))


# --- Opening ---------------------------------------------------------------------------------------------------------


def _opened(filepath: Path) -> h5py.File:
    return h5py.File(os.fspath(filepath), "r", rdcc_nbytes=CACHE_BYTES)


def _group_names(f: h5py.File) -> List[str]:
    """Those of the groups that have vectors; one "/" where they are at the root."""
    if "embeddings" in f:
        return ["/"]
    return [name for name in f if isinstance(f[name], h5py.Group) and "embeddings" in f[name]]


def _chosen_group(f: h5py.File, name: Optional[str]) -> Optional[_Group]:
    """The group of that name, the only one where none is named; None where there is no such group."""
    names = _group_names(f)
    if not names:
        raise ValueError(f"{f.filename} has no embeddings")
    if name is None and len(names) > 1:
        raise ValueError(f"{f.filename} has several groups, name one: {', '.join(names)}")
    name = names[0] if name is None else name
    return _Group(f[name]) if name in names else None


def _group_with(f: h5py.File, has_views: bool) -> _Group:
    """The file's only group, if it has a row per view, or per asset, as asked."""
    group = _chosen_group(f, None)
    if group.has_views != has_views:
        has, form = ("view", "image") if group.has_views else ("asset", "text")
        raise ValueError(f"{f.filename} has a row per {has}: use load_{form}_ or yield_{form}_embeddings_h5")
    return group


def _languages(f: h5py.File) -> Dict[str, _Group]:
    if "embeddings" in f:
        raise ValueError(f"{f.filename} has no groups: use load_embeddings_h5")
    return {name: _Group(f[name]) for name in _group_names(f) if name in LANGUAGES}


def _attributes(item: Union[h5py.Dataset, h5py.Group]) -> Dict[str, Any]:
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in item.attrs.items()}


def _text(stored: Union[bytes, str]) -> str:
    return stored.decode() if isinstance(stored, bytes) else stored


# --- Writing ---------------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """What a group is written from."""

    ids: List[str]  # sorted
    counts: Optional[np.ndarray]  # of each asset's rows; None: one each
    dim: int
    read: Callable[[int, int], np.ndarray]  # float32 rows [start, stop), which the reader may change

    @classmethod
    def of_vectors(cls, vectors: Mapping[str, Vector]) -> _Rows:
        ids = sorted(vectors)
        dim = len(vectors[ids[0]]) if ids else 0

        def read(start: int, stop: int) -> np.ndarray:
            return _stack([(id, vectors[id]) for id in ids[start:stop]], dim)

        return cls(ids, None, dim, read)

    @classmethod
    def of_views(cls, views: Mapping[str, Sequence[Vector]]) -> _Rows:
        ids = sorted(views)
        counts = np.array([len(views[id]) for id in ids], np.int64)
        for id in itertools.compress(ids, counts == 0):
            raise ValueError(f"asset {id} has no views")
        dim = len(views[ids[0]][0]) if ids else 0
        owners, starts = np.repeat(np.arange(len(ids)), counts), np.cumsum(counts) - counts

        def read(start: int, stop: int) -> np.ndarray:
            places = zip(owners[start:stop].tolist(), range(start, stop))
            return _stack([(ids[owner], views[ids[owner]][row - starts[owner]]) for owner, row in places], dim)

        return cls(ids, counts, dim, read)

    @classmethod
    def of_group(cls, group: _Group) -> _Rows:
        """Of a group in any order. ValueError where its rows are not its assets', one and all."""
        ids, starts, counts = group.records(range(len(group)))
        order = sorted(range(len(ids)), key=ids.__getitem__)
        rows = _ranges(starts[order], counts[order])
        if (counts < 1).any() or not np.array_equal(np.sort(rows), np.arange(len(group.embeddings))):
            raise ValueError(f"the rows of {group.table.name} are not those of {group.embeddings.name}")

        def read(start: int, stop: int) -> np.ndarray:
            return _gather(group.embeddings, rows[start:stop]).astype(np.float32, copy=False)

        return cls([ids[i] for i in order], counts[order] if group.has_views else None, group.dim, read)


def _stack(vectors: Sequence[Tuple[str, Vector]], dim: int) -> np.ndarray:
    rows = np.empty((len(vectors), dim), "<f4")
    for row, (id, vector) in zip(rows, vectors):
        if np.shape(vector) != (dim,):
            raise ValueError(f"asset {id} has a vector of shape {np.shape(vector)}, expected {(dim,)}")
        row[:] = vector
    return rows


def _staged_rows(f: h5py.File) -> Dict[str, _Rows]:
    """The groups of a file that a caller filled. ValueError where it holds anything else."""
    groups = {name: _Group(f[name]) for name in _group_names(f)}
    known = {dataset.name for group in groups.values() for dataset in (group.embeddings, group.table)}

    def refuse_others(_: str, item: Union[h5py.Dataset, h5py.Group]) -> None:
        if isinstance(item, h5py.Dataset) and item.name not in known:
            raise ValueError(f"there is no place for {item.name}")

    f.visititems(refuse_others)
    return {name: _Rows.of_group(group) for name, group in groups.items()}


def _save(
    filepath: Path,
    kind: str,
    groups: Mapping[str, _Rows],
    compression: Optional[str],
    level: int,
    attributes: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> None:
    """Writes a sealed file. `attributes` are the caller's own, by group."""
    filters = _filters(compression, level)
    if not any(rows.ids for rows in groups.values()):
        raise ValueError("there are no embeddings to save")
    dims = sorted({rows.dim for rows in groups.values()})
    if len(dims) > 1 or dims[0] == 0:
        raise ValueError(f"vectors of length {' and '.join(map(str, dims))}: expected one length above 0")
    beside = f"{os.fspath(filepath)}.{os.getpid()}.tmp"
    try:
        # Of this version on, HDF5 has checksums on its own metadata.
        with h5py.File(beside, "w", libver=("v110", "v110")) as f:
            written = [_write_group(f.require_group(name), rows, filters) for name, rows in groups.items()]
            if "/" not in groups:
                names = written[0][0].keys()
                _write_counts(f, {name: sum(counts[name] for counts, _ in written) for name in names}, dims[0])
            f.attrs["format_version"] = np.int64(FORMAT_VERSION)
            _write_text(f, "kind", kind)
            _write_text(f, "program", "h5_utils.py")
            for group, own in (attributes or {}).items():
                for name in own.keys() - f[group].attrs.keys():
                    _write_attribute(f[group], name, own[name])
        _rename_durably(beside, os.fspath(filepath))
    finally:
        _remove(beside)
    n_other_norm = sum(n for _, n in written)
    if n_other_norm:
        warnings.warn(f"the norm of {n_other_norm} vectors is not 1: `hyperslab verify` will say so", stacklevel=3)


def _write_group(group: h5py.Group, rows: _Rows, filters: Mapping[str, Any]) -> Tuple[Dict[str, int], int]:
    """Writes vectors, table, failures and digests of a group. Returns what it counts, and how many vectors have a norm
    that is not 1."""
    _check_ids(rows.ids)
    id_type, ids = _strings(rows.ids)
    if rows.counts is None:
        table = np.array(ids, id_type)
        starts, n_rows = np.arange(len(ids)), len(ids)
    else:
        table = np.zeros(len(ids), [("asset_id", id_type), ("start_idx", "<i8"), ("count", "<i4")])
        starts, n_rows = np.cumsum(rows.counts) - rows.counts, int(rows.counts.sum())
        table["asset_id"], table["start_idx"], table["count"] = ids, starts, rows.counts
    block_rows = _block_rows(n_rows)
    digests, failures, n_other_norm = _write_vectors(group, rows, n_rows, block_rows, filters)
    reason_type, reasons = _strings([reason for _, reason in failures])
    failed = np.zeros(len(failures), [("asset_id", id_type), ("row", "<i8"), ("reason", reason_type)])
    failed["row"], failed["reason"] = [row for row, _ in failures], reasons
    failed["asset_id"] = [ids[owner] for owner in np.searchsorted(starts, failed["row"], "right") - 1]

    group.create_dataset("asset_ids" if rows.counts is None else "metadata", data=table, dtype=table.dtype)
    group.create_dataset("failures", data=failed)
    stored = group.create_dataset("digests", data=np.array(digests, "u1"))
    stored.attrs["block_rows"] = np.int64(block_rows)
    _write_text(stored, "algorithm", "sha256")
    _write_text(stored, "table_sha256", hashlib.sha256(table.tobytes()).hexdigest())
    _write_text(stored, "failures_sha256", hashlib.sha256(failed.tobytes()).hexdigest())
    counts = {"total_items": n_rows, "total_assets": len(ids), "failed_items": len(failures)}
    if rows.counts is not None:
        counts["total_viewpoints"] = n_rows
    _write_counts(group, counts, rows.dim)
    return counts, n_other_norm


def _write_vectors(
    group: h5py.Group, rows: _Rows, n_rows: int, block_rows: int, filters: Mapping[str, Any]
) -> Tuple[List[np.ndarray], List[Tuple[int, str]], int]:
    """Writes the vectors block by block. Returns each block's digest, the rows that failed with their reasons, and
    how many of the others have a norm that is not 1."""
    chunks = (min(_chunk_rows(block_rows, 4 * rows.dim), n_rows), rows.dim)
    options = dict(filters, chunks=chunks) if filters else {}
    dataset = group.create_dataset("embeddings", (n_rows, rows.dim), "<f4", **options)
    digests, failures, n_other_norm = [], [], 0
    for start in range(0, n_rows, block_rows):
        block = rows.read(start, min(start + block_rows, n_rows))
        is_failed = _is_failed(block)
        for row in np.flatnonzero(is_failed).tolist():
            what = "vector not finite" if block[row].any() else "zero vector"
            failures.append((start + row, f"{what} in the source"))
        block[is_failed] = np.nan
        norms = np.linalg.norm(block[~is_failed], axis=1)
        n_other_norm += np.count_nonzero(np.abs(norms - 1) > NORM_TOLERANCE)
        dataset[start : start + len(block)] = block
        digests.append(np.frombuffer(hashlib.sha256(block.tobytes()).digest(), "u1"))
    return digests, failures, n_other_norm


def _write_counts(group: h5py.Group, counts: Mapping[str, int], dim: int) -> None:
    for name, count in {**counts, "embedding_dim": dim}.items():
        group.attrs[name] = np.int64(count)


def _write_text(item: Union[h5py.Dataset, h5py.Group], name: str, text: str) -> None:
    text_type, (stored,) = _strings([text])
    item.attrs.create(name, stored, dtype=text_type)


def _write_attribute(item: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, str):
        _write_text(item, name, value)
    else:
        item.attrs[name] = value


def _check_ids(ids: Sequence[str]) -> None:
    """ValueError where one cannot be stored, or stands twice. They are sorted."""
    for id in ids:
        if not id or "\0" in id:
            raise ValueError(f"{id!r} is no asset id")
    for before, id in zip(ids, ids[1:]):
        if before == id:
            raise ValueError(f"asset id {id} stands twice")


def _strings(texts: Sequence[str]) -> Tuple[np.dtype, List[bytes]]:
    """Fixed-length UTF-8, as wide as the longest."""
    encoded = [text.encode() for text in texts]
    return h5py.string_dtype("utf-8", max([1, *map(len, encoded)])), encoded


def _block_rows(n_rows: int) -> int:
    """As hyperslab cuts: 1,024; of a small input the power of two that makes 64 blocks or more, but at least 16."""
    power = 1 << (max(n_rows // 64, 1).bit_length() - 1)
    return min(max(power, 16), 1024)


def _chunk_rows(block_rows: int, row_bytes: int) -> int:
    """The largest divisor of a block's rows that makes chunks of about 256 KiB."""
    most = min(max((320 << 10) // row_bytes, 1), block_rows)
    return next(rows for rows in range(most, 0, -1) if block_rows % rows == 0)


def _filters(compression: Optional[str], level: int) -> Dict[str, Any]:
    if compression is None:
        return {}
    if compression != "gzip":
        raise ValueError(f"compression={compression!r}: expected 'gzip' or None")
    return {"compression": "gzip", "compression_opts": level, "shuffle": True}


def _rename_durably(path: str, name: str) -> None:
    _sync(path)
    os.replace(path, name)
    _sync(os.path.dirname(name) or ".")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
