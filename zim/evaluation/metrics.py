"""Matte errors of the MicroMat protocol: computed per instance, then averaged over instances.

Every function takes `prediction` and `truth`, alphas (H, W) in [0, 1], and an optional boolean `region` (H,
W). Without a region the whole image counts; with one, means are taken over the region and sums within it.
Gradients and connectivity are always computed on the whole image and only then restricted, so that a region
has no artificial edges.

Scales follow the published tables: SAD and Conn are sums / 1000, MSE, MAE and Grad are means x 1000.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.evaluation.validation import as_alpha_pair, as_region

FloatMap = NDArray[np.float32]

CONNECTIVITY_STEPS = 10
CONNECTIVITY_TOLERANCE = 0.15
_SOBEL_EPSILON = 1e-8


class MatteErrors(NamedTuple):
    """The five errors of one matte; lower is better."""

    sad: float
    mse: float
    mae: float
    grad: float
    conn: float


@dataclass(frozen=True, kw_only=True)
class ErrorMaps:
    """Per-pixel errors of one matte, so that several regions can be summed up without computing them again.

    Each map is (H, W) float32 and non-negative: `absolute` = |p - t|, `gradient` = difference of Sobel
    magnitudes, `connectivity` = difference of connectivity degrees.
    """

    absolute: FloatMap
    gradient: FloatMap
    connectivity: FloatMap

    def errors(self, region: NDArray[np.bool_] | None = None) -> MatteErrors:
        """Sum the maps up over `region`, boolean (H, W), or over the whole image.

        Raises:
            ValueError: the region has another shape or dtype, or selects no pixel.
        """
        chosen = as_region(region, self.absolute.shape)
        absolute = _select(self.absolute, chosen)
        return MatteErrors(
            sad=float(absolute.sum() / 1000),
            mse=float(np.square(absolute).mean() * 1000),
            mae=float(absolute.mean() * 1000),
            grad=float(_select(self.gradient, chosen).mean() * 1000),
            conn=float(_select(self.connectivity, chosen).sum() / 1000),
        )


def error_maps(prediction: NDArray, truth: NDArray) -> ErrorMaps:
    """Compute the three error maps of a matte.

    Raises:
        ValueError: shapes differ, an array is not 2-D and floating, or values are not finite and in [0, 1].
    """
    p, t = as_alpha_pair(prediction, truth)
    return ErrorMaps(
        absolute=np.abs(p - t),
        gradient=np.abs(sobel_magnitude(p) - sobel_magnitude(t)),
        connectivity=connectivity_difference(p, t),
    )


def matte_errors(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> MatteErrors:
    """All five errors of one matte at once; see the module's docstring for units."""
    return error_maps(prediction, truth).errors(region)


def sad(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> float:
    """Sum of absolute differences / 1000."""
    return float(_absolute(prediction, truth, region).sum() / 1000)


def mse(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> float:
    """Mean squared difference x 1000."""
    return float(np.square(_absolute(prediction, truth, region)).mean() * 1000)


def mae(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> float:
    """Mean absolute difference x 1000."""
    return float(_absolute(prediction, truth, region).mean() * 1000)


def grad(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> float:
    """Mean absolute difference of Sobel magnitudes x 1000."""
    p, t = as_alpha_pair(prediction, truth)
    difference = np.abs(sobel_magnitude(p) - sobel_magnitude(t))
    return float(_select(difference, as_region(region, p.shape)).mean() * 1000)


def conn(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None = None) -> float:
    """Sum of differences of connectivity degrees / 1000."""
    p, t = as_alpha_pair(prediction, truth)
    return float(_select(connectivity_difference(p, t), as_region(region, p.shape)).sum() / 1000)


def sobel_magnitude(alpha: FloatMap) -> FloatMap:
    """sqrt(gx^2 + gy^2 + 1e-8) with the unnormalised 3x3 Sobel kernels and one pixel of zero padding.

    Zero padding makes an object that touches the image border have an edge there, in truth and prediction
    alike.
    """
    gx = cv2.Sobel(alpha, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.Sobel(alpha, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_CONSTANT)
    return np.sqrt(gx * gx + gy * gy + np.float32(_SOBEL_EPSILON))


def connectivity_difference(prediction: FloatMap, truth: FloatMap) -> FloatMap:
    """|phi(prediction) - phi(truth)| of Rhemann et al. (CVPR 2009), threshold step 0.1.

    A pixel's level l is the last threshold before it falls out of the largest 4-connected component of the
    intersection {prediction >= threshold} and {truth >= threshold}; d = alpha - l; phi = 1 - d * [d >= 0.15].
    """
    shared = np.minimum(prediction, truth)  # both >= threshold exactly where their minimum is
    level = np.ones_like(shared)
    undecided = np.ones(shared.shape, dtype=bool)
    for step in range(1, CONNECTIVITY_STEPS + 1):
        component = _largest_component(shared >= np.float32(step / CONNECTIVITY_STEPS))
        level[undecided & ~component] = (step - 1) / CONNECTIVITY_STEPS
        undecided &= component
    return np.abs(_connectivity_degree(prediction - level) - _connectivity_degree(truth - level))


def unknown_band(alpha: NDArray, radius: int = 10) -> NDArray[np.bool_]:
    """The region in which a matte is hard: 0.02 < alpha < 0.98, dilated by a disc of `radius` pixels.

    A truth without soft pixels has the dilated edge of alpha > 0.5 instead (the pixels on both sides of it).
    A truth without any edge has an empty band.

    Returns:
        Boolean (H, W).

    Raises:
        ValueError: `alpha` is not a finite (H, W) array in [0, 1], or `radius` is negative.
    """
    truth, _ = as_alpha_pair(alpha, alpha)
    if radius < 0:
        raise ValueError(f"radius: expected a number of pixels >= 0, got {radius}")
    core = (truth > 0.02) & (truth < 0.98)
    if not core.any():
        core = _edge(truth > 0.5)
    if not core.any():
        return core
    distance = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= radius + 1e-3


def _absolute(prediction: NDArray, truth: NDArray, region: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    p, t = as_alpha_pair(prediction, truth)
    return _select(np.abs(p - t), as_region(region, p.shape))


def _select(values: FloatMap, region: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """The chosen pixels as float64, so that sums over millions of them stay exact."""
    return (values if region is None else values[region]).astype(np.float64)


def _connectivity_degree(distance: FloatMap) -> FloatMap:
    return 1 - distance * (distance >= np.float32(CONNECTIVITY_TOLERANCE))


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected component of a mask; all False when the mask is empty."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return np.zeros_like(mask)
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour on the other side of the mask's boundary."""
    edge = np.zeros_like(mask)
    across_rows = mask[1:] != mask[:-1]
    across_columns = mask[:, 1:] != mask[:, :-1]
    edge[1:] |= across_rows
    edge[:-1] |= across_rows
    edge[:, 1:] |= across_columns
    edge[:, :-1] |= across_columns
    return edge
