"""The work of one process: photographs of a unit in, one shard out."""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import torch

from zim.errors import CheckpointError, DataError
from zim.files import atomic_write, write_json_atomic

from ..label_converter.converter import Converter, load_converter
from ..readers.quarantine import QuarantinedItem
from .config import RULES
from .image_conversion import convert_image, load_or_quarantine
from .job import Job
from .shards import ConvertedImage, ShardSummary, ShardWriter
from .sources import Unit, digest_of, taken_records

MAX_ATTEMPTS = 3
"""A unit whose worker has died this often is given up, so that it cannot hold up the others for ever."""

REPORT_SECONDS = 1.0


class UnitResult(NamedTuple):
    """name: the unit. error: why there is no shard; empty when there is. began, ended: seconds since 1970."""

    name: str
    error: str
    images: int
    labels: int
    began: float
    ended: float


class Worker:
    """Converts units; the converter is loaded with the first. One torch thread, so that results depend on nothing."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._converter: Converter | None = None

    def __call__(self, unit: Unit) -> UnitResult:
        """Convert a unit; whatever goes wrong is in the result, for the other units have nothing to do with it."""
        attempts, live = (self._job.work / name / unit.name for name in ("attempts", "live"))
        began = time.time()
        try:
            if _count_attempt(attempts) > MAX_ATTEMPTS:
                raise RuntimeError(f"its worker has died {MAX_ATTEMPTS} times")
            if self._converter is None:
                self._converter = prepared_converter(self._job)
            began = time.time()
            summary = self._convert(unit, self._converter, _LiveCount(live))
        except Exception as error:
            result = UnitResult(unit.name, f"{type(error).__name__}: {error}", 0, 0, began, time.time())
        else:
            result = UnitResult(unit.name, "", summary.images_read, summary.labels, began, time.time())
        attempts.unlink(missing_ok=True)
        live.unlink(missing_ok=True)
        return result

    def _convert(self, unit: Unit, converter: Converter, live: "_LiveCount") -> ShardSummary:
        path = self._job.output / f"{unit.name}.tar"
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            summary = write_shard(file, unit, self._job, converter, live.add)
        write_record(self._job, path, summary)
        return summary


def prepared_converter(job: Job) -> Converter:
    """The converter on its device, with everything set that could make two runs differ.

    Raises:
        CheckpointError: the weights are not those the conversion began with.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    converter = load_converter(job.model, job.device)
    if (converter.fingerprint, converter.side) != (job.fingerprint, job.side):
        raise CheckpointError(f"{job.model}: expected fingerprint {job.fingerprint}, got {converter.fingerprint}")
    return converter


def write_shard(
    file: BinaryIO, unit: Unit, job: Job, converter: Converter, report: Callable[[int, int], None]
) -> ShardSummary:
    """Convert the photographs of a unit into an open file.

    report: called after each photograph with 1 and the number of its mattes.

    Raises:
        DataError: the source is not what it was when the conversion was planned.
    """
    records = taken_records(unit.source, job.config)[0][unit.start : unit.stop]
    if digest_of([record.key for record in records]) != unit.digest:
        raise DataError(f"{unit.source.path}: changed while it was being converted")
    writer = ShardWriter(file)
    filtered: Counter[str] = Counter()
    quarantined: list[QuarantinedItem] = []
    images = labels = labels_read = 0
    for record in records:
        loaded = load_or_quarantine(record, job.source_root)
        count = 0
        if isinstance(loaded, QuarantinedItem):
            quarantined.append(loaded)
        else:
            outcome = convert_image(converter, loaded, record.key, job.config)
            filtered += outcome.filtered
            labels_read += len(loaded.masks)
            count = len(outcome.mattes)
            if count:
                size_hw = (int(loaded.image.shape[0]), int(loaded.image.shape[1]))
                stored = ConvertedImage(key=record.key, size_hw=size_hw, mattes=outcome.mattes, jpg=loaded.jpg)
                writer.add(stored)
                images, labels = images + 1, labels + count
        report(1, count)
    summary = ShardSummary(
        source=unit.source.name,
        identity=job.digest(),
        keys=unit.digest,
        images_read=unit.images,
        images=images,
        labels_read=labels_read,
        labels=labels,
        filtered={rule: filtered[rule] for rule in RULES},
        quarantined=tuple(quarantined),
    )
    writer.finish(summary)
    file.flush()
    os.fsync(file.fileno())
    return summary


def write_record(job: Job, shard: Path, summary: ShardSummary) -> dict[str, Any]:
    """Keep size, checksum and summary of a shard beside it, so that they need not be read again; returns them."""
    with shard.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    record = {"bytes": size, "sha256": digest, "summary": summary.to_dict()}
    write_json_atomic(job.work / "records" / f"{shard.stem}.json", record)
    return record


def _count_attempt(path: Path) -> int:
    """Add one to a count that outlives the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b".")
        file.flush()
        return file.tell()


class _LiveCount:
    """Photographs and labels done, in a small file, for the progress bar of another process."""

    def __init__(self, path: Path) -> None:
        self._path, self._images, self._labels, self._next = path, 0, 0, 0.0
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, images: int, labels: int) -> None:
        self._images, self._labels = self._images + images, self._labels + labels
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + REPORT_SECONDS
            self._path.write_text(json.dumps([self._images, self._labels]), encoding="utf-8")
