"""Makes what the sample shows: captions in two languages and rendered views. `train.py` and
`train_qwen.py` make the models.

    python sample/make_sample.py [captions|renders ...]      (both without an argument)

Needs numpy and Pillow. What it makes is committed: neither the demo nor the tests run it.
"""

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from catalogue import ASSETS, HELD_OUT, VIEWS, Asset
from render import turntable

SEED = 10002
HERE = Path(__file__).parent
PIXELS = 128
TRUNCATED = ("1/10255/00005.png", 0.6)  # a copy that broke off: this share of the file is kept


def make_captions(folder: Path) -> None:
    for name, field in (("captions.json", "english"), ("captions_zh.json", "chinese")):
        captions = {asset.id: getattr(asset, field) for asset in ASSETS}
        written = {id: caption for id, caption in captions.items() if caption is not None}
        (folder / name).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


def make_renders(folder: Path) -> None:
    root = folder / "renders"
    shutil.rmtree(root, ignore_errors=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_render, range(len(ASSETS)), [root] * len(ASSETS)))
    name, share = TRUNCATED
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[: int(share * len(whole))])


def _render(index: int, root: Path) -> None:
    asset = ASSETS[index]
    if asset.build is None:
        return
    (root / asset.id).mkdir(parents=True)
    for number, view in enumerate(turntable(asset.build(), _angles(index)[: asset.views], PIXELS)):
        _save(view, root / asset.id / f"{number:05}.{asset.suffix}", asset)


def _angles(index: int) -> list[tuple[float, float]]:
    """Azimuth and elevation, in degrees, of the views of an asset: once around it, up and down on the way.
    The held-out views look from higher up, lest one of a round thing is the same as one of the others."""
    random = np.random.default_rng([SEED, index])
    start, middle, swing = (
        random.uniform(0, 360 / VIEWS),
        random.uniform(16, 26),
        random.uniform(0, 2 * np.pi),
    )
    steps = 2 * np.pi * np.arange(VIEWS) / VIEWS
    higher = [5 * (view in HELD_OUT) for view in range(VIEWS)]
    return [(start + np.degrees(s), middle + 9 * np.sin(2 * s + swing) + h) for s, h in zip(steps, higher)]


def _save(view: np.ndarray, path: Path, asset: Asset) -> None:
    view[view[..., 3] == 0, :3] = asset.hidden
    picture = Image.fromarray(view, "RGBA")
    if path.suffix in (".jpg", ".jpeg"):  # has no alpha: on white
        white = Image.new("RGBA", picture.size, "white")
        Image.alpha_composite(white, picture).convert("RGB").save(path, quality=asset.quality)
    elif path.suffix == ".webp":
        lossless = asset.quality is None
        picture.save(path, lossless=lossless, quality=asset.quality or 100, method=6, exact=True)
    else:
        picture.save(path, optimize=True)


def main() -> None:
    makers = {"captions": make_captions, "renders": make_renders}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="|".join(makers), help="what to make; both without it")
    parser.add_argument("--folder", type=Path, default=HERE, help="where (default: %(default)s)")
    arguments = parser.parse_args()
    for what in arguments.what or makers:
        if what not in makers:
            parser.error(f"cannot make {what!r}")
        makers[what](arguments.folder)


if __name__ == "__main__":
    main()
