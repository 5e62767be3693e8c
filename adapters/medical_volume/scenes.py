"""Synthetic volumes whose alpha, the share of each voxel that belongs to the object, is known exactly.

Shapes are sampled several times along every axis of a voxel and averaged; a voxel's value is
alpha * object + (1 - alpha) * surroundings, times a slow bias field, plus noise. Four kinds: "vessels" (a branching
tree, 1 to 6 mm thick), "shell" (a closed wall, 1 to 2 mm thick), "organs" (three bodies beside each other), "bodies"
(large solid ones in a trunk, some cut off by the volume's ends; see `scene_bodies`).
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

from .geometry import Geometry
from .nifti import template_for
from .scene_bodies import bodies
from .scene_grid import Coordinates, Grid, by_slabs, ellipsoid, rotation, smooth
from .volume import Volume

Kind = Literal["vessels", "shell", "organs", "bodies"]
KINDS: tuple[Kind, ...] = ("vessels", "shell", "organs", "bodies")
THIN_KINDS: tuple[Kind, ...] = ("vessels", "shell")

TRAINING_SEEDS = 1_000_000
"""Scenes to train on have seeds from here on; comparisons use smaller ones."""


class VolumeScene(NamedTuple):
    """kind: see the module. volume: float32 values. alphas: name -> (X, Y, Z) float32 in [0, 1], canonical frame."""

    kind: Kind
    volume: Volume
    alphas: dict[str, NDArray[np.float32]]


def volume_scene(
    kind: Kind,
    *,
    seed: int,
    shape: tuple[int, int, int] = (80, 80, 32),
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
) -> VolumeScene:
    """One scene; it depends on its arguments only.

    Args:
        kind: of the object.
        seed: any whole number.
        shape: voxels, canonical frame.
        spacing: mm.

    Raises:
        ConfigError: an unknown kind, or fewer than 16 voxels or 16 mm along an axis.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if min(shape) < 16 or min(np.multiply(shape, spacing)) < 16:
        raise ConfigError(f"shape: expected at least 16 voxels and 16 mm along each axis, got {shape} at {spacing} mm")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    grid = Grid((0, 0, 0), shape, spacing)
    if kind == "bodies":
        alphas, clean = bodies(grid, rng)
    else:
        alphas = {"vessels": _vessels, "shell": _shell, "organs": _organs}[kind](grid, rng)
        clean = _clean(alphas, grid, rng)
    voxels = _measured(clean, grid, rng)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.multiply(shape, spacing) / 2
    geometry = Geometry.of(shape, affine)
    return VolumeScene(kind, Volume(voxels=voxels, geometry=geometry, template=template_for(geometry)), alphas)


def volume_scenes(count: int, *, seed: int = 0, kinds: tuple[Kind, ...] = KINDS) -> Iterator[VolumeScene]:
    """`count` scenes, the kinds in turn, of several spacings; scene i depends on `seed`, i and `kinds` only.

    "bodies" has two to three times as many voxels along an axis as the others.
    """
    for index in range(count):
        kind = kinds[index % len(kinds)]
        rng = np.random.default_rng([seed, index])
        step, thick = rng.uniform(0.7, 1.2), rng.uniform(1.0, 3.0)
        x, y = (int(rng.integers(64, 97)) for _ in range(2))
        z = int(rng.integers(24, 41))
        if kind == "bodies":
            x, y, z = (int(side * rng.uniform(low, high)) for side, low, high in ((x, 2, 3), (y, 2, 3), (z, 1, 2)))
        scene_seed = seed * 10_007 + index
        yield volume_scene(kind, seed=scene_seed, shape=(x, y, z), spacing=(step, step, max(step, thick)))


def _vessels(grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """A tree of round tubes: a trunk that divides, each branch thinner than what it comes from."""
    size = np.multiply(grid.sides, grid.spacing)
    start = size * (rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65), 0.02)
    direction = np.array([rng.normal(0, 0.15), rng.normal(0, 0.15), 1.0])
    alpha = np.zeros(grid.sides, np.float32)
    queue = [(start, direction, rng.uniform(2.2, 3.2), 0)]
    while queue:
        point, heading, radius, depth = queue.pop()
        length = size.min() * rng.uniform(0.3, 0.5) * 0.88**depth
        for _ in range(6):
            heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.14, 3)
            end = point + heading / np.linalg.norm(heading) * length / 6
            _add_tube(alpha, grid, point, end, (radius, radius * 0.97))
            point, radius = end, radius * 0.97
        if depth < 5 and radius > 0.45:
            for sign in (-1, 1):
                side = np.cross(heading, rng.normal(0, 1, 3))
                turned = heading / np.linalg.norm(heading) + sign * rng.uniform(0.5, 1.1) * side / np.linalg.norm(side)
                queue.append((point, turned, radius * rng.uniform(0.7, 0.9), depth + 1))
    return {"vessels": alpha}


def _add_tube(
    alpha: NDArray[np.float32],
    grid: Grid,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radii: tuple[float, float],
) -> None:
    """Union of a tube with round ends and what is there; exact within one tube, the larger share where two meet."""
    low = np.floor((np.minimum(start, end) - max(radii)) / grid.spacing).astype(int).clip(0, grid.sides)
    high = np.ceil((np.maximum(start, end) + max(radii)) / grid.spacing).astype(int).clip(0, grid.sides)
    if (high <= low).any():
        return
    part = Grid(tuple(low), tuple(high - low), grid.spacing)
    axes = part.samples()
    along = end - start
    share = sum((axis - start[i]) * along[i] for i, axis in enumerate(axes)) / float(along @ along)
    share = np.clip(share, 0, 1)
    distance = sum((axis - start[i] - share * along[i]) ** 2 for i, axis in enumerate(axes))
    inside = distance <= (radii[0] + share * (radii[1] - radii[0])) ** 2
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    np.maximum(alpha[window], part.averaged(np.asarray(inside)), out=alpha[window])


def _shell(grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """The wall between two ellipsoids around one centre."""
    size = np.multiply(grid.sides, grid.spacing)
    centre, radii = size * rng.uniform(0.45, 0.55, 3), size * rng.uniform(0.27, 0.4, 3)
    turn, wall = rotation(rng, 0.2), rng.uniform(1.0, 2.0)
    return {"shell": by_slabs(grid, lambda axes: _wall(axes, centre, radii, turn, wall))}


def _wall(
    axes: Coordinates,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    turn: NDArray[np.float64],
    wall: float,
) -> NDArray[np.bool_]:
    outside = ellipsoid(axes, centre, radii, turn) <= 1
    return np.asarray(outside & (ellipsoid(axes, centre, radii - wall, turn) > 1))


def _organs(grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Three ellipsoids that do not touch, named by size."""
    size = np.multiply(grid.sides, grid.spacing)
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    shares = (0.24, 0.16, 0.11)
    for share in shares:
        for _ in range(200):
            radii = size[[0, 0, 2]] * share * rng.uniform(0.8, 1.2, 3)
            centre = rng.uniform(radii + 1, np.maximum(size - radii - 1, radii + 2))
            if all(np.linalg.norm((centre - other) / (radii + reach + 1.5)) > 1.05 for other, reach in found):
                found.append((centre, radii))
                break
    names = ("large", "middle", "small")
    turns = [rotation(rng, 0.05) for _ in found]
    return {
        name: by_slabs(grid, partial(_inside_ellipsoid, centre=centre, radii=radii, turn=turn))
        for name, (centre, radii), turn in zip(names, found, turns, strict=False)
    }


def _inside_ellipsoid(
    axes: Coordinates, centre: NDArray[np.float64], radii: NDArray[np.float64], turn: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.asarray(ellipsoid(axes, centre, radii, turn) <= 1)


def _clean(alphas: dict[str, NDArray[np.float32]], grid: Grid, rng: np.random.Generator) -> NDArray[np.floating]:
    """A picture of the alphas with textures; values around 0 to 1000."""
    base = rng.uniform(300, 600)
    values = base + smooth(grid, rng, 18.0) * rng.uniform(20, 60) + smooth(grid, rng, 5.0) * rng.uniform(5, 25)
    for alpha in alphas.values():
        contrast = rng.uniform(120, 250) * rng.choice([-1, 1])
        inner = base + contrast + smooth(grid, rng, 10.0) * rng.uniform(5, 25)
        values = values + alpha * (inner - values)
    return values


def _measured(clean: NDArray[np.floating], grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Values with a bias field and noise, above 0."""
    values = clean * (1 + rng.uniform(0.03, 0.12) * smooth(grid, rng, 60.0))
    values = values + rng.normal(0, rng.uniform(5, 25), grid.sides)
    return np.clip(values, 1, None).astype(np.float32)
