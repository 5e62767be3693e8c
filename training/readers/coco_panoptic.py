"""COCO panoptic: photographs in which every thing and every kind of stuff is a segment."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zim.errors import DataError, ImageError
from zim.image_io import UNREADABLE

from .masks import LabelMasks
from .reader import Reader, TrainingUse
from .records import ItemError, SegmentRecord, blaming

_IMAGE_FOLDERS = ("{split}", "images/{split}", "input_images")
_STEMS = {"train": ("train2017",), "val": ("val2017",), "sample": ("examples",)}


class _Annotated(NamedTuple):
    image: Path
    label: Path
    names: Mapping[int, str]


class CocoPanoptic(Reader[SegmentRecord]):
    """COCO panoptic: one mask a segment, named by its category; crowds are left out.

    Layout, as published: `annotations/panoptic_train2017.json`, `annotations/panoptic_train2017/000000000009.png`,
    `train2017/000000000009.jpg` (or `images/train2017/`), and the same for `val2017`; the annotations may lie in the
    root too. The sample of `panopticapi` (`panoptic_examples.json`, `panoptic_examples/`, `input_images/`) is split
    `sample`. A PNG holds ids as R + 256 G + 65536 B; the JSON holds `images`, `categories` and, an image each,
    `annotations` with `file_name` and `segments_info` (`id`, `category_id`, `iscrowd`).
    """

    name = "coco_panoptic"
    LAYOUT = "panoptic_train2017.json + panoptic_train2017/*.png + train2017/*.jpg"
    SPLITS = {
        "train": TrainingUse(True, "the published training split"),
        "val": TrainingUse(False, "the published validation split, on which results are reported"),
        "sample": TrainingUse(False, "two photographs of the validation split"),
    }

    def _scan(self, split: str) -> list[_Annotated] | None:
        for stem in _STEMS[split]:
            for folder in (self.root / "annotations", self.root):
                listing = folder / f"panoptic_{stem}.json"
                if listing.is_file():
                    places = [self.root / name.format(split=stem) for name in _IMAGE_FOLDERS]
                    return _annotated(listing, _existing(listing, places))
        return None

    def _record(self, split: str, entry: _Annotated) -> SegmentRecord:
        return SegmentRecord(
            key=f"{split}/{entry.label.stem}",
            image=entry.image,
            training_allowed=self.SPLITS[split].allowed,
            masks=partial(panoptic_masks, entry.label, entry.names),
            masks_name=str(entry.label),
        )


def panoptic_masks(path: Path, names: Mapping[int, str]) -> LabelMasks:
    """The segments of a panoptic PNG.

    Args:
        path: the PNG.
        names: id of a segment -> name; other ids are left out.

    Raises:
        ItemError: it cannot be read, or a segment of `names` is not in it.
    """
    with blaming(path):
        labels = _read_ids(path)
    masks = LabelMasks(labels[None], names=names)
    if len(masks) != len(names):
        missing = sorted(names.keys() - set(np.unique(labels).tolist()))
        raise ItemError(path, f"expected segment {missing[0]} of the listing, found no pixel of it")
    return masks


def _read_ids(path: Path) -> NDArray[np.int32]:
    """(H, W) ids. The pixels are taken as they are: colour conversions would change ids."""
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened)
    except UNREADABLE as error:
        raise ImageError(f"not a readable picture ({error})") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError(f"expected three 8-bit channels, got {pixels.shape} of {pixels.dtype}")
    return pixels.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def _existing(listing: Path, places: list[Path]) -> tuple[Path, Path]:
    """The folders of photographs and of PNGs."""
    labels = listing.with_suffix("")
    if not labels.is_dir():
        raise DataError(f"{labels}: expected the folder of PNGs beside {listing.name}, found nothing")
    images = next((place for place in places if place.is_dir()), None)
    if images is None:
        raise DataError(f"{places[0]}: expected the folder of photographs of {listing.name}, found nothing")
    return images, labels


def _annotated(listing: Path, folders: tuple[Path, Path]) -> list[_Annotated]:
    images, labels = folders
    try:
        stored = json.loads(listing.read_text(encoding="utf-8"))
        categories = {int(row["id"]): str(row["name"]) for row in stored["categories"]}
        photos = {row["id"]: str(row["file_name"]) for row in stored["images"]}
        rows = sorted(stored["annotations"], key=lambda row: str(row["file_name"]))
        found = [
            _Annotated(images / photos[row["image_id"]], labels / str(row["file_name"]), _names(row, categories))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{listing}: expected images, categories and annotations of COCO ({error!r})") from error
    folders_named = {path.parent for row in found for path in row[:2]}
    there = {path for folder in folders_named if folder.is_dir() for path in folder.iterdir()}
    for row in found:
        for path in (row.image, row.label):
            if path not in there:
                raise DataError(f"{path}: listed in {listing.name}, but missing")
    return found


def _names(row: Mapping[str, Any], categories: Mapping[int, str]) -> dict[int, str]:
    segments = [segment for segment in row["segments_info"] if not segment.get("iscrowd", 0)]
    return {int(segment["id"]): categories[int(segment["category_id"])] for segment in segments}
