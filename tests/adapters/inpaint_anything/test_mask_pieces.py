"""Parts of masks against masks that were put together from known parts."""

import numpy as np
import pytest

from adapters.inpaint_anything.pieces import piece_with, pieces_of


def parts(hw: tuple[int, int] = (300, 400)) -> list[np.ndarray]:
    found = []
    for top, left in ((10, 10), (20, 300), (250, 150)):
        part = np.zeros(hw, bool)
        part[top : top + 30, left : left + 40] = True
        found.append(part)
    return found


def test_far_parts_are_told_apart_and_near_ones_are_not() -> None:
    known = parts()
    found = pieces_of(np.logical_or.reduce(known), 20)
    assert len(found) == 3
    for part in known:
        assert any((part == other).all() for other in found)
    assert len(pieces_of(np.logical_or.reduce(known), 400)) == 1


def test_every_pixel_is_in_one_piece() -> None:
    mask = np.random.default_rng(0).random((301, 403)) > 0.999
    found = pieces_of(mask, 8)
    np.testing.assert_array_equal(np.sum(found, 0), mask)
    assert pieces_of(np.zeros((5, 5), bool), 3) == []


def test_a_click_keeps_its_part() -> None:
    known = parts()
    alpha = np.max([part * value for part, value in zip(known, (1.0, 0.9, 0.8), strict=True)], 0).astype(np.float32)
    kept = piece_with(alpha, np.array([[310.0, 30.0]]))
    np.testing.assert_array_equal(kept > 0, known[1])
    both = piece_with(alpha, np.array([[310.0, 30.0], [160, 260]]))
    np.testing.assert_array_equal(both > 0, known[1] | known[2])
    assert piece_with(alpha, np.array([[200.0, 150.0]])) is alpha  # beside all of them


@pytest.mark.parametrize("faint", [0.01, 0.09])
def test_faint_hairs_around_the_part_stay(faint: float) -> None:
    alpha = parts()[0].astype(np.float32)
    alpha[10:40, 50:53] = faint
    assert piece_with(alpha, np.array([[20.0, 20.0]]))[25, 52] == np.float32(faint)
