"""The guided filter against the paper's formulas window by window; the flip against mirrored calls by hand."""

from typing import Any

import numpy as np
import pytest

from zim.alpha import predict_alpha
from zim.errors import ConfigError, ImageError, PromptError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.prompts import mask_input_from_mask
from zim.refinement import guided_filter, mirror_prompts, predict_alpha_flipped, refine_alpha

BOX = np.array([20.0, 10.0, 110.0, 70.0])


def slow_guided_filter(image: np.ndarray, alpha: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """He, Sun & Tang (2013), equations 19 to 21, one window after the other."""
    height, width = alpha.shape
    sums, counts = np.zeros((height, width, 4)), np.zeros((height, width, 1))
    for y in range(height):
        for x in range(width):
            window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            colours, alphas = image[window].reshape(-1, 3), alpha[window].ravel()
            centred = colours - colours.mean(axis=0)
            covariance = centred.T @ centred / len(colours)
            a = np.linalg.inv(covariance + epsilon * np.eye(3)) @ (centred.T @ (alphas - alphas.mean()) / len(colours))
            sums[window] += [*a, alphas.mean() - a @ colours.mean(axis=0)]
            counts[window] += 1
    a_and_b = sums / counts
    return (a_and_b[..., :3] * image).sum(axis=-1) + a_and_b[..., 3]


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-2), (3, 1e-4), (40, 1e-3)])
def test_the_filter_is_the_papers(radius: int, epsilon: float) -> None:
    random = np.random.default_rng(radius)
    image = random.random((17, 23, 3))
    alpha = np.clip(image @ [0.5, 0.2, 0.2] + 0.1 * random.random((17, 23)), 0, 1)
    expected = np.clip(slow_guided_filter(image, alpha, radius, epsilon), 0, 1)
    np.testing.assert_allclose(guided_filter(image, alpha, radius=radius, epsilon=epsilon), expected, atol=2e-6)
    eight_bit = (image * 255).round().astype(np.uint8)
    expected = np.clip(slow_guided_filter(eight_bit / 255, alpha, radius, epsilon), 0, 1)
    np.testing.assert_allclose(guided_filter(eight_bit, alpha, radius=radius, epsilon=epsilon), expected, atol=2e-6)


@pytest.mark.parametrize("subsample", [1, 2, 5])
def test_an_alpha_that_is_linear_in_the_colours_stays(subsample: int) -> None:
    """The model of the filter holds exactly then, at full size and at any other."""
    image = np.random.default_rng(0).random((40, 61, 3))
    alpha = 0.1 + image @ [0.3, 0.1, 0.4]
    filtered = guided_filter(image, alpha, radius=6, epsilon=1e-9, subsample=subsample)
    np.testing.assert_allclose(filtered, alpha, atol=1e-5 if subsample < 5 else 5e-4)


def test_a_constant_alpha_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for subsample in (1, 3):
        filtered = guided_filter(image, np.full((20, 30), 0.3), radius=4, epsilon=1e-4, subsample=subsample)
        np.testing.assert_allclose(filtered, 0.3, atol=1e-6)


def disc_photo() -> tuple[np.ndarray, np.ndarray]:
    """(128, 160, 3) uint8, a red disc with smooth edge on grey-blue with noise, and its alpha."""
    y, x = np.mgrid[:128, :160]
    alpha = np.clip((40.5 - np.hypot(x - 80, y - 64)) / 3, 0, 1)[..., None]
    colours = alpha * [0.8, 0.2, 0.2] + (1 - alpha) * [0.3, 0.4, 0.6]
    noisy = colours + np.random.default_rng(0).normal(0, 0.01, colours.shape)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8), alpha[..., 0]


def test_a_blurred_alpha_finds_back_to_the_edge() -> None:
    """The fast filter comes as near as the full one, and both are nearer to the truth than the blurred alpha."""
    import cv2

    image, truth = disc_photo()
    blurred = cv2.GaussianBlur(truth, (0, 0), 4)
    errors = {
        subsample: np.square(guided_filter(image, blurred, radius=8, epsilon=1e-3, subsample=subsample) - truth).mean()
        for subsample in (1, 2)
    }
    before = np.square(blurred - truth).mean()
    assert errors[1] < 0.5 * before and errors[2] < 0.55 * before


def test_refinement_touches_the_uncertain_band_only() -> None:
    import cv2

    image, truth = disc_photo()
    blurred = cv2.GaussianBlur(truth, (0, 0), 2).astype(np.float32)
    refined = refine_alpha(image, blurred, radius=6, epsilon=1e-3)
    sure = (blurred <= 0.02) | (blurred >= 0.98)
    assert np.array_equal(refined[sure], blurred[sure])
    assert refined.dtype == np.float32
    expected = guided_filter(image, blurred, radius=6, epsilon=1e-3)
    assert np.array_equal(refined[~sure], expected[~sure])
    assert np.square(refined - truth).mean() < 0.5 * np.square(blurred - truth).mean()
    nothing = refine_alpha(image, blurred, uncertain=(0.5, 0.5000001))
    assert (nothing != blurred).mean() < 0.01


def test_the_radius_grows_with_the_photo() -> None:
    """At 1280 pixels the default is 40 pixels, from a picture ten times smaller."""
    random = np.random.default_rng(1)
    image, alpha = random.integers(0, 256, (24, 1280, 3), dtype=np.uint8), random.random((24, 1280))
    expected = guided_filter(image, alpha, radius=40, epsilon=1e-4, subsample=10)
    assert (alpha > 0).all()
    assert np.array_equal(refine_alpha(image, alpha, uncertain=(0, 1)), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_the_smallest_photos_work(size: tuple[int, int]) -> None:
    image, alpha = np.full((*size, 3), 90, dtype=np.uint8), np.full(size, 0.5)
    np.testing.assert_allclose(refine_alpha(image, alpha), 0.5, atol=1e-6)
    np.testing.assert_allclose(guided_filter(image, alpha, radius=3, epsilon=1e-4, subsample=50), 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "radius: expected a positive number, got 0"),
        ({"radius": float("nan")}, "radius: expected a positive number"),
        ({"epsilon": 0.0}, "epsilon: expected a positive number, got 0.0"),
        ({"uncertain": (0.9, 0.1)}, "uncertain: expected 0 <= low < high <= 1"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    image, alpha = disc_photo()
    with pytest.raises(ConfigError, match=message):
        refine_alpha(image, alpha, **options)


def test_what_does_not_fit_is_refused() -> None:
    image, alpha = disc_photo()
    with pytest.raises(ImageError, match="alpha: expected the image's size"):
        refine_alpha(image, alpha[:-1])
    with pytest.raises(ConfigError, match="subsample: expected an integer >= 1, got 0"):
        guided_filter(image, alpha, radius=2, epsilon=1e-4, subsample=0)


def test_the_flip_is_the_mean_of_both_images(tiny_zim: Zim, other_photo: np.ndarray) -> None:
    """By hand: (120, 70) image, so pixel x of the mirror image is pixel 69 - x."""
    box, points, labels = np.array([5.0, 8.0, 50.0, 90.0]), np.array([[20, 30], [60, 100]]), np.array([1, 0])
    one, two, both = (ZimPredictor(tiny_zim) for _ in range(3))
    one.set_image(other_photo)
    two.set_image(other_photo[:, ::-1].copy())
    plain = predict_alpha(one, box=box, point_coords=points, point_labels=labels)
    mirror = predict_alpha(
        two, box=np.array([19.0, 8.0, 64.0, 90.0]), point_coords=[[49, 30], [9, 100]], point_labels=labels
    )
    flipped = predict_alpha_flipped(
        both, other_photo, box=box, point_coords=points, point_labels=labels, mask_input=None
    )
    np.testing.assert_allclose(flipped, (plain + mirror[:, ::-1]) / 2, atol=1e-6)
    assert np.abs(flipped - plain).max() > 1e-3
    assert both.features.image_sha256 == one.features.image_sha256  # the plain image stays set


def test_the_flip_of_a_mirrored_photo_is_the_mirrored_answer(tiny_zim: Zim, photo: np.ndarray) -> None:
    """Flip equivariance, mask input included; the plain prediction has it not."""
    mask = np.zeros(photo.shape[:2], dtype=bool)
    mask[20:60, 30:100] = True
    asked = {"box": BOX, "mask_input": mask_input_from_mask(mask, 128)}
    mirrored = {"box": [49.0, 10.0, 139.0, 70.0], "mask_input": mask_input_from_mask(mask[:, ::-1], 128)}
    predictor = ZimPredictor(tiny_zim)
    there = predict_alpha_flipped(predictor, photo, **asked)
    back = predict_alpha_flipped(predictor, photo[:, ::-1], **mirrored)
    np.testing.assert_allclose(back[:, ::-1], there, atol=1e-5)
    predictor.set_image(photo)
    plain = predict_alpha(predictor, **asked)
    predictor.set_image(photo[:, ::-1].copy())
    assert np.abs(predict_alpha(predictor, **mirrored)[:, ::-1] - plain).max() > 1e-3


def test_mask_inputs_are_mirrored_where_the_photo_is() -> None:
    """A portrait of 100 x 75 is 1024 x 768 of the padded frame: 192 of 256 columns; 77 wide ends within one."""
    mask = np.zeros((100, 75), dtype=bool)
    mask[10:60, 5:30] = True
    mirrored = mirror_prompts({"mask_input": mask_input_from_mask(mask)}, mask.shape)["mask_input"]
    np.testing.assert_allclose(mirrored, mask_input_from_mask(mask[:, ::-1]), atol=1e-4)
    y, x = np.mgrid[:100, :77]
    ramp = 0.2 + 0.6 * x / 76
    mirrored = mirror_prompts({"mask_input": mask_input_from_mask(ramp)}, ramp.shape)["mask_input"]
    expected = mask_input_from_mask(ramp[:, ::-1])
    columns = int(1024 * 0.77 / 4) - 1
    np.testing.assert_allclose(mirrored[..., 1:columns], expected[..., 1:columns], atol=0.02)
    assert np.array_equal(mirrored[..., columns + 2 :], expected[..., columns + 2 :])


def test_mirroring_twice_changes_nothing(photo: np.ndarray) -> None:
    prompts = {"box": BOX[None], "point_coords": np.array([[3.0, 4.0]]), "point_labels": np.array([1]), "hq": True}
    twice = mirror_prompts(mirror_prompts(prompts, (90, 160)), (90, 160))
    assert set(twice) == set(prompts)
    for name, value in prompts.items():
        np.testing.assert_array_equal(twice[name], value)


def test_the_flip_asks_for_one_answer_and_leaves_the_image_set_after_an_error(
    tiny_zim: Zim, photo: np.ndarray
) -> None:
    predictor = ZimPredictor(tiny_zim)
    with pytest.raises(PromptError, match="multimask_output: expected one answer, got True"):
        predict_alpha_flipped(predictor, photo, box=BOX, multimask_output=True)
    assert not predictor.is_image_set
    with pytest.raises(PromptError, match="expected at least one of point_coords"):
        predict_alpha_flipped(predictor, photo)
    plain = ZimPredictor(tiny_zim)
    plain.set_image(photo)
    assert predictor.features.image_sha256 == plain.features.image_sha256
