"""Mask-guided matting with progressive refinement (MGMatting, arXiv 2012.06722): alphas at strides 8, 4 and 1."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone
from .layers import Join, convolution

CERTAIN = 1 / 255
"""An alpha this near to 0 or 1 is not looked at again at the next finer level."""


class Mattes(NamedTuple):
    """The three levels, (N, 1, H, W) alphas in [0, 1] each: stride 8 enlarged, then with the uncertain part from
    stride 4, then with the still uncertain part from stride 1."""

    coarse: Tensor
    middle: Tensor
    fine: Tensor


def uncertain_region(alpha: Tensor, radius: int) -> Tensor:
    """Where an alpha (N, 1, H, W) is neither 0 nor 1, dilated by `radius` pixels: float {0, 1}, without gradient."""
    alpha = alpha.detach()
    region = ((alpha > CERTAIN) & (alpha < 1 - CERTAIN)).float()
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        region = F.max_pool2d(region, kernel, stride=1, padding=padding)  # along one axis, then along the other
    return region


class Detail(nn.Module):
    """Light convolutions on image and label at strides 1 and 2, where the backbone has nothing."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        self.stride1 = convolution(4, widths[0])
        self.stride2 = convolution(widths[0], widths[1], stride=2)

    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), (N, 1, H, W) -> (N, widths[0], H, W), (N, widths[1], H/2, W/2)."""
        full = self.stride1(torch.cat([image, 2 * label - 1], 1))
        return full, self.stride2(full)


class AlphaHead(nn.Module):
    """An alpha out of a feature map; the label itself is added to the logits with a learned weight."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden = convolution(inputs, inputs)
        self.logit = nn.Conv2d(inputs, 1, 3, padding=1)
        self.trust = nn.Parameter(torch.ones(()))

    def forward(self, feature: Tensor, label: Tensor) -> Tensor:
        """(N, C, h, w) and the label (N, 1, H, W) -> alpha (N, 1, h, w), float32."""
        height, width = feature.shape[-2:]
        guide = F.adaptive_avg_pool2d(label, (height, width))  # the label itself at stride 1
        logit = self.logit(self.hidden(feature)).float() + self.trust.float() * (2 * guide.float() - 1)
        return torch.sigmoid(logit)


class MaskGuidedMatting(nn.Module):
    """Image and coarse label in, matte out.

    Args:
        backbone: features at strides 4, 8, 16 and 32.
        detail_widths: channels at strides 1 and 2, taken from image and label directly.
        decoder_widths: channels of the decoder at strides 16, 8, 4, 2 and 1.
        guidance_radii: dilation of the uncertain region at inference, for strides 4 and 1, as fractions of the side.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        detail_widths: tuple[int, int],
        decoder_widths: tuple[int, int, int, int, int],
        guidance_radii: tuple[float, float],
    ) -> None:
        super().__init__()
        self.backbone, self.guidance_radii = backbone, guidance_radii
        self.detail = Detail(detail_widths)
        s4, s8, s16, s32 = backbone.channels
        d16, d8, d4, d2, d1 = decoder_widths
        self.to_s16, self.to_s8, self.to_s4 = Join(s32, s16, d16), Join(d16, s8, d8), Join(d8, s4, d4)
        self.to_s2, self.to_s1 = Join(d4, detail_widths[1], d2), Join(d2, detail_widths[0], d1)
        self.head_s8, self.head_s4, self.head_s1 = AlphaHead(d8), AlphaHead(d4), AlphaHead(d1)

    def forward(self, image: Tensor, label: Tensor, *, scale: tuple[float, float] = (1.0, 1.0)) -> Mattes:
        """The alphas of the three levels.

        Args:
            image: (N, 3, H, W) normalised; H and W multiples of 32.
            label: (N, 1, H, W) float in {0, 1}.
            scale: factors on the two guidance radii; training draws them from [0, 2].
        """
        f4, f8, f16, f32 = self.backbone(image, label)
        full, half = self.detail(image, label)
        x8 = self.to_s8(self.to_s16(f32, f16), f8)  # (N, d8, H/8, W/8)
        x4 = self.to_s4(x8, f4)  # (N, d4, H/4, W/4)
        x1 = self.to_s1(self.to_s2(x4, half), full)  # (N, d1, H, W)
        size = label.shape[-2:]
        coarse = _enlarged(self.head_s8(x8, label), size)
        radii = [round(radius * factor * size[1]) for radius, factor in zip(self.guidance_radii, scale, strict=True)]
        region = uncertain_region(coarse, radii[0])
        middle = torch.lerp(coarse, _enlarged(self.head_s4(x4, label), size), region)
        region = uncertain_region(middle, radii[1])
        fine = torch.lerp(middle, self.head_s1(x1, label), region)
        return Mattes(coarse, middle, fine)

    def refined(self, image: Tensor, label: Tensor) -> Tensor:
        """The matte alone, (N, 1, H, W) in [0, 1]."""
        return self(image, label).fine.clamp(0, 1)


def _enlarged(alpha: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(alpha, size=size, mode="bilinear", align_corners=False)
