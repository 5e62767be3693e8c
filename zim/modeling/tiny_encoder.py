"""The small image encoder: context at a fixed low resolution, detail at full resolution.

SAM's encoders see objects of a certain size in pixels, so a small one that was trained on small images fails on
large ones. Here a *context trunk* (convolutions, then global attention, then a feature pyramid) always sees the
padded image reduced to `trunk_size`, whatever the input size, and a *detail stem* of three strided convolutions
sees every pixel. Both meet in the stride-16 image embedding and in the stride-4 and stride-8 maps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.modeling.common import LayerNorm2d, attend
from zim.modeling.config import TinyEncoderConfig
from zim.modeling.detail_stem import DetailMaps, DetailStem, conv_norm_act


def resize_map(x: Tensor, size: int) -> Tensor:
    """(B, C, h, h) -> (B, C, size, size): exact averages when shrinking, bilinear when growing."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_act(width, width)
        self.conv2 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return F.relu(x + self.conv2(self.conv1(x)))


class AttentionBlock(nn.Module):
    """Pre-norm transformer block with global attention over all cells."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, int(width * mlp_ratio)), nn.GELU(), nn.Linear(int(width * mlp_ratio), width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        batch, cells, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, cells, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, C / heads)
        attended = attend(q, k, v).transpose(1, 2).reshape(batch, cells, width)
        x = x + self.proj(attended)
        return x + self.mlp(self.norm2(x))


class ContextTrunk(nn.Module):
    """Reduced image -> context map at stride 4 of it: what is where, seen whole."""

    def __init__(self, config: TinyEncoderConfig) -> None:
        super().__init__()
        (w4, w8, w16), (d4, d8, d16) = config.trunk_widths, config.trunk_depths
        self.size = config.trunk_size
        self.stage4 = nn.Sequential(
            conv_norm_act(3, w4 // 2, stride=2),
            conv_norm_act(w4 // 2, w4, stride=2),
            *(ResidualBlock(w4) for _ in range(d4)),
        )
        self.stage8 = nn.Sequential(conv_norm_act(w4, w8, stride=2), *(ResidualBlock(w8) for _ in range(d8)))
        self.down16 = conv_norm_act(w8, w16, stride=2)
        self.pos_embed = nn.Parameter(torch.zeros(1, (config.trunk_size // 16) ** 2, w16))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(AttentionBlock(w16, config.num_heads, config.mlp_ratio) for _ in range(d16))
        self.norm = nn.LayerNorm(w16)
        self.top = nn.Conv2d(w16, w8, 1)
        self.smooth8 = conv_norm_act(w8, w8)
        self.lateral8 = nn.Conv2d(w8, config.context_width, 1)
        self.lateral4 = nn.Conv2d(w4, config.context_width, 1)
        self.smooth4 = conv_norm_act(config.context_width, config.context_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, context_width, trunk_size / 4, trunk_size / 4)."""
        x4 = self.stage4(resize_map(x, self.size))  # (B, w4, T/4, T/4)
        x8 = self.stage8(x4)  # (B, w8, T/8, T/8)
        x16 = self.down16(x8)  # (B, w16, T/16, T/16)
        tokens = x16.flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        x16 = self.norm(tokens).transpose(1, 2).reshape(x16.shape)
        x8 = self.smooth8(x8 + resize_map(self.top(x16), x8.shape[-1]))
        return self.smooth4(self.lateral4(x4) + resize_map(self.lateral8(x8), x4.shape[-1]))


class TinyEncoderOutput(NamedTuple):
    """The image embedding (B, 256, S/16, S/16) and the encoder's own maps at strides 2, 4 and 8."""

    embedding: Tensor
    maps: DetailMaps


class TinyImageEncoder(nn.Module):
    """Context trunk and detail stem; works at any square input size that is a multiple of 16."""

    def __init__(self, *, config: TinyEncoderConfig, img_size: int, out_chans: int) -> None:
        super().__init__()
        self.img_size = img_size
        c2, c4, c8 = config.stem_widths
        self.map_widths = (c2, c4, c8)
        self.stem = DetailStem(config.stem_widths)
        self.trunk = ContextTrunk(config)
        self.stem_to_16 = conv_norm_act(c8, config.context_width, stride=2)
        self.neck = nn.Conv2d(2 * config.context_width, out_chans, 1)
        self.neck_norm = LayerNorm2d(out_chans)
        self.context_to_8 = nn.Conv2d(config.context_width, c8, 1)
        self.context_to_4 = nn.Conv2d(config.context_width, c4, 1)

    def forward(self, x: Tensor) -> TinyEncoderOutput:
        """(B, 3, S, S) normalised and padded -> embedding and stride 2, 4, 8 maps."""
        maps = self.stem(x)
        context = self.trunk(x)
        grid = x.shape[-1] // 16
        meeting = torch.cat([resize_map(context, grid), self.stem_to_16(maps.s8)], dim=1)
        embedding = self.neck_norm(self.neck(meeting))  # (B, 256, S/16, S/16)
        s8 = maps.s8 + resize_map(self.context_to_8(context), maps.s8.shape[-1])
        s4 = maps.s4 + resize_map(self.context_to_4(context), maps.s4.shape[-1])
        return TinyEncoderOutput(embedding, DetailMaps(maps.s2, s4, s8))
