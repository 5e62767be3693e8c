"""A picture of a result: slices side by side with the outlines of all labels."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .slicing import SliceView
from .windowing import Window

COLOURS = ((255, 80, 60), (70, 200, 90), (80, 140, 255), (250, 200, 40), (220, 90, 230), (60, 210, 220))
_TILE = 224
_COLUMNS = 6


def montage(
    voxels: NDArray[np.float32],
    alphas: Mapping[str, NDArray[np.float32]],
    view: SliceView,
    window: Window,
    *,
    tiles: int = 18,
    numbers: Mapping[int, int] | None = None,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: evenly spaced slices that show an object (or any, where none does).

    Args:
        voxels: (X, Y, Z) canonical.
        alphas: label -> (X, Y, Z) in [0, 1]; the outline is at 0.5, the soft rim is tinted.
        view: the slices.
        window: grey levels.
        tiles: at most so many slices.
        numbers: slice -> number to print on it; its canonical index where there is none.
    """
    others = tuple(axis for axis in range(3) if axis != view.axis)
    shown = np.zeros(view.count, bool)
    for alpha in alphas.values():
        shown |= (alpha > 0.5).any(others)
    places = np.flatnonzero(shown) if shown.any() else np.arange(view.count)
    places = places[np.unique(np.linspace(0, len(places) - 1, min(tiles, len(places))).round().astype(int))]
    drawn = [
        _tile(voxels, list(alphas.values()), view, window, int(i), (numbers or {}).get(int(i), int(i))) for i in places
    ]
    height, width = (max(tile.shape[axis] for tile in drawn) for axis in (0, 1))
    columns = min(_COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    canvas = np.full((rows * (height + 4), columns * (width + 4), 3), 24, np.uint8)
    for place, tile in enumerate(drawn):
        top, left = (place // columns) * (height + 4), (place % columns) * (width + 4)
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas


def with_outlines(picture: NDArray[np.uint8], planes: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """A slice's picture with every object's outline at alpha 0.5, its soft rim tinted.

    Args:
        picture: (H, W, 3) uint8 of a whole slice.
        planes: (rows, columns) in [0, 1] each, of the slice; colours follow `COLOURS`.

    Returns:
        (H, W, 3) uint8.
    """
    drawn = picture.astype(np.float32)
    size = picture.shape[1], picture.shape[0]
    for place, plane in enumerate(planes):
        soft = cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_LINEAR)
        colour = np.array(COLOURS[place % len(COLOURS)], np.float32)
        tint = 0.3 * np.clip(soft, 0, 1)[..., None]
        drawn = drawn * (1 - tint) + colour * tint
        outlines, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        drawn = np.ascontiguousarray(drawn)
        cv2.drawContours(drawn, outlines, -1, colour.tolist(), 1)
    return np.clip(drawn + 0.5, 0, 255).astype(np.uint8)


def _tile(
    voxels: NDArray[np.float32],
    alphas: Sequence[NDArray[np.float32]],
    view: SliceView,
    window: Window,
    index: int,
    number: int,
) -> NDArray[np.uint8]:
    picture = view.picture(voxels, index, window)
    scale = _TILE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    tile = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    labelled = with_outlines(np.asarray(tile, np.uint8), [view.plane(alpha, index) for alpha in alphas])
    cv2.putText(labelled, str(number), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 120), 1, cv2.LINE_AA)
    return labelled
