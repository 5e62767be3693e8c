"""The classic error family of alphamatting.com, measured inside the unknown region of a trimap.

Every function takes `prediction` and `truth`, alphas (H, W) in [0, 1], and `trimap` (H, W) with 0 background,
0.5 unknown and 1 foreground. The names carry the prefix `classic_`: the gradient error in particular is
another quantity than `zim.evaluation.metrics.grad`, and MSE has another scale.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.evaluation.metrics import connectivity_difference
from zim.evaluation.validation import as_alpha_pair, unknown_of_trimap

GRADIENT_SIGMA = 1.4
_KERNEL_CUTOFF = 1e-2  # the kernel ends where the Gaussian falls below this density


def classic_sad(prediction: NDArray, truth: NDArray, trimap: NDArray) -> float:
    """Sum of absolute differences in the unknown region / 1000."""
    p, t = as_alpha_pair(prediction, truth)
    unknown = unknown_of_trimap(trimap, p.shape)
    return float(np.abs(p - t)[unknown].sum(dtype=np.float64) / 1000)


def classic_mse(prediction: NDArray, truth: NDArray, trimap: NDArray) -> float:
    """Mean squared difference over the unknown region (not scaled)."""
    p, t = as_alpha_pair(prediction, truth)
    unknown = unknown_of_trimap(trimap, p.shape)
    return float(np.square(p - t)[unknown].mean(dtype=np.float64))


def classic_grad(prediction: NDArray, truth: NDArray, trimap: NDArray) -> float:
    """Sum of squared differences of Gaussian-derivative magnitudes (sigma 1.4) in the unknown region / 1000.

    The alphas are taken as they are: there is no stretching to the full range before differentiation.
    """
    p, t = as_alpha_pair(prediction, truth)
    unknown = unknown_of_trimap(trimap, p.shape)
    difference = gaussian_gradient_magnitude(p) - gaussian_gradient_magnitude(t)
    return float(np.square(difference)[unknown].sum(dtype=np.float64) / 1000)


def classic_conn(prediction: NDArray, truth: NDArray, trimap: NDArray) -> float:
    """Sum of differences of connectivity degrees in the unknown region / 1000."""
    p, t = as_alpha_pair(prediction, truth)
    unknown = unknown_of_trimap(trimap, p.shape)
    return float(connectivity_difference(p, t)[unknown].sum(dtype=np.float64) / 1000)


def gaussian_gradient_magnitude(
    alpha: NDArray[np.float32], sigma: float = GRADIENT_SIGMA
) -> NDArray[np.float32]:
    """Magnitude of the Gaussian derivatives, kernels of unit L2 norm, borders replicated: (H, W) float32."""
    half = int(np.ceil(sigma * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * sigma * _KERNEL_CUTOFF))))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    derive = -x / sigma**2 * smooth
    # The 2-D kernel is the outer product, so its L2 norm is the product of the two norms.
    smooth /= np.linalg.norm(smooth)
    derive /= np.linalg.norm(derive)
    gx = cv2.sepFilter2D(alpha, cv2.CV_32F, derive, smooth, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, derive, borderType=cv2.BORDER_REPLICATE)
    return np.sqrt(gx * gx + gy * gy)
