"""All the numbers of one matte: whole image, unknown band, overlap at 0.5."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zim.evaluation.boundary import boundary_iou, mask_iou
from zim.evaluation.classic_metrics import classic_grad
from zim.evaluation.metrics import MatteErrors, error_maps, unknown_band
from zim.evaluation.validation import as_alpha_pair

ERROR_NAMES = MatteErrors._fields
BAND_NAMES = tuple(f"band_{name}" for name in ERROR_NAMES)
LOWER_IS_BETTER = (*ERROR_NAMES, *BAND_NAMES, "band_classic_grad")
HIGHER_IS_BETTER = ("iou", "boundary_iou")
SCORE_NAMES = (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)


@dataclass(frozen=True)
class Truth:
    """A true alpha, (H, W) float32, with its unknown band, (H, W) bool, computed once for all models."""

    alpha: NDArray[np.float32]
    band: NDArray[np.bool_]

    @classmethod
    def of(cls, alpha: NDArray[np.float32]) -> "Truth":
        return cls(alpha, unknown_band(alpha))


def score(alpha: NDArray, truth: Truth) -> dict[str, float]:
    """Every number in SCORE_NAMES for a predicted alpha, (H, W) in [0, 1].

    `sad, mse, mae, grad, conn` follow the MicroMat protocol on the whole image, `band_*` the same in the
    unknown band; `band_classic_grad` is the alphamatting gradient error there; `iou` and `boundary_iou`
    compare alpha > 0.5. A truth without any edge has no band and no band numbers.

    Raises:
        ValueError: the alpha has not the truth's shape, is not finite or leaves [0, 1].
    """
    prediction, _ = as_alpha_pair(alpha, truth.alpha)
    maps = error_maps(prediction, truth.alpha)
    numbers = maps.errors()._asdict()
    if truth.band.any():
        numbers.update(zip(BAND_NAMES, maps.errors(truth.band), strict=True))
        trimap = np.where(truth.band, 0.5, truth.alpha > 0.5)
        numbers["band_classic_grad"] = classic_grad(prediction, truth.alpha, trimap)
    masks = prediction > 0.5, truth.alpha > 0.5
    numbers["iou"] = mask_iou(*masks)
    numbers["boundary_iou"] = boundary_iou(*masks)
    return numbers
