"""Prompts and coarse labels made on a device: numpy and the CPU's own versions are the oracles."""

import numpy as np
import pytest
import torch

from training.data.coarse_labels import CoarseLabelConfig, synthesize_coarse_label
from training.data.device_scenes_labels import CoarseSteps, coarse_labels, draw_steps, trust_of
from training.data.device_scenes_prompts import (
    boxes_of,
    draw_prompts,
    inside_of,
    jittered,
    plan_prompts,
)
from training.data.prompt_sampling import PromptConfig

SIDE = 64


def mattes(count: int, *, side: int = SIDE, seed: int = 0, wh: tuple[int, int] | None = None) -> torch.Tensor:
    """Soft discs inside the unpadded part, (R, side, side) float in [0, 1]."""
    rng = np.random.default_rng(seed)
    width, height = wh or (side, side)
    y, x = np.mgrid[:side, :side]
    centres = rng.uniform(0.3, 0.7, (count, 2)) * (width, height)
    radii = rng.uniform(0.1, 0.3, count) * min(width, height)
    distance = np.hypot(x - centres[:, :1, None], y - centres[:, 1:, None])
    alpha = np.clip((radii[:, None, None] - distance) / 3 + 0.5, 0, 1)
    alpha[:, height:], alpha[:, :, width:] = 0, 0
    return torch.from_numpy(alpha.astype(np.float32))


def sizes(rows: int, wh: tuple[int, int] = (SIDE, SIDE)) -> torch.Tensor:
    return torch.tensor([wh] * rows, dtype=torch.float32)


def test_box_is_numpys() -> None:
    alpha = torch.from_numpy(np.random.default_rng(0).random((6, SIDE, SIDE), np.float32) ** 40)
    for matte, box in zip(alpha.numpy(), boxes_of(alpha).tolist(), strict=True):
        rows, columns = np.nonzero(matte > 0.3)
        assert box == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert boxes_of(torch.zeros(1, SIDE, SIDE)).tolist() == [[0, 0, SIDE - 1, SIDE - 1]]


def test_jitter_stays_within_its_limits_and_mostly_goes_outwards() -> None:
    boxes = torch.tensor([[20.0, 10.0, 39.0, 49.0]]).repeat(400, 1)
    moved = jittered(boxes, sizes(400, (50, SIDE)), torch.Generator().manual_seed(0), PromptConfig())
    shift = (moved - boxes) * torch.tensor([-1, -1, 1, 1])  # outwards positive
    reach = 0.1 * torch.tensor([20.0, 40.0, 20.0, 40.0]) + 0.26
    assert bool((shift <= reach).all()) and bool((shift >= -reach / 2 - 0.13).all())
    assert float(moved[:, 2].max()) <= 49 and float(moved.min()) >= 0
    same = (shift == 0).all(1).float().mean()
    assert 0.25 < float(same) < 0.45 and float((shift[shift != 0] > 0).float().mean()) > 0.65


@pytest.mark.parametrize("kind", ["pair", "points", "box+points", "scribble"])
def test_prompts_lie_where_they_should(kind: str) -> None:
    """Points on the object or off it and inside the picture; counts as planned; SAM's order; padding behind."""
    rows, wh = 24, (SIDE, 44)
    alpha = mattes(rows, wh=wh)
    width = {"pair": 2, "points": 8, "box+points": 5, "scribble": 33}[kind]
    plan = plan_prompts(np.random.default_rng(1), rows, kind, most=7, width=width, box_share=0.6)  # type: ignore[arg-type]
    coords, labels = draw_prompts(alpha, sizes(rows, wh), plan, torch.Generator().manual_seed(2))
    assert coords.shape == (rows, width, 2) and labels.dtype == torch.int64
    for row in range(rows):
        found = labels[row].tolist()
        kept = [label for label in found if label >= 0]
        assert found[: len(kept)] == kept and kept == sorted(kept, key=[1, 0, 2, 3].index)
        assert not coords[row, len(kept) :].any() and (2 in kept) == bool(plan.boxes[row]) == (3 in kept)
        if kind != "scribble":
            assert (kept.count(1), kept.count(0)) == (plan.positives[row], plan.negatives[row])
        assert kept.count(1) > 0 or plan.boxes[row]
        for (x, y), label in zip(coords[row].long().tolist(), found, strict=True):
            assert label not in (0, 1) or (x < wh[0] and y < wh[1])
            assert label != 1 or alpha[row, y, x] > 0.5
            assert label != 0 or alpha[row, y, x] < 0.1
    if kind in ("points", "scribble"):
        assert plan.negatives.any() and bool((labels == 0).any())


def test_first_point_is_drawn_to_the_middle() -> None:
    """Its mean depth is above that of a point drawn uniformly, which is a third of a disc's radius."""
    alpha = mattes(1).repeat(300, 1, 1)
    plan = plan_prompts(np.random.default_rng(0), 300, "pair", most=3, width=2, box_share=0.0)
    coords, _ = draw_prompts(alpha, sizes(300), plan, torch.Generator().manual_seed(0))
    rows, columns = np.nonzero(alpha[0].numpy() > 0.5)
    radius = np.sqrt(len(rows) / np.pi)
    distance = np.hypot(*(coords[:, 0].numpy() - [columns.mean(), rows.mean()]).T)
    assert (1 - distance / radius).mean() > 0.4
    assert len({tuple(point) for point in coords[:, 0].tolist()}) > 30


def test_thin_and_empty_mattes_have_prompts_too() -> None:
    """A line of one pixel gets its points on the line; nothing at all gets points inside the picture."""
    alpha = torch.zeros(2, 128, 128)
    alpha[0, 70, 20:90] = 0.9
    plan = plan_prompts(np.random.default_rng(3), 2, "points", most=5, width=6, box_share=0.0)
    coords, labels = draw_prompts(alpha, sizes(2, (128, 128)), plan, torch.Generator().manual_seed(1))
    on_line = coords[0][labels[0] == 1]
    assert bool((on_line[:, 1] == 70).all()) and bool((on_line[:, 0] >= 20).all()) and bool((on_line[:, 0] < 90).all())
    assert bool(torch.isfinite(coords).all()) and float(coords.max()) < 128


def test_coarse_label_without_steps_is_the_threshold() -> None:
    alpha, none = mattes(3), np.zeros(3)
    levels = np.array([0.3, 0.5, 0.7])
    steps = CoarseSteps(threshold=levels, factor=np.ones(3), sigma=none, open=none, close=none, grow=none, shrink=none)
    wanted = (alpha > torch.tensor(levels)[:, None, None]).float()
    torch.testing.assert_close(coarse_labels(alpha, steps), wanted, rtol=0, atol=0)


def test_coarse_labels_are_as_coarse_as_the_cpus() -> None:
    """Overlap with alpha > 0.5, and the share of grown and shrunken ones, as `synthesize_coarse_label` has them."""
    config, alpha = CoarseLabelConfig(), mattes(80, seed=5)
    solid = alpha > 0.5
    ours = coarse_labels(alpha, draw_steps(np.random.default_rng(0), 80, config), config) > 0.5
    rng = np.random.default_rng(1)
    theirs = torch.from_numpy(np.stack([synthesize_coarse_label(matte, rng, config) for matte in alpha.numpy()])) > 0.5
    overlap = [((m & solid).sum((1, 2)) / (m | solid).sum((1, 2))).mean() for m in (ours, theirs)]
    growth = [(m.sum((1, 2)) / solid.sum((1, 2))).float().std() for m in (ours, theirs)]
    assert abs(float(overlap[0] - overlap[1])) < 0.03 and 0.6 < float(growth[0] / growth[1]) < 1.6


def test_lost_object_gets_its_plain_label() -> None:
    """A hair of one pixel does not survive an opening; the label is alpha > 0.5 then."""
    alpha, none = torch.zeros(1, SIDE, SIDE), np.zeros(1)
    alpha[0, 30, 5:60] = 1
    steps = CoarseSteps(
        threshold=none + 0.5, factor=none + 1, sigma=none, open=none + 0.2, close=none, grow=none, shrink=none
    )
    torch.testing.assert_close(coarse_labels(alpha, steps), alpha)


def test_trust_is_missing_along_the_outline_only() -> None:
    alpha = mattes(4)
    trust, solid = trust_of(alpha).numpy(), (alpha > 0.5).numpy()
    for weight, mask in zip(trust, solid, strict=True):
        edge = np.zeros_like(mask)
        edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        edge[1:] |= mask[1:] != mask[:-1]
        assert not weight[edge].any() and weight.mean() > 0.85 and set(np.unique(weight)) == {0.0, 1.0}


def test_inside_is_the_unpadded_part() -> None:
    found = inside_of(torch.tensor([[3.0, 2.0]]), 4)[0].tolist()
    assert found == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
