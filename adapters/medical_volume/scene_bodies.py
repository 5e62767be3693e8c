"""Large solid bodies in a trunk, as computed tomography shows them: for synthetic volumes of kind "bodies".

Organs that fill a good part of a slice with a crisp outline, brighter or darker than what is around them, some with
spots or a core of another value inside; beside them smaller bright and dark things that nobody asks for.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scene_grid import Coordinates, Grid, by_slabs, ellipsoid, rotation, smooth

Alphas = dict[str, NDArray[np.float32]]

_MOST = 4
"""Bodies in one scene."""


class _Lobe(NamedTuple):
    """See `ellipsoid`. centre, radii: mm."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    turn: NDArray[np.float64]
    power: float = 2.0

    def contains(self, axes: Coordinates) -> NDArray[np.bool_]:
        """Which sampling points lie inside."""
        return np.asarray(ellipsoid(axes, self.centre, self.radii, self.turn, self.power) <= 1)


class _Body(NamedTuple):
    """The union of some lobes without a bite."""

    lobes: list[_Lobe]
    bite: _Lobe | None = None

    def contains(self, axes: Coordinates) -> NDArray[np.bool_]:
        """Which sampling points lie inside."""
        inside = self.lobes[0].contains(axes)
        for lobe in self.lobes[1:]:
            inside = inside | lobe.contains(axes)
        return inside if self.bite is None else inside & ~self.bite.contains(axes)

    def share(self, grid: Grid) -> NDArray[np.float32]:
        """Share of each voxel of the grid, sampled slice by slice where the lobes reach."""
        reach = [float(np.linalg.norm(lobe.radii)) for lobe in self.lobes]  # a box's corners, whatever the power
        low = np.min([lobe.centre - r for lobe, r in zip(self.lobes, reach, strict=True)], axis=0)
        high = np.max([lobe.centre + r for lobe, r in zip(self.lobes, reach, strict=True)], axis=0)
        first = np.floor(low / grid.spacing).astype(int).clip(0, grid.sides)
        last = np.ceil(high / grid.spacing).astype(int).clip(0, grid.sides)
        share = np.zeros(grid.sides, np.float32)
        if (last <= first).any():
            return share
        window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        share[window] = by_slabs(Grid(tuple(first), tuple(last - first), grid.spacing), self.contains)
        return share


def bodies(grid: Grid, rng: np.random.Generator) -> tuple[Alphas, NDArray[np.float32]]:
    """The shares of up to four bodies, "body1" the first drawn, and the values of the volume before noise.

    None may be left in a volume of some twenty voxels a side: those of less than 50 voxels are not painted.

    Args:
        grid: of the whole volume.
        rng: draws everything.
    """
    size = np.multiply(grid.sides, grid.spacing)
    values, base = _trunk(grid, rng, size)
    for _ in range(int(rng.integers(0, 9))):
        thing = _Body([_Lobe(rng.uniform(0.1, 0.9, 3) * size, size.min() * rng.uniform(0.02, 0.07, 3), np.eye(3))])
        values = _painted(values, thing.share(grid), np.float32(base + _contrast(rng, base, 100)))
    alphas: Alphas = {}
    for place in _places(rng, size):
        body = _shape(rng, *place)
        share = body.share(grid)
        if float(share.sum()) < 50:
            continue
        values = _painted(values, share, _inside(grid, rng, body, place, base))
        alphas = {name: alpha * (1 - share) for name, alpha in alphas.items()} | {f"body{len(alphas) + 1}": share}
    return alphas, np.asarray(values, np.float32)


def _trunk(
    grid: Grid, rng: np.random.Generator, size: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Soft tissue, in most scenes within air, and its value."""
    base = float(rng.uniform(200, 700))
    values = base + smooth(grid, rng, 25.0) * rng.uniform(2, 30) + smooth(grid, rng, 5.0) * rng.uniform(0, 20)
    if rng.random() < 0.7:
        radii = size * (rng.uniform(0.42, 0.5), rng.uniform(0.36, 0.5), 4.0)
        share = _Body([_Lobe(size / 2, radii, np.eye(3), float(rng.uniform(2, 3.5)))]).share(grid)
        values = _painted(np.full(grid.sides, rng.uniform(0, 60), np.float32), share, values)
    return np.asarray(values, np.float32), base


def _places(
    rng: np.random.Generator, size: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Centres and radii, mm, of bodies that hardly reach into each other, the largest first; the ends may cut them."""
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    flat = min(size[:2])
    for share in sorted(rng.uniform(0.07, 0.36, int(rng.integers(2, _MOST + 1))), reverse=True):
        for _ in range(60):
            radii = flat * share * rng.uniform(0.65, 1.25, 3)
            centre = np.array([*(rng.uniform(0.12, 0.88, 2) * size[:2]), rng.uniform(0.1, 0.9) * size[2]])
            if all(np.linalg.norm((centre - other) / (radii + reach)) > 0.95 for other, reach in found):
                found.append((centre, radii))
                break
    return found


def _shape(rng: np.random.Generator, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> _Body:
    turn = rotation(rng, 0.3)
    lobes = [_Lobe(centre, radii, turn, float(rng.choice([2.0, 2.0, 2.5, 3.5])))]
    for _ in range(int(rng.integers(0, 3))):
        middle = centre + rng.normal(0, 0.45, 3) * radii
        lobes.append(_Lobe(middle, radii * rng.uniform(0.4, 0.8, 3), rotation(rng, 0.5)))
    bite = None
    if rng.random() < 0.25:
        away = rng.normal(0, 1, 3) * (1, 1, 0.3)
        bite = _Lobe(centre + away / np.linalg.norm(away) * radii, radii * rng.uniform(0.3, 0.6, 3), rotation(rng, 0.5))
    return _Body(lobes, bite)


def _inside(
    grid: Grid,
    rng: np.random.Generator,
    body: _Body,
    place: tuple[NDArray[np.float64], NDArray[np.float64]],
    base: float,
) -> NDArray[np.float32]:
    """Values of a body: a tone that stands out, texture, now and then a core or spots of another tone."""
    centre, radii = place
    contrast = _contrast(rng, base, 60)
    values = base + contrast + smooth(grid, rng, 12.0) * abs(contrast) * rng.uniform(0, 0.12)
    if rng.random() < 0.15:
        core = _Body([lobe._replace(radii=lobe.radii * 0.85) for lobe in body.lobes]).share(grid)
        values = _painted(values, core, np.float32(base + contrast * rng.uniform(0.4, 1.8)))
    for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.5 else 0):
        spot = _Lobe(centre + rng.normal(0, 0.35, 3) * radii, radii * rng.uniform(0.04, 0.2, 3), np.eye(3))
        values = _painted(values, _Body([spot]).share(grid), np.float32(base + contrast * rng.uniform(0.2, 1.8)))
    return np.asarray(values, np.float32)


def _contrast(rng: np.random.Generator, base: float, least: float) -> float:
    """Brighter or darker than `base`, small differences as often as large ones."""
    brighter = bool(rng.random() < 0.5)
    most = 900.0 if brighter else 0.95 * base
    return float(np.exp(rng.uniform(np.log(least), np.log(most)))) * (1 if brighter else -1)


def _painted(
    values: NDArray[np.floating], share: NDArray[np.float32], over: NDArray[np.floating] | np.floating
) -> NDArray[np.float32]:
    return np.asarray(values + share * (over - values), np.float32)
