"""Shadows that were drawn, and pictures without one."""

import cv2
import numpy as np
import pytest

from adapters.inpaint_anything.shadows import along_shadow


def floor_with_shadow(*, shadow: bool, noise: float = 2.0, tint: bool = False) -> tuple[np.ndarray, ...]:
    """A disc on a lit floor -> image, object mask, share of light that the shadow takes (0 without one)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:300, :400].astype(np.float64)
    floor = np.stack([150 + 0.1 * columns, 140 + 0.1 * columns, 120 + 0.1 * columns], -1)
    lost = 0.45 * np.exp(-(((columns - 235) / 45) ** 4) - ((rows - 195) / 14) ** 4) if shadow else np.zeros((300, 400))
    lost = cv2.GaussianBlur(lost, (0, 0), 4)
    factor = 1 - lost[..., None] * (np.array([0, 1, 1]) if tint else 1)
    image = floor * factor + rng.normal(0, noise, floor.shape)
    thing = np.hypot(columns - 190, rows - 150) < 45
    image[thing] = (30, 60, 200)
    return np.clip(image, 0, 255).astype(np.uint8), thing, lost


def test_a_shadow_is_followed_to_its_soft_end() -> None:
    image, thing, lost = floor_with_shadow(shadow=True)
    grown = along_shadow(image, thing)
    assert (grown >= thing).all()
    assert grown[(lost > 0.08) & ~thing].mean() > 0.95
    surplus = grown & ~thing & (lost < 0.01)
    assert surplus.sum() < 0.4 * (lost > 0.08).sum()


@pytest.mark.parametrize("noise", [0.5, 6.0])
def test_no_shadow_no_growth(noise: float) -> None:
    image, thing, _ = floor_with_shadow(shadow=False, noise=noise)
    assert (along_shadow(image, thing) & ~thing).sum() < 0.02 * thing.sum()


def test_colours_are_no_shadow() -> None:
    image, thing, lost = floor_with_shadow(shadow=True, tint=True)
    assert (along_shadow(image, thing) & ~thing & (lost > 0.2)).sum() < 0.2 * (lost > 0.2).sum()


def test_a_dark_backdrop_is_no_shadow() -> None:
    image, thing, _ = floor_with_shadow(shadow=False)
    image[:, :190][~thing[:, :190]] = (60, 55, 50)
    assert (along_shadow(image, thing) & ~thing).sum() < 0.1 * thing.sum()


def test_nothing_and_everything() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    for mask in (np.zeros((20, 20), bool), np.ones((20, 20), bool)):
        np.testing.assert_array_equal(along_shadow(image, mask), mask)
