"""The training-only loss on the encoder: known features have known answers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.region_contrast import RegionContrast


class Echo(nn.Module):
    """A trunk whose context is what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def contrast_with_identity(width: int = 2) -> tuple[Echo, RegionContrast]:
    trunk = Echo()
    loss = RegionContrast(trunk, width, projection=width)
    with torch.no_grad():
        loss.project.weight.copy_(torch.eye(width)[:, :, None, None])
        loss.project.bias.zero_()
    return trunk, loss


def halves(side: int) -> tuple[Tensor, Tensor]:
    """Features (1, 2, side, side) that tell left from right, and the left half as a region (1, 1, side, side)."""
    region = torch.zeros(1, 1, side, side)
    region[..., : side // 2] = 1
    return torch.cat([region, 1 - region], dim=1), region


def test_separable_features_have_the_loss_of_the_formula() -> None:
    trunk, loss = contrast_with_identity()
    features, region = halves(8)
    trunk(features)
    inside, outside = 5.0 - 2.0, 0.0 - 2.0  # scale * cosine + offset at a cosine of 1 and of 0
    # The box of the left half is the left half: cells outside it weigh 0.3.
    expected = (np.log1p(np.exp(-inside)) + 0.3 * np.log1p(np.exp(outside))) / 1.3
    assert loss(region, torch.ones_like(region)).item() == pytest.approx(expected, abs=1e-6)


def test_features_that_cannot_tell_are_worse_and_learn() -> None:
    trunk, loss = contrast_with_identity()
    features, region = halves(8)
    trunk(features)
    good = loss(region, torch.ones_like(region)).item()
    same = torch.ones(1, 2, 8, 8, requires_grad=True)
    trunk(same)
    bad = loss(region, torch.ones_like(region))
    bad.backward()
    assert bad.item() > 2 * good
    noisy = (features + 0.5 * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    trunk(noisy)
    loss(region, torch.ones_like(region)).backward()
    assert noisy.grad is not None and float(noisy.grad.abs().max()) > 0


def test_padding_and_other_images_do_not_count() -> None:
    trunk, loss = contrast_with_identity()
    features, region = halves(8)
    valid = torch.ones_like(region)
    valid[..., 4:, :] = 0
    trunk(features)
    first = loss(region * valid, valid).item()
    changed = features.clone()
    changed[..., 4:, :] = torch.rand(1, 2, 4, 8)
    trunk(changed)
    assert loss(region * valid, valid).item() == pytest.approx(first, abs=1e-6)
    trunk(torch.cat([features, torch.rand(1, 2, 8, 8)]))
    rows = torch.cat([region, region, torch.rand(2, 1, 8, 8)])
    alone = loss(rows, torch.ones_like(rows)).item()
    assert np.isfinite(alone)


def test_without_a_forward_pass_there_is_nothing_to_compare() -> None:
    _, loss = contrast_with_identity()
    with pytest.raises(RuntimeError, match="trunk has not been run"):
        loss(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
