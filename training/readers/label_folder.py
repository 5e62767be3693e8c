"""Photographs with label maps: one id a pixel."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zim.errors import DataError

from ..data.segments import _label_folders, _read_label
from .masks import LabelMasks
from .reader import Reader, TrainingUse
from .records import ItemError, SegmentRecord, blaming


class LabelledFile(NamedTuple):
    """key: name within the reader. image, label: the two files."""

    key: str
    image: Path
    label: Path


class LabelFolder(Reader[SegmentRecord]):
    """All photographs with a label map below a folder; one mask an id.

    Layout: that of `training.data.segments`, which finds and reads the files: `image/NAME.jpg` + `label/NAME.png` at
    any depth; the label holds one id a pixel (8 or 16 bit grey, or a palette), 0 is unlabelled. A photograph without a
    label is not part of the set; how many there are is in `notes`.

    Args:
        root: the folder.
        split: there are no splits.
        pieces: one mask a connected piece of an id, rather than one an id.
        min_area: smaller masks are left out, in pixels.
    """

    name = "label_folder"
    LAYOUT = "image/ + label/"
    SPLITS = {"all": TrainingUse(True, "your own folder: keep what you measure on out of it")}

    def __init__(self, root: str | Path, split: str | None = None, *, pieces: bool = False, min_area: int = 1) -> None:
        super().__init__(root, split)
        self._pieces, self._min_area = pieces, min_area

    def _scan(self, split: str) -> Sequence[LabelledFile]:
        found = [LabelledFile(self._key(entry.image), entry.image, entry.label) for entry in _label_folders(self.root)]
        photos = {path for folder in {file.image.parent for file in found} for path in folder.iterdir()}
        unused = sorted(photos - {file.image for file in found})
        if unused:
            self.notes.append(f"{len(unused)} files without a label, the first is {unused[0]}")
        return found

    def _key(self, image: Path) -> str:
        folder = image.parent.parent.relative_to(self.root).as_posix()
        return image.stem if folder == "." else f"{folder}/{image.stem}"

    def _record(self, split: str, entry: LabelledFile) -> SegmentRecord:
        return SegmentRecord(
            key=entry.key,
            image=entry.image,
            training_allowed=self.SPLITS[split].allowed,
            masks=partial(label_masks, entry.label, pieces=self._pieces, min_area=self._min_area),
            masks_name=str(entry.label),
        )


def label_masks(
    path: Path, *, names: dict[int, str] | None = None, highest: int | None = None, pieces: bool, min_area: int
) -> LabelMasks:
    """The masks of a label picture.

    Args:
        path: one id a pixel.
        names: as in `LabelMasks`.
        highest: the largest id that may occur; None allows any.
        pieces, min_area: as in `LabelMasks`.

    Raises:
        ItemError: it cannot be read, or holds another id.
    """
    with blaming(path):
        labels = label_map(path)
    if highest is not None and int(labels.max(initial=0)) > highest:
        raise ItemError(path, f"expected ids from 0 to {highest}, got {int(labels.max())}")
    return LabelMasks(labels[None], names=names, pieces=pieces, min_area=min_area)


def label_map(path: Path) -> np.ndarray:
    """(H, W) unsigned integers of a label picture.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return _read_label(path)
    except DataError as error:
        raise DataError(str(error).replace(f"segments: {path}", "").lstrip(": ")) from error
