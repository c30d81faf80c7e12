"""Trains the sample's second model, of Qwen3-VL-Embedding's kind, on the sample's captions and sets of views,
and says how well it finds assets by held-out views.

    python sample/train_qwen.py [--steps N] [--threads N] [--folder sample]

Needs what train.py needs. The views of `catalogue.HELD_OUT` are read to evaluate only. The loss is the
symmetric cross-entropy of CLIP (https://arxiv.org/abs/2103.00020, figure 3) between each two of three: a
set of views and two texts.
"""

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen3VLModel

import qwen
from catalogue import ASSETS, HELD_OUT
from lessons import Lesson, Steps, path_of, read_lessons, some_text, some_tokens, texts_of, varied

HERE = Path(__file__).parent
MODEL = "model-qwen"
SEED = 2
STEPS = 400
TEMPERATURE = 0.05
VIEWS_MAX = 8  # of a set
PICTURE_SIZE = 128
LOWER_CASE = 0.3  # how often a text is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1, help="torch's; changes the last bits")
    parser.add_argument("--folder", type=Path, default=HERE, help=f"holds renders/, gets {MODEL}/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    lessons = read_lessons(arguments.folder / "renders")
    tokenizer = qwen.make_tokenizer(texts_of(lessons))
    model = qwen.untrained(tokenizer, SEED)
    qwen.save(arguments.folder / MODEL, model, tokenizer)
    print("untrained:", *evaluate(arguments.folder), sep="\n  ")
    began = time.monotonic()
    train(model.model, tokenizer, lessons, arguments.steps)
    qwen.save(arguments.folder / MODEL, model, tokenizer)
    print(f"trained in {time.monotonic() - began:.0f} s:", *evaluate(arguments.folder), sep="\n  ")


# --- What the model reads ----------------------------------------------------------------------------


def embed_texts(model: Qwen3VLModel, texts: list[list[int]]) -> torch.Tensor:
    """Of prompts as tokens; the padding after their ends is seen by no token before it."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    states = model(input_ids=ids, use_cache=False).last_hidden_state
    ends = torch.tensor([len(text) - 1 for text in texts])
    return F.normalize(states[torch.arange(len(texts)), ends])


def embed_sets(model: Qwen3VLModel, ids: list[int], patches: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Of sets of equally many pictures of one size, which have the prompt in common."""
    ids = torch.tensor(ids).expand(len(grid) // ids.count(model.config.vision_start_token_id), -1)
    kinds = (ids == model.config.image_token_id).int()
    states = model(
        input_ids=ids,
        pixel_values=patches,
        image_grid_thw=grid,
        mm_token_type_ids=kinds,
        use_cache=False,
    ).last_hidden_state
    return F.normalize(states[:, -1])


def picture_tokens() -> int:
    return (PICTURE_SIZE // (qwen.PATCH_SIZE * qwen.MERGE_SIZE)) ** 2


# --- Training ----------------------------------------------------------------------------------------


def train(model: Qwen3VLModel, tokenizer: Tokenizer, lessons: list[Lesson], count: int) -> None:
    """Every step shows a set of views and two texts of each asset, in two languages where it has them."""
    random = np.random.default_rng(SEED)
    sizes = np.arange(1, VIEWS_MAX + 1)
    steps = Steps(model, count)
    own = torch.arange(len(lessons))
    model.train()
    for _ in range(count):
        # Small sets oftener: they are the harder ones, and cost less.
        views = random.choice(sizes, p=(1 / sizes) / (1 / sizes).sum())
        vectors = [
            embed_texts(model, prompts_of([lesson.english or lesson.chinese for lesson in lessons], tokenizer, random)),
            embed_texts(model, prompts_of([lesson.chinese or lesson.english for lesson in lessons], tokenizer, random)),
            embed_sets(model, tokenizer.encode(qwen.prompt("", views, picture_tokens())).ids, *patches_of(lessons, views, random)),
        ]
        loss = 0
        for one, other in combinations(vectors, 2):
            near = one @ other.T / TEMPERATURE
            loss = loss + (F.cross_entropy(near, own) + F.cross_entropy(near.T, own)) / 2
        steps.take(loss)
    model.eval()


def prompts_of(texts: list[list[str]], tokenizer: Tokenizer, random: np.random.Generator) -> list[list[int]]:
    """Tokens for each asset of one of its texts, some dropped, within the prompt."""
    before, after = tokenizer.encode(qwen.BEFORE, add_special_tokens=False).ids, tokenizer.encode(qwen.AFTER).ids
    prompts = []
    for of_asset in texts:
        text = some_text(of_asset, random)
        text = text.lower() if random.random() < LOWER_CASE else text
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        prompts.append(before + some_tokens(ids, random) + after)
    return prompts


def patches_of(lessons: list[Lesson], views: int, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For each asset so many of its views in some order, again and again where it has fewer."""
    picked = []
    for lesson in lessons:
        order = random.permutation(len(lesson.pictures))
        picked.append(lesson.pictures[np.resize(order, views)])
    on_white = lambda colour, alpha: colour * alpha + 1 - alpha
    pixels = varied(torch.cat(picked), PICTURE_SIZE, on_white, random)
    processor = qwen.image_processor()
    patches, height, width = processor.patchify(pixels, qwen.PATCH_SIZE, qwen.MERGE_SIZE, processor.temporal_patch_size)
    return patches.flatten(0, 1), torch.tensor([[1, height, width]] * len(pixels))


# --- How well it does --------------------------------------------------------------------------------


def evaluate(folder: Path) -> list[str]:
    """Loads the model as anyone would; lines on how often a caption is nearest to its own asset, of which
    the model sees some views."""
    model = Qwen3VLModel.from_pretrained(folder / MODEL, dtype=torch.float32).eval()
    lines = []
    texts = [(language, *_texts(model, folder, name)) for language, name in (("English", "captions.json"), ("Chinese", "captions_zh.json"))]
    sets = [
        ("the held-out views as one set", lambda names: [n for n in names if n in HELD_OUT]),
        *((f"view {view} alone", lambda names, view=view: [n for n in names if n == view]) for view in HELD_OUT),
        ("as the program picks views", _as_the_program),
    ]
    for what, pick in sets:
        ids, vectors = _assets(model, folder, pick)
        for language, captioned, captions in texts:
            asked = [i for i, id in enumerate(captioned) if id in ids]
            near = captions[asked] @ vectors.T
            right = sum(ids[best] == captioned[i] for i, best in zip(asked, near.argmax(dim=1).tolist()))
            lines.append(f"{what}, {language}: {right} of {len(asked)}")
    return lines


def _as_the_program(names: list[int]) -> list[int]:
    if len(names) <= VIEWS_MAX:
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, VIEWS_MAX).astype(int)]


@torch.no_grad()
def _texts(model: Qwen3VLModel, folder: Path, name: str) -> tuple[list[str], torch.Tensor]:
    captions = {id: text for id, text in json.loads((folder / name).read_text()).items() if text}
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    prompts = [tokenizer(qwen.prompt(text))["input_ids"] for text in captions.values()]
    return list(captions), embed_texts(model, prompts)


@torch.no_grad()
def _assets(model: Qwen3VLModel, folder: Path, pick) -> tuple[list[str], torch.Tensor]:
    processor = Qwen2VLImageProcessor.from_pretrained(folder / MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    ids, vectors = [], []
    for asset in ASSETS:
        names = sorted(int(path.stem) for path in (folder / "renders" / asset.id).glob("*"))
        pictures = [p for p in (_on_white(path_of(folder, asset.id, n)) for n in pick(names)) if p]
        if pictures:
            inputs = processor(pictures, return_tensors="pt")
            prompt = tokenizer(qwen.prompt("", len(pictures), picture_tokens()))["input_ids"]
            ids.append(asset.id)
            vectors.append(embed_sets(model, prompt, inputs["pixel_values"], inputs["image_grid_thw"]))
    return ids, torch.cat(vectors)


def _on_white(path: Path) -> Image.Image | None:
    """As Qwen's utilities do."""
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode != "RGBA":
                return picture.convert("RGB")
            white = Image.new("RGB", picture.size, "white")
            white.paste(picture, mask=picture.getchannel("A"))
            return white
    except OSError:
        return None


if __name__ == "__main__":
    main()
