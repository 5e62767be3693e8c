"""Small holes filled and small islands removed, in a mask and in the alpha that belongs to it."""

import dataclasses
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.crops import Box
from zim.mask_records import MaskCandidate
from zim.packed_alpha import PackedAlpha, pack
from zim.rle import decode_mask, encode_mask

EIGHT_NEIGHBOURS = 8


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """xyxy of the True pixels of a (H, W) mask, x2 and y2 included; None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def remove_small_regions(
    mask: NDArray[np.bool_], min_area: float, mode: Literal["holes", "islands"]
) -> tuple[NDArray[np.bool_], bool]:
    """Fill holes, or remove islands, of fewer than `min_area` pixels (8-neighbourhood).

    A mask of nothing but small islands keeps the largest of them.

    Returns:
        (H, W) bool, and whether anything changed.
    """
    working = (mask != (mode == "holes")).astype(np.uint8)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(working, connectivity=EIGHT_NEIGHBOURS)
    sizes = stats[1:, cv2.CC_STAT_AREA]  # label 0 is what lies around
    small = np.concatenate([[False], sizes < min_area])
    if not small.any():
        return mask, False
    if mode == "holes":
        return mask | small[regions], True
    kept = ~small
    kept[0] = False
    if not kept.any():
        kept[1 + int(np.argmax(sizes))] = True
    return kept[regions], True


def clean(candidate: MaskCandidate, min_area: float) -> tuple[MaskCandidate, bool]:
    """A candidate without small holes and islands, its alpha following, and whether anything changed."""
    before = decode_mask(candidate.rle)
    filled, holes = remove_small_regions(before, min_area, "holes")
    after, islands = remove_small_regions(filled, min_area, "islands")
    box = box_of(after)
    if not (holes or islands) or box is None:
        return candidate, holes or islands
    alpha = _alpha_after(candidate.alpha, before, after, box)
    return dataclasses.replace(candidate, rle=encode_mask(after), box=box, alpha=alpha), True


def _alpha_after(
    packed: PackedAlpha, before: NDArray[np.bool_], after: NDArray[np.bool_], box: Box
) -> PackedAlpha:
    """The alpha 1 where holes were filled, and 0 on islands that went and on the soft rings around them."""
    left, top = min(packed.x, box[0]), min(packed.y, box[1])
    right, bottom = max(packed.x + packed.width, box[2] + 1), max(packed.y + packed.height, box[3] + 1)
    window = slice(top, bottom), slice(left, right)
    alpha = np.zeros((bottom - top, right - left), dtype=np.uint8)
    y, x = packed.y - top, packed.x - left
    alpha[y : y + packed.height, x : x + packed.width] = packed.unpack()
    alpha[after[window] & ~before[window]] = 255
    alpha[before[window] & ~after[window]] = 0
    support = (alpha > 0).astype(np.uint8)
    count, regions = cv2.connectedComponents(support, connectivity=EIGHT_NEIGHBOURS)
    kept = np.zeros(count, dtype=bool)
    kept[regions[after[window]]] = True
    alpha[~kept[regions]] = 0
    return pack(alpha, left, top)
