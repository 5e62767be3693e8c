"""A small image codec in plain torch: JPEG's transform and tables, so that packed pictures decode on any device.

Blocks of 8 x 8 pixels are cosine-transformed, divided by JPEG's example tables (Annex K, scaled as the Independent JPEG
Group does) and rounded; luma at full, chroma at half resolution. The whole numbers are left to a general compressor,
frequency by frequency, where it finds about as much as JPEG's own entropy coding does.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
CELL = 2 * BLOCK
"""Height and width of a picture are multiples of this."""

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *(((99,) * 8),) * 4,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def quantisation(quality: Tensor) -> tuple[Tensor, Tensor]:
    """JPEG's luma and chroma tables for qualities (N,) float in 1..100: two of (N, 1, 1, 1, 8, 8) float."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None] / 100
    tables = (_constant(table, quality.device) for table in (_LUMA, _CHROMA))
    luma, chroma = ((table * scale).round().clamp(1, 255)[:, None, None, None] for table in tables)
    return luma, chroma


def _constant(rows: Sequence[Sequence[float]], device: torch.device) -> Tensor:
    """A small table on a device, without waiting for it."""
    return torch.tensor(rows, dtype=torch.float32).to(device, non_blocking=True)


def transform(planes: Tensor) -> Tensor:
    """(N, C, H, W) float -> orthonormal cosine coefficients of its blocks, (N, C, H/8, W/8, 8, 8)."""
    n, c, height, width = planes.shape
    blocks = planes.reshape(n, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    basis = _basis(planes.device)
    return basis @ blocks @ basis.T


def inverse(coefficients: Tensor) -> Tensor:
    """What `transform` came from."""
    n, c, rows, columns = coefficients.shape[:4]
    basis = _basis(coefficients.device)
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(3, 4).reshape(n, c, rows * BLOCK, columns * BLOCK)


def _basis(device: torch.device) -> Tensor:
    """(8, 8) orthonormal cosine basis, a frequency a row."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    rows = torch.cos(math.pi / BLOCK * (k + 0.5) * k[:, None]) * math.sqrt(2 / BLOCK)
    rows[0] *= math.sqrt(0.5)
    return rows


def to_ycc(images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) RGB in 0..255 -> luma (N, 1, H, W) and chroma (N, 2, H/2, W/2), both around 0."""
    ycc = torch.einsum("dc,nchw->ndhw", _constant(_TO_YCC, images.device), images)
    return ycc[:, :1] - 128, F.avg_pool2d(ycc[:, 1:], 2)


def to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """What `to_ycc` came from, (N, 3, H, W) float; not clipped."""
    large = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    ycc = torch.cat([luma + 128, large], dim=1)
    return torch.einsum("dc,nchw->ndhw", _constant(_TO_RGB, luma.device), ycc)


def through_codec(images: Tensor, quality: Tensor) -> Tensor:
    """Pictures with the codec's traces: (N, 3, H, W) float RGB in 0..255 at qualities (N,), the same shape, clipped."""
    planes = to_ycc(images)
    back = [
        inverse((transform(plane) / table).round() * table)
        for plane, table in zip(planes, quantisation(quality), strict=True)
    ]
    return to_rgb(back[0], back[1]).clamp(0, 255)


def encode(images: np.ndarray, quality: int) -> dict[str, np.ndarray]:
    """Pictures as arrays that compress well.

    images: (N, H, W, 3) uint8, H and W multiples of 16. Returns uint8 arrays, `decode` says which.
    """
    planes = to_ycc(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    arrays: dict[str, np.ndarray] = {"quality": np.array([quality], np.uint8)}
    tables = quantisation(torch.tensor([float(quality)]))
    for name, plane, table in zip(("luma", "chroma"), planes, tables, strict=True):
        whole = (transform(plane) / table).round().to(torch.int32)
        folded = torch.where(whole < 0, -2 * whole - 1, 2 * whole)  # (N, C, rows, columns, 8, 8)
        numbers = folded.permute(4, 5, 1, 0, 2, 3).contiguous().numpy().astype(np.uint16)
        arrays[f"{name}_low"] = (numbers & 255).astype(np.uint8)
        arrays[f"{name}_high"] = (numbers >> 8).astype(np.uint8)
    return arrays


def decode(arrays: dict[str, np.ndarray], device: torch.device) -> Tensor:
    """Pictures out of `encode`'s arrays: (N, 3, H, W) uint8 on `device`.

    arrays: `quality` (1,); `luma_low` and `luma_high` (8, 8, 1, N, H/8, W/8), `chroma_low` and `chroma_high`
    (8, 8, 2, N, H/16, W/16): low and high bytes of the folded coefficients (0, -1, 1, -2, ...).
    """
    tables = quantisation(torch.from_numpy(arrays["quality"]).float().to(device))
    planes = []
    for name, table in zip(("luma", "chroma"), tables, strict=True):
        low, high = (torch.from_numpy(arrays[f"{name}_{part}"]).to(device).int() for part in ("low", "high"))
        folded = (low + 256 * high).permute(3, 2, 4, 5, 0, 1)  # (N, C, rows, cols, 8, 8)
        whole = torch.where(folded % 2 == 1, -(folded + 1) // 2, folded // 2)
        planes.append(inverse(whole.float() * table))
    return (to_rgb(planes[0], planes[1]) + 0.5).clamp(0, 255).to(torch.uint8)
