"""Image features at strides 2, 4 and 8, computed from the image itself by light convolutions (paper section 3.3)."""

from typing import NamedTuple

from torch import Tensor, nn


class DetailMaps(NamedTuple):
    """(B, C2, S/2, S/2), (B, C4, S/4, S/4), (B, C8, S/8, S/8)."""

    s2: Tensor
    s4: Tensor
    s8: Tensor


def conv_norm_act(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class DetailStem(nn.Module):
    """Three 3x3 convolutions of stride 2 on the padded image."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.widths = widths
        self.down2 = conv_norm_act(3, widths[0], stride=2)
        self.down4 = conv_norm_act(widths[0], widths[1], stride=2)
        self.down8 = conv_norm_act(widths[1], widths[2], stride=2)

    def forward(self, x: Tensor) -> DetailMaps:
        """(B, 3, S, S) normalised and padded -> maps at strides 2, 4 and 8."""
        s2 = self.down2(x)
        s4 = self.down4(s2)
        return DetailMaps(s2, s4, self.down8(s4))
