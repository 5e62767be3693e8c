"""Coarse segmentation labels out of exact mattes: threshold, downsample, Gaussian blur, dilation or erosion.

The published label converter lists exactly these steps and no parameters; every number here is this
project's choice. The result resembles the automatic labels of SA-1B: binary, rounded, hairless, a little off.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from zim.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class CoarseLabelConfig:
    """Ranges are (low, high), drawn uniformly; lengths are fractions of sqrt(area of alpha > 0.5).

    threshold: alpha above it counts as the object at first.
    downsample: factor by which the label is reduced and enlarged again, drawn log-uniformly; limited so that
        the object keeps at least `min_cells` cells on the side of its equal-area square.
    blur_sigma: of the Gaussian, which rounds corners and eats strands; thresholded at 0.5 afterwards.
    dilate_radius, erode_radius: of the elliptic structuring element; one of the two steps at most is taken.
    downsample_probability, blur_probability, dilate_probability, erode_probability: of each step.
    open_probability: of an opening before everything else (erosion, then dilation, with a radius from
        `erode_radius`), which cuts off what is thin and standing out.
    close_probability: of a closing before everything else (dilation, then erosion, with a radius from
        `dilate_radius`), which fills narrow gaps, as annotators do with nets and grass.
    min_kept: a label with less than this fraction of the area of alpha > 0.5 has lost the object.
    """

    threshold: tuple[float, float] = (0.3, 0.8)
    downsample: tuple[float, float] = (1.5, 8.0)
    min_cells: float = 12.0
    blur_sigma: tuple[float, float] = (0.008, 0.04)
    dilate_radius: tuple[float, float] = (0.004, 0.03)
    erode_radius: tuple[float, float] = (0.004, 0.025)
    downsample_probability: float = 0.8
    blur_probability: float = 0.8
    dilate_probability: float = 0.35
    erode_probability: float = 0.35
    open_probability: float = 0.25
    close_probability: float = 0.25
    min_kept: float = 0.3

    def __post_init__(self) -> None:
        for name in ("threshold", "downsample", "blur_sigma", "dilate_radius", "erode_radius"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f"{name}: expected 0 <= low <= high, got ({low}, {high})")
        for name in ("downsample", "blur", "dilate", "erode", "open", "close"):
            value = getattr(self, f"{name}_probability")
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}_probability: expected a number in [0, 1], got {value}")
        if not 0 <= self.min_kept < 1:
            raise ConfigError(f"min_kept: expected a number in [0, 1), got {self.min_kept}")
        if self.dilate_probability + self.erode_probability > 1:
            raise ConfigError(
                "dilate_probability + erode_probability: expected at most 1, got "
                f"{self.dilate_probability + self.erode_probability}"
            )


def synthesize_coarse_label(
    alpha: np.ndarray, rng: np.random.Generator, config: CoarseLabelConfig = CoarseLabelConfig()
) -> np.ndarray:
    """A coarse label for a matte.

    alpha: (H, W) float in [0, 1].
    Returns (H, W) float32 of 0 and 1; never empty when alpha > 0.5 is not: when the steps have lost the
    object (`min_kept`), the label is alpha > 0.5 itself.

    Raises:
        DataError: alpha is not a (H, W) array of a real type.
    """
    if alpha.ndim != 2 or alpha.dtype.kind not in "fiub":
        raise DataError(f"alpha: expected a (H, W) real array, got shape {alpha.shape}, dtype {alpha.dtype}")
    solid = (alpha > 0.5).astype(np.uint8)
    area = int(solid.sum())
    label = (alpha > rng.uniform(*config.threshold)).astype(np.uint8)
    if area == 0:
        return solid.astype(np.float32)
    side = float(np.sqrt(area))
    window = _window(label | solid, margin=int(0.2 * side) + 4)
    piece = _degrade(label[window], side, rng, config)
    if piece.sum() < config.min_kept * area:
        return solid.astype(np.float32)
    result = np.zeros(alpha.shape, np.float32)
    result[window] = piece
    return result


def _degrade(
    label: np.ndarray, side: float, rng: np.random.Generator, config: CoarseLabelConfig
) -> np.ndarray:
    """The random steps on a (h, w) uint8 label of 0 and 1; `side` is sqrt(area) in pixels."""
    if rng.random() < config.open_probability:
        label = cv2.morphologyEx(label, cv2.MORPH_OPEN, _disc(side * rng.uniform(*config.erode_radius)))
    if rng.random() < config.close_probability:
        label = cv2.morphologyEx(label, cv2.MORPH_CLOSE, _disc(side * rng.uniform(*config.dilate_radius)))
    soft: np.ndarray = label.astype(np.float32)
    if rng.random() < config.downsample_probability:
        soft = _down_up(soft, side, rng, config)
    if rng.random() < config.blur_probability:
        sigma = max(0.3, side * rng.uniform(*config.blur_sigma))
        soft = cv2.GaussianBlur(soft, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    label = (soft > 0.5).astype(np.uint8)
    choice = rng.random()
    if choice < config.dilate_probability:
        return cv2.dilate(label, _disc(side * rng.uniform(*config.dilate_radius)))
    if choice < config.dilate_probability + config.erode_probability:
        return cv2.erode(label, _disc(side * rng.uniform(*config.erode_radius)))
    return label


def _down_up(
    soft: np.ndarray, side: float, rng: np.random.Generator, config: CoarseLabelConfig
) -> np.ndarray:
    """Reduce by a random factor and enlarge again. (h, w) float32."""
    low, high = config.downsample
    factor = min(float(np.exp(rng.uniform(np.log(low), np.log(high)))), side / config.min_cells)
    if factor <= 1:
        return soft
    height, width = soft.shape
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(soft, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)


def _disc(radius: float) -> np.ndarray:
    """An elliptic structuring element of at least 3x3."""
    reach = max(1, round(radius))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))


def _window(label: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold the label, grown by a margin and cut to the image."""
    x, y, width, height = cv2.boundingRect(label)
    return (
        slice(max(0, y - margin), min(label.shape[0], y + height + margin)),
        slice(max(0, x - margin), min(label.shape[1], x + width + margin)),
    )
