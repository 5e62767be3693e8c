"""OpenCV's inpainting: no download, no text; continues edges and colours from the rim of the hole."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

from .protocol import Geometry, check_picture

Method = Literal["telea", "navier-stokes"]
_FLAGS = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}


class OpenCvEngine:
    """Telea's fast marching method, or Navier-Stokes.

    method: which. radius: pixels of the neighbourhood that a painted pixel is made of.
    """

    follows_text = False

    def __init__(self, method: Method = "telea", *, radius: float = 3.0) -> None:
        if method not in _FLAGS:
            raise ConfigError(f"method: expected one of {', '.join(_FLAGS)}, got {method!r}")
        if not 0 < radius <= 100:
            raise ConfigError(f"radius: expected pixels in (0, 100], got {radius!r}")
        self.name = "cv2" if method == "telea" else "cv2-ns"
        self.geometry = Geometry()
        self._flag, self._radius = _FLAGS[method], float(radius)

    def inpaint(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, prompt: str = "", seed: int = 0
    ) -> NDArray[np.uint8]:
        """See `InpaintingEngine`; outside the mask the result is the image."""
        check_picture(image, mask)
        painted = cv2.inpaint(np.ascontiguousarray(image), mask.astype(np.uint8), self._radius, self._flag)
        return np.asarray(painted, np.uint8)
