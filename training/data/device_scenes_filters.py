"""Blurs, reductions and morphology whose strength differs from row to row, without a loop over rows."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A small array drawn on the host, without waiting for the device; floating point becomes float32."""
    plain = array.astype(np.float32) if array.dtype.kind == "f" else np.ascontiguousarray(array)
    return torch.from_numpy(plain).to(device, non_blocking=True)


def gaussian_matrix(sigma: Tensor, side: int) -> Tensor:
    """Rows of Gaussian weights: (R,) standard deviations in pixels -> (R, side, side).

    `matrix @ plane @ matrix.mT` blurs a plane; weights beyond the border are given to the pixels inside. A deviation
    of 0 is the identity.
    """
    at = torch.arange(side, device=sigma.device, dtype=torch.float32)
    distance = (at[:, None] - at)[None] / sigma.clamp(min=1e-3)[:, None, None]
    weights = torch.exp(-0.5 * distance**2)
    return weights / weights.sum(-1, keepdim=True)


def reduction_matrix(factor: Tensor, side: int) -> Tensor:
    """Averages over cells of `factor` (R,) >= 1 pixels, enlarged again linearly: (R, side, side)."""
    at = torch.arange(side, device=factor.device, dtype=torch.float32)
    cell = factor[:, None, None]
    covered = torch.minimum(at[None, None] + 1, (at[None, :, None] + 1) * cell) - torch.maximum(
        at[None, None], at[None, :, None] * cell
    )  # (R, cells, pixels): how much of a pixel lies in a cell
    mean = covered.clamp(min=0, max=1)
    total = mean.sum(-1, keepdim=True)
    mean = mean / total.clamp(min=1e-6)
    last = ((side / factor).ceil() - 1)[:, None, None]
    place = torch.minimum(((at[None, :, None] + 0.5) / cell - 0.5).clamp(min=0), last)
    enlarge = (1 - (place - at[None, None]).abs()).clamp(min=0)  # (R, pixels, cells)
    return enlarge @ mean


def both_ways(matrix: Tensor, planes: Tensor) -> Tensor:
    """Apply (R, S, S) along columns and rows of (R, S, S) or (R, C, S, S)."""
    wide = matrix if planes.ndim == 3 else matrix[:, None]
    return wide @ planes @ wide.mT


def dilate(masks: Tensor, radius: Tensor, most: int) -> Tensor:
    """Grow masks by about a disc: (R, S, S) float, radii (R,) in whole pixels, none above `most`.

    Crosses and squares in turn make an octagon. Nothing grows in from beyond the border.
    """
    planes = masks[:, None]
    reach = radius[:, None, None, None]
    for k in range(most):
        if k % 2:
            larger = F.max_pool2d(planes, 3, 1, 1)
        else:
            larger = torch.maximum(F.max_pool2d(planes, (3, 1), 1, (1, 0)), F.max_pool2d(planes, (1, 3), 1, (0, 1)))
        planes = torch.where(k < reach, larger, planes)
    return planes[:, 0]


def erode(masks: Tensor, radius: Tensor, most: int) -> Tensor:
    """Shrink masks by about a disc, see `dilate`; the border of the picture does not count as outside."""
    return 1 - dilate(1 - masks, radius, most)


def depth_of(masks: Tensor, most: int) -> Tensor:
    """Distance to the outside of masks (R, S, S) of 0 and 1, about Euclidean, counted up to `most`; 0 outside.

    The border of the picture counts as outside.
    """
    planes = F.pad(1 - masks, (1, 1, 1, 1), value=1.0)[:, None]
    depth = masks.clone()
    for k in range(most - 1):
        if k % 2:
            planes = F.max_pool2d(planes, 3, 1, 1)
        else:
            planes = torch.maximum(F.max_pool2d(planes, (3, 1), 1, (1, 0)), F.max_pool2d(planes, (1, 3), 1, (0, 1)))
        depth = depth + 1 - planes[:, 0, 1:-1, 1:-1]
    return depth


def motion_blur(planes: Tensor, length: Tensor, angle: Tensor, doublings: int = 5) -> Tensor:
    """Smear (R, C, S, S) along a line: lengths (R,) in pixels, angles (R,) in radians; zeros come in from outside.

    The mean of 2**doublings copies, evenly spaced and centred.
    """
    side = planes.shape[-1]
    step = length / 2**doublings
    direction = torch.stack([angle.cos(), angle.sin()], dim=1)
    for k in range(doublings):
        planes = 0.5 * (_shifted(planes, direction * (step * 2**k / 2)[:, None], side) + _shifted(
            planes, -direction * (step * 2**k / 2)[:, None], side
        ))
    return planes


def _shifted(planes: Tensor, offset: Tensor, side: int) -> Tensor:
    """Move (R, C, S, S) by (R, 2) pixels, xy, bilinear."""
    theta = torch.eye(2, 3, device=planes.device).repeat(len(planes), 1, 1)
    theta[:, :, 2] = -2 * offset / side
    grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, align_corners=False)


def radius_limit(fraction: float, side: int) -> int:
    """The largest radius that `fraction` of the side of a mask can come to in a square picture."""
    return max(1, math.ceil(fraction * side))
