"""Tiles: a partition of unity, and no step where tiles that disagree as much as possible meet."""

import numpy as np
import pytest

from adapters.matte_anything.tiles import Tile, Tiling, blend_tiles, tiles_of, window_around
from zim.errors import ConfigError

TILING = Tiling(side=96, overlap=32)
HW = (230, 301)


def everywhere(hw: tuple[int, int]) -> np.ndarray:
    return np.ones(hw, dtype=bool)


@pytest.mark.parametrize("hw", [HW, (96, 96), (40, 500), (97, 1)])
def test_tiles_cover_everything_and_overlap(hw: tuple[int, int]) -> None:
    count = np.zeros(hw, int)
    for tile in tiles_of(hw, TILING):
        assert tile.bottom - tile.top == min(96, hw[0]) and tile.right - tile.left == min(96, hw[1])
        count[tile.window] += 1
    assert count.min() >= 1
    starts = sorted({tile.left for tile in tiles_of(hw, TILING)})
    assert all(after - before <= 96 - 32 for before, after in zip(starts, starts[1:], strict=False))


def test_what_depends_on_single_pixels_comes_back_as_it_is() -> None:
    picture = np.random.default_rng(0).random(HW, np.float32)
    blended = blend_tiles(tiles_of(HW, TILING), lambda tile: picture[tile.window] ** 2, HW, TILING, everywhere(HW))
    assert np.abs(blended - picture**2).max() < 1e-5


def test_contrary_tiles_meet_without_a_step() -> None:
    """Neighbours answer 0 and 1: a raised cosine over 32 pixels is never steeper than about pi / 2 / 32."""

    def contrary(tile: Tile) -> np.ndarray:
        row, column = (round(start / 60) for start in (tile.top, tile.left))
        return np.full((96, 96), (row + column) % 2, np.float32)

    blended = blend_tiles(tiles_of(HW, TILING), contrary, HW, TILING, everywhere(HW))
    steps = [np.abs(np.diff(blended, axis=axis)).max() for axis in (0, 1)]
    assert blended.min() == 0 and blended.max() == 1
    assert max(steps) < 1.2 * np.pi / 2 / 32
    hard = blend_tiles(
        tiles_of(HW, Tiling(side=96, overlap=0)), contrary, HW, Tiling(side=96, overlap=0), everywhere(HW)
    )
    assert max(np.abs(np.diff(hard, axis=axis)).max() for axis in (0, 1)) > 0.4  # the check can fail


def test_tiles_without_wanted_pixels_are_not_estimated() -> None:
    wanted = np.zeros(HW, bool)
    wanted[5, 7] = True
    asked: list[Tile] = []

    def note(tile: Tile) -> np.ndarray:
        asked.append(tile)
        return np.ones((96, 96), np.float32)

    blend_tiles(tiles_of(HW, TILING), note, HW, TILING, wanted)
    assert asked == [Tile(0, 96, 0, 96)]


def test_window() -> None:
    mask = np.zeros(HW, bool)
    mask[10:20, 290] = True
    assert window_around(mask, 12) == (0, 32, 278, 301)


@pytest.mark.parametrize("settings", [{"side": 63}, {"side": 96, "overlap": 49}, {"overlap": -1}])
def test_impossible_tilings(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Tiling(**settings)
