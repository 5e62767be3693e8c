"""Losses against formulas in numpy, ramps with known answers, and their own minima."""

import numpy as np
import pytest
import torch

from training.losses import (
    MatteLossConfig,
    cross_entropy,
    dice_loss,
    focal_loss,
    gradient_loss,
    intersection_over_union,
    matte_loss,
    quality_loss,
    segmentation_loss,
    soft_dice_loss,
    volume_loss,
    weighted_l1,
)
from zim.errors import ConfigError


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, soft targets and 0/1 weights, (2, 3, 9, 7)."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 9, 7, generator=generator) * 2
    target = torch.rand(2, 1, 9, 7, generator=generator)
    return logits, target, (torch.rand(2, 1, 9, 7, generator=generator) > 0.3).float()


def test_l1_of_a_constant_offset_is_the_offset() -> None:
    target = torch.rand(4, 8, 8) * 0.5
    torch.testing.assert_close(weighted_l1(target + 0.25, target, torch.ones(4, 8, 8)), torch.full((4,), 0.25))


def test_gradient_loss_of_a_constant_offset_is_zero() -> None:
    target = torch.rand(8, 8)
    assert float(gradient_loss(target + 0.25, target, torch.ones(8, 8))) == pytest.approx(0, abs=1e-6)


def test_gradient_loss_of_a_ramp() -> None:
    ramp = 0.1 * torch.arange(8.0).expand(6, 8) + 0.05 * torch.arange(6.0)[:, None]
    expected = (6 * 7 * 0.1 + 5 * 8 * 0.05) / 48  # sums of |dx| and |dy| over the pixels
    assert float(gradient_loss(ramp, torch.zeros(6, 8), torch.ones(6, 8))) == pytest.approx(expected, rel=1e-5)


def test_gradient_loss_pays_no_heed_to_a_step_beside_an_excluded_pixel() -> None:
    weight = torch.ones(4, 6)
    weight[:, 3] = 0
    step = (torch.arange(6) >= 3).float().expand(4, 6)  # rises between columns 2 and 3
    assert float(gradient_loss(step, torch.zeros(4, 6), weight)) == 0


@pytest.mark.parametrize("linear", [True, False])
def test_dice_against_numpy(maps: tuple[torch.Tensor, ...], linear: bool) -> None:
    logits, target, weight = maps
    p, t, w = torch.sigmoid(logits).numpy(), target.numpy(), weight.numpy()
    size = (p + t) if linear else (p**2 + t**2)
    expected = 1 - (2 * (p * t * w).sum((-2, -1)) + 1) / ((size * w).sum((-2, -1)) + 1)
    result = (dice_loss if linear else soft_dice_loss)(torch.sigmoid(logits), target, weight)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)


def test_focal_and_cross_entropy_against_numpy(maps: tuple[torch.Tensor, ...]) -> None:
    logits, _, weight = maps
    target = (maps[1] > 0.5).float()
    p, t, w = torch.sigmoid(logits).double().numpy(), target.numpy(), weight.numpy()
    right = np.where(t == 1, p, 1 - p)
    count = w.sum((-2, -1))
    entropy = (-np.log(right) * w).sum((-2, -1)) / count
    focal = (-((1 - right) ** 2) * np.log(right) * w).sum((-2, -1)) / count
    np.testing.assert_allclose(cross_entropy(logits, target, weight).numpy(), entropy, rtol=1e-4)
    np.testing.assert_allclose(focal_loss(logits, target, weight).numpy(), focal, rtol=1e-4)
    whole = 20 * focal + dice_loss(torch.sigmoid(logits), target, weight).numpy()
    np.testing.assert_allclose(segmentation_loss(logits, target, weight).numpy(), whole, rtol=1e-4)


def test_matte_loss_is_the_sum_of_its_terms(maps: tuple[torch.Tensor, ...]) -> None:
    logits, target, weight = maps
    alpha = torch.sigmoid(logits)
    expected = (
        weighted_l1(alpha, target, weight)
        + 10 * gradient_loss(alpha, target, weight)
        + 0.5 * (cross_entropy(logits, target, weight) + soft_dice_loss(alpha, target, weight))
    )
    torch.testing.assert_close(matte_loss(logits, target, weight, MatteLossConfig(), 0.5), expected)
    more = expected + 2 * volume_loss(alpha, target, weight)
    torch.testing.assert_close(matte_loss(logits, target, weight, MatteLossConfig(volume=2), 0.5), more)


def test_volume_loss_counts_the_sum_and_not_the_place() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 0.5  # a sum of 16
    weight = torch.ones(1, 8, 8)
    assert float(volume_loss(target.flip(1), target, weight)) == 0  # elsewhere, as much
    assert float(volume_loss(1.5 * target, target, weight)) == pytest.approx(8 / 17)
    assert float(volume_loss(0 * target, target, weight)) == pytest.approx(16 / 17)
    with pytest.raises(ConfigError, match=r"volume: expected a number >= 0, got -1"):
        MatteLossConfig(volume=-1)


def test_volume_loss_teaches_the_right_sum_where_l1_teaches_nothing() -> None:
    """A thing that covers one pixel in four, nobody knows which: L1 and soft edges alone leave it out."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(64, 1, 16, 16, generator=generator) < 0.25).float()
    weight = torch.ones(1, 1, 16, 16)
    found = {}
    for volume in (0.0, 1.0):
        logit = torch.zeros((), requires_grad=True)
        optimiser = torch.optim.Adam([logit], lr=0.05)
        for _ in range(300):
            optimiser.zero_grad()
            logits = logit.expand(64, 1, 16, 16)
            loss = matte_loss(logits, targets, weight, MatteLossConfig(gradient=0, volume=volume), 0.0).mean()
            loss.backward()
            optimiser.step()
        found[volume] = float(torch.sigmoid(logit.detach()))
    assert found[0.0] < 0.01 and found[1.0] == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("aux", [1.0, 0.2])
@pytest.mark.parametrize(("opacity", "radius"), [(0.7, 8), (0.8, 6), (0.4, 12), (0.7, 20)])
def test_the_matte_itself_has_the_smallest_matte_loss(opacity: float, radius: float, aux: float) -> None:
    """Of all opacities of a translucent disc, the true one wins, however small the disc."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = (torch.hypot(x - 32, y - 32) < radius).float()
    tried = torch.arange(0.05, 1.0, 0.05)
    logits = torch.logit((tried[:, None, None] * disc).clamp(1e-4, 1 - 1e-4))
    weight = torch.ones(1, 64, 64)
    losses = matte_loss(logits, (opacity * disc)[None], weight, MatteLossConfig(), aux)
    assert float(tried[losses.argmin()]) == pytest.approx(opacity, abs=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, t, w: weighted_l1(torch.sigmoid(z), t, w),
        lambda z, t, w: gradient_loss(torch.sigmoid(z), t, w),
        lambda z, t, w: dice_loss(torch.sigmoid(z), t, w),
        lambda z, t, w: soft_dice_loss(torch.sigmoid(z), t, w),
        lambda z, t, w: volume_loss(torch.sigmoid(z), t, w),
        cross_entropy,
        focal_loss,
        intersection_over_union,
    ],
)
def test_weights_exclude_pixels_exactly(maps: tuple[torch.Tensor, ...], loss) -> None:  # type: ignore[no-untyped-def]
    logits, target, weight = maps
    other_logits = torch.where(weight > 0, logits, -5 * logits + 1)
    other_target = torch.where(weight > 0, target, 1 - target)
    torch.testing.assert_close(loss(other_logits, other_target, weight), loss(logits, target, weight), rtol=0, atol=0)


def test_nothing_to_judge_gives_zero_not_nan() -> None:
    empty = torch.zeros(2, 4, 4)
    for loss in (weighted_l1, gradient_loss, dice_loss, soft_dice_loss, volume_loss, cross_entropy, focal_loss):
        assert loss(torch.ones(2, 4, 4), empty, empty).tolist() == [0, 0]


def test_iou_and_quality_of_known_squares() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, :4, :4] = 1  # 16 pixels
    logits = torch.full((1, 2, 8, 8), -1.0)
    logits[:, 0, 2:6, 2:6] = 1  # 4 pixels in common, 28 in the union
    logits[:, 1, :4, :4] = 1
    weight = torch.ones(1, 1, 8, 8)
    assert intersection_over_union(logits, target[:, None], weight)[0].tolist() == pytest.approx([4 / 28, 1])
    quality = torch.tensor([[0.5, 0.75]])
    expected = ((0.5 - 4 / 28) ** 2 + 0.25**2) / 2
    assert float(quality_loss(quality, logits, target[:, None], weight)) == pytest.approx(expected, rel=1e-5)


def test_aux_weight_fades_linearly_and_stays_in_range() -> None:
    config = MatteLossConfig(start_aux=1.0, end_aux=0.2)
    assert [config.aux(p) for p in (-1, 0, 0.25, 1, 2)] == pytest.approx([1, 1, 0.8, 0.2, 0.2])
