#!/usr/bin/env python3
"""Writes the inputs that fuzzing begins with, seeds.py FOLDER, one folder for each target.

They are made of tests/fixtures and the sample; the first byte of most says what the rest is (see fuzz_targets).
"""

import collections
import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
FIXTURES = FUZZ.parent / "tests" / "fixtures"
# Larger files make fuzzing slow and are about nothing new.
BYTES_MAX = 40_000


def captions(put):
    pairs = list(json.loads((FIXTURES / "small/captions.json").read_text()).items())[:3]
    objects = json.dumps(dict(pairs), indent=1)
    lines = "".join(json.dumps({"asset_id": i, "caption": c}) + "\n" for i, c in pairs)
    lists = "".join(json.dumps([i, c], ensure_ascii=False) + "\r\n" for i, c in pairs)
    table = "".join('{},"{}"\n'.format(i, c.replace('"', '""')) for i, c in pairs)
    for choice, text in [("0", objects), ("1", lines), ("1", lists), ("2", table), ("2", "id,caption\n" + table)]:
        put(choice.encode() + text.encode())
        put(bytes([choice.encode()[0] | 4]) + text.encode())
        put(b"3" + b"\xef\xbb\xbf" + text.encode())
        put(choice.encode() + gzip.compress(text.encode(), mtime=0))
    put(b'0{"a\\u00e9": "\\ud83d\\ude00", "b": " "}')


def archives(put):
    with tempfile.TemporaryDirectory() as folder:
        content, archive = Path(folder, "7"), Path(folder, "archive")
        content.mkdir()
        for name in ["0.png", "1.png", "1_depth.png", "2.jpg"]:
            (content / name).write_bytes(name.encode() * 9)

        def pack(kind, source, prefix=""):
            script = FIXTURES / "archives.py"
            subprocess.run([sys.executable, script, kind, source, archive, prefix], check=True)
            # Python pads a tar to 10 KiB; two blocks of zeros end it.
            packed = archive.read_bytes().rstrip(b"\0")
            return packed + bytes(1024 + -len(packed) % 512) if kind in ["gnu", "pax", "ustar"] else packed

        for kind in ["gnu", "pax", "ustar"]:
            put(b"0" + pack(kind, content))
            put(b"2" + pack(kind, content, "7/"))
            put(b"0" + pack(kind, content, "n" * 120 + "/é/"))
        for kind in ["stored", "deflated", "bzip2", "zip64", "streamed"]:
            zipped = pack(kind, content)
            put(b"1" + zipped)
            put(b"3" + pack(kind, content, "7/"))
            Path(folder, "outer").mkdir(exist_ok=True)
            Path(folder, "outer", "7.zip").write_bytes(zipped)
            put(b"1" + pack("stored", Path(folder, "outer")))
            put(b"1" + pack("deflated", Path(folder, "outer")))


def safetensors(put):
    for file in FIXTURES.glob("*/*.safetensors"):
        data = file.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        put(b"1" + data[8 : 8 + length])
    put(b"0" + (FIXTURES / "pictures/expected.safetensors").read_bytes())
    put(b"0" + struct.pack("<Q", 2) + b"{}")
    put(b"2" + (FIXTURES / "siglip2/model.safetensors.index.json").read_bytes())
    tensor = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    put(b"1" + json.dumps({"a": tensor, "__metadata__": {"format": "pt"}}).encode())


def table(assets):
    ids = "".join(assets).encode()
    lengths = bytes(len(i.encode()) for i in assets)
    counts = b"".join(struct.pack("<I", n) for n in assets.values())
    return struct.pack("<QQ", len(assets), len(ids)) + ids + lengths + counts


def spool(put):
    source = {"captions": {}, "renders": "/r", "renders_list": None, "layout": "auto", "view_glob": [], "views": "all",
              "max_assets": 3, "id_map": None, "ids": None}

    def make(kind, groups, tables, blocks):
        groups = [{"name": name, "rows": rows} for name, rows in groups]
        header = {"kind": kind, "block_rows": 2, "groups": groups, "assets_left_out": 0, "source": source}
        parts = [json.dumps(header).encode(), *map(table, tables), *blocks]
        put(b"1" + b"\n#\n".join(parts))

    # A path, of which nothing is shared with the one before, and its size; then a member of a tar, and of a zip.
    view = b"\x00\x05a/0.p\x0a"
    tar = b"\x02\x07b.tar/0\x05" + bytes([5, 128, 8, 0, 0]) + b"crc0"
    zipped = b"\x02\x07c.zip/0\x09" + bytes([5, 128, 9, 5, 40, 60, 30]) + b"crc1" + bytes([70, 5]) + b"crc2"
    broken = b"\x01\x03d.t\x00\x03why"
    make("text", [("", 3)], [{"a": 1, "b": 1, "é": 1}], [b"\x05chair\x00", b"\x03\xe6\xa4\x85"])
    make("text", [("english", 1), ("chinese", 1)], [{"a": 1}, {"b": 1}], [b"\x01x", b"\x01y"])
    make("image", [("", 4)], [{"a": 1, "b": 3}], [view + tar, zipped + broken])
    make("view_set", [("", 2)], [{"a": 1, "b": 2}], [b"\x01" + view + b"\x02" + zipped + broken])


def journal(put):
    fingerprint = {"parts": {"plan_sha256": "0" * 64, "kind": "text"}, "about": {"model_name": "m"}}
    header = {"fingerprint": fingerprint, "groups": [{"name": "", "rows": 100}], "block_rows": 10, "dim": 8,
              "stored": "f32", "shard": {"number": 1, "of": 1}, "replaces": {"Failures": {"truncated": 3}}}
    failures = [{"row": 21, "kind": "BrokenPicture", "detail": "ends early"},
                {"row": 22, "kind": {"ViewsLeftOut": 2}, "detail": "2 of 8"}]
    records = [{"first_block": 2, "digests": ["ab" * 32, "00" * 32], "failures": failures, "truncated": [1, 0]},
               {"first_block": 9, "digests": ["ff" * 32], "failures": [], "truncated": [0]}]
    entries = [*({"Committed": record} for record in records), {"Withdrawn": [2, 9]}]
    lines = [json.dumps(part) for part in [header, *entries]]
    put(b"1" + "\n".join(lines).encode())
    put(b"1" + lines[0].encode())
    most = 2**64 - 1
    header |= {"groups": [{"name": "", "rows": most}], "block_rows": 1, "shard": None, "replaces": "Nothing"}
    last = {"Committed": {"first_block": most - 1, "digests": ["ab" * 32], "failures": [], "truncated": [most]}}
    put(b"1" + "\n".join(map(json.dumps, [header, last, last])).encode())


def pictures(put):
    for file in sorted((FIXTURES / "pictures").rglob("*.*")):
        if file.suffix in (".png", ".jpg", ".webp"):
            put(file.read_bytes())


def configs(put):
    names = ["config.json", "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"]
    for model in ["siglip", "siglip2", "naflex", "qwen3", "qwen3-vl", "small/model"]:
        folder = FIXTURES / model
        files = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        files["tokenizer.json"] = json.dumps(shortened(tokenizer)).encode()
        put(folder_of(files))
        if model == "siglip":
            del files["tokenizer.json"]
            put(folder_of({**files, "spiece.model": spiece(tokenizer["model"]["vocab"][:40])}))


def folder_of(files):
    return b"\n#\n".join(name.encode() + b"\n" + content for name, content in files.items())


def shortened(tokenizer):
    """A tokenizer with few pieces: all special ones, and those of the first merges."""
    model = tokenizer["model"]
    if model["type"] == "Unigram":
        model["vocab"] = model["vocab"][:40]
        steps = tokenizer["normalizer"]["normalizers"]
        tokenizer["normalizer"]["normalizers"] = [step for step in steps if step["type"] != "Precompiled"]
        return tokenizer
    merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"][:8]]
    kept = {piece for merge in merges for piece in [*merge, "".join(merge)]}
    kept |= {token["content"] for token in tokenizer["added_tokens"]}
    model["vocab"] = {piece: n for piece, n in model["vocab"].items() if piece in kept or len(piece) == 1}
    model["merges"] = merges
    return tokenizer


def spiece(pieces):
    """A sentencepiece model, as protocol buffers have it: field number and kind, length, content."""
    def field(number, content):
        assert len(content) < 128
        return bytes([number << 3 | 2, len(content)]) + content

    model = b""
    for place, (piece, score) in enumerate(pieces):
        kind = b"\x18" + bytes([2 if place == 2 else 3 if place < 2 else 1])
        model += field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + kind)
    charsmap = struct.pack("<II", 4, 0) + b"x\0"
    # Unigram, and the piece that is the unknown one.
    return model + field(2, b"\x18\x01\xc0\x02\x02") + field(3, field(2, charsmap) + b"\x18\x01")


def pickles(put):
    """As NumPy has its arrays pickled, without NumPy."""
    def named(module, name):
        def function():
            pass

        function.__module__, function.__qualname__, function.__name__ = module, name, name
        setattr(sys.modules.setdefault(module, types.ModuleType(module)), name, function)
        return function

    class Made:
        def __init__(self, *reduced):
            self.reduced = reduced

        def __reduce__(self):
            return self.reduced

    reconstruct = named("numpy.core.multiarray", "_reconstruct")
    from_buffer = named("numpy._core.numeric", "_frombuffer")
    scalar = named("numpy._core.multiarray", "scalar")
    ndarray, dtype = named("numpy", "ndarray"), named("numpy", "dtype")

    def of(name, order="<"):
        return Made(dtype, (name, False, True), (3, order, None, None, None, -1, -1, 0))

    def array(shape, data, name="f4", order="<"):
        return Made(reconstruct, (ndarray, (0,), b"b"), (1, shape, of(name, order), False, data))

    ones = struct.pack("<4f", 1, 0.5, 2, 0)
    one, two = array((4,), ones), array((2, 2), ones)
    for protocol in [2, 3, 4, 5]:
        def dump(choice, what):
            put(choice + pickle.dumps(what, protocol))

        dump(b"0", {"a": one, "b": array((4,), ones[::-1], order=">")})
        dump(b"0", {"a": Made(from_buffer, (ones, of("f8"), (2,), "C")), "b": array((1, 2), ones, "f8")})
        dump(b"0", collections.OrderedDict({"a": [1.5, 2, 3.25], "b": [0.0] * 3}))
        dump(b"0", {Made(scalar, (of("U1"), b"a\0\0\0")): [Made(scalar, (of("f4"), ones[:4]))]})
        dump(b"1", {"a": [one, one], "b": [], "c": array((1, 4), ones)})
        dump(b"1", {"a": [[1.5, 2], [3.0, 4]], "b": two})

    def npy(descr, shape, data):
        header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data

    for method in [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]:
        for choice, counts in [(b"0", None), (b"1", npy("<i8", (2,), struct.pack("<2q", 2, 0)))]:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as archive:
                archive.writestr("asset_ids.npy", npy("<U2", (2,), b"a\0\0\0\0\0\0\0b\0\0\0c\0\0\0"))
                archive.writestr("embeddings.npy", npy("<f4", (2, 2), ones))
                if counts:
                    archive.writestr("counts.npy", counts)
            put(choice + file.getvalue())


TARGETS = [captions, archives, pickles, safetensors, spool, journal, pictures, configs]


def main(folder):
    for target in TARGETS:
        place = Path(folder, target.__name__)
        place.mkdir(parents=True, exist_ok=True)
        seeds = []
        target(seeds.append)
        for number, seed in enumerate(seeds):
            if len(seed) <= BYTES_MAX:
                (place / f"seed-{number:03}").write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
