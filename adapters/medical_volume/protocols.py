"""Prompts that published evaluations make from the truth, slice by slice.

MedSAM (github.com/bowang-lab/MedSAM): the box of the object, grown by 20 pixels of a 1024-pixel picture on each side.
The five modes of the mazurowski-lab study "Segment Anything Model for Medical Image Analysis" (arXiv 2304.10517): a
point in the middle of the largest piece; one point for each piece, three at most; the box of the largest piece; one box
for each piece, three at most; one box around everything. These boxes reach around what is there of an object (alpha
above 0.3, as `zim.prompts.box_from_alpha`), which for labels is the label; MedSAM's is made of its label.
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
SOLID, SEEN = 0.5, 0.3
"""Alphas above these belong to an object's pieces, and to the boxes around them."""


def protocol_prompts(truth: NDArray[np.floating] | NDArray[np.bool_], protocol: str) -> list[PlanePrompt]:
    """The prompts of one slice; several are asked one by one and their answers united.

    Points of "points" are one prompt together, as in the study; boxes of "boxes" are one each.

    Args:
        truth: (rows, columns), the true alpha in [0, 1] or label; with at least one voxel above 0.5.
        protocol: one of `PROTOCOLS`.

    Raises:
        ConfigError: an unknown protocol.
    """
    solid = np.asarray(truth) > SOLID
    if protocol == "medsam_box":
        return [PlanePrompt(box=grown_box(box_of_mask(solid), solid.shape, MEDSAM_SHIFT))]
    if protocol == "box_all":
        return [PlanePrompt(box=seen_box(solid, truth))]
    pieces = largest_pieces(solid, 1 if protocol in ("point", "box") else MOST_PIECES)
    if protocol in ("box", "boxes"):
        return [PlanePrompt(box=seen_box(piece, truth)) for piece in pieces]
    if protocol in ("point", "points"):
        points = np.array([middle_of(piece) for piece in pieces])
        return [PlanePrompt(points=points, labels=np.ones(len(points), np.int64))]
    raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")


def seen_box(
    piece: NDArray[np.bool_], truth: NDArray[np.floating] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The box of a piece of the truth with the partly full voxels along its outline, (4,) xyxy at voxel edges."""
    near = cv2.dilate(piece.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return box_of_mask(piece | (near & (np.asarray(truth) > SEEN)))


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
