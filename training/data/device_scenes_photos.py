"""Windows of packed photographs, and regions of their labels, cut out and resized on a device."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .device_scenes_filters import on_device
from .segments import MIN_AREA
from .sprites import MAX_COMPONENTS, SpriteLibrary

_TRIES = 8
_MAX_ENLARGEMENT = 2.5
_SMALLEST = 48


@dataclass(frozen=True, kw_only=True)
class Windows:
    """I windows of photographs. photo: (I,). box: (I, 4) float x, y, width, height in its pixels.

    out_wh: (I, 2) int64, the size that it is resized to. flip: (I,) bool, mirrored left to right.
    """

    photo: np.ndarray
    box: np.ndarray
    out_wh: np.ndarray
    flip: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Regions:
    """P regions in each of I label maps. map: (I,). members: (I, P, 256) bool, by the number of a piece."""

    map: np.ndarray
    members: np.ndarray


def draw_backgrounds(rng: np.random.Generator, library: SpriteLibrary, count: int, side: int) -> Windows:
    """Square windows of any photographs, most of them nearly the whole of it, the others of any scale."""
    photo = rng.integers(0, len(library.hw), count)
    height, width = library.hw[photo].T.astype(np.float64)
    largest = np.minimum(height, width) / side
    smallest = np.minimum(largest, 1 / _MAX_ENLARGEMENT)
    some = smallest * (largest / smallest) ** rng.random(count)
    most = np.maximum(largest * rng.uniform(0.7, 1.0, count), smallest)
    size = side * np.where(rng.random(count) < 0.6, most, some)
    x, y = rng.random(count) * (width - size), rng.random(count) * (height - size)
    box = np.stack([x, y, size, size], axis=1)
    return Windows(photo=photo, box=box, out_wh=np.full((count, 2), side), flip=rng.random(count) < 0.5)


def draw_labelled(
    rng: np.random.Generator, library: SpriteLibrary, count: int, regions: int, side: int
) -> tuple[Windows, Regions]:
    """Windows around a random region of labelled photographs, and `regions` regions of each, that one first.

    A set of n maps has the weight sqrt(n), so that small sets are not drowned. As in `samples`: the whole frame, or 1
    to 2.5 times the region's box, of any aspect ratio or square.
    """
    _, group, sizes = np.unique(library.mix, axis=0, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(sizes[group.ravel()])
    maps = rng.choice(len(library.owner), count, p=weights / weights.sum())
    members = np.zeros((count, regions, MAX_COMPONENTS + 1), bool)
    boxes, photo = np.zeros((count, 4)), library.owner[maps]
    for row, number in enumerate(maps):
        for k in range(regions):
            chosen = _draw_region(rng, library, int(number))
            members[row, k, library.pieces.number[chosen]] = True
            if k == 0:
                corners = library.pieces.box[chosen]
                boxes[row] = _window(rng, corners[:, :2].min(0), corners[:, 2:].max(0), library.hw[photo[row]][::-1])
    return _windows(rng, photo, boxes, side), Regions(map=maps, members=members)


def draw_matted(
    rng: np.random.Generator, library: SpriteLibrary, count: int, mattes: int, side: int
) -> tuple[Windows, np.ndarray]:
    """Windows around a random matte of photographs that have some, and `mattes` of each by number, (I, P) int64, that
    one first, the others at random among all of the photograph.
    """
    photos, first, several = np.unique(library.matted[:, 0], return_index=True, return_counts=True)
    which = rng.integers(0, len(photos), count)
    number = first[which, None] + np.floor(rng.random((count, mattes)) * several[which, None]).astype(np.int64)
    photo, boxes = photos[which], np.zeros((count, 4))
    for row, (x1, y1, x2, y2) in enumerate(library.matted[number[:, 0], 1:].astype(np.float64)):
        boxes[row] = _window(rng, np.array([x1, y1]), np.array([x2, y2]), library.hw[photo[row]][::-1])
    return _windows(rng, photo, boxes, side), number


def _windows(rng: np.random.Generator, photo: np.ndarray, boxes: np.ndarray, side: int) -> Windows:
    """Each box resized to a long side of `side`."""
    out = np.maximum(1, np.round(boxes[:, 2:] * side / boxes[:, 2:].max(1, keepdims=True))).astype(np.int64)
    return Windows(photo=photo, box=boxes, out_wh=out, flip=rng.random(len(photo)) < 0.5)


def _draw_region(rng: np.random.Generator, library: SpriteLibrary, number: int) -> np.ndarray:
    """Rows of the pieces that make up a random region of a map, see `RegionMix`; the last try is taken as it is."""
    rows = np.arange(library.pieces.first[number], library.pieces.first[number + 1])
    ids, areas = library.pieces.id[rows], library.pieces.area[rows]
    named = np.unique(ids)
    mix = library.mix[number].astype(np.float64)
    pixels = float(np.prod(library.hw[library.owner[number]]))
    chosen = rows
    for _ in range(_TRIES):
        mode = int(rng.choice(4, p=mix / mix.sum()))
        if mode == 0:
            chosen = rows
        elif mode == 3:
            several = rng.choice(named, min(len(named), int(rng.integers(2, 5))), replace=False)
            chosen = rows[np.isin(ids, several)]
        else:
            own = ids == rng.choice(named)
            chosen = rows[own]
            if mode == 2:
                roots = np.sqrt(areas[own])
                chosen = chosen[[int(rng.choice(len(chosen), p=roots / roots.sum()))]]
        if MIN_AREA <= library.pieces.area[chosen].sum() / pixels <= 0.95:
            break
    return chosen


def _window(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A window around a box (x, y of its corners) in a frame (width, height): x, y, width, height."""
    if rng.random() < 0.3:
        return np.array([0.0, 0.0, *frame])
    size = (high - low) * np.exp(rng.uniform(0, np.log(2.5))) * np.exp(rng.normal(0, 0.1, 2))
    if rng.random() < 0.5:
        size[:] = size.max()
    size = np.minimum(np.maximum(size, _SMALLEST), frame)
    start = (low + high) / 2 - size / 2 + rng.uniform(-0.5, 0.5, 2) * (size - (high - low))
    return np.concatenate([np.clip(start, 0, frame - size), size])


def region_planes(library: SpriteLibrary, regions: Regions) -> Tensor:
    """Regions over the whole frames of their maps: (I, P, L, L) float of 0 and 1."""
    device = library.device
    numbers = library.labels[on_device(regions.map, device)]
    members = on_device(regions.members, device).float()
    count, places, side = *members.shape[:2], numbers.shape[-1]
    index = numbers.flatten(1).long()[:, None].expand(-1, places, -1)
    return members.gather(2, index).view(count, places, side, side)


def cut(planes: Tensor, windows: Windows, hw: np.ndarray, side: int) -> Tensor:
    """Windows of (I, C, L, L) resized into the upper left of (I, C, side, side); what is outside them is not zeroed.

    hw: (I, 2) sizes of the photographs in their frames. Twice as many samples are taken and averaged where windows
    can be larger than `side`.
    """
    device, frame = planes.device, planes.shape[-1]
    fine = 2 if frame > side else 1
    scale = windows.box[:, 2:] / (windows.out_wh * fine)  # photograph's pixels to a sample, xy
    sign = np.where(windows.flip, -1.0, 1.0)
    start = windows.box[:, :2].copy()
    start[:, 0] += np.where(windows.flip, windows.box[:, 2], 0)
    scale[:, 0] *= sign
    steps, origin = on_device(scale, device), on_device(start, device)
    at = torch.arange(side * fine, device=device) + 0.5
    limit = on_device(hw[:, ::-1].astype(np.float32), device) - 0.5
    axes = (origin[:, :, None] + steps[:, :, None] * at).clamp(min=0.5)  # (I, 2, side)
    x, y = torch.minimum(axes, limit[:, :, None]).unbind(1)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1) * (2 / frame) - 1
    drawn = F.grid_sample(planes, grid, align_corners=False)
    return F.avg_pool2d(drawn, fine) if fine > 1 else drawn
