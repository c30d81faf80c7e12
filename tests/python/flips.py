"""Flips bytes of a file, one after the other: flips.py STEP FILE SCRATCH

Each flip is found by verify.py, or it changes nothing that h5py reads. Prints how many were found, of how many.
"""

import sys
from pathlib import Path

import h5py
import numpy as np

from verify import DAMAGED, FAILED, SOUND, Foreign, verify


def content(path):
    """All that h5py reads of a file, as bytes."""
    read = {}

    def visit(name, item):
        read[name, "attributes"] = {key: np.asarray(value).tobytes() for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            read[name] = (item.dtype.str, item.shape, item[()].tobytes())

    with h5py.File(path) as f:
        visit("/", f)
        f.visititems(visit)
    return read


def exit_code(path):
    try:
        return DAMAGED if verify(path).n_findings else SOUND
    except Foreign:
        return FAILED


step, file, scratch = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
whole, sound = file.read_bytes(), content(file)
codes = []
for at in range(0, len(whole), step):
    flipped = bytearray(whole)
    flipped[at] ^= 1 << (at % 8)
    scratch.write_bytes(flipped)
    codes.append(exit_code(scratch))
    # Only in the signature does a flip make something else of the file.
    assert codes[-1] != FAILED or at < 8, f"{file}: byte {at} made it foreign"
    assert codes[-1] != SOUND or content(scratch) == sound, f"{file}: byte {at} went unnoticed"
print(codes.count(DAMAGED), len(codes))
