"""A volume of mostly nothing, kept as the block that holds something."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class CroppedVolume:
    """values: a copy of the block from voxel `low` on; all else of `shape` is 0."""

    shape: tuple[int, ...]
    low: tuple[int, ...]
    values: NDArray[Any]

    @classmethod
    def of(cls, array: NDArray[Any]) -> "CroppedVolume":
        """The smallest block that holds all voxels other than 0."""
        low, high = [], []
        for axis in range(array.ndim):
            shown = np.flatnonzero(array.any(tuple(other for other in range(array.ndim) if other != axis)))
            low.append(int(shown[0]) if len(shown) else 0)
            high.append(int(shown[-1]) + 1 if len(shown) else 0)
        block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        return cls(shape=array.shape, low=tuple(low), values=array[block].copy())

    def full(self) -> NDArray[Any]:
        """The whole array."""
        array = np.zeros(self.shape, self.values.dtype)
        array[tuple(slice(a, a + n) for a, n in zip(self.low, self.values.shape, strict=True))] = self.values
        return array
