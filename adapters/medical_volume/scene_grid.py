"""The voxels of a synthetic volume: sampling points, shares of voxels, ellipsoids and smooth noise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_SAMPLES_PER_MM = 4.0

Coordinates = list[NDArray[np.float32]]
"""Three arrays of mm that broadcast to a block of sampling points."""


class Grid(NamedTuple):
    """A box of voxels: first voxel, number along each axis, spacing in mm."""

    first: tuple[int, int, int]
    sides: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def samples(self) -> Coordinates:
        """Coordinates in mm of the sampling points along each axis, for broadcasting."""
        axes = []
        for axis, (first, count, step) in enumerate(zip(*self, strict=True)):
            per_voxel = self.per_voxel()[axis]
            at = (first + (np.arange(count * per_voxel) + 0.5) / per_voxel) * step
            shape = [1, 1, 1]
            shape[axis] = len(at)
            axes.append(at.astype(np.float32).reshape(shape))
        return axes

    def per_voxel(self) -> tuple[int, int, int]:
        """Samples along each axis of a voxel."""
        x, y, z = (int(np.clip(np.ceil(step * _SAMPLES_PER_MM), 4, 12)) for step in self.spacing)
        return x, y, z

    def averaged(self, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Share of the samples of each voxel that is inside."""
        (x, y, z), (a, b, c) = self.sides, self.per_voxel()
        return inside.reshape(x, a, y, b, z, c).mean((1, 3, 5), dtype=np.float32)


def ellipsoid(
    axes: Coordinates,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    turn: NDArray[np.float64],
    power: float = 2.0,
) -> NDArray[np.float32]:
    """(..., ) relative radius to the power: below 1 inside. Sides are flatter the larger `power` is; 2 is round."""
    offsets = [axis - np.float32(middle) for axis, middle in zip(axes, centre, strict=True)]
    total: NDArray[np.floating] = np.zeros((1, 1, 1), np.float32)
    for row, radius in zip(turn, radii, strict=True):
        along = sum((offset * np.float32(weight) for offset, weight in zip(offsets, row, strict=True)), np.float32(0))
        total = total + np.abs(along / np.float32(radius)) ** np.float32(power)
    return np.asarray(total, np.float32)


def rotation(rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """An orthogonal matrix near the identity."""
    matrix, triangle = np.linalg.qr(np.eye(3) + rng.normal(0, amount, (3, 3)))
    return matrix * np.sign(np.diag(triangle))


def by_slabs(grid: Grid, inside: Callable[[Coordinates], NDArray[np.bool_]]) -> NDArray[np.float32]:
    """Shares of voxels, a slice at a time."""
    alpha = np.zeros(grid.sides, np.float32)
    for z in range(grid.sides[2]):
        slab = Grid((*grid.first[:2], grid.first[2] + z), (*grid.sides[:2], 1), grid.spacing)
        alpha[:, :, z : z + 1] = slab.averaged(inside(slab.samples()))
    return alpha


def smooth(grid: Grid, rng: np.random.Generator, scale_mm: float) -> NDArray[np.float32]:
    """(X, Y, Z) noise of mean 0 and deviation 1 that changes over about `scale_mm`."""
    cells = [max(2, int(np.ceil(n * s / scale_mm)) + 1) for n, s in zip(grid.sides, grid.spacing, strict=True)]
    noise: NDArray[Any] = rng.normal(0, 1, cells).astype(np.float32)
    for axis, side in enumerate(grid.sides):
        flat: NDArray[Any] = np.moveaxis(np.asarray(noise), axis, 0)
        rest = flat.shape[1:]
        drawn = cv2.resize(flat.reshape(len(flat), -1), (int(np.prod(rest)), side), interpolation=cv2.INTER_CUBIC)
        noise = np.moveaxis(drawn.reshape(side, *rest), 0, axis)
    return ((noise - noise.mean()) / max(float(noise.std()), 1e-6)).astype(np.float32)
