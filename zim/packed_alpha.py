"""Alphas of many objects at once: each kept as a compressed crop until it is asked for."""

import zlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zim.crops import Box

MARGIN_SHARE = 0.25
MARGIN_PIXELS = 16
LEVEL = 1  # fast; mattes are mostly flat


class PackedAlpha(NamedTuple):
    """A (height, width) uint8 alpha whose upper left pixel is (x, y) of the original frame, compressed."""

    x: int
    y: int
    height: int
    width: int
    data: bytes

    @property
    def xywh(self) -> list[int]:
        """[x, y, width, height]; the crop is `image[y : y + height, x : x + width]`."""
        return [self.x, self.y, self.width, self.height]

    def unpack(self) -> NDArray[np.uint8]:
        """(height, width) uint8."""
        return np.frombuffer(zlib.decompress(self.data), dtype=np.uint8).reshape(self.height, self.width).copy()


def pack(alpha: NDArray[np.uint8], x: int, y: int) -> PackedAlpha:
    """Compress a (h, w) uint8 alpha at (x, y), without the rows and columns of zeros around it."""
    rows, columns = (np.flatnonzero(alpha.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return PackedAlpha(x, y, 0, 0, zlib.compress(b""))
    top, left = int(rows[0]), int(columns[0])
    tight = alpha[top : rows[-1] + 1, left : columns[-1] + 1]
    height, width = tight.shape
    return PackedAlpha(x + left, y + top, height, width, zlib.compress(tight.tobytes(), LEVEL))


def pack_logits(logits: NDArray[np.float32], mask_box: Box, offset_xy: tuple[int, int]) -> PackedAlpha:
    """The sigmoid of logits around a mask.

    Soft edges reach beyond the mask, so its box is grown by a quarter of its longer side, 16 pixels at least;
    what lies farther away is left out: faint tails over the whole photo would make every crop as large as it.

    Args:
        logits: (h, w) float32 of a crop of the image.
        mask_box: xyxy of the pixels above 0 in that crop, x2 and y2 included.
        offset_xy: where the crop begins in the original frame.
    """
    x1, y1, x2, y2 = mask_box
    margin = max(MARGIN_PIXELS, round(MARGIN_SHARE * max(x2 - x1 + 1, y2 - y1 + 1)))
    left, top = max(x1 - margin, 0), max(y1 - margin, 0)
    window = logits[top : y2 + margin + 1, left : x2 + margin + 1]
    alpha = torch.sigmoid(torch.from_numpy(window)).mul_(255).add_(0.5).to(torch.uint8).numpy()
    return pack(alpha, left + offset_xy[0], top + offset_xy[1])
