"""SAM's ViT image encoder (Kirillov et al. 2023, section 3; ViTDet backbone) under SAM's state-dict names.

Attention carries SAM's decomposed relative positions without an N x N tensor: see `fold_relative_positions`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError, ImageError
from zim.modeling.common import LayerNorm2d, MLPBlock

NORM_EPS = 1e-6
WIDTH_MULTIPLE = 8  # fused attention kernels on GPUs want head widths divisible by 8


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


class FoldedAttention(NamedTuple):
    """Query, key and value (B, heads, N, E), equally wide; unscaled attention over them is SAM's."""

    query: Tensor
    key: Tensor
    value: Tensor


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """Spread `rel_pos` (2 * size - 1, D) to (size, size, D): entry [q, k] embeds the offset q - k."""
    positions = torch.arange(size, device=rel_pos.device)
    return rel_pos[positions[:, None] - positions[None, :] + size - 1]


def fold_relative_positions(
    query: Tensor, key: Tensor, value: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> FoldedAttention:
    """Turn decomposed relative positions into extra channels, so that fused attention needs no bias.

    SAM's score is  q.k / sqrt(D) + q.R_h[row(q), row(k)] + q.R_w[col(q), col(k)].  The two extra terms depend
    on the key through its row and its column only, so they are a dot product too: the query carries its H + W
    possible terms, the key a one-hot row and column. Values are padded with zeros to the same width: PyTorch
    leaves its fused CPU kernel when the widths differ.

    Args:
        query, key, value: (B, heads, H * W, D), row-major over the grid.
        rel_pos_h: (2 * H - 1, D); rel_pos_w: (2 * W - 1, D).
        grid_hw: (H, W).

    Returns:
        Tensors of width >= D + H + W; attend with scale 1 and keep the first D channels of the result.
    """
    height, width = grid_hw
    batch, heads, count, dim = query.shape
    cells = query.reshape(batch, heads, height, width, dim)
    by_row = torch.einsum("bnhwc,hkc->bnhwk", cells, relative_table(rel_pos_h, height).to(query.dtype))
    by_column = torch.einsum("bnhwc,wkc->bnhwk", cells, relative_table(rel_pos_w, width).to(query.dtype))
    terms = torch.cat((by_row, by_column), dim=-1).reshape(batch, heads, count, height + width)

    row_of = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, dim=0)
    column_of = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    one_hot = torch.cat((row_of, column_of), dim=-1).expand(batch, heads, -1, -1)  # (B, heads, N, H + W)

    filler = -(dim + height + width) % WIDTH_MULTIPLE
    return FoldedAttention(
        query=F.pad(torch.cat((query * dim**-0.5, terms), dim=-1), (0, filler)),
        key=F.pad(torch.cat((key, one_hot), dim=-1), (0, filler)),
        value=F.pad(value, (0, height + width + filler)),
    )


class Attention(nn.Module):
    """Multi-head self-attention over a fixed grid, with decomposed relative positions."""

    def __init__(self, dim: int, num_heads: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_hw[0] - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_hw[1] - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), where (H, W) is the `grid_hw` of construction."""
        batch, height, width, dim = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, H * W, D)
        folded = fold_relative_positions(query, key, value, self.rel_pos_h, self.rel_pos_w, (height, width))
        out = F.scaled_dot_product_attention(folded.query, folded.key, folded.value, scale=1.0)
        out = out[..., : value.shape[-1]].transpose(1, 2)  # (B, H * W, heads, D)
        return self.proj(out.reshape(batch, height, width, dim))


def window_partition(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, window, window, C), zero-padded right and bottom."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
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
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads, (side, side))
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLPBlock(dim, mlp_dim)
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        normed = self.norm1(x)
        if self.window_size:
            windows = self.attn(window_partition(normed, self.window_size))
            x = x + window_unpartition(windows, (x.shape[1], x.shape[2]))
        else:
            x = x + self.attn(normed)
        return x + self.mlp(self.norm2(x))


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
