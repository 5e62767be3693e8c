"""Prompts that published evaluations make from the truth, slice by slice.

MedSAM (github.com/bowang-lab/MedSAM): the box of the object, grown by 20 pixels of a 1024-pixel picture on each side.
The five modes of the mazurowski-lab study "Segment Anything Model for Medical Image Analysis" (arXiv 2304.10517): a
point in the middle of the largest piece; one point for each piece, three at most; the box of the largest piece; one box
for each piece, three at most; one box around everything.
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.far_points import depth_in

from .prompts import PlanePrompt, box_of_mask

Protocol = Literal["medsam_box", "point", "points", "box", "boxes", "box_all"]
PROTOCOLS: tuple[Protocol, ...] = ("medsam_box", "point", "points", "box", "boxes", "box_all")

MEDSAM_SHIFT = 20 / 1024
"""Of the picture's long side."""

MOST_PIECES = 3


def protocol_prompts(solid: NDArray[np.bool_], protocol: str) -> list[PlanePrompt]:
    """The prompts of one slice; several are asked one by one and their answers united.

    Points of "points" are one prompt together, as in the study; boxes of "boxes" are one each.

    Args:
        solid: (rows, columns), the true object; with at least one voxel.
        protocol: one of `PROTOCOLS`.

    Raises:
        ConfigError: an unknown protocol.
    """
    if protocol == "medsam_box":
        return [PlanePrompt(box=grown_box(box_of_mask(solid), solid.shape, MEDSAM_SHIFT))]
    if protocol == "box_all":
        return [PlanePrompt(box=box_of_mask(solid))]
    pieces = largest_pieces(solid, 1 if protocol in ("point", "box") else MOST_PIECES)
    if protocol in ("box", "boxes"):
        return [PlanePrompt(box=box_of_mask(piece)) for piece in pieces]
    if protocol in ("point", "points"):
        points = np.array([middle_of(piece) for piece in pieces])
        return [PlanePrompt(points=points, labels=np.ones(len(points), np.int64))]
    raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")


def grown_box(box: NDArray[np.float64], plane_hw: tuple[int, ...], share: float) -> NDArray[np.float64]:
    """A box grown on each side by a share of the plane's long side, cut to the plane."""
    rows, columns = plane_hw
    grow = share * max(rows, columns)
    return np.clip(box + (-grow, -grow, grow, grow), 0, [columns, rows, columns, rows])


def largest_pieces(solid: NDArray[np.bool_], count: int) -> list[NDArray[np.bool_]]:
    """Connected pieces (eight neighbours), the largest first."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    return [pieces == number for number in order[:count]]


def middle_of(piece: NDArray[np.bool_]) -> tuple[float, float]:
    """xy of the middle of the voxel that lies deepest inside."""
    row, column = np.unravel_index(int(np.argmax(depth_in(piece))), piece.shape)
    return float(column) + 0.5, float(row) + 0.5
