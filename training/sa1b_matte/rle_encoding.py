"""Masks as COCO's compressed run-length encoding; `training.readers.rle` says what that is and reads it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_GROUPS = 7


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """(H, W) bool -> {"size": [H, W], "counts": text}."""
    pixels = mask.T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [pixels.size]])).astype(np.int64)
    if pixels.size and pixels[0]:
        runs = np.concatenate([np.zeros(1, np.int64), runs])  # background comes first, even without a pixel
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    return {"size": [int(side) for side in mask.shape], "counts": _text(numbers)}


def _text(numbers: NDArray[np.int64]) -> str:
    """Each number in groups of five bits, lowest first, until only copies of its sign bit are left."""
    places = np.arange(_MAX_GROUPS)
    groups = (numbers[:, None] >> (5 * places)) & 31  # (N, 7)
    rest = numbers[:, None] >> (5 * (places + 1))  # what is left after each group
    signed = (groups & 16) != 0
    done = np.where(signed, rest == -1, rest == 0)
    last = done.argmax(axis=1)
    more = places < last[:, None]
    characters = (groups + 48 + np.where(more, 32, 0))[places <= last[:, None]]
    return characters.astype(np.uint8).tobytes().decode("ascii")
