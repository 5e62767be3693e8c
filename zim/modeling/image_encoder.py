"""SAM's ViT image encoder (Kirillov et al. 2023, section 3; ViTDet backbone) under SAM's state-dict names.

Attention carries SAM's decomposed relative positions without an N x N tensor: see `relative_attention`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError, ImageError
from zim.modeling.common import LayerNorm2d, MLPBlock
from zim.modeling.packed_linear import Linears, linears_for_inference, plain_linears
from zim.modeling.relative_attention import attend_over_grid, runs_in_blocks

NORM_EPS = 1e-6
MIXED_AT_ONCE = 32
"""Rows of tokens that go through an MLP together where that is faster."""


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Dimensions of a ViT encoder. Blocks outside `global_attn_indexes` attend within windows."""

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    img_size: int = 1024
    patch_size: int = 16
    window_size: int = 14
    out_chans: int = 256
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "img_size", "patch_size", "window_size", "out_chans"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a positive integer, received {getattr(self, name)}")
        if self.embed_dim % self.num_heads:
            raise ConfigError(
                f"embed_dim: expected a multiple of num_heads={self.num_heads}, received {self.embed_dim}"
            )
        if self.img_size % self.patch_size:
            raise ConfigError(
                f"img_size: expected a multiple of patch_size={self.patch_size}, received {self.img_size}"
            )
        outside = [i for i in self.global_attn_indexes if not 0 <= i < self.depth]
        if outside:
            raise ConfigError(
                f"global_attn_indexes: expected block numbers below {self.depth}, received {outside}"
            )

    @property
    def grid_size(self) -> int:
        """Patches along one side of the image."""
        return self.img_size // self.patch_size


VIT_B = ViTConfig(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11))
"""SAM's vit_b: 90 M parameters."""
VIT_L = ViTConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23))
"""SAM's vit_l: 308 M parameters."""
VIT_H = ViTConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31))
"""SAM's vit_h: 637 M parameters."""


class Attention(nn.Module):
    """Multi-head self-attention with decomposed relative positions, over the whole grid or within windows."""

    def __init__(self, dim: int, num_heads: int, side: int, *, windowed: bool) -> None:
        """side: of the grid, or of a window, in tokens."""
        super().__init__()
        self.num_heads = num_heads
        self.side = side
        self.windowed = windowed
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x: Tensor, linears: Linears = plain_linears) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); H = W = `side` unless windowed."""
        grid_hw = (x.shape[1], x.shape[2])
        qkv = linears(self.qkv, x)
        if self.windowed:  # SAM pads x with zeros, whose query, key and value are the layer's bias
            qkv = window_partition(qkv, self.side, self.qkv.bias)
        side = (self.side, self.side)
        parts = qkv.reshape(len(qkv), side[0] * side[1], 3, self.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, D)
        out = attend_over_grid(query, key, value, self.rel_pos_h, self.rel_pos_w, side)
        out = out.transpose(1, 2).reshape(len(qkv), *side, x.shape[-1])  # (B, side, side, C)
        return linears(self.proj, window_unpartition(out, grid_hw) if self.windowed else out)


def window_partition(x: Tensor, window: int, filler: Tensor | None = None) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, window, window, C), padded right and bottom with `filler` (C,) or zeros."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    if filler is not None:
        x[:, height:] = filler.to(x.dtype)
        x[:, :height, width:] = filler.to(x.dtype)
    x = x.reshape(batch, x.shape[1] // window, window, x.shape[2] // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window, window, channels)


def window_unpartition(windows: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Undo `window_partition`: (B * windows, window, window, C) -> (B, H, W, C) without the padding."""
    height, width = grid_hw
    window, channels = windows.shape[1], windows.shape[-1]
    rows, columns = -(-height // window), -(-width // window)
    x = windows.reshape(-1, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(-1, rows * window, columns * window, channels)[:, :height, :width]


class Block(nn.Module):
    """Pre-norm transformer block; `window_size` 0 attends over the whole grid, else within windows."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, window_size: int, grid_size: int) -> None:
        super().__init__()
        side = window_size or grid_size
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads, side, windowed=window_size > 0)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLPBlock(dim, mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        if not runs_in_blocks(x):
            return self._mixed(self._attended(x, plain_linears), plain_linears)
        linears = linears_for_inference()
        if self.window_size:  # rows of windows have nothing to do with each other
            return _in_strips(lambda strip: self._mixed(self._attended(strip, linears), linears), x, self.window_size)
        return _in_strips(lambda strip: self._mixed(strip, linears), self._attended(x, linears), MIXED_AT_ONCE)

    def _attended(self, x: Tensor, linears: Linears) -> Tensor:
        return x + self.attn(self.norm1(x), linears)

    def _mixed(self, x: Tensor, linears: Linears) -> Tensor:
        return x + self.mlp(self.norm2(x), linears)


def _in_strips(part: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    """`part` of (B, H, W, C), some rows at a time: what lies between its layers then stays in the cache."""
    return torch.cat([part(strip) for strip in x.split(rows, dim=1)], dim=1)


class PatchEmbed(nn.Module):
    """Non-overlapping patches of the image, each projected to a token."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S / patch, S / patch, C)."""
        return self.proj(x).permute(0, 2, 3, 1)


class ImageEncoderViT(nn.Module):
    """SAM's image encoder: patches, absolute positions, transformer blocks, convolutional neck."""

    def __init__(
        self,
        *,
        img_size: int,
        patch_embed: PatchEmbed,
        pos_embed: Tensor,
        blocks: nn.ModuleList,
        neck: nn.Sequential,
    ) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = patch_embed
        self.pos_embed = nn.Parameter(pos_embed)  # (1, S / patch, S / patch, C)
        self.blocks = blocks
        self.neck = neck

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalised, padded images.

        Args:
            x: (B, 3, S, S) float, S = `img_size`.

        Returns:
            (B, out_chans, S / patch, S / patch) image embedding.

        Raises:
            ImageError: `x` has another shape.
        """
        side = self.img_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, side, side):
            raise ImageError(f"x: expected images (B, 3, {side}, {side}), received {tuple(x.shape)}")
        x = self.patch_embed(x) + self.pos_embed  # (B, S/16, S/16, C)
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2)).contiguous()  # (B, 256, S/16, S/16)


def build_vit_encoder(config: ViTConfig) -> ImageEncoderViT:
    """Build the encoder with random weights: small normal absolute positions, zero relative positions."""
    blocks = nn.ModuleList(
        Block(
            dim=config.embed_dim,
            num_heads=config.num_heads,
            mlp_dim=int(config.embed_dim * config.mlp_ratio),
            window_size=0 if index in config.global_attn_indexes else config.window_size,
            grid_size=config.grid_size,
        )
        for index in range(config.depth)
    )
    neck = nn.Sequential(
        nn.Conv2d(config.embed_dim, config.out_chans, kernel_size=1, bias=False),
        LayerNorm2d(config.out_chans),
        nn.Conv2d(config.out_chans, config.out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(config.out_chans),
    )
    pos_embed = torch.empty(1, config.grid_size, config.grid_size, config.embed_dim)
    return ImageEncoderViT(
        img_size=config.img_size,
        patch_embed=PatchEmbed(config.patch_size, config.embed_dim),
        pos_embed=nn.init.normal_(pos_embed, std=0.02),
        blocks=blocks,
        neck=neck,
    )
