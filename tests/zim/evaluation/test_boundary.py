"""Mask overlap against scipy's erosion and hand-counted rectangles."""

import numpy as np
import pytest
from scipy import ndimage

from zim.evaluation.boundary import boundary_iou, inner_boundary, mask_iou


def rectangle(top: int, left: int, bottom: int, right: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_iou_of_rectangles() -> None:
    assert mask_iou(rectangle(0, 0, 10, 10), rectangle(0, 5, 10, 15)) == pytest.approx(50 / 150)
    assert mask_iou(rectangle(0, 0, 9, 9), rectangle(20, 20, 30, 30)) == 0
    assert mask_iou(rectangle(0, 0, 0, 0), rectangle(0, 0, 0, 0)) == 1


def test_boundary_iou_of_shifted_squares_counted_by_hand() -> None:
    # The diagonal of 60 x 80 is 100, so a ratio of 0.01 is one pixel: outlines of 10 x 10 squares, 36 pixels
    # each. Shifted by one column they share the top and bottom rows, 9 pixels each.
    first, second = rectangle(20, 20, 30, 30), rectangle(20, 21, 30, 31)
    assert boundary_iou(first, second, dilation_ratio=0.01) == pytest.approx(18 / (36 + 36 - 18))
    assert boundary_iou(first, first) == 1


@pytest.mark.parametrize("width", [1, 2, 5])
def test_inner_boundary_equals_scipys_erosion(width: int) -> None:
    rng = np.random.default_rng(width)
    mask = ndimage.gaussian_filter(rng.standard_normal((50, 64)), 3) > 0
    eroded = ndimage.binary_erosion(mask, structure=np.ones((3, 3)), iterations=width, border_value=0)
    assert np.array_equal(inner_boundary(mask, width), mask & ~eroded)


def test_boundary_iou_sees_a_thin_error_that_iou_hides() -> None:
    truth = rectangle(5, 5, 55, 75)
    thinner = rectangle(7, 7, 53, 73)
    assert boundary_iou(thinner, truth) < 0.5 < 0.85 < mask_iou(thinner, truth)


def test_bad_masks_are_refused() -> None:
    mask = rectangle(0, 0, 5, 5)
    with pytest.raises(ValueError, match="prediction: expected a boolean mask, got dtype float64"):
        mask_iou(mask.astype(float), mask)
    with pytest.raises(ValueError, match=r"prediction: expected the truth's shape \(60, 80\)"):
        boundary_iou(mask[:5], mask)
    with pytest.raises(ValueError, match="dilation_ratio"):
        boundary_iou(mask, mask, dilation_ratio=0)
