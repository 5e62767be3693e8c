"""Where the automatic generator looks: grids of points, and overlapping crops of the image in layers.

The arithmetic is SAM's, so that the same settings ask the same questions.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EDGE_TOLERANCE = 20  # pixels
Box = tuple[int, int, int, int]


class Crop(NamedTuple):
    """A part of the image, xyxy in pixels (x2 and y2 excluded), and its layer (0 is the whole image)."""

    box: Box
    layer: int

    @property
    def hw(self) -> tuple[int, int]:
        """Its height and width."""
        x1, y1, x2, y2 = self.box
        return y2 - y1, x2 - x1


def point_grid(points_per_side: int) -> NDArray[np.float64]:
    """(N * N, 2) xy in [0, 1], the centres of N x N equal cells, row by row."""
    offset = 1 / (2 * points_per_side)
    side = np.linspace(offset, 1 - offset, points_per_side)
    return np.stack([np.tile(side, points_per_side), np.repeat(side, points_per_side)], axis=1)


def point_grids(points_per_side: int, layers: int, downscale_factor: int) -> list[NDArray[np.float64]]:
    """A grid for each of the layers 0..`layers`; in layer n the points per side are divided by the factor ** n."""
    return [point_grid(int(points_per_side / downscale_factor**layer)) for layer in range(layers + 1)]


def crops_of(hw: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image, then (2 ** n) ** 2 crops for each layer n = 1..`layers`.

    Args:
        hw: size of the image.
        layers: how many layers of crops.
        overlap_ratio: how far the crops of layer 1 overlap, as a share of the short side; halved at each layer.
    """
    height, width = hw
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(hw) * (2 / per_side))
        crop_w, crop_h = (math.ceil((overlap * (per_side - 1) + side) / per_side) for side in (width, height))
        for column, row in product(range(per_side), repeat=2):
            x, y = (crop_w - overlap) * column, (crop_h - overlap) * row
            crops.append(Crop((x, y, min(x + crop_w, width), min(y + crop_h, height)), layer))
    return crops


def is_near_crop_edge(box: Sequence[int], crop: Box, hw: tuple[int, int]) -> bool:
    """Whether a mask's box ends at an edge of its crop that is no edge of the image: it is probably cut off.

    Args:
        box: xyxy of the mask in the original frame.
        crop: xyxy of the crop.
        hw: size of the image.
    """
    image = (0, 0, hw[1], hw[0])
    return any(
        abs(side - edge) <= EDGE_TOLERANCE < abs(side - border)
        for side, edge, border in zip(box, crop, image, strict=True)
    )
