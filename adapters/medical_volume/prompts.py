"""What a user points at in a volume: points and boxes in voxels of the file or in world millimetres.

Voxel coordinates are indices of the file's array, as nibabel and viewers show them; world coordinates are mm, RAS+.
Either way a prompt becomes canonical voxel coordinates, where whole numbers are voxel centres. A voxel box includes its
corner voxels; a world box reaches exactly from corner to corner.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError

from .geometry import Geometry
from .slicing import SliceView

Coordinates = Literal["voxel", "world"]
Triple = tuple[float, float, float]

_EXACT = 1e-6
"""Coordinates are rounded to this, so that the way through an affine does not decide which voxel is hit."""


@dataclass(frozen=True, kw_only=True)
class PointPrompt:
    """at: (x, y, z). label: 1 object, 0 background."""

    at: Triple
    label: int = 1
    coordinates: Coordinates = "voxel"


@dataclass(frozen=True, kw_only=True)
class BoxPrompt:
    """Two opposite corners, in any order. A box of one slice is a 2-D prompt on it; a thicker one bounds the object."""

    corner: Triple
    opposite: Triple
    coordinates: Coordinates = "voxel"


VolumePrompt = PointPrompt | BoxPrompt


class PlanePrompt(NamedTuple):
    """A prompt on one slice. box: (4,) xyxy, points: (N, 2) xy, both with whole numbers at voxel edges; labels: (N,).

    alpha: (rows, columns) in [0, 1], a rough answer to start from.
    """

    box: NDArray[np.float64] | None = None
    points: NDArray[np.float64] = np.zeros((0, 2))
    labels: NDArray[np.int64] = np.zeros(0, np.int64)
    alpha: NDArray[np.float32] | None = None


class ObjectPrompts(NamedTuple):
    """What is said of one object, along one axis.

    planes: slice -> prompt. first, last: the slices that bound it. box: (2, 3) canonical corners of a 3-D box. rough:
    the only slice to start from has the outline of the 3-D box, which is larger than the object there.
    """

    planes: dict[int, PlanePrompt]
    first: int
    last: int
    box: NDArray[np.float64] | None = None
    rough: bool = False


def starts_object(prompt: PlanePrompt) -> bool:
    """Whether a slice's prompt says where the object is, not only where it is not."""
    return prompt.box is not None or prompt.alpha is not None or 1 in prompt.labels


def resolve_prompts(prompts: Sequence[VolumePrompt], geometry: Geometry, view: SliceView) -> ObjectPrompts:
    """The prompts of one object, slice by slice.

    A 3-D box without any prompt on a slice is also the 2-D box of its middle slice.

    Args:
        prompts: of one object.
        geometry: of the volume.
        view: the slices.

    Raises:
        PromptError: nothing to start from, a point or box outside the volume, several 3-D boxes, or numbers that make
            no sense.
    """
    boxes: dict[int, NDArray[np.float64]] = {}
    points: dict[int, list[tuple[NDArray[np.float64], int]]] = {}
    bounds: NDArray[np.float64] | None = None
    for prompt in prompts:
        if isinstance(prompt, PointPrompt):
            voxel = _point(prompt, geometry)
            index = int(np.floor(voxel[view.axis] + 0.5))
            points.setdefault(index, []).append((view.point_in_plane(voxel), int(prompt.label)))
            continue
        corners = _box(prompt, geometry)
        first, last = slices_of(corners, view)
        if last > first:
            if bounds is not None:
                raise PromptError("box: expected one 3-D box an object, got several")
            bounds = corners
        elif first in boxes:
            raise PromptError(f"box: expected one box on a slice, got two on slice {first} across {view.axis}")
        else:
            boxes[first] = plane_box(corners, view)
    first, last = (0, view.count - 1) if bounds is None else slices_of(bounds, view)
    planes = {index: _plane_prompt(boxes.get(index), points.get(index, [])) for index in {*boxes, *points}}
    _check_planes(planes, first, last)
    seeded = any(starts_object(prompt) for prompt in planes.values())
    if bounds is not None and not seeded:
        middle = (first + last) // 2
        planes[middle] = _plane_prompt(plane_box(bounds, view), points.get(middle, []))
    elif not seeded:
        raise PromptError("prompt: expected a box or an object point (label 1), got none")
    return ObjectPrompts(planes, first, last, bounds, rough=not seeded)


def slices_of(corners: NDArray[np.float64], view: SliceView) -> tuple[int, int]:
    """First and last slice whose middle lies in a box, (2, 3) canonical; the nearest one where none does."""
    low, high = corners[0, view.axis], corners[1, view.axis]
    first, last = int(np.ceil(low - _EXACT)), int(np.floor(high + _EXACT))
    if last < first:
        first = last = int(np.floor((low + high) / 2 + 0.5))
    return int(np.clip(first, 0, view.count - 1)), int(np.clip(last, 0, view.count - 1))


def plane_box(corners: NDArray[np.float64], view: SliceView) -> NDArray[np.float64]:
    """(4,) xyxy in the plane of a box, cut to the plane."""
    one, other = view.point_in_plane(corners)
    rows, columns = view.plane_hw
    box = np.concatenate([np.minimum(one, other), np.maximum(one, other)])
    return np.clip(box, 0, [columns, rows, columns, rows])


def _point(prompt: PointPrompt, geometry: Geometry) -> NDArray[np.float64]:
    if prompt.label not in (0, 1):
        raise PromptError(f"point: expected label 1 (object) or 0 (background), got {prompt.label!r}")
    voxel = _canonical(np.array(prompt.at), prompt.coordinates, geometry)
    if not ((voxel >= -0.5) & (voxel < np.array(geometry.canonical_shape) - 0.5)).all():
        raise PromptError(_outside("point", prompt.at, prompt.coordinates, geometry))
    return voxel


def _box(prompt: BoxPrompt, geometry: Geometry) -> NDArray[np.float64]:
    """(2, 3) canonical lower and upper corners."""
    given = np.sort(np.array([prompt.corner, prompt.opposite], np.float64), axis=0)
    if prompt.coordinates == "voxel":
        given = given + [[-0.5], [0.5]]
    every = np.array(list(itertools.product(*given.T)))
    voxels = _canonical(every, prompt.coordinates, geometry)
    corners = np.stack([voxels.min(0), voxels.max(0)])
    limit = np.array(geometry.canonical_shape) - 0.5
    if (corners[1] < -0.5).any() or (corners[0] > limit).any():
        raise PromptError(_outside("box", (*prompt.corner, *prompt.opposite), prompt.coordinates, geometry))
    return np.clip(corners, -0.5, limit)


def _canonical(points: NDArray[np.float64], coordinates: Coordinates, geometry: Geometry) -> NDArray[np.float64]:
    if coordinates not in ("voxel", "world"):
        raise PromptError(f"coordinates: expected voxel or world, got {coordinates!r}")
    if not np.isfinite(points).all():
        raise PromptError(f"prompt: expected finite coordinates, got {points.tolist()}")
    convert = geometry.stored_to_canonical if coordinates == "voxel" else geometry.world_to_canonical
    return np.round(convert(points) / _EXACT) * _EXACT


def _outside(what: str, numbers: Sequence[float], coordinates: str, geometry: Geometry) -> str:
    text = " ".join(f"{number:g}" for number in numbers)
    if coordinates == "voxel":
        return f"{what}: expected voxels inside the file's {geometry.shape}, got {text}"
    corners = np.array(list(itertools.product(*((-0.5, side - 0.5) for side in geometry.canonical_shape))))
    world = geometry.canonical_to_world(corners)
    low, high = (" ".join(f"{number:.1f}" for number in edge) for edge in (world.min(0), world.max(0)))
    return f"{what}: expected world mm between {low} and {high}, got {text}"


def _plane_prompt(box: NDArray[np.float64] | None, points: list[tuple[NDArray[np.float64], int]]) -> PlanePrompt:
    if box is not None and (box[2] <= box[0] or box[3] <= box[1]):
        raise PromptError(f"box: expected a box with an area inside the slice, got {box.tolist()}")
    coords = np.array([xy for xy, _ in points]).reshape(-1, 2)
    return PlanePrompt(box=box, points=coords, labels=np.array([label for _, label in points], np.int64))


def _check_planes(planes: dict[int, PlanePrompt], first: int, last: int) -> None:
    for index in planes:
        if not first <= index <= last:
            raise PromptError(f"prompt: expected slices {first} to {last} of the 3-D box, got one on slice {index}")


def previous_prompts(alpha: NDArray[Any], view: SliceView, threshold: float = 0.5) -> ObjectPrompts:
    """Prompts of an earlier answer: every slice that shows the object gets its box, interior points and alpha.

    Args:
        alpha: (X, Y, Z) in [0, 1] or bool, canonical frame.
        view: the slices.
        threshold: the object is where alpha is above it.

    Raises:
        PromptError: another shape, or nothing above the threshold.
    """
    if alpha.shape != view.shape:
        raise PromptError(f"previous mask: expected shape {view.shape}, got {alpha.shape}")
    planes = {}
    for index in range(view.count):
        plane = np.ascontiguousarray(view.plane(alpha, index), np.float32)
        if (plane > threshold).any():
            planes[index] = PlanePrompt(box=box_of_mask(plane > threshold), alpha=plane)
    if not planes:
        raise PromptError(f"previous mask: expected a voxel above {threshold:g}, got none")
    return ObjectPrompts(planes, min(planes), max(planes), None)


def box_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) xyxy around the voxels of a plane, to their outer edges; there must be one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
