import itertools
from typing import Any

import numpy as np
import pytest
import torch

from zim.errors import PromptError
from zim.predictor import ZimPredictor
from zim.prompts import Prompt, box_from_alpha, mask_input_from_mask, points_from_scribble


def test_prompt_is_the_arguments_of_predict(predictor: ZimPredictor) -> None:
    prompt = Prompt(box=np.array([20, 10, 110, 70], dtype=np.float32))
    assert set(prompt.as_kwargs()) == {"point_coords", "point_labels", "box", "mask_input"}
    expected = predictor.predict(box=prompt.box)
    assert all(np.array_equal(a, b) for a, b in zip(predictor.predict(**prompt.as_kwargs()), expected, strict=True))
    with pytest.raises(AttributeError):
        prompt.box = None  # type: ignore[misc]


def test_box_covers_exactly_the_pixels_above_the_threshold() -> None:
    alpha = np.zeros((20, 30), dtype=np.float32)
    alpha[4:11, 7:23] = 0.5
    alpha[2, 3] = 0.3  # not above the threshold
    box = box_from_alpha(alpha)
    assert box.dtype == np.float32
    assert box.tolist() == [7, 4, 22, 10]
    assert box_from_alpha(alpha, threshold=0.2).tolist() == [3, 2, 22, 10]
    assert box_from_alpha(alpha > 0.4).tolist() == [7, 4, 22, 10]


def test_box_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha: expected a pixel above 0.3, got none"):
        box_from_alpha(np.full((5, 5), 0.3))
    with pytest.raises(PromptError, match=r"alpha: expected shape \(H, W\), got \(5, 5, 3\)"):
        box_from_alpha(np.ones((5, 5, 3)))


def scribble(height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((height, width), 128, dtype=np.uint8)


def test_scribble_points_lie_on_their_strokes() -> None:
    drawn = scribble()
    drawn[50:56, 20:280] = 255
    drawn[150:153, 100:200] = 0
    coords, labels = points_from_scribble(drawn)
    assert (coords.dtype, labels.dtype) == (np.float32, np.int32)
    assert len(coords) == len(labels) <= 32
    assert set(labels.tolist()) == {0, 1}
    for (x, y), label in zip(coords.astype(int), labels, strict=True):
        assert drawn[y, x] == (255 if label else 0)
    again = points_from_scribble(drawn.copy())
    assert np.array_equal(again[0], coords)


def test_scribble_points_are_far_apart() -> None:
    """On a straight line of length L, the first 3 farthest points after the middle are the two ends."""
    drawn = scribble()
    drawn[100, 10:291] = 255
    coords, labels = points_from_scribble(drawn, max_points=5)
    assert labels.tolist() == [1] * 5
    assert {10.0, 290.0} <= set(coords[:, 0].tolist())
    spacing = min(abs(a - b) for a, b in itertools.combinations(coords[:, 0].tolist(), 2))
    assert spacing >= 280 / 5 / 1.5  # evenly spread would be 280 / 4


def test_scribble_of_a_dot_is_one_point() -> None:
    drawn = scribble(800, 1024)
    drawn[400:405, 600:605] = 255
    coords, labels = points_from_scribble(drawn)
    assert coords.tolist() == [[602, 402]]
    assert labels.tolist() == [1]


def test_scribble_budget_is_shared_and_not_wasted() -> None:
    drawn = scribble()
    drawn[20:180, 20:180] = 255
    drawn[10, 200] = 0
    coords, labels = points_from_scribble(drawn, max_points=12)
    assert labels.tolist() == [1] * 11 + [0]
    drawn[:, 220:] = 0
    assert points_from_scribble(drawn, max_points=12)[1].tolist() == [1] * 6 + [0] * 6
    assert len(coords) == 12


def test_scribble_on_a_large_photo_is_quick() -> None:
    drawn = np.zeros((1500, 2000), dtype=np.uint8)
    drawn[500:550, 250:1750] = 255
    coords, labels = points_from_scribble(drawn)
    assert np.bincount(labels).tolist() == [16, 16]


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (np.full((5, 5), 7, dtype=np.uint8), r"expected the values 255 .* got \[7\]"),
        (
            np.full((5, 5), 128, dtype=np.uint8),
            "expected at least one foreground .255. or background .0. pixel, got none",
        ),
        (np.zeros((5, 5, 3), dtype=np.uint8), r"expected \(H, W\) uint8, got uint8 of shape \(5, 5, 3\)"),
        (np.zeros((5, 5)), ".*got float64"),
    ],
)
def test_scribble_refuses(drawn: np.ndarray, message: str) -> None:
    with pytest.raises(PromptError, match=f"scribble: {message}"):
        points_from_scribble(drawn)


def test_scribble_needs_a_point_per_colour() -> None:
    drawn = scribble()
    drawn[0, 0], drawn[100, 100] = 255, 0
    with pytest.raises(PromptError, match="max_points: expected at least 2, got 1"):
        points_from_scribble(drawn, max_points=1)


def test_mask_input_lies_in_the_padded_frame() -> None:
    """A 200 x 400 mask scales by 1024 / 400 and fills the upper half; a block keeps its corners."""
    mask = np.zeros((200, 400), dtype=bool)
    mask[50:100, 100:300] = True
    logits = mask_input_from_mask(mask)
    assert (logits.shape, logits.dtype) == ((1, 256, 256), np.float32)
    scale = 256 / 400
    inside = logits[0] > 0
    rows, columns = np.nonzero(inside)
    assert abs(rows.min() - 50 * scale) <= 1 and abs(rows.max() + 1 - 100 * scale) <= 1
    assert abs(columns.min() - 100 * scale) <= 1 and abs(columns.max() + 1 - 300 * scale) <= 1
    assert logits[0, 128:].max() == logits.min() == pytest.approx(-10, abs=1e-3)
    assert logits.max() == pytest.approx(10, abs=1e-3)


def test_mask_input_is_the_logit_of_the_alpha() -> None:
    alpha = np.full((300, 300), 0.25, dtype=np.float32)
    np.testing.assert_allclose(mask_input_from_mask(alpha, img_size=128), np.log(0.25 / 0.75), atol=1e-5)


@pytest.mark.parametrize("hw", [(1, 1), (1, 3000), (3000, 2), (128, 128)])
def test_mask_input_feeds_a_predictor(predictor: ZimPredictor, hw: tuple[int, int]) -> None:
    predictor.set_image(np.zeros((*hw, 3), dtype=np.uint8))
    mask_input = mask_input_from_mask(np.ones(hw, dtype=bool), img_size=128)
    assert np.isfinite(predictor.predict(mask_input=mask_input)[0]).all()


def test_mask_input_inverts_what_the_predictor_returns(predictor: ZimPredictor) -> None:
    """The alpha of low-resolution logits, brought to the original frame and back, is nearly the same."""
    ys, xs = np.mgrid[:32, :32]
    low_res = (3 * np.sin(xs / 6) * np.cos(ys / 6)).astype(np.float32)
    logits = predictor.model.postprocess_masks(torch.from_numpy(low_res)[None, None], (72, 128), (90, 160))
    back = mask_input_from_mask(torch.sigmoid(logits)[0, 0].numpy(), img_size=128)
    np.testing.assert_allclose(back[0, :17], low_res[:17], atol=0.25)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((5, 5), dtype=np.uint8), "got uint8"),
        (np.full((5, 5), 255.0), r"expected finite values in \[0, 1\], got \[255, 255\]"),
        (np.full((5, 5), np.nan), "expected finite values"),
        (np.zeros((1, 5, 5), dtype=bool), r"got bool of shape \(1, 5, 5\)"),
        (np.zeros((0, 5), dtype=bool), r"got bool of shape \(0, 5\)"),
    ],
)
def test_mask_input_refuses(mask: Any, message: str) -> None:
    with pytest.raises(PromptError, match=f"mask: .*{message}"):
        mask_input_from_mask(mask)
