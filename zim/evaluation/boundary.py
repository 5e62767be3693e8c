"""Overlap of masks: intersection over union, of the areas and of the bands along the boundaries."""

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.evaluation.validation import as_mask_pair


def mask_iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two boolean masks (H, W); 1.0 when both are empty.

    Raises:
        ValueError: the masks are not boolean (H, W) arrays of one shape.
    """
    p, t = as_mask_pair(prediction, truth)
    return _iou(p, t)


def boundary_iou(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], *, dilation_ratio: float = 0.02
) -> float:
    """Boundary IoU of two boolean masks (H, W); 1.0 when both are empty.

    Each mask is reduced to its pixels within round(dilation_ratio * image diagonal) pixels of its boundary
    (at least 1; chessboard distance, the outside of the image counts as background), then compared by IoU.

    Source: Cheng et al., "Boundary IoU", CVPR 2021.

    Raises:
        ValueError: the masks are not boolean (H, W) arrays of one shape, or the ratio is not positive.
    """
    p, t = as_mask_pair(prediction, truth)
    if not dilation_ratio > 0:
        raise ValueError(f"dilation_ratio: expected a positive number, got {dilation_ratio}")
    width = max(1, round(dilation_ratio * float(np.hypot(*p.shape))))
    return _iou(inner_boundary(p, width), inner_boundary(t, width))


def inner_boundary(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a mask (H, W) that erosion by a square of 2 * width + 1 pixels removes."""
    square = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (eroded == 0)


def _iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(prediction | truth)
    return 1.0 if union == 0 else np.count_nonzero(prediction & truth) / union
