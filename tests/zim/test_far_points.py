"""Farthest-point order against brute force; depth against the definition."""

import numpy as np
import pytest

from zim.far_points import depth_in, farthest_apart, thinned


def test_depth_is_the_distance_to_the_nearest_pixel_outside() -> None:
    mask = np.random.default_rng(0).random((9, 12)) < 0.8
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded) - 1
    for y, x in np.argwhere(mask):
        assert depth_in(mask)[y, x] == pytest.approx(np.hypot(*(outside - (y, x)).T).min(), abs=1e-4)
    assert not depth_in(mask)[~mask].any()


@pytest.mark.parametrize(("pixels", "most", "expected"), [(7, 10, 7), (10, 10, 10), (11, 10, 6), (40, 10, 10)])
def test_thinning_keeps_every_so_manyth_pixel(pixels: int, most: int, expected: int) -> None:
    mask = np.zeros((5, 8), dtype=bool)
    mask.ravel()[:pixels] = True
    xy = thinned(mask, most)
    assert len(xy) == expected and all(mask[int(y), int(x)] for x, y in xy)
    assert len(thinned(np.zeros((5, 8), dtype=bool), most)) == 0


def test_each_point_is_the_one_farthest_from_those_before() -> None:
    candidates = np.random.default_rng(1).integers(0, 50, (40, 2)).astype(float)
    first = np.array([3.0, 4.0])
    found = farthest_apart(candidates, first, 8)
    assert len(found) == 8 and np.array_equal(found[0], first)
    for number in range(1, 8):
        distances = [min(np.hypot(*(point - taken)) for taken in found[:number]) for point in candidates]
        assert min(np.hypot(*(found[number] - taken)) for taken in found[:number]) == pytest.approx(max(distances))


def test_it_ends_where_points_come_too_close() -> None:
    line = np.stack([np.arange(11.0), np.zeros(11)], axis=1)
    assert farthest_apart(line, line[0], 20, spacing=5.0).tolist() == [[0, 0], [10, 0], [5, 0]]
    assert farthest_apart(line[:0], line[0], 5).tolist() == [[0, 0]]
