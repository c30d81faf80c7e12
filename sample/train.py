"""Trains the sample's model on the sample's captions and views, and says how well it finds held-out views.

    python sample/train.py [--steps N] [--threads N] [--folder sample]

Needs numpy, Pillow, torch, torchvision, transformers and tokenizers. The views of `catalogue.HELD_OUT` are
read to evaluate only. The loss is SigLIP's (https://arxiv.org/abs/2303.15343, algorithm 1).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

import siglip
from catalogue import ASSETS, HELD_OUT
from lessons import Lesson, Steps, path_of, read_lessons, some_text, some_tokens, texts_of, varied

HERE = Path(__file__).parent
SEED = 2
STEPS = 1500
LEARNING_RATE = 2e-3
TOKEN_DROPPED = 0.12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1, help="torch's; changes the last bits")
    parser.add_argument("--folder", type=Path, default=HERE, help="holds renders/, gets model/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    lessons = read_lessons(arguments.folder / "renders")
    tokenizer = siglip.make_tokenizer(texts_of(lessons))
    model = siglip.untrained(tokenizer, SEED)
    siglip.save(arguments.folder / "model", model, tokenizer)
    print("untrained:", *evaluate(arguments.folder), sep="\n  ")
    began = time.monotonic()
    train(model, tokenizer, lessons, arguments.steps)
    siglip.save(arguments.folder / "model", model, tokenizer)
    print(f"trained in {time.monotonic() - began:.0f} s:", *evaluate(arguments.folder), sep="\n  ")


# --- Training ----------------------------------------------------------------------------------------


def train(model: SiglipModel, tokenizer: Tokenizer, lessons: list[Lesson], count: int) -> None:
    """Every step shows one view and one caption of each asset."""
    random = np.random.default_rng(SEED)
    steps = Steps(model, count, LEARNING_RATE)
    # 1 where view and caption are of one asset, else -1.
    sign = 2 * torch.eye(len(lessons)) - 1
    model.train()
    for _ in range(count):
        outcome = model(
            input_ids=tokens_of(lessons, tokenizer, random), pixel_values=pixels_of(lessons, random)
        )
        steps.take(-F.logsigmoid(sign * outcome.logits_per_image).sum() / len(lessons))
    model.eval()


def tokens_of(lessons: list[Lesson], tokenizer: Tokenizer, random: np.random.Generator) -> torch.Tensor:
    """Tokens [assets, text length]: for each a caption in one of its languages, some tokens dropped."""
    rows = np.zeros((len(lessons), siglip.TEXT_LENGTH), np.int64)
    for row, lesson in zip(rows, lessons):
        languages = [texts for texts in (lesson.english, lesson.chinese) if texts]
        text = some_text(languages[random.integers(len(languages))], random)
        *ids, eos = tokenizer.encode(text.lower()).ids
        kept = some_tokens(ids, TOKEN_DROPPED, random)
        row[: len(kept) + 1] = [*kept, eos]
    return torch.from_numpy(rows)


def pixels_of(lessons: list[Lesson], random: np.random.Generator) -> torch.Tensor:
    """Pixels [assets, 3, size, size] in -1 to 1: for each one of its views, varied."""
    views = [lesson.pictures[random.integers(len(lesson.pictures))] for lesson in lessons]
    # The program drops alpha.
    return varied(torch.stack(views), siglip.IMAGE_SIZE, lambda colour, _: colour, random)


# --- How well it does --------------------------------------------------------------------------------


def evaluate(folder: Path) -> list[str]:
    """Loads the model as anyone would; lines on how often a caption finds its asset on held-out views."""
    model = SiglipModel.from_pretrained(folder / "model").eval()
    views = [(asset.id, view) for asset in ASSETS for view in HELD_OUT if path_of(folder, asset.id, view)]
    pictures = _embed_pictures(model, folder, views)
    return [
        f"{language}: {_found(model, folder, name, views, pictures)}"
        for language, name in (("English", "captions.json"), ("Chinese", "captions_zh.json"))
    ]


@torch.no_grad()
def _embed_pictures(model: SiglipModel, folder: Path, views: list[tuple[str, int]]) -> torch.Tensor:
    processor = SiglipImageProcessor.from_pretrained(folder / "model")
    pictures = [Image.open(path_of(folder, *view)).convert("RGB") for view in views]
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
