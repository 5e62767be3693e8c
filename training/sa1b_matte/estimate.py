"""What a conversion will be, without converting anything: `--dry-run`."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from zim.errors import DataError, ImageError
from zim.evaluation.samples import evenly_spaced

from ..readers.records import SegmentRecord
from .config import ConversionConfig
from .image_conversion import choose_labels, load_record
from .run import Plan
from .shards import encode_alpha
from .sources import Unit, taken_records

SAMPLE = 24
"""Photographs that are read for the estimate."""

_MASKS = 8
"""Labels of each of them that are encoded."""

_TAR_BYTES = 768
"""Header and padding of a member, on average."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Means over a sample of photographs.

    sampled: photographs read. unreadable: of the sample. labels: kept of a photograph before the converter sees them.
    labels_read: in its JSON. jpg_bytes, matte_bytes: of a photograph with its JSON and of a matte, in the shard.
    """

    sampled: int
    unreadable: int
    labels_read: float
    labels: float
    jpg_bytes: float
    matte_bytes: float

    def disk(self, images: int) -> float:
        """Bytes of the output of that many photographs."""
        return images * (self.jpg_bytes + self.labels * self.matte_bytes)


def estimate(plan: Plan, config: ConversionConfig) -> Estimate:
    """Read a few photographs, spread evenly over the shards to be.

    The mattes are taken for their labels with soft outlines; PNG files of real mattes have about that size.
    """
    records = _sample(plan.units, config)
    found, counts, jpgs, pngs, unreadable = [], [], [], [], 0
    for record in records:
        try:
            loaded = load_record(record)
        except (DataError, ImageError, OSError):
            unreadable += 1
            continue
        chosen, _ = choose_labels(loaded.masks, record.key, config)
        found.append(len(loaded.masks))
        counts.append(len(chosen))
        jpgs.append(len(loaded.jpg) + 2 * _TAR_BYTES + 160 * len(chosen))
        for index in chosen[:: max(1, len(chosen) // _MASKS)]:
            pngs.append(_soft_png_bytes(loaded.masks[index]) + _TAR_BYTES)
    means = [float(np.mean(values)) if values else 0.0 for values in (found, counts, jpgs, pngs)]
    return Estimate(
        sampled=len(records),
        unreadable=unreadable,
        labels_read=means[0],
        labels=means[1],
        jpg_bytes=means[2],
        matte_bytes=means[3],
    )


def _sample(units: Sequence[Unit], config: ConversionConfig) -> list[SegmentRecord]:
    chosen = evenly_spaced(units, SAMPLE)
    share = -(-SAMPLE // max(1, len(chosen)))
    records: list[SegmentRecord] = []
    for unit in chosen:
        taken = taken_records(unit.source, config)[0][unit.start : unit.stop]
        records += taken[:: max(1, len(taken) // share)][:share]
    return records


def _soft_png_bytes(mask: np.ndarray) -> int:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    crop = mask[max(0, top - 6) : top + height + 6, max(0, left - 6) : left + width + 6].astype(np.float32)
    return len(encode_alpha(np.asarray(cv2.GaussianBlur(crop, (0, 0), 2.0), np.float32)))
