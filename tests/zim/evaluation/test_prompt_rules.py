"""Prompt rules on shapes whose right prompt is known."""

import numpy as np
import pytest
from scipy import ndimage

from zim.errors import PromptError
from zim.evaluation.prompt_rules import PromptRule, interior_point, scale_prompt, spread_points
from zim.prompts import Prompt


def disc(hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: hw[0], : hw[1]]
    return (np.hypot(x - centre_xy[0], y - centre_xy[1]) <= radius).astype(np.float32)


@pytest.mark.parametrize("text", ["box", "point", "points:1", "points:12"])
def test_rules_read_and_print_the_same(text: str) -> None:
    assert str(PromptRule.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "boxes", "points", "points:0", "points:-1", "points:x", "point:2", "points:²"]
)
def test_unknown_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected box, point or points:N"):
        PromptRule.parse(text)


def test_box_covers_what_exceeds_its_threshold() -> None:
    alpha = np.zeros((20, 30), np.float32)
    alpha[4:9, 6:11] = 0.31
    alpha[4:9, 11:15] = 0.3
    assert PromptRule("box").prompt(alpha).box.tolist() == [6, 4, 10, 8]


def test_point_is_the_deepest_pixel() -> None:
    alpha = np.maximum(disc((80, 100), (60, 40), 20), disc((80, 100), (15, 60), 6))
    prompt = PromptRule("point").prompt(alpha)
    assert prompt.point_coords.tolist() == [[60, 40]]
    assert prompt.point_labels.tolist() == [1]
    assert prompt.box is None


def test_the_image_border_counts_as_outside() -> None:
    alpha = np.zeros((7, 21), np.float32)
    alpha[:, :7] = 1  # touches three borders; without padding its deepest pixels would lie in column 0
    x, y, depth = interior_point(alpha)
    assert (x, y, depth) == (3, 3, 4)
    assert interior_point(np.ones((5, 5), np.float32)) == (2, 2, 3)


@pytest.mark.parametrize(("count", "negatives"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (9, 3)])
def test_spread_points_lie_where_their_labels_say(count: int, negatives: int) -> None:
    rng = np.random.default_rng(count)
    alpha = np.clip(ndimage.gaussian_filter(rng.standard_normal((90, 120)), 8) * 40 + 0.3, 0, 1).astype(
        np.float32
    )
    prompt = spread_points(alpha, count)
    again = spread_points(alpha, count)
    assert np.array_equal(prompt.point_coords, again.point_coords)
    assert prompt.point_labels.tolist() == [1] * (count - negatives) + [0] * negatives
    values = alpha[prompt.point_coords[:, 1].astype(int), prompt.point_coords[:, 0].astype(int)]
    assert (values[prompt.point_labels == 1] > 0.5).all()
    assert (values[prompt.point_labels == 0] < 0.05).all()
    assert len(np.unique(prompt.point_coords, axis=0)) == count
    assert prompt.point_coords[0].tolist() == list(interior_point(alpha)[:2])


def test_positives_are_far_apart_and_off_the_outline() -> None:
    alpha = np.zeros((40, 140), np.float32)
    alpha[10:31, 10:131] = 1  # a bar: three points belong to its ends and its middle
    prompt = PromptRule.parse("points:4").prompt(alpha)
    xs = sorted(prompt.point_coords[:3, 0].tolist())
    assert xs[0] <= 20 and 60 <= xs[1] <= 80 and xs[2] >= 120
    depth = ndimage.distance_transform_edt(np.pad(alpha, 1))[1:-1, 1:-1]
    picked = prompt.point_coords[:3].astype(int)
    assert (depth[picked[:, 1], picked[:, 0]] > 0.25 * depth.max()).all()


def test_without_background_every_point_is_positive() -> None:
    prompt = spread_points(np.ones((30, 30), np.float32), 6)
    assert prompt.point_labels.tolist() == [1] * 6


def test_stored_prompts_win_over_the_rule() -> None:
    alpha = disc((50, 50), (25, 25), 10)
    stored = Prompt(
        point_coords=np.array([[1, 2], [3, 4], [5, 6]], np.float32),
        point_labels=np.array([1, 0, 1], np.int32),
        box=np.array([1, 2, 3, 4], np.float32),
    )
    boxed = PromptRule("box").prompt(alpha, stored)
    assert boxed.box.tolist() == [1, 2, 3, 4] and boxed.point_coords is None
    pointed = PromptRule("point").prompt(alpha, stored)
    assert pointed.point_labels.tolist() == [1, 0, 1] and pointed.box is None
    assert PromptRule.parse("points:2").prompt(alpha, stored).point_coords.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(PromptError, match="expected points, it has only a box"):
        PromptRule("point").prompt(alpha, Prompt(box=stored.box))
    with pytest.raises(PromptError, match="expected a box, it has only points"):
        PromptRule("box").prompt(
            alpha, Prompt(point_coords=stored.point_coords, point_labels=stored.point_labels)
        )


def test_scaling_keeps_points_on_their_place() -> None:
    stored = Prompt(
        point_coords=np.array([[10, 20]], np.float32),
        point_labels=np.array([1], np.int32),
        box=np.arange(4.0),
    )
    scaled = scale_prompt(stored, (0.5, 2.0))
    assert scaled.point_coords.tolist() == [[5, 40]]
    assert scaled.box.tolist() == [0, 2, 1, 6]


@pytest.mark.parametrize("rule", ["box", "point", "points:4"])
def test_a_truth_without_object_has_no_prompt(rule: str) -> None:
    with pytest.raises(PromptError, match="alpha: expected pixels above"):
        PromptRule.parse(rule).prompt(np.zeros((8, 8), np.float32))
