"""The attention bias against a plain double loop, and the figures that its definition fixes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zim.modeling.prompt_attention import box_indicator, boxes_from_corners, prompt_attention_bias

GRID = (12, 10)
STRIDE = 16.0
SIGMA = 3.5


def bias_of(
    points: list[tuple[float, float, int]], box: tuple[float, float, float, float] | None = None, sigma: float = SIGMA
) -> np.ndarray:
    """(h, w) bias of one row of (x, y, label) and a box as two corners."""
    corners = [] if box is None else [(box[0], box[1], 2), (box[2], box[3], 3)]
    row = torch.tensor([*points, *corners], dtype=torch.float32)
    return prompt_attention_bias(row[None, :, :2], row[None, :, 2].long(), GRID, STRIDE, sigma)[0, 0].numpy()


def loop_oracle(coords: np.ndarray, labels: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """One row in float64, cell by cell, as the definition reads."""
    height, width = GRID
    box = np.concatenate([coords[labels == 2], coords[labels == 3]]) if (labels == 2).any() else None
    positives = coords[labels == 1]
    bias = np.zeros(GRID)
    if box is None and not len(positives):
        return bias
    for row in range(height):
        for column in range(width):
            opening = 0.0
            for x, y in positives / STRIDE:
                squared = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                opening = max(opening, math.exp(-squared / (2 * sigma**2)))
            if box is not None:
                x1, y1, x2, y2 = (math.floor(value / STRIDE) for value in box.reshape(-1))
                x1, x2 = (min(max(x, 0), width - 1) for x in (x1, x2))
                y1, y2 = (min(max(y, 0), height - 1) for y in (y1, y2))
                if x1 <= column <= x2 and y1 <= row <= y2:
                    opening = 1.0
            bias[row, column] = math.log(opening) if opening else -math.inf
    return bias


def cells_of(bias: np.ndarray) -> tuple[int, int, int, int]:
    """First and last open column and row, (x1, y1, x2, y2); everything between must be open too."""
    rows, columns = np.nonzero(bias == 0)
    x1, x2, y1, y2 = columns.min(), columns.max(), rows.min(), rows.max()
    assert len(rows) == (x2 - x1 + 1) * (y2 - y1 + 1), "the open cells are not a rectangle"
    return x1, y1, x2, y2


def test_lone_box_is_zero_inside_and_exactly_minus_infinity_outside() -> None:
    bias = bias_of([], (40.0, 20.0, 100.0, 70.0))
    inside = np.zeros(GRID, dtype=bool)
    inside[1:5, 2:7] = True
    assert (bias[inside] == 0).all()
    assert np.isneginf(bias[~inside]).all()


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((16.0, 32.0, 48.0, 64.0), (1, 2, 3, 4)),  # corners on cell borders belong to the cell they begin
        ((15.9, 31.9, 47.9, 63.9), (0, 1, 2, 3)),
        ((17.0, 33.0, 18.0, 34.0), (1, 2, 1, 2)),  # smaller than a cell
        ((50.0, 50.0, 50.0, 50.0), (3, 3, 3, 3)),  # no extent at all
        ((31.9, 31.9, 32.1, 32.1), (1, 1, 2, 2)),  # tiny, across a cell border
        ((-40.0, -8.0, 40.0, 24.0), (0, 0, 2, 1)),  # sticks out to the left and above
        ((100.0, 150.0, 400.0, 900.0), (6, 9, 9, 11)),  # sticks out to the right and below
        ((-300.0, -300.0, 900.0, 900.0), (0, 0, 9, 11)),  # larger than the frame
        ((300.0, 40.0, 400.0, 60.0), (9, 2, 9, 3)),  # wholly outside: the nearest border cells
        ((-90.0, -90.0, -50.0, -50.0), (0, 0, 0, 0)),
    ],
)
def test_box_covers_the_cells_of_its_corners(box: tuple[float, float, float, float], cells: tuple[int, ...]) -> None:
    assert cells_of(bias_of([], box)) == cells


def test_corners_in_the_wrong_order_make_the_same_box() -> None:
    assert np.array_equal(bias_of([], (100.0, 70.0, 40.0, 20.0)), bias_of([], (40.0, 20.0, 100.0, 70.0)))


@pytest.mark.parametrize("sigma", [0.7, 3.5, 21.0])
def test_point_falls_with_the_square_of_the_distance(sigma: float) -> None:
    x, y = 61.0, 37.0
    bias = bias_of([(x, y, 1)], sigma=sigma)
    rows, columns = np.mgrid[: GRID[0], : GRID[1]] + 0.5
    distance = np.hypot(columns - x / STRIDE, rows - y / STRIDE)
    np.testing.assert_allclose(bias, -(distance**2) / (2 * sigma**2), rtol=1e-5)
    assert np.unravel_index(bias.argmax(), GRID) == (2, 3)


def test_point_at_a_cell_centre_and_one_sigma_away() -> None:
    bias = bias_of([(4.5 * 16, 6.5 * 16, 1)], sigma=3.0)
    assert bias[6, 4] == 0
    assert bias[6, 7] == pytest.approx(-0.5) and bias[9, 4] == pytest.approx(-0.5)  # exp(-1/2) at one sigma


def test_points_are_united_by_the_larger() -> None:
    first, second = (20.0, 30.0, 1), (120.0, 150.0, 1)
    both = bias_of([first, second])
    assert np.array_equal(both, np.maximum(bias_of([first]), bias_of([second])))
    assert (both > bias_of([first])).any() and (both > bias_of([second])).any()


def test_box_and_point_are_a_union() -> None:
    box, point = (10.0, 10.0, 60.0, 60.0), (140.0, 160.0, 1)
    union = bias_of([point], box)
    assert np.array_equal(union, np.maximum(bias_of([point]), bias_of([], box)))
    assert np.isfinite(union).all(), "a point's Gaussian opens every cell a little"


@pytest.mark.parametrize("idle", [(75.0, 75.0, 0), (75.0, 75.0, -1), (0.0, 0.0, -1)])
def test_negatives_and_paddings_change_nothing(idle: tuple[float, float, int]) -> None:
    for points, box in (([(30.0, 40.0, 1)], None), ([], (5.0, 5.0, 40.0, 40.0)), ([(30.0, 40.0, 1)], (5, 5, 40, 40))):
        assert np.array_equal(bias_of([*points, idle], box), bias_of(points, box))


@pytest.mark.parametrize("labels", [(0,), (-1,), (0, 0, -1), (-1, -1)])
def test_rows_without_a_box_or_a_positive_point_have_no_bias(labels: tuple[int, ...]) -> None:
    assert np.array_equal(bias_of([(50.0, 60.0, label) for label in labels]), np.zeros(GRID))


def random_rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of five points with labels -1, 0, 1 and, in every second row, a box; partly outside the frame."""
    rng = np.random.default_rng(seed)
    coords = rng.uniform(-30, 220, (count, 7, 2)).astype(np.float32)
    coords[:, 5:] = np.sort(coords[:, 5:], axis=1)
    labels = rng.integers(-1, 2, (count, 7))
    labels[:, 5:] = np.where(np.arange(count)[:, None] % 2, (2, 3), (-1, -1))
    labels[:4, :5] = ((-1,) * 5, (-1,) * 5, (0,) * 5, (0, -1, 0, -1, 0))  # nothing positive, with and without box
    return torch.from_numpy(coords), torch.from_numpy(labels)


def test_random_rows_against_the_loop() -> None:
    coords, labels = random_rows(40, seed=0)
    bias = prompt_attention_bias(coords, labels, GRID, STRIDE, SIGMA)
    assert bias.shape == (40, 1, *GRID)
    expected = np.stack([loop_oracle(c, k) for c, k in zip(coords.numpy().astype(float), labels.numpy(), strict=True)])
    np.testing.assert_allclose(bias[:, 0].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert np.isneginf(expected).any(), "the rows should include lone boxes"


def test_rows_are_independent_of_their_batch() -> None:
    coords, labels = random_rows(12, seed=1)
    together = prompt_attention_bias(coords, labels, GRID, STRIDE, SIGMA)
    for row in range(12):
        alone = prompt_attention_bias(coords[row : row + 1], labels[row : row + 1], GRID, STRIDE, SIGMA)
        assert torch.equal(alone[0], together[row])


def test_no_row_is_ever_closed_everywhere() -> None:
    coords, labels = random_rows(400, seed=2)
    bias = prompt_attention_bias(coords * 4 - 300, labels, GRID, STRIDE, 0.5)
    assert not torch.isneginf(bias).flatten(1).all(1).any()
    assert not torch.isnan(bias).any() and (bias <= 0).all()


def test_boxes_are_found_among_points() -> None:
    coords = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 8.0]], [[5.0, 6.0], [7.0, 8.0], [1.0, 1.0]]])
    boxes, has_box = boxes_from_corners(coords, torch.tensor([[1, 2, 3], [1, 0, -1]]))
    assert boxes.tolist() == [[3.0, 4.0, 9.0, 8.0], [0.0, 0.0, 0.0, 0.0]]
    assert has_box.tolist() == [True, False]


def test_box_indicator_counts_cells_by_their_overlap() -> None:
    """Away from cell borders the cells int(x1/s)..int(x2/s) are exactly those that the box overlaps."""
    boxes = torch.tensor([[21.0, 39.0, 77.0, 101.0], [1.0, 1.0, 159.0, 191.0]])
    left = np.arange(GRID[1]) * STRIDE
    top = np.arange(GRID[0]) * STRIDE
    for box, indicator in zip(boxes.numpy(), box_indicator(boxes, GRID, STRIDE).numpy(), strict=True):
        across = np.minimum(left + STRIDE, box[2]) - np.maximum(left, box[0]) > 0
        down = np.minimum(top + STRIDE, box[3]) - np.maximum(top, box[1]) > 0
        assert np.array_equal(indicator.astype(bool), np.outer(down, across))
