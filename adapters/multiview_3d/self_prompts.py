"""Prompts that an object, rendered into a view, makes for itself."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.mask_prompts import VISIBLE, interior_points, mask_to_prompt, points_outside
from zim.prompts import Prompt, box_from_alpha

from .object_fields import Rendering

_FEWEST_PIXELS = 16
_SMALLEST_PART = 0.02


@dataclass(frozen=True, kw_only=True)
class SelfPromptConfig:
    """What a view is asked with.

    box, positives, negatives, mask_input: what the prompt has. rule: "farthest" spreads positives over the object's
    interior; "confidence" is SA3D's: first the surest pixel, then the pixel whose rendered alpha most exceeds what its
    distance from the points so far takes away. box_growth: the box is larger by this share of its sides, so that an
    answer that it cuts off can be told from one that fits.
    """

    box: bool = True
    positives: int = 3
    negatives: int = 0
    mask_input: bool = False
    rule: Literal["farthest", "confidence"] = "farthest"
    box_growth: float = 0.06

    def __post_init__(self) -> None:
        if self.rule not in ("farthest", "confidence"):
            raise ConfigError(f"rule: expected farthest or confidence, got {self.rule!r}")
        if self.positives < 0 or self.negatives < 0:
            raise ConfigError(f"positives, negatives: expected >= 0, got {self.positives}, {self.negatives}")
        if not (self.box or self.positives or self.mask_input):
            raise ConfigError("self-prompt: expected a box, positives or a mask input, got none of them")


def self_prompt(rendered: Rendering, config: SelfPromptConfig) -> Prompt | None:
    """The prompt for an object rendered into a view; None where too little of it is seen."""
    solid = main_parts(rendered.alpha > 0.5)
    if int(solid.sum()) < _FEWEST_PIXELS:
        return None
    if config.rule == "confidence":
        inside = confident_points(rendered.alpha * solid, rendered.depth, config.positives)
    else:
        inside = interior_points(solid, config.positives)
    outside = points_outside(solid, rendered.alpha > VISIBLE, config.negatives)
    coords = np.concatenate([inside, outside])
    labels = np.repeat(np.array([1, 0], np.int32), [len(inside), len(outside)])
    height, width = solid.shape
    return Prompt(
        point_coords=coords if len(coords) else None,
        point_labels=labels if len(coords) else None,
        box=_grown(box_from_alpha(solid, 0.5), config.box_growth, width, height) if config.box else None,
        mask_input=(
            mask_to_prompt(rendered.alpha * solid, points=0, box=False).mask_input if config.mask_input else None
        ),
    )


def main_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A (H, W) mask without its specks."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= _SMALLEST_PART * areas.max())[parts] & mask, np.bool_)


def confident_points(
    alpha: NDArray[np.float32], depth: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """SA3D's rule: points in order of confidence = alpha(p) - min over q of distance(p, q) * alpha(q).

    The distance is that in the picture, in units of its diagonal, and that in depth, in units of the object's depth;
    a window around each point is blanked; ends when no confidence is above 0.

    Returns:
        (N, 2) float32 xy, N <= count.
    """
    height, width = alpha.shape
    window = max(1, round(0.05 * float(np.sqrt((alpha > 0.5).sum()))) * 2)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    used = depth[(alpha > 0.5) & (depth > 0)]
    deep = max(float(used.max() - used.min()), 1e-6) if used.size else 1.0
    penalty = np.full(alpha.shape, np.inf, np.float32)
    free = alpha > 0
    found: list[tuple[float, float]] = []
    spread = max(1.0, 0.25 * float(np.sqrt((alpha > 0.5).sum())))
    surest = cv2.GaussianBlur(alpha, (0, 0), spread)  # among equals the innermost
    confidence = np.where(free, surest, -np.inf)
    while len(found) < count and float(confidence.max()) > 0:
        y, x = np.unravel_index(int(np.argmax(confidence)), alpha.shape)
        found.append((float(x), float(y)))
        apart = np.hypot(rows - y, columns - x) / np.hypot(height, width) + np.abs(depth - depth[y, x]) / deep
        penalty = np.minimum(penalty, apart * alpha[y, x])
        free[max(0, y - window) : y + window + 1, max(0, x - window) : x + window + 1] = False
        confidence = np.where(free, alpha - penalty, -np.inf)
    return np.array(found, np.float32).reshape(-1, 2)


def _grown(box: NDArray[np.floating], growth: float, width: int, height: int) -> NDArray[np.float32]:
    left, top, right, bottom = (float(value) for value in box)
    x, y = growth * (right - left), growth * (bottom - top)
    grown = [max(0.0, left - x), max(0.0, top - y), min(width - 1.0, right + x), min(height - 1.0, bottom + y)]
    return np.array(grown, np.float32)
