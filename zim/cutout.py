"""What one does with a matte: trimap, mask, cut-out with the object's own colours, new background.

The module can be called: `zim.cutout(image, alpha)` and `from zim.cutout import trimap_from_alpha` both work,
in whatever order they are used, although the function and its module share a name.
"""

import sys
from types import ModuleType

import cv2
import numpy as np

from zim.compositing import ROWS_AT_ONCE, Background, background_image, blend, checkerboard
from zim.errors import ImageError
from zim.foreground import check_alpha, check_image_and_alpha, describe, estimate_foreground

__all__ = [
    "checkerboard",
    "composite",
    "cutout",
    "estimate_foreground",
    "mask_from_alpha",
    "trimap_from_alpha",
    "trimap_from_uint8",
    "trimap_to_uint8",
]

# Half width of the unknown band, as a share of the object's scale (the square root of its area).
BAND_SHARE = 0.02


def mask_from_alpha(alpha: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Object or not: alpha above the threshold.

    Args:
        alpha: (H, W) float in [0, 1].
        threshold: 0.5 is the same question as logits > 0.

    Returns:
        (H, W) bool.

    Raises:
        ImageError: alpha has a wrong shape, dtype or range.
    """
    check_alpha(alpha)
    return alpha > threshold


def trimap_from_alpha(
    alpha: np.ndarray, low: float = 0.05, high: float = 0.95, band: int | None = None
) -> np.ndarray:
    """Say where a matte is sure of itself.

    Foreground is alpha >= high and background alpha <= low, each eroded by `band` pixels (Euclidean); the
    rest is unknown. So a hard edge gets a band on both sides, and what is thinner than twice the band is
    unknown altogether. The border of the picture does not erode.

    Args:
        alpha: (H, W) float in [0, 1].
        low: the highest alpha that may be background.
        high: the lowest alpha that may be foreground.
        band: pixels; None takes 2% of the object's scale (square root of the area of alpha > 0.5), at least
            one pixel.

    Returns:
        (H, W) float32: 0 background, 0.5 unknown, 1 foreground.

    Raises:
        ImageError: alpha has a wrong shape, dtype or range; thresholds out of order; a negative band.
    """
    check_alpha(alpha)
    if not 0 <= low < high <= 1:
        raise ImageError(f"low and high: expected 0 <= low < high <= 1, got {low} and {high}")
    if band is None:
        band = max(1, round(BAND_SHARE * float(np.sqrt(np.count_nonzero(alpha > 0.5)))))
    if band < 0:
        raise ImageError(f"band: expected pixels >= 0, got {band}")
    trimap = np.full(alpha.shape, 0.5, dtype=np.float32)
    trimap[_eroded(alpha >= high, band)] = 1.0
    trimap[_eroded(alpha <= low, band)] = 0.0
    return trimap


def _eroded(mask: np.ndarray, radius: int) -> np.ndarray:
    """Pixels of a mask that lie further than `radius` from every pixel outside it."""
    if mask.all():
        return mask
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > radius


def trimap_to_uint8(trimap: np.ndarray) -> np.ndarray:
    """For files: 0, 0.5, 1 become 0, 128, 255.

    Raises:
        ImageError: another value, or not (H, W).
    """
    values = np.asarray(trimap)
    if values.ndim != 2 or not np.isin(values, (0.0, 0.5, 1.0)).all():
        raise ImageError(f"trimap: expected (H, W) with values 0, 0.5 and 1, got shape {values.shape}")
    return np.rint(values * 255.0 + 0.1).astype(np.uint8)


def trimap_from_uint8(pixels: np.ndarray) -> np.ndarray:
    """From files: 0 is background, 255 foreground, everything between unknown; (H, W) float32 of 0, 0.5, 1.

    Raises:
        ImageError: not (H, W) uint8.
    """
    values = np.asarray(pixels)
    if values.ndim != 2 or values.dtype != np.uint8:
        raise ImageError(f"pixels: expected (H, W) uint8, got {values.shape} {values.dtype}")
    trimap = np.full(values.shape, 0.5, dtype=np.float32)
    trimap[values == 0] = 0.0
    trimap[values == 255] = 1.0
    return trimap


def cutout(image: np.ndarray, alpha: np.ndarray, *, estimate_colours: bool = True) -> np.ndarray:
    """Cut the object out, without a rim of the old background.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1].
        estimate_colours: False keeps the photo's own colours (the old background shines through soft edges).

    Returns:
        (H, W, 4) uint8 RGBA, straight alpha. Under alpha 0 the estimated colours of the object go on, so that
        resizing the picture draws no dark rim and nothing of the old background stays in the file.

    Raises:
        ImageError: shapes that do not fit, a wrong dtype or range.
    """
    check_image_and_alpha(image, alpha)
    if image.dtype != np.uint8:
        raise ImageError(f"image: expected uint8, got {image.dtype}")
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    if estimate_colours:
        estimate_foreground(image, alpha, out=rgba[..., :3])
    else:
        rgba[..., :3] = image
    for start in range(0, len(alpha), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        rgba[rows, :, 3] = (alpha[rows] * 255.0 + 0.5).astype(np.uint8)
    return rgba


def composite(image: np.ndarray, background: Background, alpha: np.ndarray | None = None) -> np.ndarray:
    """Put an object in front of a new background.

    Args:
        image: (H, W, 4) uint8 RGBA with straight alpha, as `cutout` gives; or, with `alpha`, an (H, W, 3)
            uint8 photo, whose foreground colours are estimated first.
        background: an (r, g, b) colour of 0..255, "checkerboard", or an (h, w, 3) uint8 picture, which is
            resized and cropped to cover the frame.
        alpha: (H, W) float in [0, 1]; only with an RGB image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: RGBA together with alpha, RGB without it, or a wrong shape, dtype or range.
    """
    channels = image.shape[2] if isinstance(image, np.ndarray) and image.ndim == 3 else 0
    if alpha is not None:
        check_image_and_alpha(image, alpha)
        if image.dtype != np.uint8:
            raise ImageError(f"image: expected uint8, got {image.dtype}")
        return blend(estimate_foreground(image, alpha), alpha, background_image(background, alpha.shape))
    if channels != 4 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f"image: expected (H, W, 4) uint8 RGBA where alpha is not given, got {describe(image)}"
        )
    opacity = image[..., 3].astype(np.float32) / 255.0
    return blend(image[..., :3], opacity, background_image(background, opacity.shape))


class _CallableModule(ModuleType):
    """The module as the function of the same name: importing it binds it over the package's export."""

    def __call__(self, image: np.ndarray, alpha: np.ndarray, *, estimate_colours: bool = True) -> np.ndarray:
        return cutout(image, alpha, estimate_colours=estimate_colours)


_CallableModule.__call__.__doc__ = cutout.__doc__
sys.modules[__name__].__class__ = _CallableModule
