"""Whether what was found on a slice has the values of the object, or those of what lies around it."""

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_CONTRAST = 1.0
"""Object and surroundings must differ by this many deviations of the object before their values count."""

CLEAR_CONTRAST = 3.0
"""From so many on, values tell an object from what looks a little like it."""

_RING = 3
_UPDATE = 0.2


class Appearance:
    """Typical values of an object and of a ring of voxels around it, following slow changes from slice to slice.

    decides: whether their difference counts at all. clear: whether it is large.
    """

    def __init__(self, values: NDArray[np.floating], alpha: NDArray[np.float32]) -> None:
        """values, alpha: (rows, columns) of a slice that is trusted."""
        inside, ring = values[alpha > 0.5], values[_ring(alpha)]
        self.decides, self.clear = bool(len(inside) and len(ring)), False
        self._object = float(np.median(inside)) if self.decides else 0.0
        self._around = float(np.median(ring)) if self.decides else 0.0
        if self.decides:
            spread = max(1.4826 * float(np.median(np.abs(inside - self._object))), 1e-6)
            contrast = abs(self._object - self._around) / spread
            self.decides, self.clear = contrast > MIN_CONTRAST, contrast > CLEAR_CONTRAST

    def likeness(self, values: NDArray[np.floating], alpha: NDArray[np.float32]) -> float:
        """1 where a slice's object has the object's values, 0 where it has the surroundings'; 1 where that cannot be
        told."""
        inside = values[alpha > 0.5]
        if not self.decides or not len(inside):
            return 1.0
        return (float(np.median(inside)) - self._around) / (self._object - self._around)

    def follow(self, values: NDArray[np.floating], alpha: NDArray[np.float32]) -> None:
        """Move towards an accepted slice, so that a bias field does not end the object."""
        inside, ring = values[alpha > 0.5], values[_ring(alpha)]
        if not self.decides or not len(inside) or not len(ring):
            return
        target = self._object + _UPDATE * (float(np.median(inside)) - self._object)
        around = self._around + _UPDATE * (float(np.median(ring)) - self._around)
        if (target - around) * (self._object - self._around) > 0:
            self._object, self._around = target, around


def _ring(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    near = cv2.dilate((alpha > 0.5).astype(np.uint8), np.ones((2 * _RING + 1,) * 2, np.uint8)) > 0
    return near & (alpha < 0.1)
