"""A second, training-only loss on the encoder: cells of one region look alike, and unlike what is around it.

A mask decoder that knows nothing gives its encoder little to learn from. This loss asks the encoder directly: the mean
feature of a labelled region (its prototype) must tell the region's cells from the others. It is this project's own
and part of neither paper; both models of a pair are trained with it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTSIDE_WEIGHT = 0.3
"""Weight of cells outside the region's box beside those inside it, which are harder."""


class RegionContrast(nn.Module):
    """Watches the output of a trunk and compares its cells with prototypes of regions."""

    def __init__(self, trunk: nn.Module, width: int, projection: int = 32) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, projection, 1)
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.offset = nn.Parameter(torch.tensor(-2.0))
        self._context: Tensor | None = None
        trunk.register_forward_hook(self._watch)

    def _watch(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._context = output

    def forward(self, regions: Tensor, valid: Tensor) -> Tensor:
        """Loss of the last image batch that went through the trunk.

        Args:
            regions: (R, 1, S, S) float in [0, 1], labels of the regions, R / I consecutive ones to an image.
            valid: (R, 1, S, S) float, 0 in the padding.

        Returns:
            A scalar: the mean over the rows, so that a batch's loss is the mean of its parts'.

        Raises:
            RuntimeError: nothing has gone through the trunk.
        """
        if self._context is None:
            raise RuntimeError("region contrast: the trunk has not been run")
        features = F.normalize(self.project(self._context).float(), dim=1)  # (I, D, h, w)
        side = features.shape[-1]
        labels, inside = F.adaptive_avg_pool2d(regions, side), F.adaptive_avg_pool2d(valid, side)
        features = features.repeat_interleave(len(labels) // len(features), dim=0)  # (R, D, h, w)
        prototype = F.normalize((features * labels).sum((-2, -1)), dim=1)  # (R, D)
        logits = self.scale * torch.einsum("rdhw,rd->rhw", features, prototype) + self.offset
        box = labels.amax(-1, keepdim=True) * labels.amax(-2, keepdim=True)  # (R, 1, h, w), 1 in the region's box
        weight = (OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * (box > 0.3)) * inside
        losses = F.binary_cross_entropy_with_logits(logits, labels[:, 0], reduction="none")
        return ((losses * weight[:, 0]).sum((-2, -1)) / weight.sum((-3, -2, -1)).clamp(min=1e-6)).mean()


class NoContrast(nn.Module):
    """In the place of `RegionContrast`, for encoders that need no such help: always zero."""

    def forward(self, regions: Tensor, valid: Tensor) -> Tensor:
        """Zero, whatever the regions."""
        return regions.new_zeros(())
