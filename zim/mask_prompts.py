"""From an outside mask, whoever made it, to a prompt: interior points, a box and a mask input."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.far_points import depth_in, farthest_apart, thinned
from zim.prompts import Prompt, box_from_alpha, mask_input_from_mask

INTERIOR_DEPTH = 0.5
"""Positive points lie at least this share of their part's greatest depth inside it."""

SMALLEST_PART = 0.01
"""A part below this share of the largest part's area gets no point: specks are no objects."""

OUTSIDE_NEAR, OUTSIDE_FAR = 0.02, 0.05
"""Negative points lie between these shares of the object's long side outside it, at least 2 and 4 pixels."""

VISIBLE = 0.05
"""Above this alpha a pixel may be hair or a shadow of the object, where no negative point belongs."""

_CANDIDATES = 20_000


def mask_to_prompt(
    mask: NDArray[Any],
    *,
    points: int = 3,
    negatives: int = 0,
    box: bool = True,
    mask_input: bool = True,
    threshold: float = 0.5,
    img_size: int = 1024,
) -> Prompt:
    """Turn any mask or matte into points, a box and a mask input.

    The first point is the innermost pixel of the object (the one nearest its centroid among those as deep), the
    others lie as far apart as its interior allows. The first negative point is the one nearest the centroid: in
    a hole or a bay, where there is one.

    Args:
        mask: (H, W), the size of the photo: bool; integers of 0 and 1; uint8 up to 255; or float in [0, 1].
        points: positive points, at most; a small object has room for fewer.
        negatives: points just outside the object, at most.
        box: whether the prompt has the tightest box.
        mask_input: whether the prompt has logits of the whole mask, soft values included.
        threshold: the object is where the mask is above it.
        img_size: side of the model's padded frame, `predictor.model.image_encoder.img_size`.

    Returns:
        The prompt, in pixels of the original frame.

    Raises:
        PromptError: another shape, dtype or range, an empty mask, or a prompt of nothing.
    """
    alpha = _as_alpha(mask)
    for name, count in (("points", points), ("negatives", negatives)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise PromptError(f"{name}: expected an integer >= 0, got {count!r}")
    if not (points or negatives or box or mask_input):
        raise PromptError("prompt: expected points, negatives, box or mask_input, got none of them")
    if not 0 <= threshold < 1:
        raise PromptError(f"threshold: expected a number in [0, 1), got {threshold!r}")
    whole = alpha > threshold
    if not whole.any():
        raise PromptError(f"mask: expected a pixel above {threshold:g}, got none: there is no object in it")
    inside = interior_points(whole, points)
    outside = points_outside(whole, alpha > min(VISIBLE, threshold), negatives)
    coords = np.concatenate([inside, outside])
    labels = np.repeat(np.array([1, 0], dtype=np.int32), [len(inside), len(outside)])
    return Prompt(
        point_coords=coords if len(coords) else None,
        point_labels=labels if len(coords) else None,
        box=box_from_alpha(alpha, threshold) if box else None,
        mask_input=mask_input_from_mask(alpha, img_size) if mask_input else None,
    )


def interior_points(mask: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
    """Farthest-apart pixels of a mask's interior.

    Args:
        mask: (H, W) bool with at least one pixel.
        count: at most so many.

    Returns:
        (N, 2) float32 xy, the innermost first, N <= count.
    """
    depth = depth_in(mask)  # (H, W), pixels to the nearest background or to the image's border
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    deepest = np.zeros(len(stats), dtype=np.float32)
    np.maximum.at(deepest, np.asarray(parts, dtype=np.intp).ravel(), depth.ravel())
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    deepest[areas < SMALLEST_PART * areas.max()] = np.inf
    interior = mask & (depth >= INTERIOR_DEPTH * deepest[parts])
    return _spread(interior, _nearest_to_centroid(mask, depth > depth.max() - 0.5), count)


def points_outside(mask: NDArray[np.bool_], visible: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
    """Farthest-apart pixels just outside an object.

    Args:
        mask: (H, W) bool, the object.
        visible: (H, W) bool, what may belong to it; no point lies there.
        count: at most so many.

    Returns:
        (N, 2) float32 xy, the nearest to the object's centroid first; none where the object leaves no room.
    """
    left, top, right, bottom = box_from_alpha(mask, 0.5)
    side = max(right - left, bottom - top) + 1
    distance = cv2.distanceTransform((~(visible | mask)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near, far = max(2.0, OUTSIDE_NEAR * side), max(4.0, OUTSIDE_FAR * side)
    band = (distance >= near) & (distance <= far)
    if count < 1 or not band.any():
        return np.zeros((0, 2), dtype=np.float32)
    return _spread(band, _nearest_to_centroid(mask, band), count)


def _as_alpha(mask: NDArray[Any]) -> NDArray[np.float32]:
    """Any mask as (H, W) float32 in [0, 1]."""
    array = np.asarray(mask)
    if array.ndim != 2 or not array.size:
        raise PromptError(f"mask: expected shape (H, W), got {array.shape}")
    if array.dtype == bool:
        return array.astype(np.float32)
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.integer):
        if low >= 0 and high <= 1:
            return array.astype(np.float32)
        if array.dtype == np.uint8:
            return array.astype(np.float32) / np.float32(255)
        raise PromptError(f"mask: expected integers of 0 and 1, or uint8, got {array.dtype} in [{low}, {high}]")
    if not np.issubdtype(array.dtype, np.floating):
        raise PromptError(f"mask: expected bool, integers or float, got {array.dtype}")
    if not (np.isfinite(low) and np.isfinite(high) and low >= 0 and high <= 1):
        raise PromptError(f"mask: expected finite values in [0, 1], got [{low:g}, {high:g}]; logits need a sigmoid")
    return array.astype(np.float32)


def _nearest_to_centroid(mask: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(2,) float32 xy of the candidate pixel nearest the centroid of a mask."""
    centre = np.argwhere(mask).mean(axis=0)
    pixels = np.argwhere(candidates)
    nearest = pixels[np.argmin(((pixels - centre) ** 2).sum(axis=1))]
    return nearest[::-1].astype(np.float32)


def _spread(candidates: NDArray[np.bool_], first: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Farthest-point order over candidate pixels, from a given one on -> (N, 2) float32 xy, N <= count."""
    pixels = thinned(candidates, _CANDIDATES)
    return farthest_apart(pixels, first.astype(np.float64), count)[:count].astype(np.float32)
