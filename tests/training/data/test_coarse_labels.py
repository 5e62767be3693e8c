"""Invariants of the coarse labels against the mattes that they come from."""

import cv2
import numpy as np
import pytest

from training.data.coarse_labels import CoarseLabelConfig, synthesize_coarse_label
from training.data.scenes import generate_scene
from zim.errors import ConfigError, DataError

NO_STEPS = CoarseLabelConfig(
    threshold=(0.5, 0.5),
    downsample_probability=0.0,
    blur_probability=0.0,
    dilate_probability=0.0,
    erode_probability=0.0,
    open_probability=0.0,
    close_probability=0.0,
)


def disc(radius: float, size: int = 160) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] - size / 2
    return np.clip(radius - np.hypot(x, y) + 0.5, 0, 1).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_without_steps_it_is_the_threshold() -> None:
    alpha = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    label = synthesize_coarse_label(alpha, np.random.default_rng(1), NO_STEPS)
    np.testing.assert_array_equal(label, (alpha > 0.5).astype(np.float32))


def test_compact_objects_keep_their_place() -> None:
    """Outlines move by at most a few percent of sqrt(area): the IoU stays above the analytic bound."""
    alpha = disc(50)
    rng = np.random.default_rng(0)
    overlaps = []
    for _ in range(60):
        label = synthesize_coarse_label(alpha, rng)
        assert label.dtype == np.float32 and set(np.unique(label)) <= {0.0, 1.0}
        overlaps.append(iou(label > 0, alpha > 0.5))
    # Largest dilation 0.03 * sqrt(area) = 0.053 radii: IoU about 1 / 1.053**2 = 0.90, less rounding.
    assert min(overlaps) > 0.85
    assert max(overlaps) < 1.0 or np.std(overlaps) > 0


@pytest.mark.parametrize("seed", range(6))
def test_scene_objects_never_vanish_and_labels_are_binary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for item in generate_scene(seed, size=128).objects:
        label = synthesize_coarse_label(item.alpha, rng)
        assert set(np.unique(label)) <= {0.0, 1.0}
        assert label.sum() >= 0.3 * (item.alpha > 0.5).sum()
        assert label.any() or not (item.alpha > 0.5).any()


def test_hair_is_gone_and_body_stays() -> None:
    """A disc with one-pixel spikes: blur and opening leave no spike, and the disc itself."""
    alpha = disc(40)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        end = (int(80 + 75 * np.cos(angle)), int(80 + 75 * np.sin(angle)))
        cv2.line(alpha, (80, 80), end, 1.0, 1)
    config = CoarseLabelConfig(blur_probability=1.0, blur_sigma=(0.03, 0.04), downsample_probability=1.0)
    y, x = np.mgrid[0:160, 0:160] - 80
    far, near = np.hypot(x, y) > 52, np.hypot(x, y) < 34
    for seed in range(10):
        label = synthesize_coarse_label(alpha, np.random.default_rng(seed), config)
        assert label[far].sum() < 0.1 * (alpha[far] > 0.5).sum()
        assert label[near].all()


def test_one_pixel_and_empty_mattes() -> None:
    alpha = np.zeros((20, 20), np.float32)
    assert not synthesize_coarse_label(alpha, np.random.default_rng(0)).any()
    alpha[7, 9] = 1.0
    for seed in range(30):
        assert synthesize_coarse_label(alpha, np.random.default_rng(seed)).any()


def test_radii_scale_with_the_object() -> None:
    """The same random numbers on a disc of twice the size move its outline by twice as much."""
    config = CoarseLabelConfig(
        dilate_probability=1.0, erode_probability=0.0, blur_probability=0.0, downsample_probability=0.0,
        open_probability=0.0, close_probability=0.0, dilate_radius=(0.06, 0.06),
    )  # fmt: skip
    growth = []
    for radius in (40.0, 80.0):
        label = synthesize_coarse_label(disc(radius, 260), np.random.default_rng(0), config)
        growth.append(np.sqrt(label.sum() / np.pi) - radius)
    assert growth[1] / growth[0] == pytest.approx(2.0, rel=0.2)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(DataError, match=r"alpha: expected a \(H, W\) real array, got shape \(2, 3, 4\)"):
        synthesize_coarse_label(np.zeros((2, 3, 4)), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"blur_sigma: expected 0 <= low <= high, got \(0.5, 0.1\)"):
        CoarseLabelConfig(blur_sigma=(0.5, 0.1))
    with pytest.raises(ConfigError, match=r"dilate_probability \+ erode_probability: expected at most 1"):
        CoarseLabelConfig(dilate_probability=0.7, erode_probability=0.7)
