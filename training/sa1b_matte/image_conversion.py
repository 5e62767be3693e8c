"""One photograph: read with its labels, which of them are converted, and their mattes."""

import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError, ImageError, MissingDependencyError

from ..label_converter.converter import Converter
from ..label_converter.crops import CropMatte, convert_labels
from ..readers.masks import MaskInfo, MaskSet
from ..readers.quarantine import QuarantinedItem
from ..readers.records import ItemError, SegmentRecord, blaming
from .config import ConversionConfig, hash_share
from .shards import StoredMatte, encode_alpha


class LoadedImage(NamedTuple):
    """jpg: the file. image: (H, W, 3) uint8. masks: its labels."""

    jpg: bytes
    image: NDArray[np.uint8]
    masks: MaskSet


class ImageOutcome(NamedTuple):
    """mattes: those that are kept. filtered: rule -> labels left out."""

    mattes: tuple[StoredMatte, ...]
    filtered: Counter[str]


def load_record(record: SegmentRecord) -> LoadedImage:
    """The photograph as it is on the disk and decoded, and its labels.

    Raises:
        ItemError: a file cannot be read, or the sizes differ.
    """
    with blaming(record.image_name):
        if isinstance(record.image, bytes):
            jpg = record.image
        else:
            jpg = record.image.read_bytes() if isinstance(record.image, Path) else record.image.read()
    held = dataclasses.replace(record, image=jpg)  # read once, for the shard and for the decoder
    try:
        image, masks = held.load()
    except ItemError as error:
        file, reason = (text.replace(held.image_name, record.image_name) for text in (error.file, error.reason))
        raise ItemError(file, reason) from error
    return LoadedImage(jpg, image, masks)


def load_or_quarantine(record: SegmentRecord, root: Path) -> LoadedImage | QuarantinedItem:
    """A photograph with its labels, or, when it cannot be read, its entry in the quarantine list.

    root: the input; the names in the list are relative to it.

    Raises:
        MissingDependencyError: a library is missing; that is no fault of the photograph.
    """
    try:
        return load_record(record)
    except MissingDependencyError:
        raise
    except ItemError as error:
        file, reason = error.file, error.reason
    except (DataError, ImageError, OSError) as error:
        file, reason = record.image_name, str(error)
    except Exception as error:  # decoders raise whatever they trip over
        file, reason = record.image_name, repr(error)
    place = f"{root if root.is_dir() else root.parent}{os.sep}"
    return QuarantinedItem(record.key, file.replace(place, ""), " ".join(reason.split()).replace(place, ""))


def convert_image(
    converter: Converter, loaded: LoadedImage, key: str, config: ConversionConfig
) -> ImageOutcome:
    """The mattes of the labels of a photograph that pass all rules, in the order of the labels."""
    chosen, filtered = choose_labels(loaded.masks, key, config)
    mattes: list[StoredMatte] = []
    for first in range(0, len(chosen), config.batch_size):
        batch = chosen[first : first + config.batch_size]
        masks = [loaded.masks[index] for index in batch]
        crops = convert_labels(
            converter, loaded.image, masks, margin=config.margin, batch_size=config.batch_size
        )
        for index, mask, crop in zip(batch, masks, crops, strict=True):
            overlap = agreement(mask, crop)
            if overlap < config.rules.min_agreement:
                filtered["agreement"] += 1
            else:
                mattes.append(_stored(index, loaded.masks.info[index], crop, overlap))
    return ImageOutcome(tuple(mattes), filtered)


def choose_labels(masks: MaskSet, key: str, config: ConversionConfig) -> tuple[list[int], Counter[str]]:
    """The labels to be converted, in their order, and the number left out by each rule."""
    pixels = masks.size_hw[0] * masks.size_hw[1]
    filtered: Counter[str] = Counter()
    chosen = []
    for index, info in enumerate(masks.info):
        rule = config.rules.against(info, pixels)
        if rule is None:
            chosen.append(index)
        else:
            filtered[rule] += 1
    if config.labels_per_image and len(chosen) > config.labels_per_image:
        drawn = sorted(chosen, key=lambda index: (hash_share(f"{key}/{index}"), index))[: config.labels_per_image]
        filtered["not_drawn"] += len(chosen) - len(drawn)
        chosen = sorted(drawn)
    return chosen, filtered


def agreement(label: NDArray[np.bool_], crop: CropMatte) -> float:
    """Intersection over union of a label, (H, W) bool, and its matte above one half."""
    x1, y1, x2, y2 = crop.box
    opaque = crop.alpha > 0.5
    common = int(np.count_nonzero(opaque & label[y1:y2, x1:x2]))
    union = int(np.count_nonzero(opaque)) + int(np.count_nonzero(label)) - common
    return common / union if union else 0.0


def _stored(index: int, info: MaskInfo, crop: CropMatte, overlap: float) -> StoredMatte:
    return StoredMatte(
        id=f"{index:04d}",
        source=info.name,
        box=crop.box,
        area=info.area,
        agreement=round(overlap, 4),
        scores=dict(info.scores),
        png=encode_alpha(crop.alpha),
    )
