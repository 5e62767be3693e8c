"""COCO's run-length encoding of masks, compressed and uncompressed.

A mask is read column by column; `counts` are the lengths of runs that alternate between background and
foreground, background first. Uncompressed counts are a list of integers. Compressed counts are text: each number is
written in groups of five bits, lowest first, one character a group (48 + group, + 32 when another group follows), in
two's complement; from the fourth number on it is the difference to the number two places before.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.rle import decompress_counts

MAX_PIXELS = 2**28
"""Larger masks are refused: a damaged size must not take all memory."""


class Rle(NamedTuple):
    """size_hw: height and width. counts: (R,) int64 run lengths, background first."""

    size_hw: tuple[int, int]
    counts: NDArray[np.int64]

    @property
    def area(self) -> int:
        """Number of foreground pixels."""
        return int(self.counts[1::2].sum())

    def decode(self) -> NDArray[np.bool_]:
        """The mask, (H, W) bool."""
        height, width = self.size_hw
        foreground = np.arange(len(self.counts)) % 2 == 1
        return np.ascontiguousarray(np.repeat(foreground, self.counts).reshape(width, height).T)


def parse_rle(segmentation: Any) -> Rle:
    """Check and unpack `{"size": [h, w], "counts": text, bytes or list of integers}`.

    Raises:
        DataError: a key is missing, a count is malformed, or the counts do not add up to h * w.
    """
    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        raise DataError("RLE: expected an object with 'size' and 'counts'")
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise DataError(f"RLE: expected 'size' as two positive integers [height, width], got {str(size)[:60]}")
    height, width = size
    if height * width > MAX_PIXELS:
        raise DataError(f"RLE: expected at most {MAX_PIXELS} pixels, got {width}x{height}")
    runs = decompress_counts(counts) if isinstance(counts, str | bytes) else _uncompressed(counts)
    if runs.size and int(runs.min()) < 0:
        raise DataError(f"RLE: expected run lengths >= 0, got {int(runs.min())}")
    if runs.size and int(runs.max()) > height * width or int(runs.sum()) != height * width:
        raise DataError(f"RLE: expected runs of {height * width} pixels ({width}x{height}), got {int(runs.sum())}")
    return Rle((height, width), runs)


def _uncompressed(counts: Any) -> NDArray[np.int64]:
    if not isinstance(counts, list | tuple) or not all(type(run) is int and run <= MAX_PIXELS for run in counts):
        raise DataError(f"RLE: expected 'counts' as text or a list of integers, got {str(counts)[:60]}")
    return np.array(counts, dtype=np.int64)
