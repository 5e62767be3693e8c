"""How well an object was removed or got another background, where the truth is known. Colours are 0 to 255."""

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageError
from zim.evaluation.metrics import grad

from .masks import distance_to

RING = 10
"""Width in pixels of the ring around an object in which removal must have changed nothing."""

HIGHEST_PSNR = 100.0
"""In dB, for equal pictures, so that means stay finite."""

_PEAK = 255.0


def soft_error(result: NDArray[np.uint8], truth: NDArray[np.uint8], alpha: NDArray[np.float32]) -> float:
    """Mean |result - truth| in levels where 0 < alpha < 1: what is left of hairs after removal, halos after
    replacement. NaN when nothing is soft."""
    return _mean_error(result, truth, (alpha > 0) & (alpha < 1))


def ring_error(result: NDArray[np.uint8], truth: NDArray[np.uint8], alpha: NDArray[np.float32]) -> float:
    """Mean |result - truth| in levels in the RING pixels around alpha > 0."""
    distance = distance_to(alpha > 0)
    return _mean_error(result, truth, (distance > 0) & (distance <= RING))


def psnr(result: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of the whole picture in dB, at most HIGHEST_PSNR."""
    error = float(np.square(result.astype(np.float64) - truth).mean())
    return HIGHEST_PSNR if error == 0 else min(HIGHEST_PSNR, 10 * float(np.log10(_PEAK**2 / error)))


def ssim(result: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al., 2004): Gaussian window of sigma 1.5 and 11 x 11 pixels.

    The mean over the channels and over the pixels whose window is inside the picture.

    Raises:
        ImageError: the sizes differ, or a side is below 11 pixels.
    """
    if result.shape != truth.shape or min(result.shape[:2]) < 11:
        raise ImageError(
            f"ssim: expected two pictures of one size, 11 pixels or more, got {result.shape}, {truth.shape}"
        )
    one, other = result.astype(np.float64), truth.astype(np.float64)
    mean_one, mean_other = _window(one), _window(other)
    var_one, var_other = _window(one * one) - mean_one**2, _window(other * other) - mean_other**2
    covariance = _window(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    top = (2 * mean_one * mean_other + c1) * (2 * covariance + c2)
    bottom = (mean_one**2 + mean_other**2 + c1) * (var_one + var_other + c2)
    return float((top / bottom)[5:-5, 5:-5].mean())


def composite_errors(result: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
    """SAD (sum of |difference| in [0, 1] over 1000), MSE and Grad (x 1000), each the mean of the channels."""
    one, other = result.astype(np.float32) / np.float32(255), truth.astype(np.float32) / np.float32(255)
    difference = (one - other).astype(np.float64)
    return {
        "sad": float(np.abs(difference).sum() / 3 / 1000),
        "mse": float(np.square(difference).mean() * 1000),
        "grad": float(np.mean([grad(one[..., c].copy(), other[..., c].copy()) for c in range(3)])),
    }


def _mean_error(result: NDArray[np.uint8], truth: NDArray[np.uint8], region: NDArray[np.bool_]) -> float:
    if not region.any():
        return float("nan")
    return float(np.abs(result.astype(np.float64) - truth)[region].mean())


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT), np.float64)
