"""Logits of the original frame where an object is, without resizing the rest of a large photo."""

from typing import NamedTuple

import torch
from torch import Tensor

from zim.packed_alpha import MARGIN_PIXELS, MARGIN_SHARE

ROWS_AT_ONCE = 256  # what is resized in one go stays in the cache, and needs no second copy of a large photo


class LogitWindow(NamedTuple):
    """(h, w) float32 logits whose upper left pixel is (x, y) of the original frame."""

    x: int
    y: int
    logits: Tensor


class Frames(NamedTuple):
    """From the decoder's logits to the original frame, as `Zim.postprocess_masks` goes.

    side: of the padded frame in pixels. input_hw: of the image in it, before padding. original_hw: of the photo.
    """

    side: int
    input_hw: tuple[int, int]
    original_hw: tuple[int, int]


class Promising(NamedTuple):
    """The K answers to B prompts that are worth having.

    places: (K, 2) int64, prompt and answer of each. qualities: (B, C) float32 of all answers.
    native: (K, m, m) float32 logits of the padded frame; without `frames`, (K, H, W) of the original frame.
    """

    places: Tensor
    qualities: Tensor
    native: Tensor
    frames: Frames | None = None

    def window(self, index: int, least: float) -> LogitWindow:
        """Answer `index` in the original frame, around everything above `least` and as far beyond it as soft edges
        are kept (`zim.packed_alpha`); no pixel above `least` lies outside. When nothing is above it, one pixel that
        is not.

        The values are those of `Zim.postprocess_masks` but for rounding (1e-6 of the largest).
        """
        native = self.native[index]
        axes = None if self.frames is None else [_Axis(self.frames, native.shape[axis], axis) for axis in (0, 1)]
        seen = native if axes is None else native[: axes[0].used, : axes[1].used]
        around = _bounds(seen > least)
        if around is None:
            return LogitWindow(0, 0, native[:1, :1])
        if axes is None or self.frames is None:
            (y1, y2), (x1, x2) = _grown(around, (0, 0), (native.shape[0], native.shape[1]))
            return LogitWindow(x1, y1, native[y1:y2, x1:x2])
        rows, columns = axes
        found = (rows.reached(around[0]), columns.reached(around[1]))
        (y1, y2), (x1, x2) = _grown(found, (1, 1), self.frames.original_hw)
        return LogitWindow(x1, y1, _enlarged(native, rows, columns, (y1, y2), (x1, x2)))


Span = tuple[int, int]


class _Axis:
    """One axis on its way from the decoder's cells over the padded frame to the photo."""

    def __init__(self, frames: Frames, cells: int, axis: int) -> None:
        self.cells, self.side = cells, frames.side
        self.input, self.original = frames.input_hw[axis], frames.original_hw[axis]

    @property
    def used(self) -> int:
        """Cells from the first on that are not all padding, and the one that interpolation reaches beyond them."""
        return min(self.cells, -(-self.input * self.cells // self.side) + 1)

    def reached(self, span: Span) -> Span:
        """The pixels that cells `span` (end exclusive) can have an influence on."""
        scale = self.original / self.input
        first = (span[0] - 1) * self.side / self.cells - 1  # bilinear interpolation reaches one cell on, then one pixel
        last = (span[1] + 1) * self.side / self.cells + 1
        return max(0, int(first * scale) - 1), min(self.original, int(last * scale) + 2)


def _enlarged(native: Tensor, rows: _Axis, columns: _Axis, vertical: Span, horizontal: Span) -> Tensor:
    """(m, m) -> the pixels of `vertical` x `horizontal` of the original frame."""
    if (rows.input, columns.input) == (rows.original, columns.original):
        return _resized(native, (rows.side, columns.side), vertical, horizontal)
    down, across = _sources(vertical, rows.input, rows.original), _sources(horizontal, columns.input, columns.original)
    frame = _resized(native, (rows.side, columns.side), down, across)
    sizes = (rows.input, columns.input), (rows.original, columns.original)
    return _interpolated(frame, (down[0], across[0]), *sizes, vertical, horizontal)


def _resized(native: Tensor, size: tuple[int, int], vertical: Span, horizontal: Span) -> Tensor:
    """Part of a map's enlargement to `size`."""
    return _interpolated(native, (0, 0), (native.shape[0], native.shape[1]), size, vertical, horizontal)


def _interpolated(
    values: Tensor, start: tuple[int, int], old: tuple[int, int], new: tuple[int, int], vertical: Span, horizontal: Span
) -> Tensor:
    """Part of what bilinear interpolation (corners not aligned) makes of a map.

    values: (h, w), the map from cell `start` on, with every cell that is needed. old, new: sizes of the whole map
    before and after. vertical, horizontal: the part.
    """
    left, right, share = _taps(horizontal, old[1], new[1], values)
    wide = values.index_select(1, left - start[1]) * (1 - share)
    wide += values.index_select(1, right - start[1]) * share
    result = values.new_empty(vertical[1] - vertical[0], horizontal[1] - horizontal[0])
    for first in range(vertical[0], vertical[1], ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, vertical[1])
        above, below, share = _taps((first, last), old[0], new[0], values)
        strip = result[first - vertical[0] : last - vertical[0]]
        torch.mul(wide.index_select(0, above - start[0]), (1 - share)[:, None], out=strip)
        strip += wide.index_select(0, below - start[0]).mul_(share[:, None])
    return result


def _taps(span: Span, old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of `span` the two cells that it lies between, and the share of the second."""
    pixels = torch.arange(*span, device=like.device, dtype=torch.float32)
    position = ((pixels + 0.5) * (old / new) - 0.5).clamp(min=0)
    first = position.long().clamp(max=old - 1)
    return first, (first + 1).clamp(max=old - 1), (position - first).clamp(0, 1)


def _sources(span: Span, old: int, new: int) -> Span:
    """The cells that pixels `span` are made of."""
    first, last = ((pixel + 0.5) * old / new - 0.5 for pixel in (span[0], span[1] - 1))
    return max(0, int(first) - 1), min(old, int(last) + 3)


def _bounds(seen: Tensor) -> tuple[Span, Span] | None:
    """Rows and columns of what is true, ends exclusive."""
    rows, columns = (torch.nonzero(seen.any(dim=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def _grown(spans: tuple[Span, Span], by: tuple[int, int], size: tuple[int, int]) -> tuple[Span, Span]:
    """Rows and columns with the margin of soft edges around them, within `size`."""
    longer = max(last - first for first, last in spans)
    margin = max(MARGIN_PIXELS, round(MARGIN_SHARE * longer))
    vertical, horizontal = (
        (max(0, first - margin - more), min(end, last + margin + more))
        for (first, last), more, end in zip(spans, by, size, strict=True)
    )
    return vertical, horizontal
