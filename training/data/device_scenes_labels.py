"""Coarse labels and trust of many mattes at once, on their device; the steps are those of `coarse_labels`."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .coarse_labels import CoarseLabelConfig
from .device_scenes_filters import (
    both_ways,
    dilate,
    erode,
    gaussian_matrix,
    on_device,
    radius_limit,
    reduction_matrix,
)

WORK_SIDE = 256
"""Labels of larger mattes are made at this side and enlarged: they are coarse anyway."""

TRUST_REACH = 0.008
"""Half the width of the band around a human outline that is not trusted, as a share of sqrt(area)."""


@dataclass(frozen=True, kw_only=True)
class CoarseSteps:
    """What is done to each of R labels, drawn before any of them is seen.

    threshold, factor, sigma, open, close, grow, shrink: (R,) float; lengths are shares of sqrt(area), 0 leaves a step
    out. factor: of the reduction, 1 for none.
    """

    threshold: np.ndarray
    factor: np.ndarray
    sigma: np.ndarray
    open: np.ndarray
    close: np.ndarray
    grow: np.ndarray
    shrink: np.ndarray


def draw_steps(rng: np.random.Generator, rows: int, config: CoarseLabelConfig) -> CoarseSteps:
    """The random part of `rows` coarse labels."""

    def sometimes(probability: float, bounds: tuple[float, float]) -> np.ndarray:
        return np.where(rng.random(rows) < probability, rng.uniform(*bounds, rows), 0.0)

    low, high = np.log(config.downsample)
    choice = rng.random(rows)
    grows = choice < config.dilate_probability
    shrinks = ~grows & (choice < config.dilate_probability + config.erode_probability)
    reduces = rng.random(rows) < config.downsample_probability
    return CoarseSteps(
        threshold=rng.uniform(*config.threshold, rows),
        factor=np.where(reduces, np.exp(rng.uniform(low, high, rows)), 1.0),
        sigma=sometimes(config.blur_probability, config.blur_sigma),
        open=sometimes(config.open_probability, config.erode_radius),
        close=sometimes(config.close_probability, config.dilate_radius),
        grow=np.where(grows, rng.uniform(*config.dilate_radius, rows), 0.0),
        shrink=np.where(shrinks, rng.uniform(*config.erode_radius, rows), 0.0),
    )


def coarse_labels(alpha: Tensor, steps: CoarseSteps, config: CoarseLabelConfig = CoarseLabelConfig()) -> Tensor:
    """Coarse labels of mattes (R, S, S) float in [0, 1]: (R, S, S) float of 0 and 1.

    As `synthesize_coarse_label`: a label that has lost its object is alpha > 0.5 itself.
    """
    full = alpha.shape[-1]
    reduction = full // WORK_SIDE if full % WORK_SIDE == 0 else 1
    small = F.avg_pool2d(alpha[:, None], reduction)[:, 0] if reduction > 1 else alpha
    label = _degraded(small, steps, config)
    if reduction > 1:
        soft = F.interpolate(label[:, None], (full, full), mode="bilinear", align_corners=False)[:, 0]
        label = (soft > 0.5).float()
    solid = (alpha > 0.5).float()
    kept = label.sum((1, 2)) >= config.min_kept * solid.sum((1, 2))
    return torch.where(kept[:, None, None], label, solid)


def _degraded(alpha: Tensor, steps: CoarseSteps, config: CoarseLabelConfig) -> Tensor:
    side, device = alpha.shape[-1], alpha.device
    size = (alpha > 0.5).float().sum((1, 2)).sqrt()
    label = (alpha > on_device(steps.threshold, device)[:, None, None]).float()
    opened, closed = (np.flatnonzero(array) for array in (steps.open, steps.close))
    if len(opened):
        rows = on_device(opened, device)
        most = radius_limit(config.erode_radius[1], side)
        radius = _whole(on_device(steps.open, device)[rows] * size[rows])
        label = label.index_copy(0, rows, dilate(erode(label[rows], radius, most), radius, most))
    if len(closed):
        rows = on_device(closed, device)
        most = radius_limit(config.dilate_radius[1], side)
        radius = _whole(on_device(steps.close, device)[rows] * size[rows])
        label = label.index_copy(0, rows, erode(dilate(label[rows], radius, most), radius, most))
    factor = torch.minimum(on_device(steps.factor, device), size / config.min_cells).clamp(min=1)
    blurs = on_device(steps.sigma, device)
    sigma = torch.where(blurs > 0, (blurs * size).clamp(min=0.3), 0)
    matrix = gaussian_matrix(sigma, side) @ reduction_matrix(factor, side)
    label = (both_ways(matrix, label) > 0.5).float()
    moved = np.flatnonzero(steps.grow + steps.shrink)
    if len(moved):  # growing the inside, or the outside
        rows = on_device(moved, device)
        grow, shrink = on_device(steps.grow, device)[rows], on_device(steps.shrink, device)[rows]
        inverted = (shrink > 0)[:, None, None]
        planes = torch.where(inverted, 1 - label[rows], label[rows])
        most = radius_limit(max(config.dilate_radius[1], config.erode_radius[1]), side)
        planes = dilate(planes, _whole((grow + shrink) * size[rows]), most)
        label = label.index_copy(0, rows, torch.where(inverted, 1 - planes, planes))
    return label


def _whole(radius: Tensor) -> Tensor:
    """Whole pixels, at least one, as OpenCV's structuring elements have them."""
    return radius.round().clamp(min=1)


def trust_of(alpha: Tensor) -> Tensor:
    """0 in a band around the outline of human labels (R, S, S), about 1% of their size wide, 1 elsewhere."""
    solid = (alpha > 0.5).float()
    most = radius_limit(TRUST_REACH, alpha.shape[-1])
    radius = _whole(TRUST_REACH * solid.sum((1, 2)).sqrt())
    return 1 - (dilate(solid, radius, most) - erode(solid, radius, most))
