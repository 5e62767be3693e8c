"""SGA, Spatial Generalization Augmentation: the same random regions cut out of label and matte, not of the image.

A converter trained on whole objects alone grows an incomplete label back to the whole object. Cutting teaches it to
stay with what is labelled. The paper gives the idea and no numbers; every number here is this project's choice.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class SgaConfig:
    """Ranges are (low, high), drawn uniformly.

    probability: that a sample is cut at all.
    regions: how many regions at most and at least.
    share: of the label's area that a straight cut takes off.
    extent: sides of rectangles and axes of ellipses, as fractions of sqrt(area of the label).
    shapes: how often a region is a straight cut through the object, a turned rectangle, an ellipse.
    min_kept: a cut that leaves less of the label's area is drawn again.
    """

    probability: float = 0.4
    regions: tuple[int, int] = (1, 2)
    share: tuple[float, float] = (0.08, 0.6)
    extent: tuple[float, float] = (0.2, 0.8)
    shapes: tuple[float, float, float] = (0.5, 0.25, 0.25)
    min_kept: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or not 0 <= self.min_kept < 1:
            raise ConfigError(
                "probability, min_kept: expected numbers in [0, 1] and [0, 1), "
                f"got {self.probability} and {self.min_kept}"
            )
        for name, least, most in (("regions", 1, 100), ("share", 0.0, 1.0), ("extent", 0.0, 10.0)):
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ConfigError(f"{name}: expected {least} <= low <= high <= {most}, got ({low}, {high})")
        if len(self.shapes) != 3 or min(self.shapes) < 0 or sum(self.shapes) <= 0:
            raise ConfigError(f"shapes: expected three weights, not all zero, got {self.shapes}")


def draw_regions(
    label: NDArray[np.bool_], rng: np.random.Generator, config: SgaConfig = SgaConfig()
) -> NDArray[np.bool_] | None:
    """What to cut out of a label.

    label: (H, W) bool. Returns (H, W) bool that takes some of the label and leaves `min_kept` of it; None when no
    draw did.
    """
    area = int(label.sum())
    if area < 16:
        return None
    rows, columns = np.nonzero(label)
    for _ in range(_TRIES):
        region = np.zeros(label.shape, bool)
        for _ in range(int(rng.integers(config.regions[0], config.regions[1] + 1))):
            region |= _one_region(label.shape, rows, columns, rng, config)
        taken = int((region & label).sum())
        if 0 < taken <= (1 - config.min_kept) * area:
            return region
    return None


def spatial_generalization(
    label: NDArray[np.bool_], alpha: NDArray[np.float32], rng: np.random.Generator, config: SgaConfig = SgaConfig()
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Label and matte with the same regions cut out, or both as they are.

    label: (H, W) bool. alpha: (H, W) float32. Neither is changed in place.
    """
    if rng.random() >= config.probability:
        return label, alpha
    region = draw_regions(label, rng, config)
    return (label, alpha) if region is None else (label & ~region, np.where(region, np.float32(0), alpha))


def _one_region(
    size_hw: tuple[int, ...], rows: np.ndarray, columns: np.ndarray, rng: np.random.Generator, config: SgaConfig
) -> np.ndarray:
    """A straight cut, a turned rectangle or an ellipse. rows, columns: of the label's pixels."""
    shape = int(rng.choice(3, p=np.array(config.shapes) / sum(config.shapes)))
    angle = float(rng.uniform(0, 2 * np.pi))
    if shape == 0:
        cosine, sine = np.cos(angle), np.sin(angle)
        edge = np.quantile(columns * cosine + rows * sine, 1 - rng.uniform(*config.share))
        y, x = np.ogrid[: size_hw[0], : size_hw[1]]
        return np.asarray(x * cosine + y * sine > edge)
    middle = int(rng.integers(len(rows)))
    side = float(np.sqrt(len(rows)))
    width, height = (max(2.0, side * rng.uniform(*config.extent)) for _ in range(2))
    box = ((float(columns[middle]), float(rows[middle])), (width, height), float(np.degrees(angle)))
    canvas = np.zeros(size_hw, np.uint8)
    if shape == 1:
        cv2.fillPoly(canvas, [np.round(cv2.boxPoints(box)).astype(np.int32)], (1,))
    else:
        cv2.ellipse(canvas, box, (1,), -1)
    return canvas > 0
