"""What the sample's models are taught: captions and views, and how both are varied while they are shown."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from catalogue import ASSETS, HELD_OUT

WARM_UP = 100
FULL_CAPTION = 0.6  # how often the caption is shown, and not the asset in few words


class Lesson(NamedTuple):
    """What is to be learnt of one asset."""

    pictures: torch.Tensor  # [views, 4, height, width] u8, red, green, blue, alpha
    english: list[str]  # the caption, then the short one; empty where the sample has none
    chinese: list[str]


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


def texts_of(lessons: list[Lesson]) -> list[str]:
    """All texts there are, which a tokenizer is made from."""
    return [text for lesson in lessons for text in lesson.english + lesson.chinese]


def path_of(folder: Path, id: str, view: int) -> Path | None:
    return next((folder / "renders" / id).glob(f"{view:05}.*"), None)


def _picture(path: Path) -> torch.Tensor | None:
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)
    except OSError as error:
        print(f"left out: {path}: {error}")
        return None


# --- Variation ---------------------------------------------------------------------------------------


def some_text(texts: list[str], random: np.random.Generator) -> str:
    full, short = texts
    return full if random.random() < FULL_CAPTION else short


def some_tokens(ids: list[int], dropped: float, random: np.random.Generator) -> list[int]:
    return [token for token in ids if random.random() >= dropped] or ids


def varied(
    views: torch.Tensor,
    size: int,
    shown: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    random: np.random.Generator,
) -> torch.Tensor:
    """Pixels [views, 3, size, size] in -1 to 1 of views as a lesson has them: on some background, in other
    light, larger or smaller, moved, perhaps mirrored. `shown` makes of colour and alpha what the program
    sees."""
    count = len(views)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(random.uniform(low, high, (count, *shape))).float()

    mirrored = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    scale, shift = uniform(0.85, 1.15), uniform(-0.12, 0.12, 2)
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0], transform[:, 1, 1], transform[:, :, 2] = scale * mirrored, scale, shift
    grid = F.affine_grid(transform, [count, 4, size, size], align_corners=False)
    pictures = F.grid_sample(views.float(), grid, padding_mode="border", align_corners=False) / 255

    # Half of them as the program sees them; the others on white, grey or black.
    colour, alpha = pictures[:, :3], pictures[:, 3:]
    on_grey = colour * alpha + uniform(0, 1, 1, 1, 1) * (1 - alpha)
    colour = torch.where(uniform(0, 1, 1, 1, 1) < 0.5, shown(colour, alpha), on_grey)
    light = uniform(0.8, 1.2, 1, 1, 1) * uniform(0.93, 1.07, 3, 1, 1)
    return (colour * light + uniform(-0.05, 0.05, 1, 1, 1)).clamp(0, 1) * 2 - 1


# --- Steps -------------------------------------------------------------------------------------------


class Steps:
    """AdamW on a cosine that warms up; matrices decay, what else there is does not."""

    def __init__(self, model: torch.nn.Module, count: int, learning_rate: float):
        self.parameters = list(model.parameters())
        decayed = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / count)),
        )
        self.count, self.taken = count, 0

    def take(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.taken += 1
        if self.taken % 100 == 0:
            print(f"step {self.taken} of {self.count}: loss {loss.item():.3f}", flush=True)
