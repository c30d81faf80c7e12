"""Trains the sample's second model, of Qwen3-VL-Embedding's kind, on the sample's captions and on sets of its
views, and says how well captions find assets of which the model sees held-out views.

    python sample/train_qwen.py [--steps N] [--threads N] [--folder sample]

Needs what train.py needs. The views of `catalogue.HELD_OUT` are read to evaluate only. The loss is CLIP's
(https://arxiv.org/abs/2103.00020, figure 3), between each two of an asset's views, English and Chinese.
"""

import argparse
import json
import time
from collections.abc import Callable
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
STEPS = 550
TEMPERATURE = 0.07
LEARNING_RATE = 3e-3
TOKEN_DROPPED = 0.25
PICTURE_SIZE = 128  # of all views, none is resized
PICTURE_TOKENS = (PICTURE_SIZE // (qwen.PATCH_SIZE * qwen.MERGE_SIZE)) ** 2
VIEWS_MAX = 8  # of a set
LOWER_CASE = 0.3  # how often a text is in lower case, as queries are


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


# --- Vectors -----------------------------------------------------------------------------------------


def embed_texts(model: Qwen3VLModel, prompts: list[list[int]]) -> torch.Tensor:
    """Padded on the right and without a mask: attention is causal, no token sees the padding after it."""
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in prompts], batch_first=True)
    states = model(input_ids=padded, use_cache=False).last_hidden_state
    last = torch.tensor([len(ids) - 1 for ids in prompts])
    return F.normalize(states[torch.arange(len(prompts)), last])


def embed_sets(
    model: Qwen3VLModel, prompt: list[int], patches: torch.Tensor, grid: torch.Tensor
) -> torch.Tensor:
    """Of sets that have equally many pictures each, and so the prompt in common."""
    sets = len(grid) // prompt.count(model.config.vision_start_token_id)
    ids = torch.tensor([prompt] * sets)
    states = model(
        input_ids=ids,
        pixel_values=patches,
        image_grid_thw=grid,
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        use_cache=False,
    ).last_hidden_state
    return F.normalize(states[:, -1])


# --- Training ----------------------------------------------------------------------------------------


def train(model: Qwen3VLModel, tokenizer: Tokenizer, lessons: list[Lesson], count: int) -> None:
    """Every step shows a set of views and two texts of each asset, one in each language that it has."""
    random = np.random.default_rng(SEED)
    english = [lesson.english or lesson.chinese for lesson in lessons]
    chinese = [lesson.chinese or lesson.english for lesson in lessons]
    # Small sets oftener: they are harder to tell apart, and cost less.
    sizes = np.arange(1, VIEWS_MAX + 1)
    often = sizes**-2.0 / (sizes**-2.0).sum()
    steps = Steps(model, count, LEARNING_RATE)
    model.train()
    for _ in range(count):
        views = random.choice(sizes, p=often)
        prompt = tokenizer.encode(qwen.prompt(pictures=views, tokens=PICTURE_TOKENS)).ids
        vectors = [
            embed_texts(model, prompts_of(english, tokenizer, random)),
            embed_texts(model, prompts_of(chinese, tokenizer, random)),
            embed_sets(model, prompt, *patches_of(lessons, views, random)),
        ]
        steps.take(sum(contrast(*pair) for pair in combinations(vectors, 2)))
    model.eval()


def contrast(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    near = one @ other.T / TEMPERATURE
    own = torch.arange(len(near))
    return (F.cross_entropy(near, own) + F.cross_entropy(near.T, own)) / 2


def prompts_of(
    texts: list[list[str]], tokenizer: Tokenizer, random: np.random.Generator
) -> list[list[int]]:
    """For each asset tokens of the prompt with one of its texts, of which some are dropped."""
    before = tokenizer.encode(qwen.BEFORE, add_special_tokens=False).ids
    after = tokenizer.encode(qwen.AFTER).ids
    prompts = []
    for full_and_short in texts:
        text = some_text(full_and_short, random)
        text = text.lower() if random.random() < LOWER_CASE else text
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        prompts.append(before + some_tokens(ids, TOKEN_DROPPED, random) + after)
    return prompts


def patches_of(
    lessons: list[Lesson], views: int, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches and grids of so many views of each asset, in any order, varied; they recur where it has fewer."""
    picked = [
        lesson.pictures[np.resize(random.permutation(len(lesson.pictures)), views)] for lesson in lessons
    ]
    # The program puts what is transparent on white.
    pixels = varied(torch.cat(picked), PICTURE_SIZE, lambda colour, alpha: colour * alpha + 1 - alpha, random)
    processor = qwen.image_processor()
    patches, height, width = processor.patchify(
        pixels, processor.patch_size, processor.merge_size, processor.temporal_patch_size
    )
    return patches.flatten(0, 1), torch.tensor([[1, height, width]] * len(pixels))


# --- How well it does --------------------------------------------------------------------------------


def evaluate(folder: Path) -> list[str]:
    """Loads the model as anyone would; lines on how many captions are nearest to their own asset, depending
    on which views of each asset its vector is made of."""
    model = Qwen3VLModel.from_pretrained(folder / MODEL, dtype=torch.float32).eval()
    captions = [
        (language, *_embed_captions(model, folder, name))
        for language, name in (("English", "captions.json"), ("Chinese", "captions_zh.json"))
    ]
    lines = []
    for what, pick in (
        ("held-out views, as one set", _only(*HELD_OUT)),
        *((f"view {view} alone", _only(view)) for view in HELD_OUT),
        ("all views, as the program picks", as_the_program),
    ):
        ids, assets = _embed_assets(model, folder, pick)
        found = [f"{language} {_found(*of, ids, assets)}" for language, *of in captions]
        lines.append(f"{what}: {', '.join(found)}")
    return lines


def _only(*wanted: int) -> Callable[[list[int]], list[int]]:
    return lambda views: [view for view in views if view in wanted]


def as_the_program(views: list[int]) -> list[int]:
    """At most so many of an asset's views as a set holds, spread over all."""
    if len(views) <= VIEWS_MAX:
        return views
    return [views[i] for i in np.linspace(0, len(views) - 1, VIEWS_MAX).astype(int)]


@torch.no_grad()
def _embed_captions(model: Qwen3VLModel, folder: Path, name: str) -> tuple[list[str], torch.Tensor]:
    captions = {id: text for id, text in json.loads((folder / name).read_text()).items() if text}
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    prompts = [tokenizer(qwen.prompt(text))["input_ids"] for text in captions.values()]
    return list(captions), embed_texts(model, prompts)


@torch.no_grad()
def _embed_assets(
    model: Qwen3VLModel, folder: Path, pick: Callable[[list[int]], list[int]]
) -> tuple[list[str], torch.Tensor]:
    """A vector for each asset that has such views; broken ones are left out."""
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    processor = Qwen2VLImageProcessor.from_pretrained(folder / MODEL)
    vectors = {}
    for asset in ASSETS:
        views = sorted(int(path.stem) for path in (folder / "renders" / asset.id).glob("*"))
        seen = [_on_white(path_of(folder, asset.id, view)) for view in pick(views)]
        pictures = [picture for picture in seen if picture is not None]
        if pictures:
            prompt = tokenizer(qwen.prompt(pictures=len(pictures), tokens=PICTURE_TOKENS))["input_ids"]
            inputs = processor(pictures, return_tensors="pt")
            vectors[asset.id] = embed_sets(model, prompt, inputs["pixel_values"], inputs["image_grid_thw"])
    return list(vectors), torch.cat(list(vectors.values()))


def _on_white(path: Path) -> Image.Image | None:
    """As Qwen's utilities open a picture."""
    try:
        with Image.open(path) as picture:
            if picture.mode != "RGBA":
                return picture.convert("RGB")
            white = Image.new("RGB", picture.size, (255, 255, 255))
            white.paste(picture, mask=picture.getchannel("A"))
            return white
    except OSError:
        return None


def _found(captioned: list[str], captions: torch.Tensor, ids: list[str], assets: torch.Tensor) -> str:
    nearest = [ids[best] for best in (captions @ assets.T).argmax(dim=1).tolist()]
    shown = [(id, near) for id, near in zip(captioned, nearest) if id in ids]
    return f"{sum(id == near for id, near in shown)} of {len(shown)}"


if __name__ == "__main__":
    main()
