"""Run-length encoded masks: SAM's uncompressed form, COCO's compressed one, and arrays in between.

Runs follow the columns of a mask (COCO's order) and begin with background; a mask whose first pixel is foreground
begins with a run of 0.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

PIECE_BITS = 5  # payload of one character of a compressed run
MAX_PIECES = 13  # characters that an int64 takes
FIRST_CHARACTER = 48
SIGN, MORE = 0x10, 0x20
FIRST_DELTA = 3  # from this run on COCO stores the difference to the run two before


class RunLengths(NamedTuple):
    """A mask of size `hw` as (K,) int64 lengths of alternating runs, background first."""

    hw: tuple[int, int]
    counts: NDArray[np.int64]

    @property
    def area(self) -> int:
        """Foreground pixels."""
        return int(self.counts[1::2].sum())


def encode_mask(mask: NDArray[np.bool_]) -> RunLengths:
    """Runs of a (H, W) bool mask."""
    return encode_window(mask, x=0, y=0, hw=(mask.shape[0], mask.shape[1]))


def encode_window(window: NDArray[np.bool_], *, x: int, y: int, hw: tuple[int, int]) -> RunLengths:
    """Runs of a mask that is empty outside a window.

    Args:
        window: (h, w) bool.
        x: column of its left edge in the mask.
        y: row of its upper edge.
        hw: size of the mask; the window lies inside.
    """
    height, width = hw
    columns = np.ascontiguousarray(window.T)  # (w, h)
    edges = np.zeros((columns.shape[0], columns.shape[1] + 1), dtype=bool)
    edges[:, :-1] = columns
    edges[:, 1:] ^= columns
    column, row = np.divmod(np.flatnonzero(edges), edges.shape[1])
    bounds = (x + column) * height + y + row  # start, end, start, end, ...
    joined = np.flatnonzero(bounds[1:-1:2] == bounds[2::2])  # a run that goes on at the top of the next column
    bounds = np.delete(bounds, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(np.concatenate([[0], bounds, [height * width]]))
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return RunLengths((height, width), counts.astype(np.int64))


def decode_mask(rle: RunLengths) -> NDArray[np.bool_]:
    """The (H, W) bool mask; a view whose memory follows the columns.

    Raises:
        DataError: runs that are negative or do not fill the mask.
    """
    height, width = rle.hw
    if rle.counts.min(initial=0) < 0 or rle.counts.sum() != height * width:
        raise DataError(f"rle: expected runs >= 0 that sum to {height} x {width}, got a sum of {rle.counts.sum()}")
    values = np.arange(len(rle.counts)) % 2 == 1
    return np.repeat(values, rle.counts).reshape(width, height).T


def to_uncompressed(rle: RunLengths) -> dict[str, Any]:
    """SAM's uncompressed form, fit for JSON: {"size": [H, W], "counts": [...]}."""
    return {"size": list(rle.hw), "counts": rle.counts.tolist()}


def to_coco(rle: RunLengths) -> dict[str, Any]:
    """COCO's compressed form, fit for JSON: {"size": [H, W], "counts": str}; pycocotools reads it."""
    return {"size": list(rle.hw), "counts": _compress(rle.counts)}


def from_dict(entry: Mapping[str, Any]) -> RunLengths:
    """Either form back to runs; `counts` is a list, or a str or bytes of COCO.

    Raises:
        DataError: another layout.
    """
    try:
        height, width = (int(side) for side in entry["size"])
        counts = entry["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"rle: expected a mapping with size [H, W] and counts, got {entry!r:.80}") from error
    if isinstance(counts, str | bytes):
        return RunLengths((height, width), decompress_counts(counts))
    return RunLengths((height, width), np.asarray(counts, dtype=np.int64).reshape(-1))


def _compress(counts: NDArray[np.int64]) -> str:
    """Each run (from the fourth on its difference to the one two before) in pieces of five bits, lowest first."""
    rest = counts.astype(np.int64)
    rest[FIRST_DELTA:] -= counts[FIRST_DELTA - 2 : -2]
    pieces = np.zeros((len(rest), MAX_PIECES), dtype=np.uint8)
    used = np.zeros(pieces.shape, dtype=bool)
    active = np.ones(len(rest), dtype=bool)
    for position in range(MAX_PIECES):
        piece = rest & (2**PIECE_BITS - 1)
        rest = rest >> PIECE_BITS
        last = rest == np.where(piece & SIGN, -1, 0)
        pieces[:, position] = piece + FIRST_CHARACTER + np.where(last, 0, MORE)
        used[:, position] = active
        active &= ~last
        if not active.any():
            break
    return pieces[used].tobytes().decode("ascii")


def decompress_counts(counts: str | bytes) -> NDArray[np.int64]:
    """COCO's compressed counts as (K,) int64 run lengths; whether they are >= 0 and fill a mask is not checked.

    Raises:
        DataError: characters that are not COCO's, or a number without an end or of more than 65 bits.
    """
    try:
        data = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise DataError("RLE: expected 'counts' in ASCII") from error
    characters = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not len(characters):
        return characters
    if characters.min() < 0 or characters.max() >= 2 * MORE:
        raise DataError("RLE: expected characters from '0' to 'o' in 'counts'")
    ends = np.flatnonzero((characters & MORE) == 0)
    if not len(ends) or ends[-1] != len(characters) - 1:
        raise DataError("RLE: 'counts' end in the middle of a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_PIECES:
        raise DataError("RLE: a number in 'counts' is too long")
    position = np.arange(len(characters)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((characters & (2**PIECE_BITS - 1)) << (PIECE_BITS * position), starts)
    negative = (characters[ends] & SIGN) != 0
    runs[negative] -= np.int64(1) << (PIECE_BITS * lengths[negative])
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
