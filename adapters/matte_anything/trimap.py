"""From a predictor's answer to a trimap: by the matte's own doubt, or as Matte-Anything does around a mask."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.cutout import trimap_from_alpha
from zim.errors import ConfigError
from zim.foreground import check_alpha

MAX_KERNEL = 30
UNKNOWN = 0.5


@dataclass(frozen=True, kw_only=True)
class MatteTrimap:
    """Unknown is where a matte is between `low` and `high`, and `band_share` of the object's scale around it.

    The scale is the square root of the area of the box around alpha > 0.5: thin objects are as large as their extent.
    The band is at least one pixel.

    Raises:
        ConfigError: thresholds out of order, or a share outside [0, 1].
    """

    low: float = 0.05
    high: float = 0.95
    band_share: float = 0.08

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ConfigError(f"low and high: expected 0 <= low < high <= 1, got {self.low} and {self.high}")
        if not 0 <= self.band_share <= 1:
            raise ConfigError(f"band_share: expected a number in [0, 1], got {self.band_share}")

    def band(self, alpha: NDArray[np.float32]) -> int:
        """Width of the band in pixels."""
        rows, columns = np.flatnonzero((alpha > 0.5).any(axis=1)), np.flatnonzero((alpha > 0.5).any(axis=0))
        if not len(rows):
            return 1
        area = float((rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0]))
        return max(1, round(self.band_share * area**0.5))

    def __call__(self, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W) alpha in [0, 1] -> (H, W) float32 of 0, 0.5, 1."""
        return trimap_from_alpha(alpha, self.low, self.high, self.band(alpha))


@dataclass(frozen=True, kw_only=True)
class KernelTrimap:
    """Matte-Anything's trimap: the mask alpha > 0.5, eroded for foreground and dilated for background.

    Kernels are squares of `erode` and `dilate` pixels, applied `iterations` times: the defaults move an edge by
    about 22 pixels to each side, whatever the photo's size. The border of the picture does not erode.

    Raises:
        ConfigError: a kernel outside 1..30, or no iteration.
    """

    erode: int = 10
    dilate: int = 10
    iterations: int = 5

    def __post_init__(self) -> None:
        for name, size in (("erode", self.erode), ("dilate", self.dilate)):
            if not 1 <= size <= MAX_KERNEL:
                raise ConfigError(f"{name}: expected a kernel of 1 to {MAX_KERNEL} pixels, got {size}")
        if self.iterations < 1:
            raise ConfigError(f"iterations: expected at least 1, got {self.iterations}")

    def __call__(self, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W) alpha in [0, 1] -> (H, W) float32 of 0, 0.5, 1."""
        check_alpha(alpha)
        mask = (alpha > 0.5).astype(np.uint8)
        inner = cv2.erode(mask, np.ones((self.erode, self.erode), np.uint8), iterations=self.iterations)
        outer = cv2.dilate(mask, np.ones((self.dilate, self.dilate), np.uint8), iterations=self.iterations)
        return np.select([inner == 1, outer == 0], [1.0, 0.0], UNKNOWN).astype(np.float32)


TrimapRule = MatteTrimap | KernelTrimap
