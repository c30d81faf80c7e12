"""Makes the sample that `make demo` embeds: captions, rendered views and a small model, from one seed.

    python sample/make_sample.py [captions|renders|model ...]      (all three without an argument)

Needs numpy and Pillow; the model also torch, transformers and tokenizers. What it makes is committed: neither
the demo nor the tests run it.
"""

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from render import turntable
from scenes import Asset, assets

SEED = 10002
HERE = Path(__file__).parent
VIEWS = 8
PIXELS = 128
TRUNCATED = ("1/10255/00005.png", 0.6)  # a copy that broke off: this share of the file is kept


def make_captions(folder: Path) -> None:
    captions = {asset.id: asset.caption for asset in _assets() if asset.caption is not None}
    (folder / "captions.json").write_text(json.dumps(captions, indent=2, ensure_ascii=False) + "\n")


def make_renders(folder: Path) -> None:
    root = folder / "renders"
    shutil.rmtree(root, ignore_errors=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        count = len(_assets())
        list(pool.map(_render, range(count), [root] * count))
    name, share = TRUNCATED
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[: int(share * len(whole))])


def _assets() -> list[Asset]:
    return assets(np.random.default_rng(SEED))


def _render(index: int, root: Path) -> None:
    asset = _assets()[index]
    if not asset.parts:
        return
    random = np.random.default_rng([SEED, index])
    start_deg, elevation_deg = random.uniform(0, 360 / VIEWS), random.uniform(14, 28)
    (root / asset.id).mkdir(parents=True)
    for number, view in enumerate(turntable(asset.parts, VIEWS, start_deg, elevation_deg, PIXELS)):
        _save(view, root / asset.id / f"{number:05}.{asset.suffix}", asset.quality)


def _save(view: np.ndarray, path: Path, quality: int | None) -> None:
    picture = Image.fromarray(view, "RGBA")
    if path.suffix in (".jpg", ".jpeg"):  # has no alpha: on white
        white = Image.new("RGBA", picture.size, "white")
        Image.alpha_composite(white, picture).convert("RGB").save(path, quality=quality)
    elif path.suffix == ".webp":
        picture.save(path, lossless=quality is None, quality=quality or 100, method=6, exact=True)
    else:
        picture.save(path, optimize=True)


def make_model(folder: Path) -> None:
    from tiny_siglip import write_model

    captions = json.loads((folder / "captions.json").read_text())
    view = next((folder / "renders").glob("*/*/*"))
    write_model(folder / "model", [caption for caption in captions.values() if caption], view, SEED)


def main() -> None:
    makers = {"captions": make_captions, "renders": make_renders, "model": make_model}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="|".join(makers), help="what to make; all without it")
    parser.add_argument("--folder", type=Path, default=HERE, help="where (default: %(default)s)")
    arguments = parser.parse_args()
    for what in arguments.what or makers:
        if what not in makers:
            parser.error(f"cannot make {what!r}")
        makers[what](arguments.folder)


if __name__ == "__main__":
    main()
