"""Sampled prompts lie where their meaning says."""

import numpy as np
import pytest

from training.data.prompt_sampling import PromptConfig, sample_prompt
from training.data.scenes import generate_scene
from zim.errors import ConfigError, DataError

ONLY = {
    "box": PromptConfig(probabilities=(1, 0, 0, 0)),
    "point": PromptConfig(probabilities=(0, 1, 0, 0)),
    "points": PromptConfig(probabilities=(0, 0, 1, 0)),
    "box+points": PromptConfig(probabilities=(0, 0, 0, 1)),
}


def rectangle(size: int = 200) -> np.ndarray:
    alpha = np.zeros((size, size + 40), np.float32)
    alpha[50:130, 60:180] = 1.0
    return alpha


def values(alpha: np.ndarray, points: np.ndarray) -> np.ndarray:
    return alpha[points[:, 1].astype(int), points[:, 0].astype(int)]


def test_exact_box_is_the_extent_above_the_threshold() -> None:
    alpha = rectangle() * 0.4
    alpha[10, 10] = 0.29
    config = PromptConfig(probabilities=(1, 0, 0, 0), exact_box_probability=1.0)
    prompt = sample_prompt(alpha, np.random.default_rng(0), config)
    assert prompt.kind == "box" and prompt.box is not None and prompt.box.dtype == np.float32
    np.testing.assert_array_equal(prompt.box, [60, 50, 179, 129])
    assert prompt.points.shape == (0, 2) and prompt.labels.shape == (0,)


def test_jitter_is_small_and_mostly_outwards() -> None:
    rng = np.random.default_rng(0)
    boxes = np.stack([sample_prompt(rectangle(), rng, ONLY["box"]).box for _ in range(400)])
    moved = (boxes - [60, 50, 179, 129]) * [-1, -1, 1, 1] / [120, 80, 120, 80]  # outwards positive, in sides
    assert moved.max() <= 0.1 + 0.01 and moved.min() >= -0.05 - 0.01
    assert 0.2 < (np.abs(boxes - [60, 50, 179, 129]).max(axis=1) == 0).mean() < 0.45
    assert (moved > 0).sum() > 2 * (moved < 0).sum()


@pytest.mark.parametrize("corner", [(0, 0), (63, 63), (0, 63)])
def test_box_of_one_pixel_stays_in_the_image_and_keeps_a_pixel(corner: tuple[int, int]) -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[corner] = 1.0
    for seed in range(40):
        prompt = sample_prompt(alpha, np.random.default_rng(seed), ONLY["box+points"])
        assert prompt.box is not None
        x1, y1, x2, y2 = prompt.box
        assert 0 <= x1 <= x2 <= 63 and 0 <= y1 <= y2 <= 63
        positives = prompt.points[prompt.labels == 1]
        np.testing.assert_array_equal(np.floor(positives), [[corner[1], corner[0]]])


def test_single_points_lie_inside_and_vary() -> None:
    alpha, rng = rectangle(), np.random.default_rng(1)
    prompts = [sample_prompt(alpha, rng, ONLY["point"]) for _ in range(200)]
    points = np.concatenate([prompt.points for prompt in prompts])
    assert points.shape == (200, 2) and points.dtype == np.float32
    assert all(prompt.box is None and prompt.labels.tolist() == [1] for prompt in prompts)
    assert (values(alpha, points) > 0.5).all()
    depth = np.minimum.reduce([points[:, 0] - 60, 180 - points[:, 0], points[:, 1] - 50, 130 - points[:, 1]])
    # A uniform point of this rectangle lies 16.7 deep on average; biased ones deeper, not all in the middle.
    assert depth.mean() > 18 and points[:, 0].std() > 12 and points[:, 1].std() > 5


@pytest.mark.parametrize("size", [97, 256, 300])
def test_points_mean_what_their_labels_say(size: int) -> None:
    rng, counts, negatives = np.random.default_rng(size), [], 0
    for seed in range(5):
        for item in generate_scene(seed, size=size).objects:
            if not (item.alpha > 0.5).any():
                continue
            prompt = sample_prompt(item.alpha, rng, ONLY["points"])
            values_at = values(item.alpha, prompt.points)
            assert (values_at[prompt.labels == 1] > 0.5).all()
            assert (values_at[prompt.labels == 0] < 0.1).all()
            assert (prompt.labels == 1).any() and len(prompt.points) <= 9
            assert len(np.unique(prompt.points, axis=0)) == len(prompt.points)
            counts.append(len(prompt.points))
            negatives += int((prompt.labels == 0).sum())
    assert negatives > 0 and max(counts) >= 5


def test_points_are_spread_out() -> None:
    """The farthest positives are much farther apart than two random points of a square (0.52 sides)."""
    alpha = np.zeros((128, 128), np.float32)
    alpha[14:114, 14:114] = 1
    config = PromptConfig(probabilities=(0, 0, 1, 0), points=(4, 4), negative_fraction=0.0)
    farthest = []
    for seed in range(60):
        prompt = sample_prompt(alpha, np.random.default_rng(seed), config)
        positives = prompt.points[prompt.labels == 1]
        farthest.append(np.linalg.norm(positives[:, None] - positives[None], axis=-1).max())
    assert np.mean(farthest) > 70


def test_negatives_are_near_and_far() -> None:
    alpha, rng, gaps = rectangle(), np.random.default_rng(3), []
    for _ in range(150):
        prompt = sample_prompt(alpha, rng, ONLY["points"])
        x, y = prompt.points[prompt.labels == 0].T
        gaps += np.hypot(
            np.maximum(0, np.maximum(60 - x, x - 179)), np.maximum(0, np.maximum(50 - y, y - 129))
        ).tolist()
    assert np.mean(np.array(gaps) < 22) > 0.2 and np.mean(np.array(gaps) > 30) > 0.15


def test_kinds_follow_their_probabilities() -> None:
    rng = np.random.default_rng(0)
    kinds = [sample_prompt(rectangle(), rng, PromptConfig()).kind for _ in range(300)]
    assert {kind: round(kinds.count(kind) / 300, 1) for kind in set(kinds)} == pytest.approx(
        {"box": 0.5, "point": 0.2, "points": 0.2, "box+points": 0.1}, abs=0.11
    )


def test_full_and_faint_mattes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = sample_prompt(np.ones((50, 70), np.float32), rng, ONLY["points"])
        assert (prompt.labels == 1).all() and len(prompt.points) >= 1  # nowhere to put a negative
    faint = rectangle() * 0.4
    faint[77, 99] = 0.45
    prompt = sample_prompt(faint, rng, ONLY["point"])
    np.testing.assert_array_equal(np.floor(prompt.points), [[99, 77]])  # the most opaque pixel


def test_bad_arguments_are_named() -> None:
    with pytest.raises(DataError, match=r"alpha: expected something above 0.3, got a maximum of 0.200"):
        sample_prompt(np.full((9, 9), 0.2, np.float32), np.random.default_rng(0))
    with pytest.raises(DataError, match=r"alpha: expected shape \(H, W\), got \(1, 9, 9\)"):
        sample_prompt(np.ones((1, 9, 9), np.float32), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"probabilities: expected four numbers"):
        PromptConfig(probabilities=(1, 1, 0, 0))
    with pytest.raises(ConfigError, match=r"box_jitter: expected a number >= 0, got nan"):
        PromptConfig(box_jitter=float("nan"))
