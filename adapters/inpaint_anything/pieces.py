"""Parts of a mask that lie apart."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .masks import square_dilated

APART = 0.02
"""Parts of one object are at most this share of the photo's long side apart."""

_COARSE_SIDE = 256


def pieces_of(mask: NDArray[np.bool_], distance: int) -> list[NDArray[np.bool_]]:
    """Split a mask into parts that lie more than about `distance` pixels apart, so that each gets its own crop.

    Returns:
        (H, W) bool each, together the mask; in reading order of their first pixels.
    """
    height, width = mask.shape
    cell = max(1, -(-max(height, width) // _COARSE_SIDE))
    padded = np.zeros((-(-height // cell) * cell, -(-width // cell) * cell), bool)
    padded[:height, :width] = mask
    blocks = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    reach = 2 * max(1, distance // (2 * cell)) + 1
    coarse = square_dilated(np.asarray(blocks.any((1, 3))), reach)
    count, labels = cv2.connectedComponents(coarse.astype(np.uint8))
    if count <= 2:
        return [mask] if mask.any() else []
    fine = np.repeat(np.repeat(labels, cell, 0), cell, 1)[:height, :width]
    return [part for label in range(1, count) if (part := mask & (fine == label)).any()]


def piece_with(alpha: NDArray[np.float32], points: NDArray[np.floating], threshold: float = 0.1) -> NDArray[np.float32]:
    """A matte without the parts that no point lies on: a click on a dog is not a click on the bowl behind it.

    Args:
        alpha: (H, W) float32 in [0, 1].
        points: (N, 2) xy in pixels.
        threshold: parts are where alpha is above it; what is below goes with the part around it.

    Returns:
        (H, W) float32; the matte as it is when no point lies on any part.
    """
    height, width = alpha.shape
    columns = np.clip(points[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points[:, 1].astype(int), 0, height - 1)
    reach = max(2, round(APART * max(height, width)))
    kept = [part for part in pieces_of(alpha > threshold, reach) if part[rows, columns].any()]
    if not kept:
        return alpha
    near = square_dilated(np.logical_or.reduce(kept), 2 * (reach // 2) + 1)
    return np.where(near, alpha, np.float32(0))
