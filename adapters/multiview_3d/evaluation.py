"""How good a multi-view segmentation is: overlap and alpha errors per view, and overlap in 3-D."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.evaluation.boundary import boundary_iou, mask_iou
from zim.evaluation.metrics import mse, sad

BOUNDARY_RATIO = 0.005
"""Width of the boundary band, as a share of the picture's diagonal; thin parts would be all band with 0.02."""


def view_scores(alpha: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """One view's figures.

    Args:
        alpha: (H, W) float32 in [0, 1].
        truth: the same, the true alpha, or a mask of 0 and 1.

    Returns:
        iou, accuracy and boundary_iou of alpha > 0.5 (in percent the readers multiply), sad in 1000 pixels, mse x 1000.

    Raises:
        ValueError: shapes or ranges do not fit.
    """
    masks = alpha > 0.5, truth > 0.5
    return {
        "iou": mask_iou(*masks),
        "accuracy": float((masks[0] == masks[1]).mean()),
        "boundary_iou": boundary_iou(*masks, dilation_ratio=BOUNDARY_RATIO),
        "sad": sad(alpha, truth),
        "mse": mse(alpha, truth),
    }


def point_scores(
    chosen: NDArray[np.bool_], truth: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> dict[str, float]:
    """Overlap in 3-D, over the points that some view sees; points spread evenly stand for equal areas.

    Returns:
        iou_3d, and leakage: background points taken for the object, as a share of the object's points.

    Raises:
        DataError: no point of the object is seen.
    """
    object_points = int((truth & seen).sum())
    if not object_points:
        raise DataError("points: no view sees the object")
    union = int(((chosen | truth) & seen).sum())
    return {
        "iou_3d": int((chosen & truth & seen).sum()) / union,
        "leakage": int((chosen & ~truth & seen).sum()) / object_points,
    }


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over views.

    Raises:
        DataError: no view.
    """
    if not scores:
        raise DataError("evaluation: expected at least one view with a true mask, got none")
    return {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
