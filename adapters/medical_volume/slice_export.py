"""Slices of labelled volumes as folders of pictures, for training.

`image/ + alpha/` (exact mattes, soft where the truth is soft) is what `python -m training.train_zim --mattes DIR`
reads, `image/ + label/` (one id a pixel) what `--segments DIR` reads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.files import write_json_atomic
from zim.image_io import save_png

from .protocols import SOLID, largest_pieces
from .slicing import AXIS_NAMES, SliceView, view_of
from .volume import Volume
from .windowing import Window

MIN_VOXELS = 6.0
"""A slice with less of an object than this many voxels is no example of it, where nothing else is chosen."""

_NOT_WHOLE = 0.97
"""Nor is one that the object fills."""


def export_mattes(
    volume: Volume,
    alphas: Mapping[str, NDArray[np.floating]],
    folder: Path,
    *,
    name: str,
    window: Window,
    axes: Sequence[int] = (0, 1, 2),
    every: int = 1,
    pieces: int = 0,
    min_voxels: float = MIN_VOXELS,
) -> int:
    """Write one pair of `image/` and `alpha/` for each object and slice that shows it.

    Args:
        volume: the picture.
        alphas: object -> (X, Y, Z) in [0, 1], canonical frame; label masks are fine.
        folder: gets `image/` and `alpha/`; other pairs in it stay.
        name: of the volume; part of the file names.
        window: grey levels.
        axes: canonical axes to cut along.
        every: take every so many slices.
        pieces: where a slice shows an object in several pieces, write so many of the largest by themselves, too: a box
            around one piece asks for that piece.
        min_voxels: the least sum of a slice's alpha; slices without a voxel above 0.5 are left out anyway.

    Returns:
        The number of pairs.

    Raises:
        ConfigError: an alpha of another shape.
        OSError: a file cannot be written.
    """
    written = 0
    for axis in axes:
        view = view_of(volume.geometry, axis)
        for index in range(0, view.count, every):
            picture: NDArray[np.uint8] | None = None
            for label, alpha in alphas.items():
                plane = _plane_of(view, alpha, index, label)
                if not ((plane > SOLID).any() and min_voxels <= float(plane.sum()) <= _NOT_WHOLE * plane.size):
                    continue
                if picture is None:
                    picture = view.picture(volume.voxels, index, window)
                for part, one in enumerate([plane, *separate_pieces(plane, pieces)]):
                    number = f"_{part}" if part else ""
                    file = f"{name}_{AXIS_NAMES[axis]}_{index:04d}_{label}{number}.png"
                    save_png(folder / "image" / file, picture)
                    save_png(folder / "alpha" / file, np.clip(view.frame().to_picture(one), 0, 1))
                    written += 1
    return written


def separate_pieces(plane: NDArray[np.float32], count: int) -> list[NDArray[np.float32]]:
    """The largest pieces of an alpha (rows, columns), each by itself; none where it is one piece.

    Pieces are connected voxels above 0.5 (eight neighbours) of at least MIN_VOXELS; softer voxels go to the nearest.
    """
    solid = plane > SOLID
    found = [one for one in largest_pieces(solid, count + 1) if float(plane[one].sum()) >= MIN_VOXELS]
    if count < 1 or len(found) < 2:
        return []
    _, nearest = cv2.distanceTransformWithLabels(
        (~solid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return [np.where(nearest == nearest[one][0], plane, 0).astype(np.float32) for one in found[:count]]


def export_labels(
    volume: Volume,
    label_map: NDArray[Any],
    folder: Path,
    *,
    name: str,
    window: Window,
    axes: Sequence[int] = (0, 1, 2),
    every: int = 1,
    min_voxels: float = MIN_VOXELS,
) -> int:
    """Write `image/`, `label/` (the ids of the label map, 8 or 16 bit) and `regions.json` for the slices with labels.

    Args:
        volume: the picture.
        label_map: (X, Y, Z) whole numbers, canonical frame; 0 is background.
        folder, name, window, axes, every, min_voxels: as in `export_mattes`.

    Returns:
        The number of pairs.

    Raises:
        ConfigError: ids beyond 65,535, or another shape.
        OSError: a file cannot be written.
    """
    from PIL import Image

    from zim.files import atomic_write

    if int(label_map.min(initial=0)) < 0 or int(label_map.max(initial=0)) > 65535:
        raise ConfigError(f"label_map: expected ids from 0 to 65535, got {label_map.min()} to {label_map.max()}")
    dtype = np.uint8 if int(label_map.max(initial=0)) < 256 else np.uint16
    written = 0
    for axis in axes:
        view = view_of(volume.geometry, axis)
        frame = view.frame()
        for index in range(0, view.count, every):
            plane: NDArray[np.integer] = np.ascontiguousarray(view.plane(label_map, index)).astype(dtype)
            if np.count_nonzero(plane) < min_voxels:
                continue
            file = f"{name}_{AXIS_NAMES[axis]}_{index:04d}.png"
            ids = cv2.resize(plane, frame.picture_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            save_png(folder / "image" / file, view.picture(volume.voxels, index, window))
            with atomic_write(folder / "label" / file) as temporary:
                Image.fromarray(ids).save(temporary)
            written += 1
    write_json_atomic(folder / "regions.json", {"whole": 0.5, "single": 1.0, "component": 0.3, "union": 0.2})
    return written


def _plane_of(view: SliceView, alpha: NDArray[np.floating], index: int, label: str) -> NDArray[np.float32]:
    if alpha.shape != view.shape:
        raise ConfigError(f"alphas[{label!r}]: expected shape {view.shape}, got {alpha.shape}")
    return np.ascontiguousarray(view.plane(alpha, index), np.float32)
