"""What the image encoder hands to the mask decoder."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class ImageFeatures(NamedTuple):
    """Features of B images, S the side of the padded frame.

    `embedding` (B, 256, S/16, S/16) is SAM's image embedding. `feat_s2`, `feat_s4`, `feat_s8`
    (B, C, S/2, S/2), (B, C, S/4, S/4), (B, C, S/8, S/8) are the image halves of the pixel decoder's fusion
    convolutions: all that it ever needs of the image, computed once. They have zero channels where the
    hierarchical pixel decoder is switched off.
    """

    embedding: Tensor
    feat_s2: Tensor
    feat_s4: Tensor
    feat_s8: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the image embedding, what SAM's callers look at."""
        return self.embedding.shape

    @property
    def device(self) -> torch.device:
        """Device of the image embedding."""
        return self.embedding.device

    def to(self, *args: Any, **kwargs: Any) -> "ImageFeatures":
        """`Tensor.to` on every map."""
        return ImageFeatures(*(feature.to(*args, **kwargs) for feature in self))

    def cpu(self) -> "ImageFeatures":
        """Every map in main memory."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device = "cuda") -> "ImageFeatures":
        """Every map on a CUDA device."""
        return self.to(device if not isinstance(device, int) else f"cuda:{device}")

    def select(self, index: int) -> "ImageFeatures":
        """The features of one image of the batch, batch axis kept."""
        return ImageFeatures(*(feature[index : index + 1] for feature in self))
