"""What a run leaves behind: label map, soft volumes, a report and a picture, all on the grid of the input."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.files import write_json_atomic
from zim.image_io import save_png

from .geometry import axis_names
from .loading import load_geometry
from .montage import montage
from .segmentation import SegmentedObject, Segmenter, label_map
from .slicing import AXIS_NAMES
from .volume import Volume

REPORT = "report.json"


def write_outputs(
    segmenter: Segmenter, objects: Sequence[SegmentedObject], folder: Path, *, identity: Mapping[str, Any]
) -> list[Path]:
    """Write everything, the report last: a folder with a report is complete.

    Files: `labels.*` (uint8 or uint16, 0 background, then the objects in order), `LABEL_alpha.*` (float32), both in the
    format and on exactly the grid of the input; `montage.png`; `report.json`.

    Args:
        segmenter: holds volume, window and settings.
        objects: what was segmented; their labels become file names.
        folder: is made.
        identity: what the result depends on, to be found again in the report.

    Returns:
        The files.

    Raises:
        DataError: what was written does not have the grid of the input.
        OSError: a file cannot be written.
    """
    volume = segmenter.volume
    suffix = volume.template.suffix
    ids = label_map([one.alpha for one in objects])
    files = [folder / f"labels{suffix}", *(folder / f"{one.label}_alpha{suffix}" for one in objects)]
    for path, array in zip(files, [ids, *(one.alpha for one in objects)], strict=True):
        volume.save(path, array)
    check_grid(files[0], volume)
    numbers = {index: stored_slice(volume, segmenter.view.axis, index) for index in range(segmenter.view.count)}
    alphas = {one.label: one.alpha for one in objects}
    picture = montage(volume.voxels, alphas, segmenter.view, segmenter.window, numbers=numbers)
    save_png(folder / "montage.png", picture)
    write_json_atomic(folder / REPORT, {**report_of(segmenter, objects, ids), "identity": dict(identity)})
    return [*files, folder / "montage.png", folder / REPORT]


def check_grid(path: Path, volume: Volume) -> None:
    """Read a result's grid back and compare it with the input's.

    Raises:
        DataError: they differ.
    """
    found = load_geometry(path)
    if not found.same_grid(volume.geometry):
        raise DataError(f"{path}: expected the grid of {volume.source}, got {found.shape} at {found.rows}")


def stored_slice(volume: Volume, axis: int, index: int) -> int:
    """The number of a canonical slice in the file's own counting."""
    voxel = np.zeros(3)
    voxel[axis] = index
    stored_axis = volume.geometry.reorientation.axes[axis]
    return round(float(volume.geometry.canonical_to_stored(voxel)[stored_axis]))


def canonical_slice(volume: Volume, axis: int, number: int) -> int:
    """The canonical slice of a number in the file's own counting: the inverse of `stored_slice`."""
    voxel = np.zeros(3)
    voxel[volume.geometry.reorientation.axes[axis]] = number
    return round(float(volume.geometry.stored_to_canonical(voxel)[axis]))


def report_of(
    segmenter: Segmenter, objects: Sequence[SegmentedObject], ids: NDArray[np.unsignedinteger]
) -> dict[str, Any]:
    """The result in numbers, ready for JSON; slices are numbered as in the file."""
    volume, geometry = segmenter.volume, segmenter.volume.geometry
    return {
        "input": volume.source,
        "geometry": {
            "shape": list(geometry.shape),
            "affine": [list(row) for row in geometry.rows],
            "axes": axis_names(geometry),
            "spacing_mm": [float(v) for v in np.linalg.norm(geometry.affine[:3, :3], axis=0)],
        },
        "window": {"lower": segmenter.window.lower, "upper": segmenter.window.upper},
        "slices_are": AXIS_NAMES[segmenter.view.axis],
        "slice_axis_of_file": "ijk"[geometry.reorientation.axes[segmenter.view.axis]],
        "settings": asdict(segmenter.settings),
        "labels": [_object_report(volume, one, ids, number) for number, one in enumerate(objects, start=1)],
    }


def _object_report(
    volume: Volume, one: SegmentedObject, ids: NDArray[np.unsignedinteger], number: int
) -> dict[str, Any]:
    voxels = int((ids == number).sum())
    slices: list[dict[str, Any]] = [
        {
            "slice": stored_slice(volume, one.axis, index),
            "confidence": round(float(value), 4),
            "source": one.sources[index],
        }
        for index, value in sorted(one.confidences.items())
    ]
    sure = [item["confidence"] for item in slices if item["confidence"] > 0]
    return {
        "label": one.label,
        "id": number,
        "voxels": voxels,
        "volume_ml": voxels * volume.geometry.voxel_ml,
        "soft_volume_ml": float(one.alpha.sum(dtype=np.float64)) * volume.geometry.voxel_ml,
        "mean_confidence": round(float(np.mean(sure)), 4) if sure else 0.0,
        "ends": dict(one.ends),
        "notes": list(one.notes),
        "slices": slices,
    }
