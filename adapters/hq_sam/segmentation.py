"""Masks of many photographs from boxes, into a folder; what is finished is not done again."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from zim import predict_alpha
from zim.errors import ConfigError, ImageError, ZimError
from zim.files import write_json_atomic
from zim.image_io import read_image, save_png
from zim.protocol import Predictor

AnswerKind = Literal["mask", "alpha"]
Box = tuple[float, float, float, float]

SETTINGS_FILE = "hq_sam.settings.json"
RECORD_SUFFIX = ".boxes.json"
"""Written last, beside the pictures of a photograph: it says that they are all there."""


@dataclass(frozen=True, kw_only=True)
class SegmentationJob:
    """One photograph. boxes: xyxy in its pixels, an object each, in the order of the output files."""

    photo: Path
    boxes: tuple[Box, ...]


class PhotoFailure(NamedTuple):
    """A photograph that gave nothing, and why."""

    photo: Path
    message: str


class SegmentationSummary(NamedTuple):
    """done: photographs answered now. skipped: finished before. failures: the others."""

    done: int
    skipped: int
    failures: tuple[PhotoFailure, ...]


def segment_folder(
    predictor: Predictor,
    jobs: Iterable[SegmentationJob],
    out: Path,
    *,
    kind: AnswerKind = "mask",
    hq_token_only: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_done: Callable[[SegmentationJob], None] = lambda job: None,
) -> SegmentationSummary:
    """Answer every box of every photograph with a picture: `NAME_0.png`, `NAME_1.png`, ...

    A run that is killed goes on where it was: photographs whose record is there with the same boxes are passed over.

    Args:
        predictor: any.
        jobs: photographs of different names.
        out: folder for the results.
        kind: masks (0 and 255) of alpha > 0.5, or alphas (8 bit).
        hq_token_only: for predictors that know it, see `zim.hq_predictor`.
        settings: what else a run in this folder must agree on, such as the predictor's name.
        on_done: called after every photograph, whatever became of it.

    Returns:
        How many were done, passed over, and failed.

    Raises:
        ConfigError: two photographs of one name, results of other settings in `out`, or a predictor without
            `hq_token_only`.
        OSError: `out` cannot be written.
    """
    if hq_token_only and not knows(predictor, "hq_token_only"):
        raise ConfigError(f"hq_token_only: expected a predictor with an HQ head, got {type(predictor).__name__}")
    listed = list(jobs)
    _refuse_same_names(listed)
    _agree_on(out, {**(settings or {}), "kind": kind, "hq_token_only": hq_token_only})
    arguments = {"hq_token_only": True} if hq_token_only else {}
    done, failures = 0, []
    skipped = 0
    for job in listed:
        if is_finished(job, out):
            skipped += 1
        else:
            try:
                _segment(predictor, job, out, kind, arguments)
                done += 1
            except ZimError as error:
                failures.append(PhotoFailure(job.photo, str(error)))
        on_done(job)
    return SegmentationSummary(done, skipped, tuple(failures))


def output_files(job: SegmentationJob, out: Path) -> list[Path]:
    """The pictures of a photograph, one a box."""
    return [out / f"{job.photo.stem}_{index}.png" for index in range(len(job.boxes))]


def is_finished(job: SegmentationJob, out: Path) -> bool:
    """Whether all pictures of a photograph are there, made from the same boxes."""
    try:
        record = json.loads(_record_path(job, out).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return record == _record(job) and all(path.is_file() for path in output_files(job, out))


def knows(predictor: Predictor, argument: str) -> bool:
    """Whether a predictor's `predict` takes an argument of that name."""
    return argument in inspect.signature(predictor.predict).parameters


def _segment(
    predictor: Predictor, job: SegmentationJob, out: Path, kind: AnswerKind, arguments: Mapping[str, Any]
) -> None:
    if not job.boxes:
        raise ImageError(f"{job.photo}: expected at least one box, got none")
    predictor.set_image(read_image(job.photo))
    for box, path in zip(job.boxes, output_files(job, out), strict=True):
        alpha = predict_alpha(predictor, box=np.array(box, np.float64), **arguments)
        save_png(path, alpha if kind == "alpha" else alpha > 0.5)
    write_json_atomic(_record_path(job, out), _record(job))


def _record(job: SegmentationJob) -> dict[str, Any]:
    return {"photo": job.photo.name, "boxes": [list(box) for box in job.boxes]}


def _record_path(job: SegmentationJob, out: Path) -> Path:
    return out / f"{job.photo.stem}{RECORD_SUFFIX}"


def _refuse_same_names(jobs: list[SegmentationJob]) -> None:
    owner: dict[Path, Path] = {}
    for job in jobs:
        for path in (*output_files(job, Path()), _record_path(job, Path())):
            if path in owner:
                raise ConfigError(f"photos: expected different names, got {owner[path]} and {job.photo} for {path}")
            owner[path] = job.photo


def _agree_on(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds results of other settings; note these in a new one."""
    path = out / SETTINGS_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: cannot be read ({error}); give another folder") from error
        if found != dict(settings):
            raise ConfigError(f"{path}: expected {dict(settings)}, got {found}; give another folder")
    else:
        write_json_atomic(path, dict(settings))
