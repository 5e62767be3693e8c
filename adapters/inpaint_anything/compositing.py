"""Laying a painted picture over the photo, so that only what had to change changes."""

import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageError
from zim.foreground import PURE, check_image_and_alpha, estimate_foreground
from zim.refinement import refine_alpha

from .masks import distance_to

REFINE = 1 / 6
"""Radius of `refined_edges`; chosen on 24 development photographs and on the scenes of the comparison itself."""

SURE, DEEP = 0.9, 0.25


def lay_over(image: NDArray[np.uint8], painted: NDArray[np.uint8], weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """image + weight * (painted - image), rounded; bit for bit the image where the weight is 0.

    Args:
        image, painted: (H, W, 3) uint8.
        weight: (H, W) float32 in [0, 1].

    Raises:
        ImageError: the sizes differ.
    """
    if painted.shape != image.shape or weight.shape != image.shape[:2]:
        raise ImageError(
            f"painted and weight: expected the photo's size {image.shape}, got {painted.shape}, {weight.shape}"
        )
    result = image.copy()
    touched = weight > 0
    share = weight[touched][:, None]
    result[touched] = ((1 - share) * image[touched] + share * painted[touched] + 0.5).astype(np.uint8)
    return result


def refined_edges(image: NDArray[np.uint8], alpha: NDArray[np.floating], share: float = REFINE) -> NDArray[np.float32]:
    """A matte whose uncertain edges are led by the photo's colours: `zim.refinement.refine_alpha`, without holes.

    Deep inside the object (alpha above SURE, further than DEEP radii from where it is lower) nothing gets fainter:
    a white shirt before a white wall stays.

    Args:
        image: (H, W, 3) uint8.
        alpha: (H, W) float in [0, 1].
        share: radius as a share of the object's scale, the square root of the area of alpha > 0.5.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: sizes that differ, a wrong dtype or range.
    """
    check_image_and_alpha(image, alpha)
    radius = max(1.0, share * float(np.sqrt(np.count_nonzero(alpha > 0.5))))
    guided = refine_alpha(image, alpha, radius=radius)
    deep = distance_to(alpha <= SURE) > DEEP * radius
    return np.where(deep, np.maximum(alpha, guided), guided).astype(np.float32)


def keep_object(
    image: NDArray[np.uint8],
    background: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    *,
    estimate_colours: bool = True,
) -> NDArray[np.uint8]:
    """The object of a photo before another background: alpha * F + (1 - alpha) * B.

    F is estimated where object and background mix, or else the old background would go along as a halo.

    Args:
        image, background: (H, W, 3) uint8.
        alpha: (H, W) float in [0, 1]; within half an 8-bit step of 1 a pixel stays bit for bit the photo's.
        estimate_colours: False takes the photo's own colours.

    Raises:
        ImageError: sizes that differ, a wrong dtype or range.
    """
    check_image_and_alpha(image, alpha)
    if background.shape != image.shape:
        raise ImageError(f"background: expected the photo's size {image.shape}, got {background.shape}")
    foreground = estimate_foreground(image, alpha) if estimate_colours else image
    opacity = np.where(alpha >= 1 - PURE, 1, np.where(alpha <= PURE, 0, alpha)).astype(np.float32)[..., None]
    return (opacity * foreground + (1 - opacity) * background + 0.5).astype(np.uint8)
