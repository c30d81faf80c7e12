#!/usr/bin/env python3
"""Filling a PostgreSQL with pgvector, side by side in one run: `hyperslab populate`, and the way of the old pipeline.

    benches/populate.py [FOLDER] [--rows 100000] [--dim 1152] [--rounds 3] [--index] [--million]

Makes siglip_text_embeddings.h5 of random vectors in FOLDER (target/bench/populate) once, starts a server of its own with
PostgreSQL's default settings, and fills it in turn, each time a new database, from the start of the program to its end.
Prints rows per second, and the memory that each takes at most, at a tenth of the rows as well.

--index also times hyperslab with an HNSW index; --million also fills from 1,000,000 rows, for which the file takes 5 GB
and the database 8 GB. `make bench-populate` builds the program and runs this.

The old way is what Python's populators do: all vectors in a dict, psycopg2's execute_values with lists, page by page.
As a kinder variant, the vectors are also handed over as text that pgvector reads itself.
"""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = ROOT / "target" / "bench" / "python"  # psycopg2, where the system's Python has none
sys.path.append(str(PYTHON))
SERVER = ROOT / "sample" / "postgres.sh"
PAGE_SIZE = 2000
BLOCK_ROWS = 4096
TABLE = """
CREATE TABLE text_embeddings (
    asset_id varchar(255) PRIMARY KEY, english_embedding vector(%d), is_high_quality boolean DEFAULT false,
    created_at timestamp DEFAULT now())"""
INSERT = """
INSERT INTO text_embeddings (asset_id, english_embedding, is_high_quality) VALUES %s
ON CONFLICT (asset_id) DO UPDATE SET
    english_embedding = EXCLUDED.english_embedding, is_high_quality = EXCLUDED.is_high_quality"""

# --- What runs in processes of their own, whose memory is measured: this one stays small --------------------------------


def make(path, rows, dim):
    """Makes the file with what Python's users have, in bounded memory."""
    import collections.abc

    import numpy as np

    sys.path.insert(0, str(ROOT / "python"))
    import h5_utils

    class Vectors(collections.abc.Mapping):
        """Random vectors of norm 1 under ids in their order, a block of them in memory."""

        def __init__(self):
            self.first, self.block = None, None

        def __len__(self):
            return rows

        def __iter__(self):
            return (f"{i:032x}" for i in range(rows))

        def __getitem__(self, id):
            first, place = divmod(int(id, 16), BLOCK_ROWS)
            if first != self.first:
                block = np.random.default_rng(first).standard_normal((BLOCK_ROWS, dim), np.float32)
                self.first, self.block = first, block / np.linalg.norm(block, axis=1, keepdims=True)
            return self.block[place]

    h5_utils.save_text_embeddings_h5(path, Vectors())


def fill_the_old_way(path, url, database, form):
    import psycopg2
    from psycopg2.extras import execute_values

    sys.path.insert(0, str(ROOT / "python"))
    import h5_utils

    vectors = h5_utils.load_text_embeddings_h5(path)
    execute(url, f"CREATE DATABASE {database}")
    connection = psycopg2.connect(url, dbname=database)
    with connection, connection.cursor() as cursor:  # one transaction
        cursor.execute("CREATE EXTENSION vector")
        cursor.execute(TABLE % len(next(iter(vectors.values()))))
        as_form = {"lists": lambda vector: vector.tolist(), "text": lambda vector: str(vector.tolist())}[form]
        ids = list(vectors)
        for start in range(0, len(ids), PAGE_SIZE):
            page = [(id, as_form(vectors[id]), False) for id in ids[start : start + PAGE_SIZE]]
            execute_values(cursor, INSERT, page, page_size=PAGE_SIZE)
    connection.close()


# --- Measuring -----------------------------------------------------------------------------------------------------------


def execute(url, *statements, database=None):
    """The last statement's rows, if it has any."""
    import psycopg2

    connection = psycopg2.connect(url, **({"dbname": database} if database else {}))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else None
    connection.close()
    return rows


def measured(command):
    """Runs it. Returns seconds, and the most memory it had, in bytes."""
    begin = time.perf_counter()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    taken = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {child.returncode}")
    return taken, usage.ru_maxrss * 1024


def warm(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(64 << 20):
            pass


def own(*command):
    return [sys.executable, __file__, *command]


def made(folder, rows, dim):
    # The name says what is in it, to whoever looks for the family's files.
    path = folder / f"{rows}x{dim}" / "siglip_text_embeddings.h5"
    if not path.exists():
        print(f"making {path} ({rows * dim * 4 / 1e9:.1f} GB) ...", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        measured(own("--make", path, rows, dim))
    return path


def ours(path, url, database, index="none"):
    program = ROOT / "target" / "release" / "hyperslab"
    return [program, "populate", "siglip", path, "--index", index, "--database-url", url, "--database", database]


WAYS = {
    "hyperslab": ours,
    "old, lists": lambda path, url, database: own("--old", path, url, database, "lists"),
    "old, vectors as text": lambda path, url, database: own("--old", path, url, database, "text"),
}


def fill(url, path, rows, command_of):
    """Fills a new database, which is gone afterwards. Returns seconds and memory."""
    database = "bench"
    execute(url, "CHECKPOINT")
    warm(path)
    figures = measured(command_of(path, url, database))
    there = execute(url, "SELECT count(*), count(english_embedding) FROM text_embeddings", database=database)
    if there != [(rows, rows)]:
        raise SystemExit(f"{there} rows and vectors are in the table, expected {rows}")
    execute(url, f"DROP DATABASE {database} WITH (FORCE)")
    return figures


def median(values):
    return sorted(values)[len(values) // 2]


def compare(url, args):
    """Prints what it finds, as soon as it is known."""
    tenth = max(args.rows // 10, 1)
    small, whole = made(args.folder, tenth, args.dim), made(args.folder, args.rows, args.dim)
    memory_of_tenth = {name: fill(url, small, tenth, way)[1] for name, way in WAYS.items()}
    rounds = {name: [] for name in WAYS}
    for n in range(args.rounds):
        for name, way in WAYS.items():
            rounds[name].append(fill(url, whole, args.rows, way))
            print(f"round {n + 1}: {name}: {rounds[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    taken = {name: median([seconds for seconds, _ in figures]) for name, figures in rounds.items()}
    version = execute(url, "SHOW server_version")[0][0]
    print(f"\n{args.rows:,} x {args.dim} float32, PostgreSQL {version} as it is set by default, {os.cpu_count()} cores, no "
          f"index; median of {args.rounds} rounds\n")
    print(f"| | seconds | rows a second | hyperslab's speed-up | memory, {tenth:,} rows | memory, {args.rows:,} rows |\n"
          "|---|---|---|---|---|---|")
    for name, seconds in taken.items():
        memory = max(memory for _, memory in rounds[name])
        faster = f"{seconds / taken['hyperslab']:.1f}" if name != "hyperslab" else ""
        print(f"| {name} | {seconds:.1f} | {args.rows / seconds:,.0f} | {faster} | {mb(memory_of_tenth[name])} | "
              f"{mb(memory)} |")
    sys.stdout.flush()
    if args.index:
        seconds, memory = fill(url, whole, args.rows, lambda *to: ours(*to, index="hnsw"))
        print(f"\nWith an HNSW index: {seconds:.0f} s, {seconds - taken['hyperslab']:.0f} s of them for the index; "
              f"hyperslab's own memory {mb(memory)}", flush=True)
    if args.million:
        million = made(args.folder, 1_000_000, args.dim)
        seconds, memory = fill(url, million, 1_000_000, ours)
        print(f"\n1,000,000 rows: {seconds:.0f} s, {1e6 / seconds:,.0f} rows a second, memory {mb(memory)}")


def mb(n):
    return f"{n / 1e6:,.0f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "target" / "bench" / "populate")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1152)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--index", action="store_true", help="time an HNSW index as well")
    parser.add_argument("--million", action="store_true", help="1,000,000 rows as well: 15 GB of disk")
    args = parser.parse_args()
    for module, package in [("h5py", "h5py"), ("psycopg2", "psycopg2-binary")]:
        if importlib.util.find_spec(module) is None:
            raise SystemExit(f"{module} is missing: {sys.executable} -m pip install --target {PYTHON} {package}")
    server = args.folder.resolve() / "server"
    started = subprocess.run([SERVER, "start", server], check=True, stdout=subprocess.PIPE, text=True)
    try:
        compare(started.stdout.strip(), args)
    finally:
        subprocess.run([SERVER, "remove", server], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], *map(int, sys.argv[3:]))
    elif sys.argv[1:2] == ["--old"]:
        fill_the_old_way(*sys.argv[2:])
    else:
        main()
