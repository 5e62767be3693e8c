"""Progressive refinement: what is certain stays, what is not is replaced by the finer prediction."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from training.label_converter.backbone import Backbone, TinyBackbone
from training.label_converter.matting import MaskGuidedMatting, uncertain_region


class Fixed(nn.Module):
    """A head that says a given alpha."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, feature: Tensor, label: Tensor) -> Tensor:
        return self.alpha


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_the_uncertain_region_is_a_dilation(radius: int) -> None:
    alpha = np.zeros((1, 1, 40, 50), np.float32)
    alpha[0, 0, 10:14, 20:30] = 0.5
    alpha[0, 0, 30:, 40:] = 1.0
    alpha[0, 0, 35, 45] = 0.9
    uncertain = (alpha > 0) & (alpha < 1)
    square = np.ones((1, 1, 2 * radius + 1, 2 * radius + 1))
    region = uncertain_region(torch.from_numpy(alpha), radius).numpy()
    np.testing.assert_array_equal(region > 0, ndimage.binary_dilation(uncertain, square))


def test_finer_levels_replace_only_what_is_uncertain(make_model: Callable[..., MaskGuidedMatting]) -> None:
    """Coarse: left 0, middle unsure, right 1. Where it is sure, nothing finer is heard."""
    model: Any = make_model().eval()
    model.guidance_radii = (0.0, 0.0)
    coarse = torch.zeros(1, 1, 64, 64)
    coarse[..., 24:40], coarse[..., 40:] = 0.5, 1.0
    middle = torch.full((1, 1, 64, 64), 0.3)
    middle[..., 32:] = 0.0
    model.head_s8, model.head_s4, model.head_s1 = Fixed(coarse), Fixed(middle), Fixed(torch.full_like(coarse, 0.8))
    with torch.no_grad():
        mattes = model(torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64))
    row = mattes.fine[0, 0, 30]
    np.testing.assert_allclose(row[:24], 0, atol=1e-6)
    np.testing.assert_allclose(row[24:32], 0.8, atol=1e-6)  # unsure at stride 8, and at stride 4
    np.testing.assert_allclose(row[32:40], 0.0, atol=1e-6)  # stride 4 made up its mind
    np.testing.assert_allclose(row[40:], 1, atol=1e-6)
    np.testing.assert_allclose(mattes.middle[0, 0, 30, 24:32], 0.3, atol=1e-6)


def test_scale_widens_the_guidance(make_model: Callable[..., MaskGuidedMatting]) -> None:
    model: Any = make_model().eval()
    model.guidance_radii = (0.0, 4 / 64)
    coarse = torch.zeros(1, 1, 64, 64)
    coarse[..., 32] = 0.5
    model.head_s8, model.head_s4, model.head_s1 = Fixed(coarse), Fixed(coarse), Fixed(torch.ones_like(coarse))
    image, label = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        widths = [int(model(image, label, scale=(1.0, scale)).fine[0, 0, 9].sum()) for scale in (0.0, 1.0, 2.0)]
    assert widths == [1, 9, 17]


def test_everything_is_trained(make_model: Callable[..., MaskGuidedMatting]) -> None:
    model = make_model().train()
    label = torch.zeros(2, 1, 64, 64)
    label[..., 16:48, 16:48] = 1
    mattes = model(torch.randn(2, 3, 64, 64), label)
    sum(level.square().mean() for level in mattes).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert without == []


def test_the_image_and_the_label_both_count(make_model: Callable[..., MaskGuidedMatting]) -> None:
    model = make_model().eval()
    image, label = torch.randn(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        base = model.refined(image, label)
        assert not torch.equal(base, model.refined(-image, label))
        assert float(model.refined(image, label + 1).mean()) > float(base.mean())  # the label's own logit
    assert base.shape == label.shape and 0 <= float(base.min()) and float(base.max()) <= 1


def test_backbones_have_the_promised_strides() -> None:
    backbone = TinyBackbone((4, 6, 8, 10), depths=(1, 1, 1, 1), stem=4)
    assert isinstance(backbone, Backbone)
    maps = backbone(torch.zeros(1, 3, 64, 96), torch.zeros(1, 1, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 16, 24), (6, 8, 12), (8, 4, 6), (10, 2, 3)]
