"""Refinement in tiles: large photos in bounded memory, without a seam where tiles meet.

Tiles overlap, and each counts less towards its own edge (a raised cosine that is never quite 0); the result is the
weighted mean. Where two tiles disagree by d, the result crosses from one to the other over the whole overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

SMALLEST_WEIGHT = 1e-4
"""Weight of a tile's outermost pixels, where another tile covers them too."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Square tiles of `side` pixels that share at least `overlap` of them with the next one.

    Raises:
        ConfigError: a side below 64, or an overlap that is negative or more than half the side.
    """

    side: int = 1024
    overlap: int = 192

    def __post_init__(self) -> None:
        if self.side < 64:
            raise ConfigError(f"side of a tile: expected at least 64 pixels, got {self.side}")
        if not 0 <= self.overlap <= self.side // 2:
            raise ConfigError(f"overlap: expected 0 to half the tile's side {self.side}, got {self.overlap}")


class Tile(NamedTuple):
    """A window of the photo: rows top..bottom, columns left..right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def window(self) -> tuple[slice, slice]:
        """For indexing (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def tiles_of(hw: tuple[int, int], tiling: Tiling) -> list[Tile]:
    """Tiles that cover a frame, evenly spread, row by row; all of one size, that of the frame where it is smaller."""
    rows, columns = (_starts(length, tiling) for length in hw)
    height, width = (min(length, tiling.side) for length in hw)
    return [Tile(top, top + height, left, left + width) for top in rows for left in columns]


def _starts(length: int, tiling: Tiling) -> list[int]:
    if length <= tiling.side:
        return [0]
    count = 1 + -(-(length - tiling.side) // (tiling.side - tiling.overlap))
    return [int(start) for start in np.linspace(0, length - tiling.side, count).round()]


def blend_tiles(
    tiles: list[Tile],
    estimate: Callable[[Tile], NDArray[np.float32]],
    hw: tuple[int, int],
    tiling: Tiling,
    wanted: NDArray[np.bool_],
    on_tile: Callable[[int, int], None] = lambda done, count: None,
) -> NDArray[np.float32]:
    """The weighted mean of the tiles' estimates.

    Args:
        tiles: as `tiles_of(hw, tiling)` gives them.
        estimate: a tile -> its (h, w) float32.
        hw: of the frame.
        tiling: how they were made.
        wanted: (H, W) bool; tiles without any such pixel are not estimated.
        on_tile: called after each tile with how many are done, and of how many; what it raises ends the work.

    Returns:
        (H, W) float32; 0 where no tile was estimated.
    """
    total, weights = np.zeros(hw, np.float32), np.zeros(hw, np.float32)
    asked = [tile for tile in tiles if wanted[tile.window].any()]
    for done, tile in enumerate(asked, 1):
        rows = _ramp(tile.top, tile.bottom, hw[0], tiling.overlap)
        columns = _ramp(tile.left, tile.right, hw[1], tiling.overlap)
        weight = np.outer(rows, columns)
        total[tile.window] += weight * estimate(tile)
        weights[tile.window] += weight
        on_tile(done, len(asked))
    return np.divide(total, weights, out=total, where=weights > 0)


def _ramp(start: int, end: int, length: int, overlap: int) -> NDArray[np.float32]:
    """(end - start,) weights: 1 in the middle, a raised cosine down to each edge that is not the frame's."""
    ramp = np.ones(end - start, np.float32)
    steps = min(overlap, end - start)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(steps) + 0.5) / max(steps, 1))
    rise = np.maximum(rise, SMALLEST_WEIGHT).astype(np.float32)
    if start > 0:
        ramp[:steps] *= rise
    if end < length:
        ramp[len(ramp) - steps :] *= rise[::-1]
    return ramp


def window_around(mask: NDArray[np.bool_], margin: int) -> Tile:
    """The smallest window that holds a mask's pixels and `margin` more on each side, as far as the frame goes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return Tile(
        int(max(rows[0] - margin, 0)),
        int(min(rows[-1] + 1 + margin, height)),
        int(max(columns[0] - margin, 0)),
        int(min(columns[-1] + 1 + margin, width)),
    )
