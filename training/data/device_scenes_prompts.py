"""Prompts of many mattes at once, on their device: what `prompt_sampling` draws, without a loop over rows.

Everything that decides a shape (which rows have boxes, how many points) is drawn on the host beforehand; nothing here
waits for the device.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .batches import StepKind
from .device_scenes_filters import depth_of, on_device
from .prompt_sampling import BOX_THRESHOLD, INSIDE_THRESHOLD, OUTSIDE_THRESHOLD, PromptConfig
from .scribbles import BACKGROUND_PROBABILITY, SCRIBBLE_POINTS

CELLS = 64
"""Points are drawn by cell of a grid of this side, then by pixel."""

_CANDIDATES = 48
_DEEPEST = CELLS // 2
_NODES = SCRIBBLE_POINTS // 4
"""Points of a stroke: two strokes of either kind are as many as a scribble has."""


@dataclass(frozen=True, kw_only=True)
class PromptPlan:
    """What each of R rows is prompted with. boxes: (R,) bool. positives, negatives: (R,) counts of points, or of
    strokes where `scribble`. width: to which every row is padded.
    """

    boxes: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    width: int
    scribble: bool = False


def plan_prompts(
    rng: np.random.Generator,
    rows: int,
    kind: StepKind,
    *,
    most: int,
    width: int,
    box_share: float,
    config: PromptConfig = PromptConfig(),
) -> PromptPlan:
    """The numbers of prompts of `rows` rows of a step, as `BatchSource` has them; `most`: points of a row."""
    boxes, none = np.zeros(rows, bool), np.zeros(rows, np.int64)
    if kind == "pair":
        boxes = rng.random(rows) < box_share
        return PromptPlan(boxes=boxes, positives=(~boxes).astype(np.int64), negatives=none, width=width)
    if kind == "scribble":
        beside = np.where(rng.random(rows) < BACKGROUND_PROBABILITY, rng.integers(1, 3, rows), 0)
        positives = rng.integers(1, 3, rows)
        return PromptPlan(boxes=boxes, positives=positives, negatives=beside, width=width, scribble=True)
    low, high = (min(most, 2), most) if kind == "points" else (1, max(1, most // 2))
    count = rng.integers(low, high + 1, rows)
    wrong = (rng.uniform(0, config.negative_fraction, rows) * count + rng.random(rows)).astype(np.int64)
    negatives = np.minimum(wrong, count - 1)
    boxes[:] = kind == "box+points"
    return PromptPlan(boxes=boxes, positives=count - negatives, negatives=negatives, width=width)


def boxes_of(alpha: Tensor) -> Tensor:
    """Boxes of alpha > 0.3, inclusive, the whole picture where there is none: (R, S, S) -> (R, 4) float xyxy."""
    mask = alpha > BOX_THRESHOLD
    last = alpha.shape[-1] - 1
    sides = []
    for line in (mask.any(1).float(), mask.any(2).float()):  # columns, rows
        sides.append((line.argmax(1), last - line.flip(1).argmax(1)))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def jittered(boxes: Tensor, valid_wh: Tensor, generator: torch.Generator, config: PromptConfig) -> Tensor:
    """Edges moved, mostly outwards, as `prompt_sampling` does.

    boxes: (R, 4). valid_wh: (R, 2) float, width and height of the unpadded part, which they stay in.
    """
    rows, device = len(boxes), boxes.device
    draws = torch.rand(rows, 10, device=device, generator=generator)
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)
    amount = sides * config.box_jitter * draws[:, :4] * draws[:, 4:5]
    outward = torch.where(draws[:, 5:9] < config.outward_bias, amount, -0.5 * amount)
    signs = torch.cat([-torch.ones(2, device=device), torch.ones(2, device=device)])
    limit = (valid_wh - 1).repeat(1, 2)
    moved = ((boxes + outward * signs) * 4).round() / 4
    moved = torch.minimum(moved.clamp(min=0), limit)
    far = torch.minimum(torch.maximum(moved[:, 2:], moved[:, :2] + 1), limit[:, 2:])
    near = torch.minimum(moved[:, :2], far - 1).clamp(min=0)
    exact = draws[:, 9:] < config.exact_box_probability
    return torch.where(exact, boxes, torch.cat([near, far], dim=1))


def draw_prompts(
    alpha: Tensor,
    valid_wh: Tensor,
    plan: PromptPlan,
    generator: torch.Generator,
    config: PromptConfig = PromptConfig(),
) -> tuple[Tensor, Tensor]:
    """Coordinates (R, width, 2) float and labels (R, width) int64 in SAM's order, as `Batch` has them.

    alpha: (R, S, S) float, 0 in the padding. valid_wh: (R, 2) float, width and height of the unpadded part.
    Points, then the corners of the box; a row's rest is padding: label -1 at (0, 0).
    """
    rows, device = len(alpha), alpha.device
    coords = [torch.zeros(rows, plan.width, 2, device=device)]
    labels = [torch.full((rows, plan.width), -1, device=device)]
    if plan.boxes.any():
        corners = jittered(boxes_of(alpha), valid_wh, generator, config).view(rows, 2, 2)
        coords.insert(0, corners)
        labels.insert(0, on_device(np.where(plan.boxes[:, None], [2, 3], -1), device))
    if plan.positives.any():
        grid = _Grid(alpha, valid_wh, config, negatives=bool(plan.negatives.any()))
        xy, sign = _strokes(grid, plan, generator) if plan.scribble else _points(grid, plan, generator, config)
        coords.insert(0, xy.clamp(max=alpha.shape[-1] - 1))
        labels.insert(0, sign)
    xy, sign = torch.cat(coords, dim=1), torch.cat(labels, dim=1)
    order = (sign < 0).to(torch.uint8).argsort(dim=1, stable=True)[:, : plan.width]
    sign = sign.gather(1, order)
    xy = xy.gather(1, order[..., None].expand(-1, -1, 2))
    return torch.where((sign < 0)[..., None], 0.0, xy), sign


class _Grid:
    """A matte by cell, and where points are likely.

    pixels: (R, cells * cells, n) alpha by cell. inside, outside: (R, cells, cells) weights. area: (R,) solid pixels.
    """

    def __init__(self, alpha: Tensor, valid_wh: Tensor, config: PromptConfig, *, negatives: bool) -> None:
        rows, side, device = len(alpha), alpha.shape[-1], alpha.device
        cells = min(CELLS, side)
        edge = side // cells
        self.alpha = alpha
        self.pixels = alpha.view(rows, cells, edge, cells, edge).transpose(2, 3).flatten(3).flatten(1, 2)
        shape = (rows, cells, cells)
        mean, highest = self.pixels.mean(2).view(shape), self.pixels.amax(2).view(shape)
        lowest = self.pixels.amin(2).view(shape)
        self.depth = depth_of((mean > INSIDE_THRESHOLD).float(), _DEEPEST)
        self.area = (alpha > INSIDE_THRESHOLD).float().sum((1, 2))
        peak = highest.amax((1, 2), keepdim=True)
        self.allowed = (highest > INSIDE_THRESHOLD) | (highest >= peak)
        self.free, self.outside = torch.zeros_like(self.allowed), torch.zeros_like(self.depth)
        if negatives:
            at = (torch.arange(cells, device=device) + 1) * edge
            room = (at[None, None, :] <= valid_wh[:, :1, None]) & (at[None, :, None] <= valid_wh[:, 1:, None])
            self.free = room & (lowest < OUTSIDE_THRESHOLD)
            gap = depth_of((highest < OUTSIDE_THRESHOLD).float(), _DEEPEST)
            reach = 2 + 0.15 * (self.depth > 0).float().sum((1, 2)).sqrt()[:, None, None]
            far, near = self.free & (gap > 1), self.free & (gap > 1) & (gap <= reach)
            share = config.near_negative_probability
            counts = [m.float().sum((1, 2), keepdim=True).clamp(min=1) for m in (near, far)]
            self.outside = share * near / counts[0] + (1 - share) * far / counts[1] + 1e-9 * self.free


def _points(
    grid: _Grid, plan: PromptPlan, generator: torch.Generator, config: PromptConfig
) -> tuple[Tensor, Tensor]:
    """Positive points, the first towards the interior, then negative ones: (R, N, 2) and labels, -1 for none."""
    rows, device = len(grid.alpha), grid.alpha.device
    biased = torch.rand(rows, 1, 1, device=device, generator=generator) < 0.8
    weight = torch.where(biased, grid.depth**config.interior_bias, (grid.depth > 0).float())
    inside = torch.where(grid.allowed, weight + 1e-4, 0)
    most, wrong = int(plan.positives.max()), int(plan.negatives.max())
    candidates = _places(grid.pixels, inside, highest=True, generator=generator)
    coords, labels = [_spread(candidates, most, generator)], [_counted(plan.positives, most, 1, device)]
    if wrong:
        candidates = _places(grid.pixels, grid.outside, highest=False, generator=generator)[:, : 3 * wrong]
        coords.append(_spread(candidates, wrong, generator))
        found = grid.free.flatten(1).any(1)[:, None]
        labels.append(torch.where(found, _counted(plan.negatives, wrong, 0, device), -1))
    return torch.cat(coords, dim=1), torch.cat(labels, dim=1)


def _strokes(grid: _Grid, plan: PromptPlan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points along wavering lines that start in or beside the object, as far as they stay there."""
    rows, side, device = len(grid.alpha), grid.alpha.shape[-1], grid.alpha.device
    coords, labels = [], []
    for sign, counts, weight in ((1, plan.positives, grid.allowed.float()), (0, plan.negatives, grid.outside)):
        strokes = int(counts.max())
        if strokes == 0:
            continue
        start = _places(grid.pixels, weight, highest=sign == 1, generator=generator)[:, :strokes]  # (R, strokes, 2)
        draw = torch.rand(rows, strokes, 2, device=device, generator=generator)
        bends = torch.randn(rows, strokes, _NODES, device=device, generator=generator)
        length = grid.area.clamp(min=1).sqrt()[:, None] * 0.2 * 6 ** draw[..., 0]
        heading = 2 * math.pi * draw[..., 1:] + (0.43 * bends).cumsum(2)
        steps = torch.stack([heading.cos(), heading.sin()], dim=-1) * (length / _NODES)[..., None, None]
        path = torch.cat([start[:, :, None], start[:, :, None] + steps.cumsum(2)], dim=2)[:, :, :_NODES].round()
        inside = ((path >= 0) & (path < side)).all(-1)
        x, y = path.clamp(0, side - 1).long().unbind(-1)
        at = grid.alpha.flatten(1).gather(1, (y * side + x).flatten(1)).view_as(inside)
        good = inside & (at > INSIDE_THRESHOLD if sign else at < OUTSIDE_THRESHOLD)
        found = (grid.allowed if sign else grid.free).flatten(1).any(1)
        good[..., 0] = found[:, None].expand(-1, strokes)
        used = _counted(counts, strokes, 0, device)[..., None] >= 0
        coords.append(path.flatten(1, 2))
        labels.append(torch.where(good & used, sign, -1).flatten(1))
    return torch.cat(coords, dim=1), torch.cat(labels, dim=1)


def _counted(counts: np.ndarray, most: int, label: int, device: torch.device) -> Tensor:
    """(R, most) int64: `label` for the first `counts` of each row, -1 behind."""
    return on_device(np.where(np.arange(most) < counts[:, None], label, -1), device)


def _places(pixels: Tensor, weight: Tensor, *, highest: bool, generator: torch.Generator) -> Tensor:
    """Draw cells by weight and a pixel in each, the cell's most (least) opaque one where that is not what is asked for.

    pixels: (R, cells * cells, n) alpha by cell. weight: (R, cells, cells). Returns (R, 48, 2) float xy.
    """
    rows, cells, count = len(pixels), weight.shape[-1], pixels.shape[2]
    cumulative = weight.flatten(1).double().cumsum(1)
    draw = torch.rand(rows, _CANDIDATES, device=pixels.device, generator=generator).double() * cumulative[:, -1:]
    cell = torch.searchsorted(cumulative, draw, right=True).clamp(max=cells * cells - 1)
    values = pixels.gather(1, cell[..., None].expand(-1, -1, count))  # (R, 48, n)
    chosen = torch.randint(count, (rows, _CANDIDATES, 1), device=pixels.device, generator=generator)
    at = values.gather(2, chosen)
    good = at > INSIDE_THRESHOLD if highest else at < OUTSIDE_THRESHOLD
    extreme = values.argmax(2, keepdim=True) if highest else values.argmin(2, keepdim=True)
    place = torch.where(good, chosen, extreme)[..., 0]
    edge = round(count**0.5)
    x = (cell % cells) * edge + place % edge
    y = (cell // cells) * edge + place // edge
    return torch.stack([x, y], dim=2).float()


def _spread(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The first candidate of each row, then one of the four farthest from those taken, and again. (R, count, 2)."""
    rows, device = len(candidates), candidates.device
    picks = torch.randint(4, (rows, max(1, count), 1), device=device, generator=generator)
    taken = [candidates[:, :1]]
    distance = torch.full(candidates.shape[:2], torch.inf, device=device)
    for k in range(1, count):
        distance = torch.minimum(distance, ((candidates - taken[-1]) ** 2).sum(2))
        best = distance.topk(min(4, candidates.shape[1]), dim=1)
        usable = (best.values > 0).sum(1, keepdim=True).clamp(min=1)
        index = best.indices.gather(1, picks[:, k] % usable)
        taken.append(candidates.gather(1, index[..., None].expand(-1, -1, 2)))
    return torch.cat(taken, dim=1)


def inside_of(valid_wh: Tensor, side: int) -> Tensor:
    """(R, side, side) uint8 of 1 inside the unpadded part (R, 2) width and height, 0 in the padding."""
    at = torch.arange(side, device=valid_wh.device)
    inside = (at[None, None, :] < valid_wh[:, :1, None]) & (at[None, :, None] < valid_wh[:, 1:, None])
    return inside.to(torch.uint8)
