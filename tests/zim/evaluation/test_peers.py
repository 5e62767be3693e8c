"""GrabCut and GrabCut with matting on pictures whose object is known."""

import numpy as np
import pytest

from zim.alpha import predict_alpha
from zim.errors import ImageError, ImageNotSetError, PromptError
from zim.evaluation.boundary import mask_iou
from zim.evaluation.peers import GrabCutClosedFormPredictor, GrabCutPredictor, trimap_around
from zim.protocol import Predictor

BOX = np.array([24, 14, 76, 66])


def two_colours(hw: tuple[int, int] = (80, 100), scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A reddish disc on a bluish, noisy ground, and the disc."""
    rng = np.random.default_rng(0)
    height, width = (round(side * scale) for side in hw)
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - 50 * scale, y - 40 * scale) <= 22 * scale
    image = np.where(disc[..., None], (200, 70, 60), (40, 80, 150)) + rng.normal(0, 6, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8), disc


def predictor_with(image: np.ndarray) -> GrabCutPredictor:
    predictor = GrabCutPredictor()
    predictor.set_image(image)
    return predictor


@pytest.mark.parametrize(
    "prompt",
    [
        {"box": BOX},
        {"box": BOX[None]},
        {"point_coords": np.array([[50, 40], [5, 5]]), "point_labels": np.array([1, 0])},
        {"point_coords": np.array([[50, 40]]), "point_labels": np.array([1])},
        {"point_coords": np.array([[5, 5], [95, 5]]), "point_labels": np.array([0, 0])},
        {"point_coords": np.array([[50, 40], [0, 0]]), "point_labels": np.array([1, -1]), "box": BOX},
    ],
)
def test_grabcut_finds_the_disc_from_any_prompt(prompt: dict[str, np.ndarray]) -> None:
    image, disc = two_colours()
    masks, scores, low_res = predictor_with(image).predict(**prompt, multimask_output=False)
    assert masks.shape == (1, 80, 100) and masks.dtype == bool
    assert scores.shape == (1,) and low_res.shape == (1, 256, 256)
    assert mask_iou(masks[0], disc) > 0.98


def test_box_and_points_both_count() -> None:
    image, disc = two_colours()
    image[10:20, 2:12] = (200, 70, 60)  # a second red thing, outside the box
    predictor = predictor_with(image)
    both = np.array([[50, 40], [6, 14]]), np.array([1, 1])
    points_only = predict_alpha(predictor, point_coords=both[0], point_labels=both[1]) > 0.5
    boxed = predict_alpha(predictor, point_coords=both[0][:1], point_labels=both[1][:1], box=BOX) > 0.5
    assert points_only[12:18, 4:10].all() and not boxed[10:20, 2:12].any()
    negative = np.array([[50, 40], [50, 55]]), np.array([1, 0])
    refused = predict_alpha(predictor, point_coords=negative[0], point_labels=negative[1], box=BOX) > 0.5
    assert mask_iou(boxed, disc) > 0.98
    assert boxed[55, 50] and not refused[55, 50]


def test_a_previous_mask_is_a_prompt_and_low_res_logits_have_sams_frame() -> None:
    image, disc = two_colours()
    predictor = predictor_with(image)
    _, _, low_res = predictor.predict(box=BOX, multimask_output=False, return_logits=True)
    assert (low_res[0, round(80 * 2.56) :] < 0).all()  # the padding below a 100 x 80 photo
    assert low_res[0, round(40 * 2.56), round(50 * 2.56)] > 0
    assert mask_iou(predict_alpha(predictor, mask_input=low_res) > 0.5, disc) > 0.98


def test_logits_are_binary_and_three_masks_are_the_same_answer() -> None:
    image, _ = two_colours()
    predictor = predictor_with(image)
    logits, scores, low_res = predictor.predict(box=BOX, return_logits=True)
    masks, _, _ = predictor.predict(box=BOX)
    assert logits.shape == (3, 80, 100) and scores.shape == (3,) and low_res.shape == (3, 256, 256)
    assert np.array_equal(logits > 0, masks)
    alpha = predict_alpha(predictor, box=BOX)
    assert np.abs(alpha - masks[0]).max() < 1e-6


def test_the_same_call_gives_the_same_answer() -> None:
    rng = np.random.default_rng(3)
    predictor = predictor_with(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8))
    first = predict_alpha(predictor, box=np.array([10, 10, 40, 40]))
    assert np.array_equal(first, predict_alpha(predictor, box=np.array([10, 10, 40, 40])))


def test_bgr_is_rgb_reversed() -> None:
    image, _ = two_colours()
    rgb, bgr = GrabCutPredictor(), GrabCutPredictor()
    rgb.set_image(image)
    bgr.set_image(image[..., ::-1], image_format="BGR")
    assert np.array_equal(predict_alpha(rgb, box=BOX), predict_alpha(bgr, box=BOX))


def test_large_photos_are_segmented_small_and_answered_in_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zim.evaluation.peers._GRABCUT_LONG_SIDE", 100)
    image, disc = two_colours(scale=3)
    predictor = predictor_with(image)
    masks, _, _ = predictor.predict(box=BOX * 3, multimask_output=False)
    assert masks.shape == (1, 240, 300)
    assert mask_iou(masks[0], disc) > 0.95
    points = np.array([[150, 120], [15, 15]]), np.array([1, 0])
    assert (
        mask_iou(predict_alpha(predictor, point_coords=points[0], point_labels=points[1]) > 0.5, disc) > 0.95
    )


@pytest.mark.parametrize("hw", [(1, 1), (1, 30), (30, 1), (2, 2), (5, 5)])
def test_tiny_photos_and_boxes_around_everything(hw: tuple[int, int]) -> None:
    predictor = predictor_with(np.full((*hw, 3), 90, np.uint8))
    masks, _, low_res = predictor.predict(box=np.array([0, 0, hw[1] - 1, hw[0] - 1]))
    assert masks.shape == (3, *hw) and np.isfinite(low_res).all()


def test_a_box_around_the_whole_photo_learns_from_its_frame() -> None:
    image, disc = two_colours()
    assert mask_iou(predict_alpha(predictor_with(image), box=np.array([0, 0, 99, 79])) > 0.5, disc) > 0.98


def test_misuse_is_told_clearly() -> None:
    predictor = GrabCutPredictor()
    with pytest.raises(ImageNotSetError, match="set_image"):
        predictor.predict(box=BOX)
    with pytest.raises(ImageError, match=r"image: expected \(H, W, 3\) uint8, got shape \(4, 4\)"):
        predictor.set_image(np.zeros((4, 4), np.uint8))
    with pytest.raises(ImageError, match="image_format: expected 'RGB' or 'BGR', got 'HSV'"):
        predictor.set_image(np.zeros((4, 4, 3), np.uint8), image_format="HSV")
    predictor.set_image(np.zeros((4, 4, 3), np.uint8))
    point = {"point_coords": np.zeros((1, 2))}
    for prompt, message in (
        ({}, "got none"),
        (point, "point_coords and point_labels together"),
        ({**point, "point_labels": np.array([-1])}, "got only padding"),
        ({**point, "point_labels": np.ones(2)}, r"labels \(N,\)"),
        ({"box": np.zeros((2, 4))}, r"box: expected shape \(4,\) or \(1, 4\), got \(2, 4\)"),
        ({"box": np.full(4, np.nan)}, "box: expected finite numbers"),
        ({"mask_input": np.zeros((1, 64, 64))}, r"mask_input: expected shape \(1, 256, 256\)"),
    ):
        with pytest.raises(PromptError, match=message):
            predictor.predict(**prompt)
    predictor.reset_image()
    with pytest.raises(ImageNotSetError):
        predictor.predict(box=BOX)


def test_both_peers_satisfy_the_protocol() -> None:
    assert isinstance(GrabCutPredictor(), Predictor) and isinstance(GrabCutClosedFormPredictor(), Predictor)


def test_trimap_is_a_band_as_wide_as_the_object_is_large() -> None:
    mask = np.zeros((200, 200), dtype=bool)
    mask[50:150, 50:150] = True  # 4% of its side of 100 are 4 pixels on either side of the outline
    row = trimap_around(mask)[100]
    assert np.flatnonzero(row == 0.5).tolist() == [*range(46, 54), *range(146, 154)]
    assert (row[54:146] == 1).all() and (row[:46] == 0).all()
    mask[:, :150] = True  # what touches the image border is not unknown there
    assert (trimap_around(mask)[100, :140] == 1).all()


def test_matting_sees_the_trimap_and_its_alpha_comes_back() -> None:
    image, disc = two_colours()
    seen: list[np.ndarray] = []

    def estimate(pixels: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        seen.extend((pixels, trimap))
        return np.where(trimap == 0.5, 0.25, trimap)

    predictor = GrabCutClosedFormPredictor(estimate)
    predictor.set_image(image)
    alphas, _, low_res = predictor.predict(box=BOX, multimask_output=False)
    assert seen[0] == pytest.approx(image / 255)
    expected = np.where(trimap_around(disc) == 0.5, 0.25, disc)
    assert np.mean(np.abs(alphas[0] - expected) > 1e-6) < 0.02  # GrabCut's disc differs in a few pixels
    assert low_res.shape == (1, 256, 256)
    assert np.abs(predict_alpha(predictor, box=BOX) - alphas[0]).max() <= 1.1e-4


def test_grabcuts_answer_stands_where_there_is_no_trimap() -> None:
    def never(pixels: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        raise RuntimeError("matting was asked without a trimap")

    predictor = GrabCutClosedFormPredictor(never)
    predictor.set_image(np.full((3, 3, 3), 7, np.uint8))
    alphas, _, _ = predictor.predict(box=np.array([1, 1, 1, 1]), multimask_output=False)
    expected = np.zeros((3, 3))
    expected[1, 1] = 1
    assert np.array_equal(alphas[0], expected)


def test_closed_form_matting_recovers_a_soft_edge() -> None:
    pytest.importorskip("pymatting")
    y, x = np.mgrid[:80, :100]
    truth = np.clip((22 - np.hypot(x - 50, y - 40)) / 3 + 0.5, 0, 1)[..., None]
    colours = np.array([200, 70, 60]), np.array([40, 80, 150])
    noise = np.random.default_rng(1).normal(0, 4, (80, 100, 1))
    image = np.clip(truth * colours[0] + (1 - truth) * colours[1] + noise, 0, 255).astype(np.uint8)
    errors = []
    for predictor in (GrabCutPredictor(), GrabCutClosedFormPredictor()):
        predictor.set_image(image)
        alpha = predict_alpha(predictor, box=np.array([20, 10, 80, 70]))
        errors.append(float(np.mean((alpha - truth[..., 0]) ** 2)))
    assert errors[1] < 0.35 * errors[0]
