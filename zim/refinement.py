"""Two ways to a better alpha without training: ask the mirror image too, and let the photo guide the edges.

Both are off unless called: `predict_alpha_flipped` costs a second image embedding and decoder run, `refine_alpha`
a few box filters.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.alpha import predict_alpha
from zim.errors import ConfigError, PromptError
from zim.foreground import check_image_and_alpha
from zim.image_conversion import to_rgb
from zim.protocol import Predictor
from zim.transforms import ResizeLongestSide

RADIUS_SHARE = 1 / 32
"""Default radius of `refine_alpha` as a share of the photo's long side (32 pixels of 1024)."""

EPSILON = 1e-4
"""Default regularisation for colours in [0, 1]: edges of more than 0.01 are followed."""

UNCERTAIN = (0.02, 0.98)
"""Alphas between these may change in `refine_alpha`."""

SUBSAMPLED_RADIUS = 4
"""`refine_alpha` shrinks the photo until the radius is about this many pixels: the fast guided filter."""


def predict_alpha_flipped(predictor: Predictor, image: Any, **prompts: Any) -> NDArray[np.float32]:
    """The mean of the alphas of an image and of its mirror image, each asked with its own prompt.

    Args:
        predictor: one that answers `zim.predict_alpha`; afterwards its image is `image`, also after an error.
        image: (H, W, 3) uint8 RGB, or what `zim.image_conversion` states.
        prompts: keyword arguments of `predictor.predict`. `point_coords` (N, 2), `box` (4,) or (1, 4) and
            `mask_input` (..., m, m) are mirrored, all others are passed on as they are.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        PromptError: `multimask_output`: the mirror image might prefer another of its three answers.
    """
    if prompts.get("multimask_output"):
        raise PromptError("multimask_output: expected one answer, got True: the mirror image may prefer another one")
    prompts = {name: value for name, value in prompts.items() if name != "multimask_output"}
    rgb = to_rgb(image)
    mirrored = mirror_prompts(prompts, (rgb.shape[0], rgb.shape[1]), _input_side(predictor))
    try:
        predictor.set_image(np.ascontiguousarray(rgb[:, ::-1]))
        other = predict_alpha(predictor, **mirrored)[:, ::-1]
    finally:
        predictor.set_image(rgb)
    return (predict_alpha(predictor, **prompts) + other) / np.float32(2)


def mirror_prompts(prompts: dict[str, Any], hw: tuple[int, int], img_size: int = 1024) -> dict[str, Any]:
    """The same prompts for the image mirrored left to right; pixel x becomes pixel W - 1 - x.

    Args:
        prompts: as in `predict_alpha_flipped`; those that are None are left out.
        hw: (H, W) of the image.
        img_size: side of the model's padded frame, which `mask_input` covers.
    """
    last = hw[1] - 1
    mirrored = {name: value for name, value in prompts.items() if value is not None}
    if "point_coords" in mirrored:
        coords = np.array(mirrored["point_coords"], dtype=np.float64)
        coords[..., 0] = last - coords[..., 0]
        mirrored["point_coords"] = coords
    if "box" in mirrored:
        x1, y1, x2, y2 = np.moveaxis(np.asarray(mirrored["box"], dtype=np.float64), -1, 0)
        mirrored["box"] = np.stack([last - x2, y1, last - x1, y2], axis=-1)
    if "mask_input" in mirrored:
        width = ResizeLongestSide.get_preprocess_shape(*hw, img_size)[1]
        mirrored["mask_input"] = _mirror_logits(np.asarray(mirrored["mask_input"]), width / img_size)
    return mirrored


def _mirror_logits(logits: NDArray[Any], share: float) -> NDArray[Any]:
    """Mirror the left `share` of the columns of (..., m, m), where the image is; the padding stays.

    An image that ends within a column is mirrored between columns: linear interpolation.
    """
    width = share * logits.shape[-1]
    columns = int(np.ceil(width - 1e-6))
    source = np.clip(width - 1 - np.arange(columns), 0, columns - 1)
    before = np.floor(source).astype(int)
    after = np.minimum(before + 1, columns - 1)
    part = (source - before).astype(logits.dtype)
    mirrored = logits.copy()
    mirrored[..., :columns] = logits[..., before] * (1 - part) + logits[..., after] * part
    return mirrored


def _input_side(predictor: Any) -> int:
    return int(getattr(getattr(predictor, "transform", None), "target_length", 1024))


def refine_alpha(
    image: NDArray[Any],
    alpha: NDArray[Any],
    *,
    radius: float | None = None,
    epsilon: float = EPSILON,
    uncertain: tuple[float, float] = UNCERTAIN,
) -> NDArray[np.float32]:
    """Let the photo's colours guide an alpha where it is uncertain; elsewhere it stays exactly as it is.

    Args:
        image: (H, W, 3) RGB, uint8 or float in [0, 1].
        alpha: (H, W) float in [0, 1].
        radius: in pixels; None takes 1/32 of the long side.
        epsilon: how much colour difference is noise, as in `guided_filter`.
        uncertain: alphas above the first and below the second may change.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: shapes that do not fit, a wrong dtype or range.
        ConfigError: an impossible radius, epsilon or range.
    """
    check_image_and_alpha(image, alpha)
    low, high = uncertain
    if not 0 <= low < high <= 1:
        raise ConfigError(f"uncertain: expected 0 <= low < high <= 1, got {uncertain!r}")
    pixels = max(alpha.shape) * RADIUS_SHARE if radius is None else radius
    pixels = max(1, round(_positive(pixels, "radius")))
    subsample = max(1, pixels // SUBSAMPLED_RADIUS)
    guided = guided_filter(image, alpha, radius=pixels, epsilon=epsilon, subsample=subsample)
    return np.where((alpha > low) & (alpha < high), guided, alpha).astype(np.float32)


def guided_filter(
    image: NDArray[Any], alpha: NDArray[Any], *, radius: int, epsilon: float, subsample: int = 1
) -> NDArray[np.float32]:
    """The guided filter: in each window the result is the linear function of the colours nearest to alpha.

    He, Sun & Tang, "Guided Image Filtering" (TPAMI 2013), equations 19 to 21, with a colour guide; `subsample`
    above 1 is He & Sun, "Fast Guided Filter" (arXiv 1505.00996): coefficients from a smaller picture. In a
    window of (2 radius + 1)^2 pixels, cut off at the border,

        a = (cov(I) + epsilon U)^-1 cov(I, alpha),   b = mean(alpha) - a . mean(I)

    and each pixel takes the mean of a and b over the windows that contain it.

    Args:
        image: (H, W, 3) RGB, uint8 or float in [0, 1].
        alpha: (H, W) float in [0, 1].
        radius: of the windows, in pixels, at least 1.
        epsilon: above 0, for colours in [0, 1]: windows of less variance are smoothed.
        subsample: how many times smaller the picture is from which a and b are computed.

    Returns:
        (H, W) float32, cut to [0, 1].

    Raises:
        ImageError: shapes that do not fit, a wrong dtype or range.
        ConfigError: an impossible radius, epsilon or subsample.
    """
    check_image_and_alpha(image, alpha)
    for name, value in (("radius", radius), ("subsample", subsample)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ConfigError(f"{name}: expected an integer >= 1, got {value!r}")
    _positive(epsilon, "epsilon")
    guide = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    size_wh = alpha.shape[1], alpha.shape[0]
    small_wh = max(1, round(size_wh[0] / subsample)), max(1, round(size_wh[1] / subsample))
    small = cv2.resize(np.dstack([guide, alpha.astype(np.float32)]), small_wh, interpolation=cv2.INTER_AREA)
    lines = _linear_coefficients(small.astype(np.float64), max(1, round(radius / subsample)), epsilon)
    full = np.asarray(cv2.resize(lines.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR))  # (H, W, 4)
    guided = np.einsum("hwc,hwc->hw", full[..., :3], guide) + full[..., 3]
    return np.clip(guided, 0, 1).astype(np.float32)


def _linear_coefficients(stack: NDArray[np.float64], radius: int, epsilon: float) -> NDArray[np.float64]:
    """(h, w, 4) colours and alpha -> (h, w, 4): a of the three colours, and b, averaged over windows."""
    colours, alpha = stack[..., :3], stack[..., 3:]
    means = _window_mean(stack, radius)
    mean_colours, mean_alpha = means[..., :3], means[..., 3:]
    rows, columns = np.triu_indices(3)
    products = _window_mean(colours[..., rows] * colours[..., columns], radius)  # (h, w, 6)
    covariance = np.empty((*alpha.shape[:2], 3, 3))
    covariance[..., rows, columns] = products - mean_colours[..., rows] * mean_colours[..., columns]
    covariance[..., columns, rows] = covariance[..., rows, columns]
    with_alpha = _window_mean(colours * alpha, radius) - mean_colours * mean_alpha  # (h, w, 3)
    slope = np.linalg.solve(covariance + epsilon * np.eye(3), with_alpha[..., None])[..., 0]  # (h, w, 3)
    offset = mean_alpha - (slope * mean_colours).sum(axis=-1, keepdims=True)
    return _window_mean(np.concatenate([slope, offset], axis=-1), radius)


def _window_mean(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Means of (h, w, C) over windows that are cut off at the border."""
    window = (2 * radius + 1, 2 * radius + 1)
    counts = cv2.boxFilter(np.ones(values.shape[:2]), -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    sums = cv2.boxFilter(values, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums.reshape(values.shape) / counts[..., None], dtype=np.float64)


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < float("inf"):
        raise ConfigError(f"{name}: expected a positive number, got {value!r}")
    return float(value)
