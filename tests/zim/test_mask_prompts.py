"""Rectangles, rings and discs, whose prompts are known in advance."""

from typing import Any

import numpy as np
import pytest

from zim.errors import PromptError
from zim.mask_prompts import mask_to_prompt
from zim.predictor import ZimPredictor
from zim.prompts import MASK_INPUT_LOGIT, mask_input_from_mask


def rectangle() -> np.ndarray:
    """(90, 160) bool: columns 20..60, rows 30..50; 41 x 21 pixels around (40, 40)."""
    mask = np.zeros((90, 160), dtype=bool)
    mask[30:51, 20:61] = True
    return mask


def radii() -> np.ndarray:
    """(121, 161): distance from the pixel (80, 60)."""
    y, x = np.mgrid[:121, :161]
    return np.hypot(x - 80, y - 60)


def test_a_rectangle_gives_its_centre_its_box_and_its_map() -> None:
    prompt = mask_to_prompt(rectangle(), points=1)
    np.testing.assert_array_equal(prompt.point_coords, [[40, 40]])
    np.testing.assert_array_equal(prompt.point_labels, [1])
    np.testing.assert_array_equal(prompt.box, [20, 30, 60, 50])
    assert prompt.mask_input.shape == (1, 256, 256)
    np.testing.assert_array_equal(prompt.mask_input, mask_input_from_mask(rectangle()))


def test_further_points_of_a_rectangle_are_farthest_apart_in_its_interior() -> None:
    """The innermost pixels are 11 from the outside; half of that, 6 pixels, keeps x in 25..55 and y in 35..45."""
    coords = mask_to_prompt(rectangle(), points=6).point_coords
    interior = np.array([(x, y) for x in range(25, 56) for y in range(35, 46)])
    assert {tuple(xy) for xy in coords[1:3]} < {(25, 35), (55, 35), (25, 45), (55, 45)}  # corners first
    for count in range(1, 6):
        gaps = np.linalg.norm(interior[:, None] - coords[None, :count], axis=-1).min(axis=1)  # to the points so far
        assert np.linalg.norm(coords[count] - coords[:count], axis=-1).min() == pytest.approx(gaps.max())
        assert (coords[count] == interior).all(axis=1).any()


def test_the_map_covers_the_padded_frame() -> None:
    """At 1024, the photo of 160 x 90 is 6.4 times as large: the rectangle's pixels are cells of 1.6."""
    logits = mask_to_prompt(rectangle()).mask_input[0]
    sure = np.isclose(np.abs(logits), MASK_INPUT_LOGIT, atol=1e-3)
    rows, columns = np.nonzero(sure & (logits > 0))
    assert [columns.min(), columns.max()] == pytest.approx([20 * 1.6, 61 * 1.6 - 1], abs=2)
    assert [rows.min(), rows.max()] == pytest.approx([30 * 1.6, 51 * 1.6 - 1], abs=2)
    assert (logits[144:] == logits.min()).all()


def test_points_of_a_ring_lie_on_it_and_negatives_beside_it() -> None:
    """A ring of radii 20 to 40: no point in its hole, the first negative there, the others outside."""
    radius = radii()
    ring = (radius >= 20) & (radius <= 40)
    prompt = mask_to_prompt(ring, points=4, negatives=4)
    at = radius[tuple(prompt.point_coords[:, ::-1].astype(int).T)]
    assert prompt.point_labels.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert ((at[:4] >= 24.5) & (at[:4] <= 35.5)).all()  # half of the depth of 10 away from both edges
    assert 29 <= at[0] <= 31
    assert 20 - 4.05 - 1 <= at[4] <= 20 - 2  # in the hole, 2 to 4.05 pixels from the ring
    assert ((at[5:] >= 41.9) & (at[5:] <= 45.1)).all()
    np.testing.assert_array_equal(prompt.box, [40, 20, 120, 100])
    pairs = np.linalg.norm(prompt.point_coords[:4, None] - prompt.point_coords[None, :4], axis=-1)
    assert pairs[np.triu_indices(4, 1)].min() > 30  # around the ring


def test_negatives_stay_away_from_soft_fringes() -> None:
    """A disc of radius 20 with a fringe to radius 35: negatives begin outside the fringe."""
    radius = radii()
    alpha = np.clip((35 - radius) / 15, 0, 1)
    prompt = mask_to_prompt(alpha, points=0, negatives=6)
    at = radius[tuple(prompt.point_coords[:, ::-1].astype(int).T)]
    fringe = radius[alpha > 0.05].max()
    assert len(at) == 6 and (at >= fringe + 1).all() and (at <= fringe + 6).all()
    assert (prompt.point_labels == 0).all()


def test_every_part_gets_points_and_specks_get_none() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:61, 10:51] = True
    mask[30:51, 130:151] = True
    mask[95, 195] = True
    coords = mask_to_prompt(mask, points=2).point_coords
    np.testing.assert_array_equal(coords[0], [30, 40])
    assert 135 <= coords[1][0] <= 145 and 35 <= coords[1][1] <= 45
    many = mask_to_prompt(mask, points=50).point_coords
    assert len({tuple(xy) for xy in many}) == 50
    assert not (many[:, 0] > 160).any()


def test_a_mask_that_fills_the_photo_has_no_outside() -> None:
    prompt = mask_to_prompt(np.ones((31, 51), dtype=bool), points=1, negatives=3)
    np.testing.assert_array_equal(prompt.point_coords, [[25, 15]])
    np.testing.assert_array_equal(prompt.box, [0, 0, 50, 30])
    only = mask_to_prompt(np.ones((4, 4), dtype=bool), points=0, negatives=3)
    assert only.point_coords is None and only.point_labels is None


def test_one_pixel_is_an_object() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[7, 9] = True
    prompt = mask_to_prompt(mask, points=3)
    np.testing.assert_array_equal(prompt.point_coords, [[9, 7]])
    np.testing.assert_array_equal(prompt.box, [9, 7, 9, 7])


@pytest.mark.parametrize(
    "other",
    [
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask.astype(np.int64),
        lambda mask: mask.astype(np.float64),
    ],
)
def test_every_kind_of_mask_says_the_same(other: Any) -> None:
    expected, prompt = mask_to_prompt(rectangle(), negatives=2), mask_to_prompt(other(rectangle()), negatives=2)
    for name, value in expected.as_kwargs().items():
        np.testing.assert_array_equal(getattr(prompt, name), value)


def test_eight_bit_alphas_are_soft() -> None:
    alpha = np.full((32, 32), 51, dtype=np.uint8)
    alpha[8:24, 8:24] = 204
    prompt = mask_to_prompt(alpha, img_size=32)
    np.testing.assert_array_equal(prompt.box, [8, 8, 23, 23])
    assert prompt.mask_input[0, 4, 4] == pytest.approx(np.log(0.8 / 0.2), abs=1e-5)
    assert prompt.mask_input[0, 0, 0] == pytest.approx(np.log(0.2 / 0.8), abs=1e-5)


def test_the_predictor_takes_it_part_by_part(predictor: ZimPredictor) -> None:
    """Each part changes the answer of a model with random weights; all together are what was asked by hand."""
    side = predictor.model.image_encoder.img_size
    answers = []
    for parts in (
        {"points": 2},
        {"points": 0, "negatives": 2, "box": True},
        {"points": 2, "box": True, "mask_input": True},
    ):
        wanted = {"points": 0, "box": False, "mask_input": False, **parts}
        prompt = mask_to_prompt(rectangle(), img_size=side, **wanted)
        assert (prompt.box is not None) == wanted["box"]
        assert (prompt.mask_input is not None) == wanted["mask_input"]
        answers.append(predictor.predict(**prompt.as_kwargs(), multimask_output=False)[0])
    by_hand = predictor.predict(
        point_coords=prompt.point_coords,
        point_labels=np.array([1, 1]),
        box=np.array([20, 30, 60, 50]),
        mask_input=mask_input_from_mask(rectangle(), side),
        multimask_output=False,
    )[0]
    np.testing.assert_array_equal(answers[-1], by_hand)
    assert all(np.abs(one - two).max() > 1e-3 for one, two in zip(answers, answers[1:], strict=False))


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((4, 5), dtype=bool), {}, "mask: expected a pixel above 0.5, got none: there is no object"),
        (np.full((4, 5), 0.4), {}, "expected a pixel above 0.5, got none"),
        (np.full((4, 5), 2.0), {}, r"expected finite values in \[0, 1\], got \[2, 2\]; logits need a sigmoid"),
        (np.full((4, 5), np.nan), {}, "expected finite values"),
        (np.full((4, 5), 7), {}, r"expected integers of 0 and 1, or uint8, got int64 in \[7, 7\]"),
        (np.ones((4, 5, 1)), {}, r"expected shape \(H, W\), got \(4, 5, 1\)"),
        (np.ones((4, 5), dtype=complex), {}, "expected bool, integers or float, got complex128"),
        (np.ones((4, 5)), {"points": -1}, "points: expected an integer >= 0, got -1"),
        (np.ones((4, 5)), {"negatives": 1.5}, "negatives: expected an integer >= 0, got 1.5"),
        (np.ones((4, 5)), {"threshold": 1.0}, r"threshold: expected a number in \[0, 1\), got 1.0"),
        (np.ones((4, 5)), {"points": 0, "box": False, "mask_input": False}, "got none of them"),
    ],
)
def test_what_is_no_mask_is_refused(mask: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        mask_to_prompt(mask, **options)
