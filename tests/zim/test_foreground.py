"""Foreground colours against known truth and against pymatting."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from zim import foreground
from zim.errors import ImageError
from zim.foreground import estimate_foreground
from zim.image_io import read_alpha, read_image


def _smooth(generator: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    coarse = generator.random((6, 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, alpha, true foreground of a furry disc; all float32 in [0, 1]."""
    generator = np.random.default_rng(seed)
    hw = (120, 150)
    front, back = _smooth(generator, hw), _smooth(generator, hw)
    y, x = np.mgrid[: hw[0], : hw[1]]
    ramp = (42 - np.hypot(y - 60, x - 75)) / 16 + 0.5 + 0.15 * generator.standard_normal(hw)
    alpha = np.clip(cv2.GaussianBlur(ramp, (0, 0), 1), 0, 1).astype(np.float32)
    return front * alpha[..., None] + back * (1 - alpha[..., None]), alpha, front


def _error(estimate: np.ndarray, truth: np.ndarray, alpha: np.ndarray) -> float:
    unknown = (alpha > 0.02) & (alpha < 0.98)
    return float(np.mean((estimate - truth)[unknown] ** 2))


def test_constant_colours_are_recovered() -> None:
    y, x = np.mgrid[:60, :80]
    alpha = np.clip((22 - np.hypot(y - 30, x - 40)) / 12 + 0.5, 0, 1).astype(np.float32)
    red, blue = np.array([0.9, 0.2, 0.1], np.float32), np.array([0.1, 0.3, 0.8], np.float32)
    image = alpha[..., None] * red + (1 - alpha[..., None]) * blue
    estimate = estimate_foreground(image, alpha)
    assert np.abs(estimate - red)[alpha > 0.02].max() < 0.01
    assert np.abs(estimate - red).max() < 0.03, "the colours go on where nothing is visible"


def test_as_good_as_pymatting_on_known_scenes() -> None:
    from pymatting import estimate_foreground_ml

    ours, theirs, untouched = [], [], []
    for seed in range(12):
        image, alpha, truth = _scene(seed)
        peer = estimate_foreground_ml(image.astype(np.float64), alpha.astype(np.float64))
        ours.append(_error(estimate_foreground(image, alpha), truth, alpha))
        theirs.append(_error(peer, truth, alpha))
        untouched.append(_error(image, truth, alpha))
    # One scene says little: where both layers vary, the split is ambiguous. The mean is stable.
    assert np.mean(ours) <= 1.05 * np.mean(theirs)
    assert np.mean(ours) < 0.5 * np.mean(untouched)


@pytest.mark.skipif(not os.environ.get("ZIM_DATA"), reason="ZIM_DATA is not set")
def test_as_good_as_pymatting_on_the_lemur() -> None:
    from pymatting import estimate_foreground_ml

    folder = Path(os.environ["ZIM_DATA"]) / "pymatting_lemur"
    image, alpha = read_image(folder / "lemur.png"), read_alpha(folder / "lemur_alpha.png")
    truth = read_image(folder / "lemur_foreground.png") / 255.0
    ours = _error(estimate_foreground(image, alpha) / 255.0, truth, alpha)
    theirs = _error(estimate_foreground_ml(image / 255.0, alpha.astype(np.float64)), truth, alpha)
    assert ours <= 1.05 * theirs
    assert ours < 0.05 * _error(image / 255.0, truth, alpha)


def test_opaque_pixels_keep_the_photo() -> None:
    image, alpha, _ = _scene(3)
    photo = (image * 255 + 0.5).astype(np.uint8)
    estimate = estimate_foreground(photo, alpha)
    assert estimate.dtype == np.uint8
    np.testing.assert_array_equal(estimate[alpha == 1], photo[alpha == 1])


def test_colour_channels_do_not_mix() -> None:
    image, alpha, _ = _scene(4)
    swapped = estimate_foreground(np.ascontiguousarray(image[..., ::-1]), alpha)
    np.testing.assert_allclose(swapped[..., ::-1], estimate_foreground(image, alpha), atol=1e-6)


def test_colours_do_not_depend_on_where_the_object_lies_in_a_plain_picture() -> None:
    image, alpha, _ = _scene(5)
    image = alpha[..., None] * image + (1 - alpha[..., None]) * 0.5
    padding = ((200, 100), (50, 300))
    estimate = estimate_foreground(image, alpha)
    larger = np.pad(image, (*padding, (0, 0)), constant_values=0.5)
    placed = estimate_foreground(larger, np.pad(alpha, padding))
    unknown = (alpha > 0.1) & (alpha < 0.98)
    assert np.abs(placed[200:320, 50:200] - estimate)[unknown].mean() < 0.02


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("hw", [(1, 1), (1, 40), (7, 3)])
def test_pure_alpha_and_tiny_pictures(value: float, hw: tuple[int, int]) -> None:
    image = np.full((*hw, 3), 77, dtype=np.uint8)
    estimate = estimate_foreground(image, np.full(hw, value, dtype=np.float32))
    np.testing.assert_array_equal(estimate, image)


@pytest.mark.parametrize(
    ("image", "alpha", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), r"image: expected .*\(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.int32), np.zeros((4, 4), np.float32), "image: expected uint8, or float"),
        (np.full((4, 4, 3), 2.0), np.zeros((4, 4), np.float32), r"image: expected float values in \[0, 1\]"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.float32), r"size \(4, 4\), got \(4, 5\)"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), "alpha: expected float"),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), np.nan), r"alpha: expected values in \[0, 1\]"),
    ],
)
def test_wrong_input_is_named(image: np.ndarray, alpha: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        estimate_foreground(image, alpha)


def test_a_large_picture_is_solved_coarsely_and_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly as good as solving every level, and far better than the photo's own colours."""
    image, alpha, truth = _scene(5)
    whole = estimate_foreground(image, alpha)
    monkeypatch.setattr(foreground, "SOLVED_PIXELS", 6000)
    monkeypatch.setattr(foreground, "STRIP_ROWS", 37)
    quick = estimate_foreground(image, alpha)
    assert _error(quick, truth, alpha) < 1.3 * _error(whole, truth, alpha) < 0.6 * _error(image, truth, alpha)
    assert np.array_equal(quick[alpha == 1], image[alpha == 1])
    monkeypatch.setattr(foreground, "STRIP_ROWS", 1000)
    assert np.allclose(quick, estimate_foreground(image, alpha), atol=1e-5), "strips leave no trace"
