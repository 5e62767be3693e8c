"""Where the voxels of a volume lie, and the one orientation in which everything else works.

Three frames. *Stored*: indices (i, j, k) of the array in the file, as nibabel shows them. *Canonical*: the same voxels
after flips and permutations of axes only, so that the axes run as nearly as possible to the right, to the front and up
(RAS+); all of this adapter computes there. *World*: millimetres, RAS+. Indices name voxel centres.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

Array = NDArray[Any]
Shape = tuple[int, int, int]

_TIE = 1e-6
"""Alignments that differ by less count as equal: oblique by exactly 45 degrees."""


class Reorientation(NamedTuple):
    """Canonical axis a is stored axis `axes[a]`, read backwards where `flipped[a]`."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The grid of a volume: immutable, and comparable.

    shape: of the stored array. rows: the affine's four rows; voxel (i, j, k) lies at affine @ (i, j, k, 1), mm, RAS+.

    Raises:
        DataError: a shape without voxels, or an affine that is not finite, flattens a dimension or is no affine.
    """

    shape: Shape
    rows: tuple[tuple[float, float, float, float], ...]

    def __post_init__(self) -> None:
        affine = self.affine
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise DataError(f"geometry: expected three sides of at least one voxel, got {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise DataError(f"geometry: expected a finite 4 x 4 affine with last row 0 0 0 1, got {affine.tolist()}")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise DataError(f"geometry: expected an affine that can be inverted, got {affine[:3, :3].tolist()}")

    @classmethod
    def of(cls, shape: Any, affine: Array) -> "Geometry":
        """From an array's shape (x, y, z) and a 4 x 4 affine."""
        rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in np.asarray(affine, np.float64))
        x, y, z = (int(side) for side in shape)
        return cls(shape=(x, y, z), rows=rows)

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, stored voxel -> world mm; read-only."""
        affine = np.array(self.rows, np.float64)
        affine.setflags(write=False)
        return affine

    @cached_property
    def reorientation(self) -> Reorientation:
        """The flips and permutation to the canonical frame.

        Of the 48 the one whose axes' directions sum up to most along R, A, S. Ties go to the largest matrix in
        canonical order, so that the answer is the same voxels for every way of storing them.
        """
        directions = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        best = max(_all_reorientations(), key=lambda r: _rank(_reordered(directions, r)))
        return best

    @cached_property
    def canonical_shape(self) -> Shape:
        """Sides of the canonical array: (right, anterior, superior)."""
        x, y, z = (self.shape[axis] for axis in self.reorientation.axes)
        return x, y, z

    @cached_property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, canonical voxel -> world mm."""
        return self.affine @ self._canonical_to_stored

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along the canonical axes."""
        x, y, z = (float(v) for v in np.linalg.norm(self.canonical_affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Millilitres a voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def to_canonical(self, stored: Array) -> Array:
        """A view of a stored (X, Y, Z) array in the canonical frame."""
        _check_shape("stored array", stored, self.shape)
        return _flipped(np.transpose(stored, self.reorientation.axes), self.reorientation)

    def to_stored(self, canonical: Array) -> Array:
        """A view of a canonical array in the stored frame: the inverse of `to_canonical`."""
        _check_shape("canonical array", canonical, self.canonical_shape)
        return np.transpose(_flipped(canonical, self.reorientation), np.argsort(self.reorientation.axes))

    def stored_to_canonical(self, points: Array) -> NDArray[np.float64]:
        """(..., 3) stored voxel coordinates -> canonical ones."""
        return _applied(np.linalg.inv(self._canonical_to_stored), points)

    def canonical_to_stored(self, points: Array) -> NDArray[np.float64]:
        """(..., 3) canonical voxel coordinates -> stored ones."""
        return _applied(self._canonical_to_stored, points)

    def world_to_canonical(self, points: Array) -> NDArray[np.float64]:
        """(..., 3) world mm -> canonical voxel coordinates, through the inverse affine."""
        return _applied(np.linalg.inv(self.canonical_affine), points)

    def canonical_to_world(self, points: Array) -> NDArray[np.float64]:
        """(..., 3) canonical voxel coordinates -> world mm."""
        return _applied(self.canonical_affine, points)

    def canonical_axis(self, stored_axis: int) -> int:
        """The canonical axis that a stored axis becomes."""
        return self.reorientation.axes.index(stored_axis)

    def same_grid(self, other: "Geometry", tolerance_mm: float = 1e-3) -> bool:
        """Whether two volumes have their voxels in the same places, stored in the same order."""
        if self.shape != other.shape:
            return False
        corners = np.array(list(itertools.product(*((0, side - 1) for side in self.shape))), np.float64)
        return bool(np.abs(_applied(self.affine, corners) - _applied(other.affine, corners)).max() <= tolerance_mm)

    @cached_property
    def _canonical_to_stored(self) -> NDArray[np.float64]:
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for canonical, (stored, flip) in enumerate(zip(*self.reorientation, strict=True)):
            matrix[stored, canonical] = -1 if flip else 1
            matrix[stored, 3] = self.shape[stored] - 1 if flip else 0
        return matrix


def _all_reorientations() -> Iterator[Reorientation]:
    for x, y, z in itertools.permutations(range(3)):
        for i, j, k in itertools.product((False, True), repeat=3):
            yield Reorientation((x, y, z), (i, j, k))


def _reordered(directions: Array, reorientation: Reorientation) -> Array:
    signs = np.where(reorientation.flipped, -1.0, 1.0)
    return directions[:, list(reorientation.axes)] * signs


def _rank(directions: Array) -> tuple[float, ...]:
    steps = np.round(np.array([np.trace(directions), *directions.ravel()]) / _TIE)
    return tuple(float(step) + 0.0 for step in steps)


def _flipped(array: Array, reorientation: Reorientation) -> Array:
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in reorientation.flipped)]


def _applied(matrix: Array, points: Array) -> NDArray[np.float64]:
    return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def _check_shape(name: str, array: Array, shape: Shape) -> None:
    if array.shape != shape:
        raise DataError(f"{name}: expected shape {shape}, got {array.shape}")


def axis_names(geometry: Geometry) -> str:
    """The stored axes in words, as "RAS" or "LPI"."""
    letters = [""] * 3
    for canonical, (stored, flip) in enumerate(zip(*geometry.reorientation, strict=True)):
        letters[stored] = ("RL", "AP", "SI")[canonical][flip]
    return "".join(letters)


def oblique_degrees(geometry: Geometry) -> float:
    """The largest angle between a canonical axis and its world axis, degrees."""
    directions = geometry.canonical_affine[:3, :3] / np.asarray(geometry.spacing)
    return math.degrees(math.acos(float(np.clip(np.diag(directions).min(), -1, 1))))
