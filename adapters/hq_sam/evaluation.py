"""HQ-SAM's measure: mIoU and boundary IoU of the masks that ground-truth boxes give.

Boundary IoU is taken at two widths of the band, 0.02 of the diagonal as is usual, and 0.005, where thin structures
and hairs decide (Ke et al., "Segment Anything in High Quality", section 4). The mean squared error of the soft answers
stands beside them: a head that sharpens masks must not spoil mattes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.evaluation.boundary import boundary_iou, mask_iou
from zim.evaluation.samples import MattingSample, downsize
from zim.prompts import box_from_alpha
from zim.protocol import Predictor

from ..answers import answers_of

WIDE, NARROW = 0.02, 0.005


class HqScores(NamedTuple):
    """iou, boundary_iou, narrow_boundary_iou: overlaps in [0, 1] of the areas, and of the bands of 0.02 and 0.005 of
    the diagonal along the outlines. mse: mean squared error of the alpha, times 1,000.
    """

    iou: float
    boundary_iou: float
    narrow_boundary_iou: float
    mse: float


class HqResult(NamedTuple):
    """The scores of one answer. row: predictor and kind of answer. sample: which photograph. alpha: the answer."""

    row: str
    sample: str
    scores: HqScores
    alpha: NDArray[np.float32]


def hq_scores(alpha: NDArray[np.float32], truth: NDArray[np.float32]) -> HqScores:
    """Compare an answer with the truth, both (H, W) in [0, 1]; the masks are where they are above 0.5.

    Raises:
        ValueError: the shapes differ.
    """
    if alpha.shape != truth.shape:
        raise ValueError(f"alpha: expected the truth's shape {truth.shape}, got {alpha.shape}")
    masks = alpha > 0.5, truth > 0.5
    return HqScores(
        mask_iou(*masks),
        boundary_iou(*masks, dilation_ratio=WIDE),
        boundary_iou(*masks, dilation_ratio=NARROW),
        1000 * float(np.mean((alpha.astype(np.float64) - truth) ** 2)),
    )


def evaluate(
    predictors: Mapping[str, Predictor],
    samples: Iterable[MattingSample],
    *,
    long_side: int | None = None,
    **arguments: Any,
) -> Iterator[HqResult]:
    """Ask every predictor for the object in the ground truth's box; one result for each kind of answer and sample.

    Args:
        predictors: row name -> predictor.
        samples: photographs with masks, or mattes.
        long_side: larger photographs are reduced to this first; None keeps them.
        arguments: further ones of `predict`, for example `hq_token_only=True`.

    Raises:
        DataError: a file cannot be read, or a truth is empty.
    """
    for sample in samples:
        image, truth = downsize(*sample.load(), long_side)
        yield from evaluate_one(predictors, sample.id, image, truth, **arguments)


def evaluate_one(
    predictors: Mapping[str, Predictor],
    sample: str,
    image: NDArray[np.uint8],
    truth: NDArray[np.float32],
    **arguments: Any,
) -> Iterator[HqResult]:
    """As `evaluate`, for one photograph (H, W, 3) and its truth (H, W) in [0, 1].

    Raises:
        DataError: nothing of the truth is above 0.5.
    """
    if not (truth > 0.5).any():
        raise DataError(f"sample {sample}: expected an object in the mask, found none")
    box = box_from_alpha(truth, 0.5)
    for name, predictor in predictors.items():
        predictor.set_image(image)
        for answer in answers_of(name, predictor, box=box, **arguments):
            yield HqResult(answer.row, sample, hq_scores(answer.alpha, truth), answer.alpha)
