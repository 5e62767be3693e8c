"""Composites against the formula, and pixels that must not change."""

import numpy as np
import pytest

from adapters.inpaint_anything.compositing import keep_object, lay_over, refined_edges
from zim.errors import ImageError


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 50, 3), np.uint8), rng.integers(0, 256, (40, 50, 3), np.uint8)


def test_lay_over_is_the_formula_and_leaves_the_rest() -> None:
    image, painted = pictures()
    weight = np.random.default_rng(1).random((40, 50)).astype(np.float32)
    weight[:, :10], weight[:, 40:] = 0, 1
    result = lay_over(image, painted, weight)
    exact = image + weight[..., None].astype(np.float64) * (painted.astype(np.float64) - image)
    assert np.abs(result - exact).max() <= 0.51
    np.testing.assert_array_equal(result[:, :10], image[:, :10])
    np.testing.assert_array_equal(result[:, 40:], painted[:, 40:])
    with pytest.raises(ImageError, match="expected the photo's size"):
        lay_over(image, painted[1:], weight)


def test_keep_object_without_a_halo(disc) -> None:  # type: ignore[no-untyped-def]
    """With the true alpha, estimated colours come within 2 levels of the true composite; the photo's own do not."""
    behind = np.full_like(disc.image, (0, 0, 255))
    truth = disc.alpha[..., None] * disc.foreground + (1 - disc.alpha[..., None]) * behind
    soft = (disc.alpha > 0) & (disc.alpha < 1)
    clean = np.abs(keep_object(disc.image, behind, disc.alpha) - truth)[soft].mean()
    pasted = np.abs(keep_object(disc.image, behind, disc.alpha, estimate_colours=False) - truth)[soft].mean()
    assert clean < 2 < 8 < pasted


def test_sure_pixels_are_exact(disc) -> None:  # type: ignore[no-untyped-def]
    behind = pictures()[1].repeat(3, 0).repeat(3, 1)[:96, :128]
    alpha = np.clip(disc.alpha, 0.001, 0.999)  # as a sigmoid never quite reaches the ends
    result = keep_object(disc.image, behind, alpha)
    np.testing.assert_array_equal(result[disc.alpha == 1], disc.image[disc.alpha == 1])
    np.testing.assert_array_equal(result[disc.alpha == 0], behind[disc.alpha == 0])


def test_refined_edges_follow_the_photo_and_make_no_holes(disc) -> None:  # type: ignore[no-untyped-def]
    """A matte that is too soft comes nearer to the truth; a patch of the background's colour inside stays whole."""
    import cv2

    blurred = np.clip(cv2.GaussianBlur(disc.alpha, (0, 0), 5) * 0.97, 0, 0.97).astype(np.float32)
    refined = refined_edges(disc.image, blurred, 0.5)
    assert np.abs(refined - disc.alpha).mean() < 0.8 * np.abs(blurred - disc.alpha).mean()
    image = disc.image.copy()
    image[40:48, 66:74] = disc.background[40:48, 66:74]
    patch = refined_edges(image, blurred, 0.5)[40:48, 66:74]
    assert (patch >= blurred[40:48, 66:74]).all()
    hard = (disc.alpha > 0.5).astype(np.float32)
    np.testing.assert_array_equal(refined_edges(image, hard), hard)
