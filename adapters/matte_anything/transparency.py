"""Objects that one sees through: nothing inside them is certain to be foreground."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .trimap import UNKNOWN

TRANSPARENT = "glass. lens. crystal. diamond. bubble. bulb. web. grid"
"""What a text detector is asked for."""

BOX_THRESHOLD, TEXT_THRESHOLD = 0.5, 0.25


def open_inside(trimap: NDArray[np.float32], boxes: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Known foreground inside the boxes becomes unknown; known background stays.

    Args:
        trimap: (H, W) float32 of 0, 0.5, 1.
        boxes: each (4,) xyxy in pixels; a pixel is inside when its centre is.

    Returns:
        (H, W) float32, a new array.
    """
    opened = trimap.copy()
    height, width = trimap.shape
    for x1, y1, x2, y2 in boxes:
        left, top = (int(np.clip(np.ceil(low - 0.5), 0, end)) for low, end in ((x1, width), (y1, height)))
        right, bottom = (int(np.clip(np.ceil(high - 0.5), 0, end)) for high, end in ((x2, width), (y2, height)))
        inside = opened[top:bottom, left:right]
        inside[inside == 1] = UNKNOWN
    return opened
