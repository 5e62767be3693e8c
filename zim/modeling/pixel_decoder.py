"""The hierarchical pixel decoder (paper section 3.3) and SAM's upscaling, its ablation.

The embedding is upsampled step by step; at strides 8, 4 and 2 it is fused with features of the image by a 3x3
convolution over the concatenated channels. A convolution is linear in its input channels, so it is split in two:
the image half is computed once per image (`FusionImageHalves`, its results are `ImageFeatures.feat_s*`), the
embedding half once per prompt, and their sum is what the whole convolution would have given.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from zim.modeling.common import LayerNorm2d
from zim.modeling.detail_stem import DetailMaps


def upsample2(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w), bilinear: no checkerboard, unlike transposed convolutions."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class FusionImageHalves(nn.Module):
    """The prompt-independent half of the three fusion convolutions, biases included."""

    def __init__(self, map_widths: tuple[int, int, int], pixel_widths: tuple[int, int, int]) -> None:
        super().__init__()
        w8, w4, w2 = pixel_widths
        m2, m4, m8 = map_widths
        self.half8 = nn.Conv2d(m8, w8, 3, padding=1)
        self.half4 = nn.Conv2d(m4, w4, 3, padding=1)
        self.half2 = nn.Conv2d(m2, w2, 3, padding=1)

    def forward(self, maps: DetailMaps) -> tuple[Tensor, Tensor, Tensor]:
        """Stride 2, 4, 8 maps of the image -> `feat_s2`, `feat_s4`, `feat_s8`."""
        return self.half2(maps.s2), self.half4(maps.s4), self.half8(maps.s8)


class HierarchicalPixelDecoder(nn.Module):
    """Stride-16 embedding and image features -> a stride-2 map, whose dot product with a mask token is the matte."""

    def __init__(self, embed_dim: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        w8, w4, w2 = widths
        self.out_width = w2
        self.reduce8 = nn.Conv2d(embed_dim, w8, 1)
        self.fuse8 = nn.Conv2d(w8, w8, 3, padding=1, bias=False)
        self.norm8 = LayerNorm2d(w8)
        self.reduce4 = nn.Conv2d(w8, w4, 1)
        self.fuse4 = nn.Conv2d(w4, w4, 3, padding=1, bias=False)
        self.norm4 = LayerNorm2d(w4)
        self.reduce2 = nn.Conv2d(w4, w2, 1)
        self.fuse2 = nn.Conv2d(w2, w2, 3, padding=1, bias=False)

    def forward(self, embedding: Tensor, feat_s2: Tensor, feat_s4: Tensor, feat_s8: Tensor) -> Tensor:
        """(B, C, S/16, S/16) and image features of B or 1 images -> (B, out_width, S/2, S/2)."""
        x = self.fuse8(upsample2(self.reduce8(embedding)))  # reducing first commutes with upsampling, and is cheaper
        x = F.gelu(self.norm8(x + feat_s8))  # (B, w8, S/8, S/8)
        x = self.fuse4(upsample2(self.reduce4(x)))
        x = F.gelu(self.norm4(x + feat_s4))  # (B, w4, S/4, S/4)
        x = self.fuse2(upsample2(self.reduce2(x)))
        return F.gelu(x + feat_s2)  # (B, w2, S/2, S/2)


class SamUpscaling(nn.Sequential):
    """SAM's two transposed convolutions to stride 4, under SAM's parameter names."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(embed_dim, embed_dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(embed_dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(embed_dim // 4, embed_dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.out_width = embed_dim // 8
