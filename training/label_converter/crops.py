"""Labels of any size through a converter of one size: cut around each, refine, back to the image's pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError

from .converter import Converter

MAX_ENLARGEMENT = 2.0
"""Small labels are enlarged at most this much; beyond it they are seen with more of their surroundings."""


@dataclass(frozen=True, kw_only=True)
class CropMatte:
    """The matte of one label where it is not zero.

    alpha: (h, w) float32 in [0, 1]. box: (x1, y1, x2, y2) in pixels of the image, x2 and y2 exclusive.
    """

    alpha: NDArray[np.float32]
    box: tuple[int, int, int, int]

    def full(self, size_hw: tuple[int, int]) -> NDArray[np.float32]:
        """The matte over a whole image, (H, W) float32."""
        x1, y1, x2, y2 = self.box
        out = np.zeros(size_hw, np.float32)
        out[y1:y2, x1:x2] = self.alpha
        return out


@dataclass(frozen=True)
class CropWindow:
    """A square of `length` pixels with its upper left corner at (x, y); it may reach beyond the image."""

    x: int
    y: int
    length: int

    def cut(self, array: NDArray[np.generic], side: int) -> NDArray[np.generic]:
        """(H, W) or (H, W, 3) uint8 or float32 -> (side, side[, 3]): mirrored at the image's border, resized."""
        height, width = array.shape[:2]
        x1, y1, x2, y2 = self._inside(height, width)
        piece = np.ascontiguousarray(array[y1:y2, x1:x2])
        around = (y1 - self.y, self.y + self.length - y2, x1 - self.x, self.x + self.length - x2)
        if any(around):
            piece = cv2.copyMakeBorder(piece, *around, cv2.BORDER_REFLECT_101)
        method = cv2.INTER_AREA if self.length > side else cv2.INTER_LINEAR
        return cv2.resize(piece, (side, side), interpolation=method)

    def back(self, alpha: NDArray[np.float32], size_hw: tuple[int, int]) -> CropMatte:
        """(side, side) -> the matte in pixels of an image of that size, without its empty margins."""
        x1, y1, x2, y2 = self._inside(*size_hw)
        method = cv2.INTER_AREA if alpha.shape[0] > self.length else cv2.INTER_LINEAR
        resized = cv2.resize(alpha, (self.length, self.length), interpolation=method)
        piece = np.clip(resized[y1 - self.y : y2 - self.y, x1 - self.x : x2 - self.x], 0, 1)
        left, top, width, height = cv2.boundingRect((piece >= 0.5 / 255).astype(np.uint8))
        if not width:
            left, top, width, height = 0, 0, 1, 1
        kept = np.ascontiguousarray(piece[top : top + height, left : left + width], np.float32)
        return CropMatte(alpha=kept, box=(x1 + left, y1 + top, x1 + left + width, y1 + top + height))

    def _inside(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part in the image: x1, y1, x2, y2."""
        return (
            max(0, self.x),
            max(0, self.y),
            min(width, self.x + self.length),
            min(height, self.y + self.length),
        )


def window_around(label: NDArray[np.bool_], side: int, margin: float) -> CropWindow:
    """The square around a label with `margin` of its longer side on each side of it, in the image where it fits.

    label: (H, W) bool with at least one pixel. side: of the model's input, in pixels.
    """
    height, width = label.shape
    left, top, w, h = cv2.boundingRect(label.astype(np.uint8))
    wanted = max(round(max(w, h) * (1 + 2 * margin)), round(side / MAX_ENLARGEMENT))
    length = max(2, min(wanted, max(height, width)))
    return CropWindow(_start(left, w, length, width), _start(top, h, length, height), length)


def _start(first: int, extent: int, length: int, size: int) -> int:
    """Where a window begins along one axis: centred on the label, then moved into the image if it fits."""
    start = first + (extent - length) // 2
    return (size - length) // 2 if length > size else min(max(start, 0), size - length)


def convert_labels(
    converter: Converter,
    image: NDArray[np.uint8],
    labels: Sequence[NDArray[np.bool_]],
    *,
    margin: float = 0.15,
    batch_size: int = 16,
) -> list[CropMatte]:
    """The mattes of an image's labels, in their order.

    A label larger than the model's side is reduced and its matte enlarged again; one smaller than half of it is
    enlarged to no more than twice its size.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) bool each, none empty.
        margin: surroundings on each side, as a fraction of the label's longer side.
        batch_size: crops that go through the model at once.

    Raises:
        DataError: image or a label has another shape or type, or a label is empty.
        ConfigError: margin is negative, or batch_size is not positive.
    """
    if margin < 0 or batch_size < 1:
        raise ConfigError(f"margin, batch_size: expected at least 0 and 1, got {margin} and {batch_size}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    size_hw = (int(image.shape[0]), int(image.shape[1]))
    mattes: list[CropMatte] = []
    for first in range(0, len(labels), batch_size):
        group = labels[first : first + batch_size]
        for number, label in enumerate(group, first):
            _check_label(number, label, size_hw)
        windows = [window_around(label, converter.side, margin) for label in group]
        images = np.stack([window.cut(image, converter.side) for window in windows])
        cut = [cut_label(label, window, converter.side) for label, window in zip(group, windows, strict=True)]
        alphas = converter.refine(images.astype(np.uint8, copy=False), np.stack(cut))
        mattes += [window.back(alpha, size_hw) for window, alpha in zip(windows, alphas, strict=True)]
    return mattes


def cut_label(label: NDArray[np.bool_], window: CropWindow, side: int) -> NDArray[np.bool_]:
    """(H, W) bool -> (side, side) bool; a pixel belongs to it when at least half of it does."""
    values = np.asarray(window.cut(label.astype(np.float32), side), np.float32)
    return np.asarray(values >= 0.5)


def _check_label(number: int, label: NDArray[np.bool_], size_hw: tuple[int, int]) -> None:
    if label.dtype != np.bool_ or label.shape != size_hw:
        raise DataError(f"labels[{number}]: expected {size_hw} bool, got {label.shape} {label.dtype}")
    if not label.any():
        raise DataError(f"labels[{number}]: expected at least one pixel, got none")
