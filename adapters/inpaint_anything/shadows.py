"""The soft shadow that an object leaves behind when only the object is removed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .masks import distance_to, grown

REACH = 0.6
"""Shadows are looked for up to this share of the object's longer side around it."""

LEAST, DARKEST = 0.05, 0.25
"""A shadow takes away at least the first share of the light and leaves at least the second."""

TINT = 0.12
"""Largest difference between the channels' losses of light (in log units): shadows are nearly grey."""

PATCHY = 0.25
"""Where the light of more than this share of the surroundings is not the plane's, nothing can be said of shadows."""

_SIDE = 384


def along_shadow(image: NDArray[np.uint8], core: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grow a mask along the soft, dark, colourless fall of light that touches it.

    The light without a shadow is estimated from the surroundings beyond REACH: a plane in log light for each channel,
    fitted twice, the second time without outliers. Where the surroundings vary more than a shadow does, nothing is
    found. What reaches the end of the search all along is a dark background, no shadow, and is left alone; so is all
    where nearly as much is brighter than the plane.

    Args:
        image: (H, W, 3) uint8.
        core: (H, W) bool, the object.

    Returns:
        (H, W) bool that contains `core`.
    """
    if not core.any() or core.all():
        return core
    rows, columns = np.flatnonzero(core.any(1)), np.flatnonzero(core.any(0))
    reach = max(8.0, REACH * (max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1))
    margin = int(np.ceil(1.5 * reach))
    window = (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )
    photo, region = image[window], core[window]
    scale = min(1.0, _SIDE / max(region.shape))
    size = max(1, round(region.shape[1] * scale)), max(1, round(region.shape[0] * scale))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    blocked = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.01
    shadow = _shadow(np.asarray(small, np.uint8), blocked, reach * scale)
    if not shadow.any():
        return core
    full = cv2.resize(shadow.astype(np.float32), (region.shape[1], region.shape[0]), interpolation=cv2.INTER_LINEAR)
    result = core.copy()
    result[window] |= full > 0.25
    return result


def _shadow(photo: NDArray[np.uint8], blocked: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """The same on a small window; (h, w) bool, without the object."""
    distance = distance_to(blocked)
    clean = distance > reach
    nothing = np.zeros_like(blocked)
    if np.count_nonzero(clean) < 64:
        return nothing
    loss = _lost_light(_smoothed(photo, ~blocked), clean)  # (h, w, 3) log units, positive is darker
    mean, tint = loss.mean(2), np.ptp(loss, axis=2)
    noise = 1.4826 * float(np.median(np.abs(mean[clean])))
    least, most = max(-np.log(1 - LEAST), 2.5 * noise), -np.log(DARKEST)
    if np.mean(np.abs(mean[clean]) > least) > PATCHY:
        return nothing
    candidates = (mean > least) & (mean < most) & (tint < TINT + 0.25 * mean) & (distance <= reach) & ~blocked
    _, labels = cv2.connectedComponents((candidates | blocked).astype(np.uint8), connectivity=8)
    touching = np.isin(labels, np.unique(labels[blocked])) & candidates
    brighter = (mean < -least) & (distance <= reach) & ~blocked
    if np.count_nonzero(brighter) > 0.5 * np.count_nonzero(touching):
        return nothing
    end = (distance > reach - 2) & (distance <= reach)
    if np.count_nonzero(touching & end) > 0.25 * np.count_nonzero(end):
        return nothing
    opened = cv2.morphologyEx((touching | blocked).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return grown(opened & touching, 5) & ~blocked if (opened & touching).any() else nothing


def _smoothed(photo: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(h, w, 3) log light, averaged over valid neighbours only, so that the object does not bleed into its rim."""
    weight = valid.astype(np.float32)
    light = np.log(photo.astype(np.float32) + 4) * weight[..., None]
    total = cv2.GaussianBlur(light, (0, 0), 1.5)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), 1.5), 1e-4)
    return np.asarray(total / share[..., None], np.float32)


def _lost_light(light: NDArray[np.float32], clean: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How much darker than a plane through the clean pixels, per channel."""
    height, width = clean.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / max(height, width)
    basis = np.stack([np.ones_like(x), x, y], -1)  # (h, w, 3)
    expected = np.empty(light.shape, np.float64)
    for channel in range(3):
        chosen = clean
        for _ in range(2):
            weights = np.linalg.lstsq(basis[chosen], light[..., channel][chosen].astype(np.float64), rcond=None)[0]
            expected[..., channel] = basis @ weights
            error = np.abs(light[..., channel] - expected[..., channel])
            chosen = clean & (error <= 2 * np.median(error[clean]) + 1e-6)
    return np.asarray(expected - light, np.float32)
