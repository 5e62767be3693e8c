"""Where the boxes of photographs come from: a JSON file, masks, or one box for all."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zim.errors import ConfigError, DataError, PromptError
from zim.evaluation.datasets import IMAGE_SUFFIXES
from zim.image_io import read_gray
from zim.prompts import box_from_alpha

from .segmentation import Box, SegmentationJob


def jobs_from_file(photos: Sequence[Path], path: Path) -> list[SegmentationJob]:
    """Boxes by file name or stem: `{"cat.jpg": [[x1, y1, x2, y2], ...], "dog": [...]}`.

    Raises:
        DataError: the file is no such JSON, or lacks a photograph.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file with boxes, cannot read it ({error})") from error
    if not isinstance(listed, Mapping):
        raise DataError(f"{path}: expected an object of photographs and their boxes, got {type(listed).__name__}")
    jobs = []
    for photo in photos:
        name = photo.name if photo.name in listed else photo.stem
        if name not in listed:
            raise DataError(f"{path}: expected boxes for {photo.name}, found none")
        jobs.append(SegmentationJob(photo=photo, boxes=_boxes(listed[name], f"{path}: {name}")))
    return jobs


def jobs_from_masks(photos: Sequence[Path], folder: Path) -> list[SegmentationJob]:
    """The box around what is above a half in the mask of each photograph, `NAME.png` or the like in a folder.

    Raises:
        DataError: a photograph has no mask, or an empty one.
        ImageError: a mask cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of masks, found {'a file' if folder.exists() else 'nothing'}")
    masks = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    jobs = []
    for photo in photos:
        if photo.stem not in masks:
            raise DataError(f"{photo}: found no mask of the same name in {folder}")
        try:
            box = box_from_alpha(read_gray(masks[photo.stem]).astype(np.float32) / 255, 0.5)
        except PromptError as error:
            raise DataError(f"{masks[photo.stem]}: expected an object in the mask, found none") from error
        jobs.append(SegmentationJob(photo=photo, boxes=_boxes([box.tolist()], str(masks[photo.stem]))))
    return jobs


def jobs_from_box(photos: Sequence[Path], boxes: Sequence[Sequence[float]]) -> list[SegmentationJob]:
    """The same boxes for every photograph.

    Raises:
        ConfigError: a box is inside out or not of four numbers.
    """
    try:
        checked = _boxes(list(boxes), "--box")
    except DataError as error:
        raise ConfigError(str(error)) from error
    return [SegmentationJob(photo=photo, boxes=checked) for photo in photos]


def _boxes(values: Any, where: str) -> tuple[Box, ...]:
    if isinstance(values, list) and len(values) == 4 and all(isinstance(v, int | float) for v in values):
        values = [values]  # one box needs no second pair of brackets
    if not isinstance(values, list) or not values:
        raise DataError(f"{where}: expected a list of boxes [x1, y1, x2, y2], got {values!r}")
    boxes: list[Box] = []
    for value in values:
        numbers = list(value) if isinstance(value, list | tuple) else []
        good = len(numbers) == 4 and all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        if not good or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
            raise DataError(f"{where}: expected x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got {value!r}")
        x1, y1, x2, y2 = map(float, numbers)
        boxes.append((x1, y1, x2, y2))
    return tuple(boxes)
