"""Losses: the paper's L1 + lambda * gradient for mattes, SAM's focal + dice for segmentation, and quality heads."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zim.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MatteLossConfig:
    """`gradient` is the paper's lambda (section 4, 10). The cross-entropy and dice beside it are this project's own:
    they get a model that starts from nothing off the ground, and fade from `start_aux` to `end_aux` over the run.
    `multimask` weighs the best of the three masks against the single one, `quality` the quality head. `volume` weighs
    an error of the matte's sum, also this project's own: where that sum is what is measured (volumes, areas)."""

    gradient: float = 10.0
    start_aux: float = 1.0
    end_aux: float = 0.2
    multimask: float = 0.5
    quality: float = 0.1
    volume: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.volume) and self.volume >= 0):
            raise ConfigError(f"volume: expected a number >= 0, got {self.volume}")

    def aux(self, progress: float) -> float:
        """Weight of cross-entropy and dice at `progress` in [0, 1]."""
        return self.start_aux + (self.end_aux - self.start_aux) * min(max(progress, 0.0), 1.0)


def weighted_l1(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(..., h, w) each -> (...): mean absolute difference where `weight` says so."""
    return ((alpha - target).abs() * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1)


def gradient_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """|dx a' - dx a| + |dy a' - dy a| (paper section 4), means over the weighted pixels: (..., h, w) -> (...)."""
    difference = alpha - target
    dx = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * (weight[..., :, 1:] * weight[..., :, :-1])
    dy = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * (weight[..., 1:, :] * weight[..., :-1, :])
    return (dx.sum((-2, -1)) + dy.sum((-2, -1))) / weight.sum((-2, -1)).clamp(min=1)


def dice_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - dice as SAM's training has it, for binary targets, (..., h, w) -> (...)."""
    overlap = (alpha * target * weight).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (((alpha + target) * weight).sum((-2, -1)) + 1)


def soft_dice_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - dice with squared denominators (V-Net, eq. 3), (..., h, w) -> (...): zero at alpha = target, soft or not.

    The linear form of `dice_loss` rewards every pixel above about half for growing, and so hardens soft mattes.
    """
    overlap = (alpha * target * weight).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (((alpha**2 + target**2) * weight).sum((-2, -1)) + 1)


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy against a soft target, (..., h, w) -> (...)."""
    losses = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    return (losses * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1)


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss without class balance, as SAM's, (..., h, w) -> (...)."""
    probability = torch.sigmoid(logits)
    missed = probability + target - 2 * probability * target
    losses = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none") * missed**gamma
    return (losses * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1)


def volume_loss(alpha: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """|sum alpha - sum target| as a share of the target's sum, (..., h, w) -> (...).

    L1 is smallest at the median: where a pixel is empty more often than not it teaches 0, and thin things, whose pixels
    are nearly all partly full, come out too small. This term asks for the right sum and says nothing of where.
    """
    missing = ((alpha - target) * weight).sum((-2, -1)).abs()
    return missing / ((target * weight).sum((-2, -1)) + 1)


def intersection_over_union(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """IoU of alpha > 0.5 with target > 0.5 inside `weight` > 0, (..., h, w) -> (...)."""
    counted = weight > 0
    predicted, wanted = (logits > 0) & counted, (target > 0.5) & counted
    union = (predicted | wanted).sum((-2, -1))
    return (predicted & wanted).sum((-2, -1)) / union.clamp(min=1)


def matte_loss(logits: Tensor, target: Tensor, weight: Tensor, config: MatteLossConfig, aux: float) -> Tensor:
    """The paper's loss, `aux` times cross-entropy and dice, and the error of the sum: (..., h, w) logits -> (...)."""
    alpha = torch.sigmoid(logits)
    paper = weighted_l1(alpha, target, weight) + config.gradient * gradient_loss(alpha, target, weight)
    own = aux * (cross_entropy(logits, target, weight) + soft_dice_loss(alpha, target, weight))
    if config.volume:
        own = own + config.volume * volume_loss(alpha, target, weight)
    return paper + own


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """SAM's 20 * focal + dice: (..., h, w) logits -> (...)."""
    return 20 * focal_loss(logits, target, weight) + dice_loss(torch.sigmoid(logits), target, weight)


def quality_loss(quality: Tensor, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of predicted qualities (R, C) against the IoUs of (R, C, h, w) logits."""
    with torch.no_grad():
        truth = intersection_over_union(logits, target, weight)
    return F.mse_loss(quality, truth)
