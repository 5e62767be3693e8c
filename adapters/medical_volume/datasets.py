"""Labelled volumes on disk: the Medical Segmentation Decathlon, and plain folders of images and labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from .loading import SUFFIXES, load_volume, stem_of
from .volume import Volume

IMAGE_FOLDERS, LABEL_FOLDERS = ("images", "image", "imagesTr"), ("labels", "label", "labelsTr")
DECATHLON = "dataset.json"


@dataclass(frozen=True, kw_only=True)
class LabelledVolume:
    """One image with its labels. names: id -> name, where the data set says so."""

    name: str
    image: Path
    label: Path
    names: Mapping[int, str] = field(default_factory=dict)

    def load(self, *, whole: bool = False) -> tuple[Volume, dict[str, NDArray[np.float32]]]:
        """The volume and its true objects: name -> (X, Y, Z) float32 of 0 and 1 (or soft), canonical frame.

        Args:
            whole: everything labelled is one object, "whole".

        A label file of fractions in [0, 1] (or of 8 bits that are no few ids) is one soft object.

        Raises:
            DataError: a file cannot be read, or the grids differ.
        """
        volume, label = load_volume(self.image), load_volume(self.label)
        if not volume.geometry.same_grid(label.geometry, tolerance_mm=0.1):
            raise DataError(f"{self.label}: expected the grid of {self.image.name}, got {label.geometry.shape}")
        ids = np.unique(label.voxels)
        if len(ids) > 64 or not np.array_equal(ids, np.round(ids)):
            top = 255.0 if ids.max() > 1 else 1.0
            return volume, {"soft": np.clip(label.voxels / np.float32(top), 0, 1).astype(np.float32)}
        if whole:
            return volume, {"whole": (label.voxels > 0).astype(np.float32)}
        return volume, {
            self.names.get(int(number), f"label{int(number)}"): (label.voxels == number).astype(np.float32)
            for number in ids
            if number > 0
        }


def labelled_volumes(root: str | Path) -> list[LabelledVolume]:
    """The labelled volumes of a folder, by name.

    Layouts: the Decathlon's `dataset.json` with its `training` list; or `images/` + `labels/` (also `image/`,
    `imagesTr/`, ...) with files of the same names, a label's perhaps without the image's `_0000`.

    Raises:
        DataError: neither, nothing in it, or a label without an image.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of volumes, found {'a file' if folder.exists() else 'nothing'}")
    found = _decathlon(folder) if (folder / DECATHLON).is_file() else _plain(folder)
    if not found:
        raise DataError(f"{folder}: expected labelled volumes, found none")
    return sorted(found, key=lambda one: one.name)


def _decathlon(folder: Path) -> list[LabelledVolume]:
    try:
        described = json.loads((folder / DECATHLON).read_text(encoding="utf-8"))
        names = {int(number): str(name) for number, name in described.get("labels", {}).items()}
        pairs = [(folder / item["image"], folder / item["label"]) for item in described["training"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / DECATHLON}: expected the Decathlon's description, got one that fails: {error!r}"
        ) from error
    for pair in pairs:
        for path in pair:
            if not path.is_file():
                raise DataError(f"{folder / DECATHLON}: names {path}, which is not there")
    return [LabelledVolume(name=stem_of(image), image=image, label=label, names=names) for image, label in pairs]


def _plain(folder: Path) -> list[LabelledVolume]:
    images, labels = _first(folder, IMAGE_FOLDERS), _first(folder, LABEL_FOLDERS)
    by_stem = {stem_of(path).removesuffix("_0000"): path for path in _volumes(images)}
    found = []
    for label in _volumes(labels):
        stem = stem_of(label)
        if stem not in by_stem:
            raise DataError(f"{label}: found no image of the same name in {images}")
        found.append(LabelledVolume(name=stem, image=by_stem[stem], label=label))
    return found


def _first(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataError(f"{folder}: expected {DECATHLON} or a folder {' or '.join(names)}, found neither")


def _volumes(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES) and not p.name.startswith("."))
