"""Pixels far from one another, and how deep a pixel lies in a mask: what prompts are made of out of masks."""

import cv2
import numpy as np
from numpy.typing import NDArray


def depth_in(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Exact distance of each pixel of a (H, W) mask to the nearest pixel outside; the image's border is outside too."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance[1:-1, 1:-1], dtype=np.float32)


def thinned(mask: NDArray[np.bool_], most: int) -> NDArray[np.float64]:
    """At most `most` pixels of a (H, W) mask, evenly spaced in reading order: (P, 2) xy."""
    pixels = np.flatnonzero(mask)
    pixels = pixels[:: max(1, -(-len(pixels) // most))]
    return np.stack(np.divmod(pixels, mask.shape[1])[::-1], axis=1).astype(np.float64)


def farthest_apart(
    candidates: NDArray[np.float64], first: NDArray[np.float64], count: int, *, spacing: float = 1.0
) -> NDArray[np.float64]:
    """Farthest-point order: each point is the candidate farthest from all before it.

    Args:
        candidates: (P, 2) xy.
        first: (2,) xy, where to begin.
        count: at most so many points, at least 1.
        spacing: ends when no candidate is this far from all that are taken.

    Returns:
        (N, 2) xy, `first` in front, N <= count.
    """
    chosen = [np.asarray(first, dtype=np.float64)]
    nearest = ((candidates - chosen[0]) ** 2).sum(axis=1)
    while len(chosen) < count and nearest.max(initial=0.0) >= spacing**2:
        chosen.append(candidates[int(np.argmax(nearest))])
        nearest = np.minimum(nearest, ((candidates - chosen[-1]) ** 2).sum(axis=1))
    return np.stack(chosen)
