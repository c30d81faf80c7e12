#!/usr/bin/env python3
"""Reading by id, side by side in one run: hyperslab, stock h5py, and a NumPy array mapped into memory.

    benches/read.py [FOLDER] [--rows 2000000] [--dim 1152] [--ids 20000000]

Makes its files in FOLDER (target/bench; 17 GB at the default sizes) once, warms the page cache, and prints a table.
`make bench-read` builds the program and runs it. The file is what `embed` seals: 64 rows a chunk, shuffle, gzip 4.
"""

import argparse
import bisect
import json
import os
import pathlib
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fixtures_h5"))
import make as schema  # noqa: E402  the format, written with h5py

BLOCK_ROWS, CHUNK_ROWS = 1024, 64


def id_of(i):
    return f"{i:032x}"


def write_vectors(f, rows, dim, block):
    """One block of vectors again and again, compressed once: for reading it is as good as any other."""
    d = f.create_dataset("embeddings", (rows, dim), "<f4", chunks=(CHUNK_ROWS, dim), shuffle=True,
                         compression="gzip", compression_opts=4, track_times=False)
    packed = []
    for start in range(0, BLOCK_ROWS, CHUNK_ROWS):
        chunk = np.ascontiguousarray(block[start : start + CHUNK_ROWS])
        packed.append(zlib.compress(chunk.view("u1").reshape(-1, 4).T.tobytes(), 4))
    for start in range(0, rows, CHUNK_ROWS):
        d.id.write_direct_chunk((start, 0), packed[start % BLOCK_ROWS // CHUNK_ROWS])


def write_file(path, rows, dim, compressed=True):
    block = schema.unit_vectors(BLOCK_ROWS, dim, "<f4")
    whole = np.frombuffer(bytes.fromhex(schema.sha256(block)), "u1")
    partial = np.frombuffer(bytes.fromhex(schema.sha256(block[: rows % BLOCK_ROWS])), "u1")
    digests = np.vstack([np.tile(whole, (rows // BLOCK_ROWS, 1)), *([partial[None]] if rows % BLOCK_ROWS else [])])
    ids = np.array([id_of(i).encode() for i in range(rows)], h5py.string_dtype("utf-8", 32))
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        if compressed:
            write_vectors(f, rows, dim, block)
        else:
            f.create_dataset("embeddings", (rows, dim), "<f4", track_times=False)
        f.create_dataset("asset_ids", data=ids, track_times=False)
        failed = schema.write_failures(f, [], [])
        d = f.create_dataset("digests", data=digests, track_times=False)
        d.attrs["block_rows"] = np.int64(BLOCK_ROWS)
        for name, text in [("algorithm", "sha256"), ("table_sha256", schema.sha256(ids)),
                           ("failures_sha256", schema.sha256(failed))]:
            schema.text_attribute(d, name, text)
        f.attrs["format_version"] = np.int64(1)
        for name, n in [("total_items", rows), ("embedding_dim", dim), ("total_assets", rows), ("failed_items", 0)]:
            f.attrs[name] = np.int64(n)
        for name, text in {"kind": "siglip_text", **schema.MODEL}.items():
            schema.text_attribute(f, name, text)


def write_npy(path, rows, dim):
    block = schema.unit_vectors(BLOCK_ROWS, dim, "<f4")
    out = np.lib.format.open_memmap(path, "w+", "<f4", (rows, dim))
    for start in range(0, rows, BLOCK_ROWS):
        out[start : start + BLOCK_ROWS] = block[: min(BLOCK_ROWS, rows - start)]


def made(path, make, *arguments):
    if not path.exists():
        print(f"making {path} ...", file=sys.stderr, flush=True)
        draft = path.with_name("." + path.name)
        make(draft, *arguments)
        draft.rename(path)
    return path


def warm(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(64 << 20):
            pass


def seconds(work, times=1):
    """The median of some runs."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[len(taken) // 2]


def hyperslab(*arguments):
    program = ROOT / "target" / "release" / "hyperslab"
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def h5py_line(path, id):
    """The old pipeline's: all ids, one by one."""
    with h5py.File(path) as f:
        ids = [one.decode() for one in f["asset_ids"][:]]
        return f["embeddings"][ids.index(id)]


class Bisected:
    """An id looked for as `bisect` asks."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        return self.dataset[i]


def h5py_bisect(f, id):
    return f["embeddings"][bisect.bisect_left(Bisected(f["asset_ids"]), id.encode())]


def h5py_many(f, ids):
    rows = np.searchsorted(f["asset_ids"][:], [id.encode() for id in ids])
    vectors = f["embeddings"]
    return [vectors[row] for row in np.sort(rows)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "target" / "bench")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=1152)
    parser.add_argument("--ids", type=int, default=20_000_000)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    h5 = made(args.folder / f"text-{args.rows}x{args.dim}.h5", write_file, args.rows, args.dim)
    npy = made(args.folder / f"text-{args.rows}x{args.dim}.npy", write_npy, args.rows, args.dim)
    many_ids = made(args.folder / f"ids-{args.ids}.h5", write_file, args.ids, 1, False)

    random = np.random.default_rng(7)
    ids = [id_of(i) for i in random.choice(args.rows, min(10_000, args.rows), replace=False)]
    lines = []

    def line(what, *figures):
        lines.append((what, *(f"{1e3 * s:,.2f} ms" if s is not None else "" for s in figures)))

    warm(h5)
    start = seconds(lambda: hyperslab("--version"), 20)
    whole = seconds(lambda: hyperslab("get", h5, ids[0]), 20)
    own = json.loads(hyperslab("bench", "read", h5, "--json"))
    python_s = seconds(lambda: subprocess.run([sys.executable, "-c", "import h5py"], check=True), 5)
    slow = seconds(lambda: h5py_line(h5, ids[0]))
    with h5py.File(h5) as f:
        open_bisect = seconds(lambda: [h5py_bisect(f, id) for id in ids[:200]]) / 200
        many_h5py = seconds(lambda: h5py_many(f, ids))
    warm(npy)
    array = np.load(npy, mmap_mode="r")
    mapped = seconds(lambda: [np.array(array[int(id, 16)]) for id in ids[:1000]]) / 1000
    rows = np.sort([int(id, 16) for id in ids])
    many_mapped = seconds(lambda: np.array(array[rows]))
    warm(many_ids)
    listed = json.loads(hyperslab("bench", "read", many_ids, "--json", "--many", 1))
    with h5py.File(many_ids) as f:
        listed_h5py = seconds(lambda: [one.decode() for one in f["asset_ids"][:]])

    line("start of the program alone (for Python: with `import h5py`)", start, python_s, None)
    line("`hyperslab get FILE ID`, whole; the old pipeline's line in h5py", whole, slow, None)
    line("one id, file open; h5py with bisect; memmap, row known", own["single_s"], open_bisect, mapped)
    line(f"{len(ids):,} random ids; h5py: searchsorted; memmap, rows known", own["many_s"], many_h5py, many_mapped)
    line(f"all of {args.ids:,} ids", listed["list_s"], listed_h5py, None)
    size = h5.stat().st_size / 1e9
    print(f"\n{args.rows:,} x {args.dim} float32, {size:.1f} GB, page cache warm, {os.cpu_count()} cores\n")
    print("| | hyperslab | h5py | NumPy memmap |\n|---|---|---|---|")
    for each in lines:
        print("| " + " | ".join(each) + " |")


if __name__ == "__main__":
    main()
