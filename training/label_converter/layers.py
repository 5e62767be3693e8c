"""Convolution blocks of the converter."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; "same" padding."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class GuidedProjection(nn.Module):
    """A trained convolution of the image plus one of the label, zero at first: it starts as if there were no label."""

    def __init__(self, image: nn.Conv2d) -> None:
        super().__init__()
        self.image = image
        shape: dict[str, Any] = {"stride": image.stride, "padding": image.padding}
        self.label = nn.Conv2d(1, image.out_channels, image.kernel_size[0], bias=False, **shape)
        nn.init.zeros_(self.label.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4, H, W), the label last -> what the convolution of the image makes, (N, C, h, w)."""
        embedded: Tensor = self.image(x[:, :3]) + self.label(x[:, 3:])
        return embedded


class Residual(nn.Module):
    """x + two 3x3 convolutions of it; (N, C, h, w) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Join(nn.Module):
    """Enlarge a coarser map to a finer one's size, bring both to the finer one's channels, add, convolve.

    coarse: channels of the coarser map. fine: of the finer one. outputs: of the result.
    """

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse, outputs, 1)
        self.lateral = nn.Conv2d(fine, outputs, 1)
        self.mix = convolution(outputs, outputs)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, Cc, h, w) and (N, Cf, H, W) -> (N, outputs, H, W)."""
        enlarged = F.interpolate(self.project(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        joined: Tensor = self.mix(F.relu(enlarged + self.lateral(fine)))
        return joined
