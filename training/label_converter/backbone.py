"""What the matting model expects of a backbone, and the small one of this project."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .layers import Residual, convolution

STRIDES = (4, 8, 16, 32)


@runtime_checkable
class Backbone(Protocol):
    """Features of an image and a label. channels: of the maps at strides 4, 8, 16 and 32."""

    channels: tuple[int, int, int, int]

    def __call__(self, image: Tensor, label: Tensor) -> list[Tensor]:
        """(N, 3, H, W) normalised and (N, 1, H, W) in {0, 1} -> maps (N, channels[i], H/s, W/s), s in STRIDES."""


class TinyBackbone(nn.Module):
    """Residual convolutions on image and label, four channels in all.

    channels: at strides 4, 8, 16 and 32. depths: residual blocks of each stage. stem: channels at stride 2.
    """

    def __init__(self, channels: tuple[int, int, int, int], *, depths: Sequence[int], stem: int) -> None:
        super().__init__()
        self.channels = channels
        self.stem = convolution(4, stem, kernel=5, stride=2)
        inputs = (stem, *channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(before, after, stride=2), *(Residual(after) for _ in range(depth)))
            for before, after, depth in zip(inputs, channels, depths, strict=True)
        )

    def forward(self, image: Tensor, label: Tensor) -> list[Tensor]:
        x = self.stem(torch.cat([image, 2 * label - 1], 1))  # (N, stem, H/2, W/2)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
