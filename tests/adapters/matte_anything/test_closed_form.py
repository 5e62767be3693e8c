"""Closed form against pymatting itself, against analytic cases, and tiles against the whole."""

import numpy as np
import pytest

from adapters.fine_objects import fine_scene
from adapters.matte_anything import ClosedFormRefiner, MatteTrimap, Tiling
from zim.errors import ConfigError

pymatting = pytest.importorskip("pymatting")


def disc(hw: tuple[int, int], soft: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """A photo of a smooth red disc on smooth blue, and its alpha."""
    rows, columns = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    alpha = np.clip(0.5 + (0.3 * min(hw) - np.hypot(rows - hw[0] / 2, columns - hw[1] / 2)) / soft, 0, 1)
    red = np.stack([200 + 20 * np.sin(columns / 40), 60 + 0 * rows, 40 + 20 * np.cos(rows / 30)], -1)
    blue = np.stack([30 + 0 * rows, 80 + 20 * np.sin(rows / 35), 210 + 20 * np.sin(columns / 50)], -1)
    image = alpha[..., None] * red + (1 - alpha[..., None]) * blue
    return (image + 0.5).astype(np.uint8), alpha.astype(np.float32)


def test_without_prior_it_is_pymatting() -> None:
    image, alpha = disc((96, 120))
    trimap = MatteTrimap(band_share=0.15)(alpha)
    ours = ClosedFormRefiner(prior_weight=0, tolerance=1e-8)(image, trimap, np.zeros_like(alpha))
    theirs = pymatting.estimate_alpha_cf(image / 255.0, trimap.astype(np.float64))
    assert np.abs(ours - theirs).max() < 2e-3
    assert np.abs(ours - alpha).mean() < 0.02


def test_known_pixels_stay_and_the_prior_wins_when_heavy() -> None:
    image, alpha = disc((64, 80))
    trimap = MatteTrimap(band_share=0.15)(alpha)
    given = np.random.default_rng(0).random(alpha.shape).astype(np.float32)
    refined = ClosedFormRefiner(prior_weight=1e6)(image, trimap, given)
    unknown = trimap == 0.5
    assert np.array_equal(refined[~unknown], trimap[~unknown])
    assert np.abs(refined - given)[unknown].max() < 1e-3


def test_a_trimap_without_foreground() -> None:
    image, alpha = disc((64, 80))
    trimap = np.where(MatteTrimap()(alpha) == 0, 0, 0.5).astype(np.float32)
    plain = ClosedFormRefiner(prior_weight=0)(image, trimap, alpha)
    assert np.array_equal(plain, np.where(trimap == 0.5, alpha, 0))
    with_prior = ClosedFormRefiner()(image, trimap, alpha)
    assert np.abs(with_prior - alpha).mean() < 0.05 < alpha.mean()
    everything = np.full_like(trimap, 0.5)
    assert np.abs(ClosedFormRefiner()(image, everything, alpha) - alpha).mean() < 0.05
    certain = np.ones_like(trimap)
    assert np.array_equal(ClosedFormRefiner()(image, certain, alpha), certain)


@pytest.mark.parametrize("prior_weight", [0.0, 1e-4])
def test_tiles_agree_with_the_whole(prior_weight: float) -> None:
    image, alpha = disc((300, 400), soft=30)
    trimap = MatteTrimap(band_share=0.12)(alpha)
    whole = ClosedFormRefiner(prior_weight=prior_weight)(image, trimap, alpha)
    tiled = ClosedFormRefiner(prior_weight=prior_weight, tiling=Tiling(side=128, overlap=48))(image, trimap, alpha)
    assert np.abs(tiled - whole).max() < 0.03 and np.abs(tiled - whole).mean() < 0.002
    for axis in (0, 1):  # no step that the whole solution has not
        steps = [np.abs(np.diff(one, axis=axis)).max() for one in (tiled, whole)]
        assert steps[0] < steps[1] + 0.01


def test_fine_objects_come_closer_to_the_truth() -> None:
    scene = fine_scene("fur", seed=3, side=192)
    mask = (scene.alpha > 0.5).astype(np.float32)
    refined = ClosedFormRefiner()(scene.image, MatteTrimap()(mask), mask)
    assert np.square(refined - scene.alpha).mean() < 0.8 * np.square(mask - scene.alpha).mean()


@pytest.mark.parametrize("settings", [{"prior_weight": -1}, {"epsilon": 0}, {"iterations": 0}])
def test_impossible_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ClosedFormRefiner(**settings)
