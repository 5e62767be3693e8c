"""Scribbles lie on what they say, and become points as the product makes them."""

import numpy as np
import pytest

from training.data.scribbles import SCRIBBLE_POINTS, draw_scribble, sample_scribble
from zim.prompts import points_from_scribble


def ring(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    distance = np.hypot(x - side / 2, y - side / 2) / side
    return np.clip((0.1 - np.abs(distance - 0.25)) * 20, 0, 1).astype(np.float32)


@pytest.mark.parametrize("side", [40, 128])
def test_strokes_stay_where_they_belong(side: int) -> None:
    alpha, both = ring(side), 0
    for seed in range(30):
        scribble = draw_scribble(alpha, np.random.default_rng(seed))
        assert set(np.unique(scribble)) <= {0, 128, 255}
        assert (scribble == 255).any()
        assert bool((alpha[scribble == 255] > 0.5).all()) and bool((alpha[scribble == 0] < 0.1).all())
        both += bool((scribble == 0).any())
    assert 5 < both < 25


def test_points_are_the_products_points() -> None:
    alpha = ring(96)
    for seed in range(10):
        prompt = sample_scribble(alpha, np.random.default_rng(seed))
        points, labels = points_from_scribble(draw_scribble(alpha, np.random.default_rng(seed)), 32)
        np.testing.assert_array_equal(prompt.points, points)
        np.testing.assert_array_equal(prompt.labels, labels)
        assert prompt.box is None and 1 <= len(points) <= SCRIBBLE_POINTS


def test_faint_and_full_mattes_have_scribbles_too() -> None:
    faint = np.zeros((32, 32), np.float32)
    faint[20, 11] = 0.4
    prompt = sample_scribble(faint, np.random.default_rng(0))
    assert prompt.points[prompt.labels == 1].tolist() == [[11, 20]]
    assert set(sample_scribble(np.ones((32, 32), np.float32), np.random.default_rng(0)).labels) == {1}
