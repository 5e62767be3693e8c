"""A volume in memory: voxels in the canonical frame, the grid they came from, and how to write one like it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from .geometry import Geometry

MAX_VOXELS = 1_000_000_000
"""Larger volumes are refused before anything is read: 1000 x 1000 x 1000, 4 GB as float32."""

_CHUNK = 16_000_000
"""Voxels looked at in one go, so that a check needs little memory of its own."""


class Template(Protocol):
    """The header of the file that a volume came from."""

    suffix: str
    """Of files written after it, such as ".nii.gz"."""

    def write(self, path: Path, stored: NDArray[Any]) -> None:
        """Write a (X, Y, Z) array in the stored frame with the header's grid, atomically; no scaling."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """voxels: (X, Y, Z), canonical frame, finite float32. source: the file, for messages."""

    voxels: NDArray[np.float32]
    geometry: Geometry
    template: Template
    source: str = "volume"

    def save(self, path: str | Path, canonical: NDArray[Any]) -> None:
        """Write an array of the canonical frame to exactly the grid of this volume's file.

        Args:
            path: with a suffix that the template's format has.
            canonical: (X, Y, Z); bool and integers are written as they are, floats as float32.

        Raises:
            DataError: another shape, or a suffix of another format.
            OSError: the file cannot be written; nothing is left behind.
        """
        array = canonical.astype(np.uint8) if canonical.dtype == bool else canonical
        array = array.astype(np.float32, copy=False) if np.issubdtype(array.dtype, np.floating) else array
        self.template.write(Path(path), self.geometry.to_stored(array))


def check_voxel_count(shape: tuple[int, ...], item_bytes: int, source: str) -> None:
    """Refuse a header that promises more than can be meant.

    Raises:
        DataError: too many voxels, or none.
    """
    count = 1
    for side in shape:
        count *= int(side)
    if min(shape, default=0) < 1 or count > MAX_VOXELS:
        size = " x ".join(str(int(side)) for side in shape)
        raise DataError(
            f"{source}: expected between 1 and {MAX_VOXELS} voxels, its header promises {size} "
            f"({count * item_bytes / 2**30:.3g} GiB)"
        )


def as_finite(stored: NDArray[Any], source: str, *, nan_as_zero: bool) -> NDArray[np.float32]:
    """Voxels as float32, all finite.

    Raises:
        DataError: NaN or infinite voxels, unless `nan_as_zero`; they become 0 then.
    """
    voxels = stored.astype(np.float32, copy=False)
    if np.issubdtype(stored.dtype, np.integer):
        return voxels
    bad = 0
    step = max(1, _CHUNK // max(1, voxels[..., :1].size))
    for start in range(0, voxels.shape[-1], step):
        part = voxels[..., start : start + step]
        good = np.isfinite(part)
        wrong = int(good.size - np.count_nonzero(good))
        if wrong and nan_as_zero:
            if not voxels.flags.writeable:
                voxels = voxels.copy(order="K")
                part = voxels[..., start : start + step]
            part[~good] = 0
        bad += wrong
    if bad and not nan_as_zero:
        raise DataError(
            f"{source}: expected finite voxels, got {bad} that are NaN or infinite; --nan-as-zero takes them"
        )
    if bad == voxels.size:
        raise DataError(f"{source}: expected finite voxels, got none")
    return voxels


def time_step(shape: tuple[int, ...], time_index: int | None, source: str) -> int | None:
    """Which step of a file with four dimensions is meant; None for one with three.

    Raises:
        DataError: four dimensions and no index, an index outside, or an index where there is no time.
    """
    steps = shape[3] if len(shape) > 3 else 1
    if len(shape) > 4 and max(shape[4:]) > 1:
        raise DataError(f"{source}: expected at most four dimensions, got shape {shape}")
    if time_index is None:
        if steps > 1:
            raise DataError(f"{source}: expected a time index (--time N) for shape {shape}, got none")
        return 0 if len(shape) > 3 else None
    if not 0 <= time_index < steps:
        raise DataError(f"{source}: expected a time index from 0 to {steps - 1}, got {time_index}")
    return time_index if len(shape) > 3 else None
