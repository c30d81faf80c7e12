#!/usr/bin/env python3
"""Whether hyperslab's files hold what their digests and counts say, by h5py and hashlib alone.

    verify.py FILE...

In each group: the SHA-256 of every block of vectors, of the table, of /failures and of /num_images; that ids are sorted
and unique, rows without gap or overlap, attributes the counts that they say; that the rows which are NaN are those in
/failures; that every attribute reads. Says what is wrong, with the assets it concerns. The norms of vectors are left to
`hyperslab verify`.

Exit code: 0 all are sound, 4 one is damaged, 1 otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple, Union

import h5py
import numpy as np

SOUND, FAILED, DAMAGED = 0, 1, 4

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FORMAT_VERSION = 1
ALGORITHM = "sha256"

FAILURE_FIELDS = {"asset_id": "S", "row": "<i8", "reason": "S"}
VIEWS_FIELDS = {"asset_id": "S", "start_idx": "<i8", "count": "<i4"}

READ_BYTES = 16 << 20  # read at once
LISTED_MAX = 20  # findings of one part that are listed, the others are counted
ASSETS_LISTED_MAX = 8  # of what is wrong with several assets; of more, the first and the last

READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises where bytes are damaged


class Foreign(Exception):
    """Not a file of hyperslab's."""


class Report:
    """What is wrong with a file, and how much there is of it."""

    def __init__(self) -> None:
        self.findings: List[str] = []
        self.n_findings = 0
        self.counts = {"asset": 0, "row": 0, "block": 0}
        self.n_failed = 0

    def add(self, finding: str) -> None:
        self.n_findings += 1
        self.findings.append(finding)

    def take(self, group: str, part: str, check: Iterator[str]) -> None:
        """Runs the check of a part of a group; that it cannot read something is a finding, too."""
        about, before = f"{group}: " if group else "", self.n_findings
        try:
            for finding in check:
                if self.n_findings - before < LISTED_MAX:
                    self.findings.append(about + finding)
                self.n_findings += 1
        except READ_ERRORS as error:
            self.add(f"{about}{part} does not read: {error}")
        more = self.n_findings - before - LISTED_MAX
        if more > 0:
            self.findings.append(f"{about}{part}: {more} more like these")

    def __str__(self) -> str:
        if self.n_findings:
            return "\n  ".join([f"damaged, {_count(self.n_findings, 'finding')}", *self.findings])
        counts = [_count(n, noun) for noun, n in self.counts.items()]
        return f"sound ({', '.join(counts)}, {_count(self.n_failed, 'line')} in /failures)"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def verify(path: str) -> Report:
    """Reads the whole file, in bounded memory. Foreign, or OSError, where it is none of hyperslab's."""
    with open(path, "rb") as raw:
        if raw.read(len(SIGNATURE)) != SIGNATURE:
            raise Foreign(f"{path} is not an HDF5 file")
    report = Report()
    try:
        with h5py.File(path, "r") as f:
            check_file(f, report)
    except READ_ERRORS as error:
        if "lock file" in str(error):
            raise OSError(f"{path}: {error}; where there are no locks, set HDF5_USE_FILE_LOCKING=FALSE") from None
        report.add(f"it does not open: {error}")
    return report


def check_file(f: h5py.File, report: Report) -> None:
    groups = [Group(f[name], "" if name == "/" else name) for name in group_names(f)]
    report.take("", "attributes", check_attributes_read(f))
    report.take("", "attributes", check_sums(f, groups))
    for group in groups:
        report.counts["asset"] += len(group.table)
        report.counts["row"] += group.n_rows
        report.counts["block"] += group.n_blocks
        report.n_failed += len(group.failures)
        report.take(group.name, "attributes", check_counts(group))
        report.take(group.name, "table", check_table(group))
        report.take(group.name, "/num_images", check_num_images(group))
        report.take(group.name, "/failures", check_failures(group))
        report.take(group.name, "/embeddings", check_blocks(group))


# --- The parts of a file ---------------------------------------------------------------------------------------------


def group_names(f: h5py.File) -> List[str]:
    """Those of the groups that have vectors; "/" where they are at the root."""
    if "embeddings" in f:
        return ["/"]
    names = [name for name in f if isinstance(f[name], h5py.Group) and "embeddings" in f[name]]
    return names or ["/"]  # of which is said what it lacks


class Group:
    """The datasets of a group, each of the form that it must have. Foreign where one is not."""

    def __init__(self, group: h5py.Group, name: str) -> None:
        self.name, self.group = name, group
        version = dict(group.file.attrs).get("format_version")  # where one does not read, this fails
        if version is None:
            raise Foreign(f"{group.file.filename} is not of hyperslab's format: it has no format_version")
        if version != FORMAT_VERSION:
            raise Foreign(f"{group.file.filename}: format version {version}, expected {FORMAT_VERSION}")
        self.has_views = "metadata" in group
        table = "metadata" if self.has_views else "asset_ids"
        missing = [name for name in ("embeddings", table, "failures", "digests") if name not in group]
        if missing:
            raise Foreign(f"{group.file.filename} has no {', no '.join(missing)} in {group.name}")

        self.embeddings: h5py.Dataset = group["embeddings"]
        self._check(self.embeddings, self.embeddings.dtype in ("<f4", "<f2") and self.embeddings.ndim == 2)
        self._check(self.embeddings, self.embeddings.shape[1] > 0)
        self.n_rows, self.dim = self.embeddings.shape
        self.table = self._records(table, VIEWS_FIELDS if self.has_views else "S")
        self.failures = self._records("failures", FAILURE_FIELDS)
        self.num_images = self._records("num_images", "<i4") if "num_images" in group else None
        self.digests: h5py.Dataset = group["digests"]
        self._check(self.digests, self.digests.dtype == "u1" and self.digests.shape[1:] == (32,))
        self._check(self.digests, _text(self.digests.attrs["algorithm"]) == ALGORITHM)
        self.block_rows = int(self.digests.attrs["block_rows"])
        self._check(self.digests, self.block_rows > 0)
        self.n_blocks = -(-self.n_rows // self.block_rows)

    def _records(self, name: str, fields: Any) -> h5py.Dataset:
        """A dataset of records, one after the other, each without gaps."""
        dataset = self.group[name]
        found = dataset.dtype
        if isinstance(fields, str):
            is_so = _is(found, fields)
        else:
            is_so = found.names == tuple(fields) and all(_is(found[field], form) for field, form in fields.items())
            is_so = is_so and found.itemsize == sum(found[field].itemsize for field in fields)
        is_contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        self._check(dataset, is_so and dataset.ndim == 1 and (is_contiguous or dataset.size == 0))
        return dataset

    def _check(self, dataset: h5py.Dataset, is_so: bool) -> None:
        if not is_so:
            raise Foreign(f"{self.group.file.filename}: {dataset.name} is not of the form that hyperslab writes")

    def ids_and_starts(self, start: int, stop: int) -> Tuple[np.ndarray, np.ndarray]:
        """The ids and the first rows of these entries of the table."""
        records = self.table[start:stop]
        if self.has_views:
            return records["asset_id"], records["start_idx"]
        return records, np.arange(start, start + len(records))

    def assets_of(self, start: int, stop: int) -> range:
        """The entries that own these rows, from a table in order."""
        if not self.has_views:
            return range(min(start, len(self.table)), min(stop, len(self.table)))

        def starts_before(row: int) -> int:
            return lower_bound(len(self.table), lambda index: self.table[index]["start_idx"], row)

        first = max(starts_before(start + 1) - 1, 0)
        return range(first, max(first, starts_before(stop)))

    def failures_of(self, start: int, stop: int) -> np.ndarray:
        """The lines of /failures about these rows, from a list in order."""

        def place(row: int) -> int:
            return lower_bound(len(self.failures), lambda index: self.failures[index]["row"], row)

        first = place(start)
        return self.failures[first : max(first, place(stop))]

    def named(self, start: int, stop: int) -> str:
        """The assets that own these rows, in words."""
        assets = self.assets_of(start, stop)
        if not assets:
            return "of no asset"
        id = lambda index: self.ids_and_starts(index, index + 1)[0][0].decode(errors="replace")
        if len(assets) <= ASSETS_LISTED_MAX:
            return f"asset{'s' if len(assets) > 1 else ''} {', '.join(map(id, assets))}"
        return f"the {len(assets):,} assets from {id(assets[0])} to {id(assets[-1])}"


def _is(found: np.dtype, form: str) -> bool:
    return found.kind == "S" if form == "S" else found == np.dtype(form)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def lower_bound(n: int, value: Callable[[int], int], bound: int) -> int:
    """The index of the first of n ascending values that is not below `bound`."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if value(middle) < bound:
            low = middle + 1
        else:
            high = middle
    return low


def spans(start: int, stop: int, row_bytes: int, whole: int = 1) -> Iterator[Tuple[int, int]]:
    """Cuts rows into what is read at once, of whole chunks."""
    step = max(READ_BYTES // (max(row_bytes, 1) * whole), 1) * whole
    return ((at, min(at + step, stop)) for at in range(start, stop, step))


# --- The checks ------------------------------------------------------------------------------------------------------


def check_attributes_read(f: h5py.File) -> Iterator[str]:
    """HDF5 checks them as it reads them."""
    items: List[Union[h5py.Group, h5py.Dataset]] = [f]
    f.visititems(lambda _, item: items.append(item))
    for item in items:
        try:
            dict(item.attrs)
        except READ_ERRORS as error:
            yield f"the attributes of {item.name} do not read: {error}"


def counts_of(group: Group) -> List[Tuple[str, int]]:
    """What a group counts, by the attribute that says so."""
    counts = [("total_items", group.n_rows), ("total_assets", len(group.table)), ("failed_items", len(group.failures))]
    return counts + ([("total_viewpoints", group.n_rows)] if group.has_views else [])


def check_counts(group: Group) -> Iterator[str]:
    for name, expected in [*counts_of(group), ("embedding_dim", group.dim)]:
        yield from _check_count(group.group, name, expected)
    if len(group.digests) != group.n_blocks:
        rows = f"{group.n_rows} rows in blocks of {group.block_rows}"
        yield f"/digests has {len(group.digests)} rows, but {rows} need {group.n_blocks}"


def check_sums(f: h5py.File, groups: List[Group]) -> Iterator[str]:
    """The root of a file with groups says what they have together."""
    if not groups[0].name:
        return
    for group in groups:
        yield from _check_count(f, "embedding_dim", group.dim)
    for number, (name, _) in enumerate(counts_of(groups[0])):
        yield from _check_count(f, name, sum(counts_of(group)[number][1] for group in groups))


def _check_count(item: h5py.Group, name: str, expected: int) -> Iterator[str]:
    found = item.attrs.get(name)
    if not np.array_equal(found, expected):
        yield f"attribute {name} is {found}, the datasets have {expected}"


def check_table(group: Group) -> Iterator[str]:
    """Ids sorted and unique, rows without gap or overlap, and the bytes those that were written."""
    name, digest = group.table.name.rsplit("/", 1)[1], hashlib.sha256()
    before, next_row = None, 0
    for first, last in spans(0, len(group.table), group.table.dtype.itemsize):
        records = group.table[first:last]
        digest.update(records.tobytes())
        ids = records["asset_id"] if group.has_views else records
        rows = (
            zip(records["start_idx"].tolist(), records["count"].tolist())
            if group.has_views
            else ((row, 1) for row in range(first, last))
        )
        for index, id, (start, count) in zip(range(first, last), ids.tolist(), rows):
            entry = f"/{name}: entry {index} ('{id.decode(errors='replace')}')"
            if not _is_id(id):
                yield f"{entry} is no id"
            if before is not None and before >= id:
                yield f"{entry} is not after the entry before it"
            if count <= 0:
                yield f"{entry} has {count} rows"
            if start != next_row:
                yield f"{entry} starts at row {start}, expected {next_row}"
            before, next_row = id, start + count
    if next_row != group.n_rows:
        yield f"/{name} ends at row {next_row}, but /embeddings has {group.n_rows}"
    yield from _check_digest(group, name, "table_sha256", digest)


def _is_id(id: bytes) -> bool:
    try:
        id.decode()
    except UnicodeDecodeError:
        return False
    return bool(id) and b"\0" not in id


def check_num_images(group: Group) -> Iterator[str]:
    if group.num_images is None:
        return
    if len(group.num_images) != group.n_rows:
        yield f"/num_images has {len(group.num_images)}, but /embeddings {group.n_rows}"
    digest = hashlib.sha256()
    for first, last in spans(0, len(group.num_images), 4):
        numbers = group.num_images[first:last]
        digest.update(numbers.tobytes())
        for index in np.flatnonzero(numbers < 0).tolist():
            yield f"/num_images: row {first + index} has {numbers[index]}"
    yield from _check_digest(group, "num_images", "num_images_sha256", digest)


def check_failures(group: Group) -> Iterator[str]:
    """Sorted by row, each with a reason. Whom each names, the check of its block looks at."""
    digest, before = hashlib.sha256(), -1
    for first, last in spans(0, len(group.failures), group.failures.dtype.itemsize):
        records = group.failures[first:last]
        digest.update(records.tobytes())
        for index, row, reason in zip(range(first, last), records["row"].tolist(), records["reason"].tolist()):
            entry = f"/failures: entry {index} (row {row})"
            if row <= before:
                yield f"{entry} is not after the entry before it"
            if row >= group.n_rows:
                yield f"{entry} is of no row, /embeddings has {group.n_rows}"
            if not reason:
                yield f"{entry} has no reason"
            before = row
    yield from _check_digest(group, "failures", "failures_sha256", digest)


def _check_digest(group: Group, dataset: str, attribute: str, digest: Any) -> Iterator[str]:
    expected, found = group.digests.attrs.get(attribute), digest.hexdigest()
    if expected is None:
        yield f"attribute {attribute} of /digests is not there"
    elif _text(expected) != found:
        yield f"/{dataset} has SHA-256 {found}, expected {_text(expected)}"


class Block(NamedTuple):
    """A block that reads."""

    start: int
    stop: int
    digest: bytes
    is_nan: np.ndarray  # [rows] whether all of the row is
    is_broken: np.ndarray  # [rows] whether some of it is not finite, and not all NaN


def check_blocks(group: Group) -> Iterator[str]:
    """The digest of each block, and the rows that are NaN are those that failed."""
    for number, start in enumerate(range(0, group.n_rows, group.block_rows)):
        stop = min(start + group.block_rows, group.n_rows)
        try:
            block = _read_block(group, start, stop)
        except READ_ERRORS as error:
            yield from _unreadable(group, number, start, stop, error)
            continue
        expected = group.digests[number].tobytes() if number < len(group.digests) else b""
        if block.digest != expected:
            rows = f"block {number} (rows {start} to {stop - 1})"
            owners = group.named(start, stop)
            yield f"{rows}: SHA-256 is {block.digest.hex()}, /digests says {expected.hex()}; {owners}"
        yield from _check_rows(group, block)


def _read_block(group: Group, start: int, stop: int) -> Block:
    row_bytes = group.dim * group.embeddings.dtype.itemsize
    digest, is_nan, is_finite = hashlib.sha256(), [], []
    for first, last in spans(start, stop, row_bytes, _chunk_rows(group)):
        rows = group.embeddings[first:last]
        digest.update(rows.tobytes())
        is_nan.append(np.isnan(rows).all(axis=1))
        is_finite.append(np.isfinite(rows).all(axis=1))
    all_nan = np.concatenate(is_nan)
    return Block(start, stop, digest.digest(), all_nan, ~np.concatenate(is_finite) & ~all_nan)


def _unreadable(group: Group, number: int, start: int, stop: int, whole: Exception) -> Iterator[str]:
    """A block that does not read: which of its chunks, and whose vectors are in them."""
    n_found = 0
    for first in range(start, stop, _chunk_rows(group)):
        last = min(first + _chunk_rows(group), stop)
        try:
            group.embeddings[first:last]
        except READ_ERRORS as error:
            n_found += 1
            yield f"block {number}: rows {first} to {last - 1} do not read: {error}; {group.named(first, last)}"
    if not n_found:  # a disk may fail once and not again
        yield f"block {number}: {whole}"


def _chunk_rows(group: Group) -> int:
    return group.embeddings.chunks[0] if group.embeddings.chunks else 1


def _check_rows(group: Group, block: Block) -> Iterator[str]:
    start, stop = block.start, block.stop
    failures = group.failures_of(start, stop)
    if len(failures):
        yield from _check_owners(group, block, failures)
    is_listed = np.zeros(stop - start, bool)
    rows = failures["row"] - start
    is_listed[rows[(rows >= 0) & (rows < stop - start)]] = True
    wrong = [
        (block.is_nan & ~is_listed, "is NaN, but is not in /failures"),
        (block.is_broken, "has components that are not finite"),
    ]
    images = _num_images(group, block)
    if images is None:
        wrong.append((~block.is_nan & is_listed, "is in /failures, but is not NaN"))
    else:
        wrong.append((block.is_nan & (images != 0), "is NaN, but has a number above 0 in /num_images"))
        wrong.append((~block.is_nan & (images == 0), "is not NaN, but has 0 in /num_images"))
    for are_wrong, what in wrong:
        for row in (np.flatnonzero(are_wrong) + start).tolist():
            yield f"row {row} {what}; {group.named(row, row + 1)}"


def _num_images(group: Group, block: Block) -> Optional[np.ndarray]:
    """Of how many views each row is made, none where no view is left; 1 for what the file does not say."""
    if group.num_images is None:
        return None
    images = np.ones(block.stop - block.start, np.int64)
    stored = group.num_images[block.start : block.stop]
    images[: len(stored)] = stored
    return images


def _check_owners(group: Group, block: Block, failures: np.ndarray) -> Iterator[str]:
    """Each line of /failures names the asset that owns its row."""
    assets = group.assets_of(block.start, block.stop)
    ids, starts = group.ids_and_starts(assets.start, assets.stop)
    places = np.searchsorted(starts, failures["row"], "right") - 1
    for failure, place in zip(failures, places.tolist()):
        owner = ids[place] if 0 <= place < len(ids) else b""
        if failure["asset_id"] != owner:
            named, owner = failure["asset_id"].decode(errors="replace"), owner.decode(errors="replace")
            yield f"/failures: row {failure['row']} names '{named}', but the row belongs to '{owner}'"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="+")
    codes = {verify_one(path) for path in parser.parse_args().files}
    return max(codes)


def verify_one(path: str) -> int:
    """Says how a file is, and returns the exit code that it deserves."""
    try:
        report = verify(path)
    except (Foreign, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    print(f"{path}: {report}", flush=True)
    return DAMAGED if report.n_findings else SOUND


if __name__ == "__main__":
    sys.exit(main())
