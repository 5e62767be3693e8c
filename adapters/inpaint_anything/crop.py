"""The part of a photo that an inpainting model is shown: the object with context, at the model's own resolution."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .engines.protocol import Geometry


class Crop(NamedTuple):
    """A rectangle of a photo, ends excluded, and the size (height, width) at which it is painted."""

    top: int
    bottom: int
    left: int
    right: int
    painted_hw: tuple[int, int]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in the photo."""
        return self.bottom - self.top, self.right - self.left


def crop_around(mask: NDArray[np.bool_], geometry: Geometry, context: float = 0.5) -> Crop:
    """The rectangle around a mask with context, as square as the photo allows.

    Args:
        mask: (H, W) bool, not empty.
        geometry: sizes that the model is good at. What is smaller than its native size gets more context, what is
            larger is painted smaller.
        context: margin on each side as a share of the mask's longer side; at least 32 pixels.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    long_side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    wanted = max(long_side + 2 * max(32, round(context * long_side)), geometry.native)
    top, bottom = _span(int(rows[0]), int(rows[-1]) + 1, wanted, height)
    left, right = _span(int(columns[0]), int(columns[-1]) + 1, wanted, width)
    return Crop(top, bottom, left, right, _painted_hw((bottom - top, right - left), geometry))


def whole_picture(hw: tuple[int, int], geometry: Geometry) -> Crop:
    """The photo as it is, at the model's size."""
    return Crop(0, hw[0], 0, hw[1], _painted_hw(hw, geometry))


def cut(image: NDArray[np.uint8], mask: NDArray[np.bool_], crop: Crop) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crop of a photo and of a mask at the size at which it is painted; a pixel touched by the mask stays in it."""
    photo, region = image[crop.window], mask[crop.window]
    if crop.painted_hw == crop.hw:
        return photo.copy(), region.copy()
    size = crop.painted_hw[1], crop.painted_hw[0]
    shrinks = crop.painted_hw[0] * crop.painted_hw[1] < region.size
    how, mask_how = (cv2.INTER_AREA, cv2.INTER_AREA) if shrinks else (cv2.INTER_CUBIC, cv2.INTER_LINEAR)
    small_mask = cv2.resize(region.astype(np.float32), size, interpolation=mask_how)
    return np.asarray(cv2.resize(photo, size, interpolation=how), np.uint8), small_mask > 1e-3


def paste(painted: NDArray[np.uint8], image: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """A copy of the photo with a painted crop (crop.painted_hw, 3) in its place, at the photo's resolution."""
    result = image.copy()
    if painted.shape[:2] != crop.hw:
        shrinks = painted.shape[0] * painted.shape[1] > crop.hw[0] * crop.hw[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        painted = np.asarray(cv2.resize(painted, (crop.hw[1], crop.hw[0]), interpolation=how), np.uint8)
    result[crop.window] = painted
    return result


def _span(first: int, last: int, wanted: int, limit: int) -> tuple[int, int]:
    """`wanted` pixels about first..last, moved inside 0..limit."""
    wanted = min(max(wanted, last - first), limit)
    start = min(max(0, (first + last - wanted) // 2), limit - wanted)
    return start, start + wanted


def _painted_hw(hw: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    long_side = max(hw)
    scale = min(1.0, geometry.largest / long_side)
    if long_side < geometry.native:
        scale = geometry.native / long_side
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))
