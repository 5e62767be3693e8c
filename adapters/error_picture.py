"""Where a matte is wrong, as a picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError

TOO_MUCH, TOO_LITTLE = (255, 153, 0), (64, 140, 255)
"""Orange where the alpha is above the truth, blue where it is below."""


def error_picture(
    alpha: NDArray[np.float32], truth: NDArray[np.float32], *, long_side: int | None = None
) -> NDArray[np.uint8]:
    """Black where the alpha is right, brighter the more it is off: orange where too much, blue where too little.

    Args:
        alpha, truth: (H, W) float in [0, 1].
        long_side: the picture is shrunk to it where it is longer.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        PromptError: the two have different shapes.
    """
    if alpha.shape != truth.shape or alpha.ndim != 2:
        raise PromptError(f"alpha, truth: expected two of one shape (H, W), got {alpha.shape} and {truth.shape}")
    off = alpha.astype(np.float32) - truth.astype(np.float32)
    both = np.stack([np.maximum(off, 0), np.maximum(-off, 0)], axis=2)
    scale = 1.0 if long_side is None else min(1.0, long_side / max(off.shape))
    if scale < 1:
        size = max(1, round(off.shape[1] * scale)), max(1, round(off.shape[0] * scale))
        both = cv2.resize(both, size, interpolation=cv2.INTER_AREA)
    return np.clip(both @ np.array([TOO_MUCH, TOO_LITTLE], np.float32) + 0.5, 0, 255).astype(np.uint8)
