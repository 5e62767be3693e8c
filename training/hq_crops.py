"""Steps on crops: while the HQ token is frozen, all that the head sees of a batch is a constant.

The base runs once a batch; then several steps train the head on other crops of the same maps each, around the
outlines. Most of a step's cost is the base's, so this makes many steps of few.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from zim.modeling.hq_head import HqHead

from .data.batches import StepSource

CELLS = 12
"""Side of a crop in cells of the image embedding: 192 pixels of the padded frame, 96 at stride 2."""

MARGIN = 8
"""Pixels at stride 2 along a crop's border that do not count: there the head does not see what it would see."""

OUTLINE_SHARE = 0.85
"""How often a crop is centred on a pixel of the outline's band, rather than anywhere."""

_STRIDE2 = 8
"""Pixels at stride 2 to a cell."""


class KeptBatch(NamedTuple):
    """What the frozen base makes of a batch of R rows and I images; S the side of the padded frame.

    image: the batch's, by which it is known. hidden: (R, C). upscaled: (R, width, m, m). base: (R, 1, m, m) logits.
    embedding: (I, C, S/16, S/16). early: the head's early maps. target, weight, band: (R, 1, S/2, S/2).
    """

    image: Tensor
    hidden: Tensor
    upscaled: Tensor
    base: Tensor
    embedding: Tensor
    early: tuple[Tensor, ...]
    target: Tensor
    weight: Tensor
    band: Tensor


class CropAnswer(NamedTuple):
    """Crops of R rows at stride 2: logits of the sum and of the head alone (R, 2, c, c), target and weight."""

    logits: Tensor
    target: Tensor
    weight: Tensor


class RepeatedSource(Dataset[Any]):
    """Every batch of a source for `repeats` steps in a row, the very same object."""

    def __init__(self, source: StepSource, repeats: int) -> None:
        self.source, self.repeats = source, repeats
        self._kept: tuple[int, Any] | None = None

    def __getitem__(self, step: int) -> Any:
        index = step // self.repeats
        if self._kept is None or self._kept[0] != index:
            self._kept = (index, self.source[index])
        return self._kept[1]


def answer_crops(head: HqHead, kept: KeptBatch, rng: np.random.Generator) -> CropAnswer:
    """The head's answer on one crop of each row; gradients reach the head."""
    rows, grid = len(kept.hidden), kept.embedding.shape[-1]
    cells = min(CELLS, grid)
    corners = [_corner(kept.band[row, 0], cells, grid, rng) for row in range(rows)]
    images = [row * len(kept.embedding) // rows for row in range(rows)]

    def cut(maps: Tensor, indices: list[int]) -> Tensor:
        scale = maps.shape[-1] // grid
        side = cells * scale
        pieces = [
            maps[i, :, y * scale : y * scale + side, x * scale : x * scale + side]
            for i, (y, x) in zip(indices, corners, strict=True)
        ]
        return torch.stack(pieces)

    own = list(range(rows))
    image_features = head.image_features(cut(kept.embedding, images), [cut(maps, images) for maps in kept.early])
    alone = head.logits(kept.hidden, cut(kept.upscaled, own), image_features)
    logits = torch.cat([cut(kept.base, own) + alone, alone], dim=1)
    side = cells * _STRIDE2
    if logits.shape[-1] != side:
        logits = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    weight = torch.zeros_like(logits[:, :1])
    weight[..., MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
    return CropAnswer(logits, cut(kept.target, own), cut(kept.weight, own) * weight)


def _corner(band: Tensor, cells: int, grid: int, rng: np.random.Generator) -> tuple[int, int]:
    """Upper left cell (row, column) of a crop."""
    places = torch.nonzero(band) if rng.random() < OUTLINE_SHARE else band.new_zeros(0, 2)
    if len(places):
        row, column = (places[int(rng.integers(len(places)))] // _STRIDE2).tolist()
    else:
        row, column = (int(n) for n in rng.integers(0, grid, 2))
    shift = rng.integers(-cells // 4, cells // 4 + 1, 2)
    top, left = (int(np.clip(n + s - cells // 2, 0, grid - cells)) for n, s in zip((row, column), shift, strict=True))
    return top, left
