"""Trains the sample's model on the sample's captions and views, and says how well it finds held-out views.

    python sample/train.py [--steps N] [--threads N] [--folder sample]

Needs numpy, Pillow, torch, torchvision, transformers and tokenizers. The views of `catalogue.HELD_OUT` are
read to evaluate only. The loss is SigLIP's (https://arxiv.org/abs/2303.15343, algorithm 1).
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

import siglip
from catalogue import ASSETS, HELD_OUT

HERE = Path(__file__).parent
SEED = 2
STEPS = 1500
WARM_UP = 100
LEARNING_RATE = 2e-3
FULL_CAPTION = 0.6  # how often the caption is shown, and not the asset in few words
TOKEN_DROPPED = 0.12


class Lesson(NamedTuple):
    """What is to be learnt of one asset."""

    pictures: torch.Tensor  # [views, 4, height, width] u8, red, green, blue, alpha
    english: list[str]  # the caption, then the short one; empty where the sample has none
    chinese: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1, help="torch's; changes the last bits")
    parser.add_argument("--folder", type=Path, default=HERE, help="holds renders/, gets model/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    lessons = read_lessons(arguments.folder / "renders")
    tokenizer = siglip.make_tokenizer(
        [text for lesson in lessons for text in lesson.english + lesson.chinese]
    )
    model = siglip.untrained(tokenizer, SEED)
    siglip.save(arguments.folder / "model", model, tokenizer)
    print("untrained:", *evaluate(arguments.folder), sep="\n  ")
    began = time.monotonic()
    train(model, tokenizer, lessons, arguments.steps)
    siglip.save(arguments.folder / "model", model, tokenizer)
    print(f"trained in {time.monotonic() - began:.0f} s:", *evaluate(arguments.folder), sep="\n  ")


# --- Lessons -----------------------------------------------------------------------------------------


def read_lessons(renders: Path) -> list[Lesson]:
    lessons = []
    for asset in ASSETS:
        paths = sorted((renders / asset.id).glob("*"))
        pictures = [_picture(path) for path in paths if int(path.stem) not in HELD_OUT]
        whole = [picture for picture in pictures if picture is not None]
        texts = [
            [caption, short] if caption else []
            for caption, short in (
                (asset.english, asset.english_short),
                (asset.chinese, asset.chinese_short),
            )
        ]
        if whole and any(texts):
            lessons.append(Lesson(torch.stack(whole), *texts))
    return lessons


def _picture(path: Path) -> torch.Tensor | None:
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)
    except OSError as error:
        print(f"left out: {path}: {error}")
        return None


def texts_of(lessons: list[Lesson], tokenizer: Tokenizer, random: np.random.Generator) -> torch.Tensor:
    """Tokens [assets, text length]: for each a caption in one of its languages, some tokens dropped."""
    rows = np.zeros((len(lessons), siglip.TEXT_LENGTH), np.int64)
    for row, lesson in zip(rows, lessons):
        languages = [texts for texts in (lesson.english, lesson.chinese) if texts]
        full, short = languages[random.integers(len(languages))]
        text = full if random.random() < FULL_CAPTION else short
        *ids, eos = tokenizer.encode(text.lower()).ids
        kept = [token for token in ids if random.random() >= TOKEN_DROPPED] or ids
        row[: len(kept) + 1] = [*kept, eos]
    return torch.from_numpy(rows)


def pictures_of(lessons: list[Lesson], random: np.random.Generator) -> torch.Tensor:
    """Pixels [assets, 3, size, size] in -1 to 1: for each one of its views, on some background, in other
    light, larger or smaller, moved, perhaps mirrored."""
    views = [lesson.pictures[random.integers(len(lesson.pictures))] for lesson in lessons]
    count = len(lessons)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(random.uniform(low, high, (count, *shape))).float()

    mirrored = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    scale, shift = uniform(0.85, 1.15), uniform(-0.12, 0.12, 2)
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0], transform[:, 1, 1], transform[:, :, 2] = scale * mirrored, scale, shift
    size = [count, 4, siglip.IMAGE_SIZE, siglip.IMAGE_SIZE]
    grid = F.affine_grid(transform, size, align_corners=False)
    pictures = (
        F.grid_sample(torch.stack(views).float(), grid, padding_mode="border", align_corners=False) / 255
    )

    # Half of them as the program sees them, which drops alpha; the others on white, grey or black.
    colour, alpha = pictures[:, :3], pictures[:, 3:]
    on_grey = colour * alpha + uniform(0, 1, 1, 1, 1) * (1 - alpha)
    colour = torch.where(uniform(0, 1, 1, 1, 1) < 0.5, colour, on_grey)
    light = uniform(0.8, 1.2, 1, 1, 1) * uniform(0.93, 1.07, 3, 1, 1)
    return (colour * light + uniform(-0.05, 0.05, 1, 1, 1)).clamp(0, 1) * 2 - 1


# --- Training ----------------------------------------------------------------------------------------


def train(model: SiglipModel, tokenizer: Tokenizer, lessons: list[Lesson], steps: int) -> None:
    """Every step shows one view and one caption of each asset."""
    random = np.random.default_rng(SEED)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    # 1 where view and caption are of one asset, else -1.
    sign = 2 * torch.eye(len(lessons)) - 1
    model.train()
    for step in range(steps):
        outcome = model(
            input_ids=texts_of(lessons, tokenizer, random), pixel_values=pictures_of(lessons, random)
        )
        loss = -F.logsigmoid(sign * outcome.logits_per_image).sum() / len(lessons)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    model.eval()


# --- How well it does --------------------------------------------------------------------------------


def evaluate(folder: Path) -> list[str]:
    """Loads the model as anyone would; lines on how often a caption finds its asset on held-out views."""
    model = SiglipModel.from_pretrained(folder / "model").eval()
    views = [(asset.id, view) for asset in ASSETS for view in HELD_OUT if _path(folder, asset.id, view)]
    pictures = _embed_pictures(model, folder, views)
    return [
        f"{language}: {_found(model, folder, name, views, pictures)}"
        for language, name in (("English", "captions.json"), ("Chinese", "captions_zh.json"))
    ]


def _path(folder: Path, id: str, view: int) -> Path | None:
    return next((folder / "renders" / id).glob(f"{view:05}.*"), None)


@torch.no_grad()
def _embed_pictures(model: SiglipModel, folder: Path, views: list[tuple[str, int]]) -> torch.Tensor:
    processor = SiglipImageProcessor.from_pretrained(folder / "model")
    pictures = [Image.open(_path(folder, *view)).convert("RGB") for view in views]
    return F.normalize(model.get_image_features(**processor(pictures, return_tensors="pt")).pooler_output)


@torch.no_grad()
def _found(model: SiglipModel, folder: Path, name: str, views: list, pictures: torch.Tensor) -> str:
    shown = {id for id, _ in views}
    all_captions = json.loads((folder / name).read_text())
    captions = {id: text for id, text in all_captions.items() if text and id in shown}
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    lower = [text.lower() for text in captions.values()]
    length = {"padding": "max_length", "max_length": siglip.TEXT_LENGTH, "truncation": True}
    tokens = tokenizer(lower, return_tensors="pt", **length)["input_ids"]
    near = F.normalize(model.get_text_features(input_ids=tokens).pooler_output) @ pictures.T
    among_all = sum(views[best][0] == id for id, best in zip(captions, near.argmax(dim=1).tolist()))
    asked = right = 0
    for view in HELD_OUT:  # a stricter question: one view of each asset
        columns = [i for i, (_, number) in enumerate(views) if number == view]
        for row, id in zip(near[:, columns], captions):
            if (id, view) in views:
                asked, right = asked + 1, right + (views[columns[row.argmax()]][0] == id)
    return (
        f"{among_all} of {len(captions)} captions nearest to a held-out view of their asset; "
        f"{right} of {asked} among one held-out view of each asset"
    )


if __name__ == "__main__":
    main()
