"""Where two answers differ most: that part of the photo enlarged, and the difference as a map."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.compositing import blend
from zim.errors import ImageError
from zim.evaluation.boundary import inner_boundary
from zim.foreground import check_image_and_alpha

WINDOW_SHARE = 1 / 6
SMALLEST_WINDOW = 24
OUTLINE_SHARE = 0.01
"""Reach of an outline to each side, as a share of the diagonal."""
BACKDROP = (64, 64, 64)
MAP = cv2.COLORMAP_INFERNO


class CloseUp(NamedTuple):
    """The same window of everything, each (side, side, 3) uint8.

    window: (left, top, width, height) in pixels of the photo. photo: as it is. base, hq: the object before dark grey.
    difference: how far the two alphas are apart, from black to bright yellow.
    """

    window: tuple[int, int, int, int]
    photo: NDArray[np.uint8]
    base: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    difference: NDArray[np.uint8]


class Difference(NamedTuple):
    """mean: of |base - hq|. changed: share of the pixels on another side of 0.5."""

    mean: float
    changed: float


def difference_of(base: NDArray[np.float32], hq: NDArray[np.float32]) -> Difference:
    """How far two alphas (H, W) are apart.

    Raises:
        ImageError: their sizes differ.
    """
    _check_sizes(base, hq)
    return Difference(float(np.abs(base - hq).mean()), float(((base > 0.5) != (hq > 0.5)).mean()))


def difference_map(base: NDArray[np.float32], hq: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of |base - hq|, from black (0) to bright yellow (1).

    Raises:
        ImageError: their sizes differ.
    """
    _check_sizes(base, hq)
    grey = (np.abs(base - hq) * 255.0 + 0.5).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, MAP), cv2.COLOR_BGR2RGB), np.uint8)


def close_up(image: NDArray[np.uint8], base: NDArray[np.float32], hq: NDArray[np.float32], side: int = 360) -> CloseUp:
    """The square window in which two alphas differ most along their outlines, or anywhere where there is no outline.

    Args:
        image: (H, W, 3) uint8 RGB.
        base, hq: (H, W) float in [0, 1].
        side: of the enlarged pictures; single pixels stay to be seen.

    Raises:
        ImageError: sizes that do not fit.
    """
    check_image_and_alpha(image, base)
    check_image_and_alpha(image, hq)
    height, width = base.shape
    edge = min(max(SMALLEST_WINDOW, round(max(height, width) * WINDOW_SHARE)), height, width)
    sums = cv2.integral(_along_outlines(base, hq).astype(np.float64))
    totals = sums[edge:, edge:] - sums[:-edge, edge:] - sums[edge:, :-edge] + sums[:-edge, :-edge]
    top, left = (int(place) for place in np.unravel_index(int(np.argmax(totals)), totals.shape))
    cut = slice(top, top + edge), slice(left, left + edge)

    def enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)

    part = image[cut]
    grey = np.broadcast_to(np.array(BACKDROP, np.uint8), part.shape)
    return CloseUp(
        (left, top, edge, edge),
        enlarged(part),
        enlarged(blend(part, base[cut], grey)),
        enlarged(blend(part, hq[cut], grey)),
        enlarged(difference_map(base[cut], hq[cut])),
    )


def _along_outlines(base: NDArray[np.float32], hq: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W): |base - hq| near the outlines of the two masks; everywhere where it is nothing there."""
    apart = np.abs(base - hq)
    reach = max(1, round(OUTLINE_SHARE * float(np.hypot(*base.shape))))
    band = np.zeros(base.shape, bool)
    for mask in (base > 0.5, hq > 0.5):
        band |= inner_boundary(mask, reach) | inner_boundary(~mask, reach)
    near = np.where(band, apart, 0)
    return near if near.any() else apart


def _check_sizes(base: NDArray[np.float32], hq: NDArray[np.float32]) -> None:
    if base.shape != hq.shape:
        raise ImageError(f"hq: expected the base's size {base.shape}, got {hq.shape}")
