"""From a soft alpha to what is painted anew: a binary mask for the inpainting model, a soft weight for the seam.

Inpainting models take binary masks only. So the mask is alpha > threshold, dilated as far as the matte's own edge needs
it, and softness comes back when the painted picture is laid over the photo.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.foreground import check_alpha

THRESHOLD = 0.1
"""Above this alpha a pixel shows the object. Inpainting models look at every pixel outside their mask, so a faint hair
that is left there is painted on."""

HARD_SHARE, HARD_LEAST = 0.015, 3
"""Dilation of a mask with hard edges, which does not say how far its object really fades: a share of the object's scale
(square root of its area), at least so many pixels."""

TAIL = 2.0
"""A fading edge goes on for about this many times the distance at which it would end if it kept its slope."""

LARGEST_DILATION = 24
HARD_EDGE = 0.1
"""An edge counts as hard when fewer than this share of its pixels are neither 0 nor 1."""


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """How much of a photo is painted anew.

    threshold: in [0, 1); the mask is alpha above it. dilation: pixels that the mask grows (Euclidean); None asks
    `automatic_dilation`. kernel: side of a square that the mask is dilated with instead, as Inpaint-Anything does.
    feather: pixels of cross-fade outside the mask; None takes 3, more for photos above 1024 pixels. shadows: grow along
    soft shadows too.
    """

    threshold: float = THRESHOLD
    dilation: float | None = None
    kernel: int | None = None
    feather: float | None = None
    shadows: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold: expected a number in [0, 1), got {self.threshold!r}")
        for name, value, high in (("dilation", self.dilation, 1e4), ("feather", self.feather, 1e3)):
            if value is not None and not 0 <= value <= high:
                raise ConfigError(f"{name}: expected pixels between 0 and {high:g}, or None, got {value!r}")
        if self.kernel is not None and not 1 <= self.kernel <= 10_000:
            raise ConfigError(f"kernel: expected a side between 1 and 10000 pixels, or None, got {self.kernel!r}")
        if self.kernel is not None and self.dilation is not None:
            raise ConfigError("dilation and kernel: expected one of them, got both")


class PaintedRegion(NamedTuple):
    """core: (H, W) bool, replaced altogether. mask: (H, W) bool, core and seam: what the inpainting model paints.
    weight: (H, W) float32 in [0, 1]: share of the painted picture, 1 in the core, 0 outside the mask."""

    core: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    weight: NDArray[np.float32]


def core_mask(alpha: NDArray[np.floating], settings: MaskSettings) -> NDArray[np.bool_]:
    """Every pixel that shows some of the object: alpha > threshold, dilated.

    Args:
        alpha: (H, W) float in [0, 1].
        settings: see there.

    Returns:
        (H, W) bool; empty when no alpha is above the threshold.

    Raises:
        ImageError: alpha has a wrong shape, dtype or range.
    """
    check_alpha(alpha)
    seen = alpha > settings.threshold
    if settings.kernel is not None:
        return square_dilated(seen, settings.kernel)
    dilation = settings.dilation
    return grown(seen, automatic_dilation(alpha, settings.threshold) if dilation is None else dilation)


def with_seam(core: NDArray[np.bool_], feather: float | None = None) -> PaintedRegion:
    """A core with a cross-fade of `feather` pixels around it."""
    width = default_feather((core.shape[0], core.shape[1])) if feather is None else feather
    distance = distance_to(core)
    share = np.clip(1 - distance / (width + 1), 0, 1)
    weight = np.where(distance <= width, share * share * (3 - 2 * share), 0).astype(np.float32)
    weight[core] = 1
    return PaintedRegion(core, weight > 0, weight)


def default_feather(hw: tuple[int, int]) -> float:
    """3 pixels; in photos above 1024 pixels as much more as they are larger."""
    return 3.0 * max(1.0, max(hw) / 1024)


def automatic_dilation(alpha: NDArray[np.floating], threshold: float = THRESHOLD) -> int:
    """How far the object goes on, in pixels, where alpha has fallen to the threshold.

    A matte's own slope says it: where alpha is at the threshold and falls by g a pixel, it reaches 0 after
    threshold / g pixels; the tails of real edges are about TAIL times as long. The median along the edge counts,
    because a haze of doubt is no edge. A mask with hard edges has no slope to ask and gets a share of the object's
    scale.

    Args:
        alpha: (H, W) float in [0, 1].
        threshold: in [0, 1).

    Returns:
        Pixels, from 0 to LARGEST_DILATION; 0 when nothing or everything is above the threshold.
    """
    seen = alpha > threshold
    if not seen.any() or seen.all():
        return 0
    edge = seen & (cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    near = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    soft = near & (alpha > 0.02) & (alpha < 0.98)
    if np.count_nonzero(soft) < HARD_EDGE * np.count_nonzero(near):
        scale = float(np.sqrt(np.count_nonzero(alpha > 0.5)))
        return min(max(HARD_LEAST, round(HARD_SHARE * scale)), LARGEST_DILATION)
    levels = alpha.astype(np.float32)
    gx = cv2.Sobel(levels, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Sobel(levels, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    reach = max(threshold, 0.01) / np.maximum(np.hypot(gx, gy)[edge], 1e-3)
    return int(min(np.ceil(TAIL * np.median(reach)), LARGEST_DILATION))


def grown(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Pixels that lie at most so far (Euclidean) from a mask."""
    return distance_to(mask) <= pixels + 1e-3


def square_dilated(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """A mask dilated once with a square of `side` x `side` pixels."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) Euclidean distances in pixels to the nearest pixel of a mask, 0 inside; infinite when it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    outside = (~mask).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
