"""zim_tiny_medical on slices that none of its training volumes looks like."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from zim import load_predictor
from zim.predictor import ZimPredictor
from zim.prompts import box_from_alpha


@pytest.fixture(scope="module")
def medical() -> ZimPredictor:
    predictor = load_predictor("zim_tiny_medical", device="cpu")
    assert isinstance(predictor, ZimPredictor)
    return predictor


def slice_with(alpha: NDArray[np.float32], tone: float, *, around: float, noise: float) -> NDArray[np.uint8]:
    """A body of one tone in a trunk of another, in air."""
    side = len(alpha)
    trunk = np.zeros((side, side), np.float32)
    cv2.ellipse(trunk, (side // 2, side // 2), (round(0.46 * side), round(0.4 * side)), 0, 0, 360, 1.0, -1)
    values = 5 + trunk * (around - 5)
    values = values + alpha * (tone - values) + np.random.default_rng(0).normal(0, noise, alpha.shape)
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def drawn(side: int, points: NDArray[np.float64]) -> NDArray[np.float32]:
    """A filled outline, in shares of the side, drawn at four times the size."""
    large = np.zeros((4 * side, 4 * side), np.uint8)
    cv2.fillPoly(large, [np.round(points * 4 * side).astype(np.int32)], 255)
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def outline(lobes: int, depth: float, size: tuple[float, float] = (0.17, 0.22)) -> NDArray[np.float64]:
    """An ellipse whose radius goes in and out."""
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 1 + depth * np.cos(lobes * turn)
    return np.stack([0.45 + size[0] * radius * np.cos(turn), 0.52 + size[1] * radius * np.sin(turn)], axis=1)


@pytest.mark.parametrize(
    ("side", "points", "tone", "around"),
    [
        pytest.param(512, outline(0, 0.0), 235, 190, id="bright ellipse"),
        pytest.param(512, outline(0, 0.0), 130, 190, id="dark ellipse"),
        pytest.param(320, outline(3, 0.2), 220, 100, id="bright lobes"),
        pytest.param(400, np.array([[0.3, 0.3], [0.7, 0.35], [0.6, 0.7], [0.35, 0.6]]), 60, 120, id="dark polygon"),
    ],
)
def test_large_bodies_come_out_solid(
    medical: ZimPredictor, side: int, points: NDArray[np.float64], tone: float, around: float
) -> None:
    truth = drawn(side, points)
    medical.set_image(slice_with(truth, tone, around=around, noise=4))
    masks, _, _ = medical.predict(box=box_from_alpha(truth), multimask_output=False)
    answer, solid = masks[0] > 0.5, truth > 0.5
    assert 2 * (answer & solid).sum() / (answer.sum() + solid.sum()) > 0.9


def test_a_wall_comes_out_as_a_wall(medical: ZimPredictor) -> None:
    """What is inside a closed wall has the tone of what is outside, and stays out."""
    wall = np.clip(drawn(256, outline(0, 0.0, (0.25, 0.3))) - drawn(256, outline(0, 0.0, (0.235, 0.285))), 0, 1)
    medical.set_image(slice_with(wall, 220, around=110, noise=4))
    masks, _, _ = medical.predict(box=box_from_alpha(wall), multimask_output=False)
    inside = drawn(256, outline(0, 0.0, (0.22, 0.27))) > 0.5
    assert (masks[0] > 0.5)[inside].mean() < 0.05 and (masks[0] > 0.5)[wall > 0.7].mean() > 0.8
